"""A list with a skin gives the pairs of a new search, whatever moves: atoms, cells, wrapped or not, open or not."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ase_wavescat.structure.neighbour_list import NeighbourList
from ase_wavescat.structure.structure import Neighbours, Structure

CELL = np.array([[6.1, 0.2, -0.3], [2.4, 5.7, 0.1], [-0.5, 1.3, 6.6]])
CUTOFF = 4.0


def start(pbc: tuple[bool, bool, bool] = (True, True, True), seed: int = 0) -> Structure:
    generator = np.random.default_rng(seed)
    sites = (np.array(list(np.ndindex(2, 2, 2))) + generator.uniform(-0.1, 0.1, (8, 3))) / 2
    return Structure(CELL, sites @ CELL, np.array([3, 14] * 4), pbc)


def same_pairs(found: Neighbours, structure: Structure) -> None:
    fresh = Structure(structure.cell, structure.positions, structure.numbers, structure.pbc).neighbours(CUTOFF)
    assert len(found.first) == len(fresh.first) > 0
    rows = [
        sorted(
            (*pair, *np.round(vector, 6))
            for *pair, vector in zip(n.first.tolist(), n.second.tolist(), n.vectors, strict=True)
        )
        for n in (found, fresh)
    ]
    assert np.abs(np.array(rows[0]) - np.array(rows[1])).max() < 1e-5
    assert (np.diff(found.first) >= 0).all()
    assert np.abs(np.linalg.norm(found.vectors, axis=1) - found.distances).max() < 1e-12


@pytest.mark.parametrize("pbc", list(product((False, True), repeat=3)))
def test_atoms_that_walk(pbc: tuple[bool, bool, bool]) -> None:
    structure, neighbours, generator = start(pbc), NeighbourList(CUTOFF, 0.8), np.random.default_rng(1)
    for _ in range(60):
        same_pairs(neighbours.serve(structure), structure)
        positions = structure.positions + generator.normal(scale=0.04, size=(8, 3))
        structure = Structure(CELL, positions, structure.numbers, pbc)
    assert 2 <= neighbours.searches < 30


def test_cells_that_breathe_and_shear() -> None:
    structure, neighbours, generator = start(), NeighbourList(CUTOFF, 0.8), np.random.default_rng(2)
    for _ in range(60):
        same_pairs(neighbours.serve(structure), structure)
        deformation = np.eye(3) + generator.normal(scale=0.01, size=(3, 3))
        positions = structure.positions @ deformation + generator.normal(scale=0.02, size=(8, 3))
        structure = Structure(structure.cell @ deformation, positions, structure.numbers)
    assert 2 <= neighbours.searches < 40


def test_what_is_no_small_move_is_searched_anew() -> None:
    structure, neighbours = start(), NeighbourList(CUTOFF)
    neighbours.serve(structure)
    wrapped = structure.positions + np.eye(8, 3) @ CELL
    others = [
        Structure(CELL, wrapped, structure.numbers),
        Structure(CELL, wrapped, structure.numbers[::-1]),
        Structure(CELL, wrapped, structure.numbers[::-1], (True, True, False)),
        Structure(CELL * 1.05, wrapped, structure.numbers[::-1], (True, True, False)),
        Structure(CELL * 1.4, wrapped, structure.numbers[::-1], (True, True, True)),
        Structure(CELL, wrapped[:5], structure.numbers[:5]),
    ]
    for count, other in enumerate(others, start=2):
        same_pairs(neighbours.serve(other), other)
        assert neighbours.searches == count


def test_the_structure_keeps_what_it_was_given() -> None:
    structure = start()
    served = NeighbourList(CUTOFF).serve(structure)
    assert structure.neighbours(CUTOFF) is served
    assert len(structure.neighbours(3.0).first) == (served.distances < 3.0).sum()
