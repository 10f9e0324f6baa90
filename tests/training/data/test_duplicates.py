"""The same structure however it is written down, and others told apart."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule, surface
from ase.calculators.singlepoint import SinglePointCalculator

from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.errors import WaveScatWarning
from ase_wavescat.training.data.duplicates import TOLERANCE, Seen, fingerprint, fingerprints
from ase_wavescat.training.data.sources import Source, read_sources

GLASS = structures_of(Path(__file__).parents[3] / "ase_wavescat" / "data" / "a-Li-Si.extxyz")[0]
ROUNDING = 1e-9


def slab() -> Atoms:
    atoms = surface(bulk("Si", cubic=True), (1, 0, 0), 2, vacuum=5.0)
    atoms.rattle(0.05, seed=1)
    atoms.pbc = [True, True, False]
    return atoms


def ethanol() -> Atoms:
    return molecule("CH3CH2OH")


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "glass": lambda: GLASS.copy(), "silicon": lambda: bulk("Si"), "slab": slab, "molecule": ethanol,
}  # fmt: skip


def distance(one: Atoms, other: Atoms) -> float:
    return float(np.linalg.norm(fingerprint(one) - fingerprint(other)))


def at_an_image(atoms: Atoms) -> None:
    atoms.positions[0] += atoms.pbc @ atoms.cell.array


def moved(atoms: Atoms) -> None:
    atoms.positions += [0.7, -0.3, 0.1]


def turned(atoms: Atoms) -> None:
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)


def mirrored(atoms: Atoms) -> None:
    atoms.set_cell(-atoms.cell.array)
    atoms.positions *= -1


def skewed(atoms: Atoms) -> None:
    shears = np.array([[1, 1, 0], [0, 1, 0], [2, -1, 1] if atoms.pbc[2] else [0, 0, 1]])
    atoms.set_cell(shears @ atoms.cell.array)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("change", [at_an_image, moved, turned, mirrored, skewed, lambda atoms: atoms.wrap()])
def test_nothing_changes_with_how_a_structure_is_written(name: str, change: Callable[[Atoms], None]) -> None:
    atoms = STRUCTURES[name]()
    other = atoms.copy()
    change(other)
    assert distance(atoms, other) < ROUNDING


@pytest.mark.parametrize("name", STRUCTURES)
def test_nothing_changes_with_order_and_copies(name: str) -> None:
    atoms = STRUCTURES[name]()
    order = np.random.default_rng(0).permutation(len(atoms))
    assert distance(atoms, atoms[order]) < ROUNDING
    if atoms.pbc.any():
        assert distance(atoms, atoms.repeat((3, 2, 1))) < ROUNDING
    if name == "silicon":
        assert distance(atoms, bulk("Si", cubic=True)) < ROUNDING


def test_open_directions_may_have_any_vacuum() -> None:
    atoms = slab()
    wider = atoms.copy()
    wider.cell[2] *= 2
    assert distance(atoms, wider) < ROUNDING
    boxed = ethanol()
    boxed.cell = [30, 30, 30]
    assert distance(ethanol(), boxed) < ROUNDING


@pytest.mark.parametrize("decimals", [4, 5, 8])
def test_rounded_coordinates_are_the_same(decimals: int) -> None:
    for seed in range(6):
        atoms = GLASS.copy() if seed % 2 else bulk("Si", cubic=True).repeat(2)
        atoms.rattle(0.1 * (seed > 1), seed=seed)
        atoms.rotate(20, (1, 2, 3), rotate_cell=True)
        other = atoms.copy()
        other.positions = np.round(other.positions, decimals)
        assert distance(atoms, other) < TOLERANCE


@pytest.mark.parametrize("seed", range(20))
def test_one_atom_that_moved_makes_another_structure(seed: int) -> None:
    """By 0.01 A, of 73."""
    rng = np.random.default_rng(seed)
    other, step = GLASS.copy(), rng.normal(size=3)
    other.positions[rng.integers(len(other))] += 0.01 * step / np.linalg.norm(step)
    assert distance(GLASS, other) > TOLERANCE


@pytest.mark.parametrize("crystal", [bulk("Si", cubic=True).repeat(2), bulk("Li", cubic=True).repeat(3)])
def test_displacements_in_a_crystal_are_other_structures(crystal: Atoms) -> None:
    """As finite displacements for phonons are; by symmetry, their opposites are the same again."""
    displaced = [crystal.copy() for _ in range(3)]
    for atoms, step in zip(displaced, (0.01, 0.02, -0.01), strict=True):
        atoms.positions[3, 0] += step
    assert distance(crystal, displaced[0]) > 10 * TOLERANCE
    assert distance(displaced[0], displaced[1]) > 10 * TOLERANCE
    assert distance(displaced[0], displaced[2]) < ROUNDING


def test_other_elements_polymorphs_and_volumes_are_told_apart() -> None:
    swapped = GLASS.copy()
    lithium, silicon = (int(np.flatnonzero(GLASS.symbols == symbol)[0]) for symbol in ("Li", "Si"))
    swapped.numbers[[lithium, silicon]] = swapped.numbers[[silicon, lithium]]
    diamond = bulk("Si")
    others = [
        (GLASS, swapped), (diamond, bulk("Ge", "diamond", 5.43)), (diamond, bulk("Si", "diamond", 5.44)),
        (bulk("Cu", "fcc", 3.6), bulk("Cu", "hcp", 3.6 / np.sqrt(2), covera=np.sqrt(8 / 3))),
        (Atoms("Li", cell=[20, 20, 20], pbc=True), Atoms("Li", cell=[21, 20, 20], pbc=True)),
        (Atoms("Li"), Atoms("Si")), (Atoms("Li2", [[0, 0, 0], [0, 0, 6.0]]), Atoms("Li2", [[0, 0, 0], [0, 0, 6.1]])),
        (slab(), Atoms(slab(), pbc=True)),
    ]  # fmt: skip
    assert min(distance(*pair) for pair in others) > 10 * TOLERANCE


# ---------------------------------------------------------------- records


def test_records_come_back_and_add_up() -> None:
    crystals = [bulk("Si", "diamond", a) for a in (5.3, 5.4, 5.5)]
    record = (Seen(fingerprints(crystals[:2])) | Seen(digests=frozenset({"0123"}))).to_record()
    seen = Seen.recorded(json.loads(json.dumps(record)))
    assert seen and seen.digests == {"0123"}
    assert (seen.nearest([crystal.repeat(2) for crystal in crystals]) >= 0).tolist() == [True, True, False]
    assert not Seen.recorded(Seen().to_record())
    assert (Seen(fingerprints(crystals)) | Seen()).nearest([]).tolist() == []


@pytest.mark.parametrize(
    "record",
    [None, 3, "text", {}, {"kind": "another"}, {**Seen().to_record(), "fingerprints": "?"},
     {**Seen().to_record(), "fingerprints": base64.b64encode(b"1234").decode()}, {**Seen().to_record(), "digests": 5},
     {**Seen().to_record(), "fingerprints": base64.b64encode(np.full(28, np.nan, "<f4").tobytes()).decode()}],
)  # fmt: skip
def test_records_of_strangers_say_nothing(record: Any) -> None:
    seen = Seen.recorded(record)
    assert not seen and seen.nearest([bulk("Si")]).tolist() == [-1]


def test_copies_in_a_training_set_are_told(tmp_path: Path) -> None:
    """One atom at its image, moved, repeated: each in a group of its own."""
    atoms = GLASS.copy()
    copies = [atoms, atoms.copy(), atoms[::-1], atoms.repeat((2, 1, 1))]
    at_an_image(copies[1])
    moved(copies[2])
    for number, copy in enumerate(copies):
        copy.info = {"group": f"melt {number}"}
        copy.calc = SinglePointCalculator(copy, energy=-3.0 * len(copy))
    write_extended_xyz(tmp_path / "a.extxyz", copies)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_sources([Source(tmp_path / "a.extxyz")])
    said = [str(warning.message) for warning in caught if issubclass(warning.category, WaveScatWarning)]
    assert any("1 structure is there more than once in different groups, such as a.extxyz#0 and a.extxyz#1" in text
               for text in said), said  # fmt: skip
