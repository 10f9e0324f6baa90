"""Neighbour pairs against ASE's neighbour list."""

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from ase_wavescat.structure.neighbours import neighbour_pairs

CELLS = {
    "one atom": (2.0 * np.eye(3), 1, 6.0),
    "triclinic": (np.array([[5.0, 0, 0], [3, 6, 0], [-2, 4, 7]]), 7, 9.0),
    "long": (np.diag([3.0, 60, 3]), 20, 5.0),
    "skewed": (np.array([[4.0, 0, 0], [11, 4, 0], [7, -9, 5]]), 5, 4.5),
    "large": (15.0 * np.eye(3), 60, 4.0),
}


@pytest.mark.parametrize("name", CELLS)
def test_pairs_are_those_of_ase(name):
    cell, count, cutoff = CELLS[name]
    rng = np.random.default_rng(1)
    positions = rng.random((count, 3)) @ cell + rng.normal(scale=20, size=(count, 3))
    first, second, vectors = neighbour_pairs(cell, positions, cutoff)
    i, j, oracle = neighbor_list("ijD", Atoms("H" * count, positions, cell=cell, pbc=True), cutoff)
    ours = np.column_stack([first, second, vectors.round(6)])
    theirs = np.column_stack([i, j, oracle.round(6)])
    np.testing.assert_allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=2e-6)
    assert (np.diff(first) >= 0).all()


def test_every_pair_has_its_reverse():
    cell, count, cutoff = CELLS["triclinic"]
    first, second, vectors = neighbour_pairs(cell, np.random.default_rng(2).random((count, 3)) @ cell, cutoff)
    forward = np.column_stack([first, second, vectors.round(8)])
    backward = np.column_stack([second, first, -vectors.round(8)])
    np.testing.assert_allclose(forward[np.lexsort(forward.T)], backward[np.lexsort(backward.T)], atol=1e-8)
