"""Numbers that no change of structure may change: features, derivatives and predictions, as they were.

    python tests/reference_predictions.py            # compare with what is stored
    python tests/reference_predictions.py --write    # store them anew, where numbers are meant to change

Presets, open and periodic boundaries, reverse pass, tangents and Jacobian, and all that the bundled models say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond111

from ase_wavescat import WaveScatCalculator, preset
from ase_wavescat.io.structures import structures_of
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import listening, unheard
from ase_wavescat.workflows.demo import shipped_structure

SMALLEST = 1e-3
STORED = Path(__file__).parent / "reference_predictions.npz"
LABELS = Path(__file__).parents[1] / "models" / "lisi-dft"
OPEN = {"correlations": [(True, True, False), (False, False, False)], "solid-harmonic": [(False, False, False)]}
"""Boundaries besides periodic ones, for presets whose vacuum is not too large to compute quickly."""
PRESETS = ("brumwell2018", "correlations", "many-body", "polynomial", "sinz2020", "solid-harmonic")
"""Those whose numbers are stored."""
CELLS = (0, 17, 40)
"""Of the test set."""
MOST_NUMBERS, SUMS = 300, 20


def triclinic(atoms: int = 7, side: float = 5.2, seed: int = 3) -> Atoms:
    """Lithium and silicon on a jittered lattice of a skewed cell, no two closer than 1.8 A."""
    rng = np.random.default_rng(seed)
    sites = np.array(list(np.ndindex(2, 2, 2)))[:atoms] / 2 + 0.06 * rng.uniform(-1, 1, (atoms, 3))
    cell = side * (np.eye(3) + 0.12 * rng.uniform(-1, 1, (3, 3)))
    return Atoms(np.where(np.arange(atoms) % 3, 3, 14), sites @ cell, cell=cell, pbc=True)


def features() -> Iterator[tuple[str, np.ndarray]]:
    """Of each preset: features, the derivative of one weighted sum, and derivatives along one direction."""
    for name in PRESETS:
        spec = preset(name, ("Li", "Si"))
        transform = Transform(spec)
        rng = np.random.default_rng(5)
        weights = rng.normal(size=len(spec.keys))
        for pbc in [(True, True, True), *OPEN.get(name, [])]:
            atoms = triclinic(4 if name == "solid-harmonic" else 7)
            structure = atoms.cell.array, atoms.positions, atoms.numbers
            evaluation = transform.evaluate(Structure(*structure, pbc=pbc))
            place = f"{name} {''.join('TF'[not p] for p in pbc)}"
            yield f"{place} features", evaluation.features
            gradient, strain = evaluation.gradient(weights)
            yield f"{place} gradient", gradient
            yield f"{place} strain gradient", strain
            moved = rng.normal(size=(1, len(atoms), 3)), rng.normal(size=(1, 3, 3))
            yield f"{place} tangent", evaluation.tangent(*moved)[0]
            if transform.has_jacobian:
                by_positions, by_strain = evaluation.jacobian()
                yield f"{place} jacobian", np.einsum("fna,na->f", by_positions, moved[0][0])
                yield f"{place} jacobian by strain", by_strain @ rng.normal(size=6)


def structures() -> dict[str, Atoms]:
    slab = diamond111("Si", (1, 1, 2), a=5.47, vacuum=5.0)
    slab.pbc = (True, True, False)
    close = bulk("LiSi", "zincblende", 4.2, cubic=True)  # near enough for the pair repulsion
    cells = structures_of(LABELS / "test.extxyz.xz")
    held_out = {f"test cell {index}": cells[index] for index in CELLS}
    return {"glass": shipped_structure(), "slab": slab, "compressed": close, "triclinic": triclinic(), **held_out}


def predictions() -> Iterator[tuple[str, np.ndarray]]:
    """Energies, forces, stress, spreads, members and grades of the bundled models."""
    for model in ("lisi.h5", "lisi-fast.h5", "lisi-linear.h5"):
        calculator = WaveScatCalculator(model)
        for name, atoms in structures().items():
            place = f"{model} {name}"
            with listening(unheard):
                yield f"{place} energy", np.array(calculator.get_potential_energy(atoms))
                yield f"{place} forces", calculator.get_forces(atoms)
                yield f"{place} stress", calculator.get_stress(atoms)
                yield f"{place} member energies", calculator.get_member_energies(atoms)
                yield f"{place} forces uncertainty", calculator.get_forces_uncertainty(atoms)
                yield f"{place} grades", calculator.get_extrapolation_grades(atoms)


def computed() -> dict[str, np.ndarray]:
    return {name: _condensed(value) for name, value in [*features(), *predictions()]}


def _condensed(value: np.ndarray) -> np.ndarray:
    """Of many numbers, sums with random signs: each shows a change of any of them, and few have to be kept."""
    if value.size <= MOST_NUMBERS:
        return value
    signs = np.random.default_rng(value.size).choice([-1.0, 1.0], size=(SUMS, value.size))
    return signs @ value.ravel()


def deviations() -> dict[str, float]:
    """Largest deviation of each array from the stored one, relative to the largest number in it, `SMALLEST` at least:
    forces of a crystal are zero by symmetry, and rounding without."""
    with np.load(STORED) as stored:
        found = computed()
        if set(found) != set(stored):
            raise SystemExit(f"stored and computed are not the same arrays: {sorted(set(found) ^ set(stored))}")
        scales = {name: max(float(np.abs(stored[name]).max()), SMALLEST) for name in found}
        return {name: float(np.abs(value - stored[name]).max()) / scales[name] for name, value in found.items()}


def main() -> None:
    if "--write" in sys.argv[1:]:
        np.savez_compressed(STORED, **computed())
        print(f"{STORED}: {STORED.stat().st_size / 1024:.0f} kB")
        return
    found = deviations()
    for name in sorted(found, key=found.get, reverse=True)[:10]:
        print(f"{found[name]:.1e}  {name}")
    print(f"largest relative deviation of {len(found)} arrays: {max(found.values()):.1e}")


if __name__ == "__main__":
    main()
