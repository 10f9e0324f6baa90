"""Neighbours of a structure that moves little by little, searched for now and then only (Verlet's list)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.structure.structure import Neighbours, Structure
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

SKIN = 0.6
"""A beyond the cutoff: a Li-Si glass at 600 K then needs a search in ten steps of 1 fs. A wider one sorts out more."""


@dataclass(frozen=True)
class _Search:
    """All pairs closer than cutoff plus skin in one structure; shifts (n, 3), A, are their lattice vectors."""

    structure: Structure
    first: IntArray
    second: IntArray
    shifts: Array

    def deformation(self, structure: Structure, cutoff: float, skin: float) -> Array | None:
        """(3, 3), what the cell has undergone since, or None where a pair closer than the cutoff may be missing.

        A pair at r has gone to r F + d, where |d| is at most twice the largest displacement beyond that of the cell. So
        those left out stay beyond the cutoff as long as s (cutoff + skin) - 2 d >= cutoff, s the least stretch of F.
        """
        before, periodic = self.structure, list(structure.pbc)
        if before.pbc != structure.pbc or not np.array_equal(before.numbers, structure.numbers):
            return None
        deformation: Array = np.eye(3)
        stretch = 1.0
        if not np.array_equal(before.cell[periodic], structure.cell[periodic]):
            if not structure.periodic:
                return None
            deformation = np.asarray(np.linalg.solve(before.cell, structure.cell), dtype=float)
            stretch = float(np.linalg.svd(deformation, compute_uv=False)[-1])
        moved = structure.positions - before.positions @ deformation
        furthest = float(np.sqrt((moved**2).sum(axis=1).max()))
        return deformation if stretch * (cutoff + skin) - 2 * furthest >= cutoff else None


class NeighbourList:
    """Gives structures, one after the other, their neighbours, and searches anew only where it has to.

    The pairs are the same as those of a new search, whatever moves in between.

    Attributes:
        cutoff: A.
        skin: A, how much further the search looks.
        searches: how many there have been.
    """

    def __init__(self, cutoff: float, skin: float = SKIN) -> None:
        self.cutoff, self.skin, self.searches = float(cutoff), float(skin), 0
        self._search: _Search | None = None

    def serve(self, structure: Structure) -> Neighbours:
        """Its neighbours closer than the cutoff, which it keeps: `structure.neighbours` need not search any more."""
        deformation = None if self._search is None else self._search.deformation(structure, self.cutoff, self.skin)
        if self._search is None or deformation is None:
            self._search, deformation = self._searched(structure), np.eye(3)
        search = self._search
        neighbours = Neighbours(
            *_near(structure.positions, search.first, search.second, search.shifts @ deformation, self.cutoff)
        )
        structure.keep_neighbours(self.cutoff, neighbours)
        return neighbours

    def _searched(self, structure: Structure) -> _Search:
        self.searches += 1
        alone = Structure(structure.cell, structure.positions, structure.numbers, structure.pbc)
        first, second, vectors, _ = alone.neighbours(self.cutoff + self.skin)
        shifts = vectors - structure.positions[second] + structure.positions[first]
        return _Search(structure, first, second, shifts)


@compiled()
def _near(positions, first, second, shifts, cutoff):  # type: ignore[no-untyped-def]
    """The pairs closer than the cutoff: first, second, vectors, distances."""
    most = first.shape[0]
    near_first, near_second = np.empty(most, np.int64), np.empty(most, np.int64)
    vectors, distances = np.empty((most, 3)), np.empty(most)
    found = 0
    for p in range(most):
        i, j = first[p], second[p]
        x = positions[j, 0] - positions[i, 0] + shifts[p, 0]
        y = positions[j, 1] - positions[i, 1] + shifts[p, 1]
        z = positions[j, 2] - positions[i, 2] + shifts[p, 2]
        square = x * x + y * y + z * z
        if square < cutoff * cutoff:
            near_first[found], near_second[found] = i, j
            vectors[found, 0], vectors[found, 1], vectors[found, 2] = x, y, z
            distances[found] = np.sqrt(square)
            found += 1
    return near_first[:found], near_second[:found], vectors[:found], distances[:found]
