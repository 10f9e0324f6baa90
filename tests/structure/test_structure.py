"""A structure is a value: checked once, its neighbours searched for once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ase.build import bulk, molecule

from ase_wavescat.structure import structure as room
from ase_wavescat.structure.neighbours import neighbour_pairs
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError

CELL = np.array([[7.0, 0, 0], [1.2, 6.4, 0], [-0.8, 0.7, 6.9]])
POSITIONS = np.random.default_rng(0).random((14, 3)) @ CELL
NUMBERS = np.where(np.arange(14) % 3, 3, 14)


def test_it_keeps_copies_that_cannot_be_written() -> None:
    atoms = bulk("Si", cubic=True)
    structure = Structure.from_atoms(atoms)
    atoms.positions += 1.0
    assert not np.array_equal(structure.positions, atoms.positions)
    with pytest.raises(ValueError, match="read-only"):
        structure.positions[0] = 0.0
    assert len(structure) == 8 and structure.volume == pytest.approx(5.43**3)
    np.testing.assert_array_equal(structure.count((3, 14)), [0, 8])


def test_neighbours_are_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def counted(cell: np.ndarray, positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, ...]:
        searched.append(cutoff)
        return neighbour_pairs(cell, positions, cutoff)

    monkeypatch.setattr(room, "neighbour_pairs", counted)
    structure = Structure(CELL, POSITIONS, NUMBERS)
    wide, narrow = structure.neighbours(6.0), structure.neighbours(3.5)
    assert searched == [6.0]
    expected = neighbour_pairs(CELL, POSITIONS, 3.5)
    np.testing.assert_array_equal(narrow.first, expected[0])
    np.testing.assert_allclose(np.linalg.norm(wide.vectors, axis=1), wide.distances)
    np.testing.assert_allclose(np.sort(narrow.distances), np.sort(np.linalg.norm(expected[2], axis=1)), atol=1e-12)
    structure.neighbours(6.5)
    assert searched == [6.0, 6.5]


@pytest.mark.parametrize("pbc", [(False, False, False), (True, False, True), (False, True, False)])
def test_images_along_open_directions_are_no_neighbours(pbc: tuple[bool, ...]) -> None:
    open_one = Structure(CELL, POSITIONS, NUMBERS, pbc)
    boxed = open_one.padded(25.0)
    assert boxed.periodic and boxed.padded(3.0) is boxed and open_one.padded(25.0) is boxed
    for cutoff in (3.0, 8.0):
        one, other = open_one.neighbours(cutoff), boxed.neighbours(cutoff)
        np.testing.assert_array_equal(one.first, other.first)
        np.testing.assert_allclose(np.sort(one.distances), np.sort(other.distances), atol=1e-12)
    if not any(pbc):
        expected = np.linalg.norm(POSITIONS[:, None] - POSITIONS, axis=2)
        assert len(open_one.neighbours(8.0).first) == np.count_nonzero((expected < 8.0) & (expected > 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.where(np.arange(42).reshape(14, 3) == 4, np.nan, POSITIONS)}, "position of atom 1 is"),
        ({"positions": POSITIONS[:3]}, r"positions must be \(14, 3\)"),
        ({"cell": np.diag([7.0, 7.0, 0.0])}, "no volume"),
        ({"cell": np.diag([7.0, 7.0, np.inf])}, "finite numbers"),
        ({"cell": 0.1 * CELL}, "limits are"),
        ({"cell": np.diag([7.0, 0.0, 0.0]), "pbc": (True, True, False)}, "zero or parallel"),
        ({"numbers": NUMBERS + 0.5}, "whole numbers"),
        ({"numbers": NUMBERS[:0], "positions": POSITIONS[:0]}, "no atoms"),
    ],
)
def test_what_cannot_be_a_structure_is_refused(change: dict[str, object], message: str) -> None:
    given = {"cell": CELL, "positions": POSITIONS, "numbers": NUMBERS, **change}
    with pytest.raises(StructureError, match=message):
        Structure(**given)  # type: ignore[arg-type]


def test_pickles_carry_no_searches() -> None:
    structure = Structure.from_atoms(molecule("H2O"))
    structure.neighbours(5.0)
    copy = pickle.loads(pickle.dumps(structure))
    assert set(vars(copy)) == {"cell", "positions", "numbers", "pbc"}
    np.testing.assert_array_equal(copy.neighbours(5.0).vectors, structure.neighbours(5.0).vectors)
