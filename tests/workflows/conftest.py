"""Paths that several tests share: an adatom whose saddle symmetry knows, lithium between two interstitial sites."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian
from ase.optimize import BFGS

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.model import Model
from ase_wavescat.workflows import Barrier, neb


@pytest.fixture(scope="session")
def adatom() -> tuple[Atoms, Atoms, float]:
    """Au on Al(100) in neighbouring hollows, and the barrier over the bridge between them, which symmetry knows."""
    slab = fcc100("Al", (2, 2, 2), vacuum=4.0)
    slab.info.clear()
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    side = slab.cell[0, 0]
    top = slab.positions[:, 2].max()
    hollow = slab.get_scaled_positions()[slab.positions[:, 2] < top - 1][0] @ slab.cell.array

    def relaxed(shift: float) -> Atoms:
        atoms = slab + Atoms("Au", [(hollow[0] + shift, hollow[1], top + 1.7)])
        held = [FixCartesian([len(slab)], mask=(True, True, False))] if shift else []
        atoms.set_constraint([*slab.constraints, *held])
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.01)
        return atoms

    initial, bridge = relaxed(0.0), relaxed(side / 4)
    final = initial.copy()
    final.positions[-1, 0] += side / 2
    barrier = bridge.get_potential_energy() - initial.get_potential_energy()
    return initial, final, barrier


@pytest.fixture(scope="session")
def adatom_band(adatom: tuple[Atoms, Atoms, float]) -> Barrier:
    initial, final, _ = adatom
    return neb(initial, final, images=5, fmax=0.03)


@pytest.fixture
def silicon_hop(small_ensemble: Model) -> tuple[Atoms, Atoms]:
    """Lithium at two interstitial sites of a small silicon cell, the first with the small model."""
    initial = bulk("Si", cubic=True) + Atoms("Li", [(2.7, 2.7, 2.7)])
    final = initial.copy()
    final.positions[-1] = (4.07, 4.07, 4.07)
    initial.calc = WaveScatCalculator(small_ensemble)
    return initial, final
