"""A network behind the calculator, which keeps its search for neighbours from call to call."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.network.potential import NetworkPotential
from small_networks import random_weights, structure

POTENTIAL = NetworkPotential(random_weights("two orders"), random_weights("two orders", 1))


def atoms_of(seed: int = 1, pbc: tuple[bool, bool, bool] = (True, True, True)) -> Atoms:
    s = structure(pbc, seed)
    return Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.pbc)


def results(calculator: WaveScatCalculator, atoms: Atoms) -> tuple[np.ndarray, ...]:
    names = ("energy", "forces") + (("stress",) if atoms.pbc.all() else ())
    return tuple(np.asarray(calculator.get_property(name, atoms)) for name in names)


def same(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-12 * max(1.0, np.abs(other).max())


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)])
def test_results_do_not_depend_on_what_was_asked_before(pbc: tuple[bool, bool, bool]) -> None:
    """Along a walk with a cell that breathes, beside calculators that have seen nothing."""
    walking, rng, atoms = WaveScatCalculator(POTENTIAL), np.random.default_rng(0), atoms_of(pbc=pbc)
    for step in range(40):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        if pbc == (True, True, True):
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=1e-3, size=(3, 3))), scale_atoms=True)
        if step % 7 == 3:
            walking.get_property("energy", atoms_of(9))  # something else in between
        same(results(walking, atoms), results(WaveScatCalculator(POTENTIAL), atoms))
    assert walking._neighbours.searches < 30


def test_twins_pickles_and_threads_have_lists_of_their_own() -> None:
    calculator, atoms = WaveScatCalculator(POTENTIAL), atoms_of()
    expected = results(calculator, atoms)
    twin, copied = calculator.twin(), pickle.loads(pickle.dumps(calculator))
    assert len({id(one._neighbours) for one in (calculator, twin, copied)}) == 3
    same(results(twin, atoms), expected)
    same(results(copied, atoms), expected)
    several = [atoms_of(seed) for seed in range(8)]
    alone = [results(WaveScatCalculator(POTENTIAL), one) for one in several]
    with ThreadPoolExecutor(4) as pool:
        for found, own in zip(
            pool.map(lambda one: results(calculator.twin(), one), several * 3), alone * 3, strict=True
        ):
            same(found, own)
