"""Atoms and pairs in the order in which kernels run through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_wavescat.structure.structure import Neighbours, Structure
from ase_wavescat.system.compiled import compiled
from ase_wavescat.system.errors import StructureError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ATOMS = 256  # of one part, at most
_SAME_PLACE = 1e-6  # A


@dataclass(frozen=True)
class Part:
    """Rows from start to stop, all of one species: one thread's work at a time."""

    species: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Of this part."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class AtomRows:
    """Atoms sorted by species, as rows, and their pairs sorted by row and species of the neighbour.

    Attributes:
        atoms: (N,), the atom of each row.
        parts: rows of one species each, in order.
        starts: (N, S + 1); pairs of row i with neighbours of species s are starts[i, s] to starts[i, s + 1].
        second: (n,) row of each pair's neighbour.
        vectors: (n, 3) A, from the row's atom to the neighbour.
    """

    atoms: IntArray
    parts: tuple[Part, ...]
    starts: IntArray
    second: IntArray
    vectors: Array

    @classmethod
    def of(cls, structure: Structure, neighbours: Neighbours, species: Sequence[int]) -> AtomRows:
        """Raises StructureError for elements not among the species and for two atoms at the same place."""
        kinds = species_indices(structure, species)
        if len(neighbours.distances) and neighbours.distances.min() < _SAME_PLACE:
            at = int(np.argmin(neighbours.distances))
            raise StructureError(
                f"atoms {neighbours.first[at]} and {neighbours.second[at]} lie at the same place (distance"
                f" {neighbours.distances[at]:.1e} A); remove one of them or move them apart"
            )
        atoms = np.argsort(kinds, kind="stable")
        row_of = np.empty_like(atoms)
        row_of[atoms] = np.arange(len(atoms))
        starts, second, vectors = _sorted_pairs(
            neighbours.first, neighbours.second, neighbours.vectors, row_of, kinds, len(species)
        )
        ends = np.searchsorted(kinds[atoms], np.arange(len(species) + 1))
        parts = tuple(
            Part(s, start, min(start + _ATOMS, int(ends[s + 1])))
            for s in range(len(species))
            for start in range(int(ends[s]), int(ends[s + 1]), _ATOMS)
        )
        return cls(atoms, parts, starts, second, vectors)

    def by_atom(self, values: Array) -> Array:
        """Values (N, ...) of the rows in the order of the atoms."""
        ordered = np.empty(values.shape)
        ordered[self.atoms] = values
        return ordered


def species_indices(structure: Structure, species: Sequence[int]) -> IntArray:
    """(N,) index of each atom's species. Raises StructureError for others."""
    unknown = sorted(set(structure.numbers.tolist()) - set(species))
    if unknown:
        known = ", ".join(chemical_symbols[z] for z in species)
        names = ", ".join(chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z) for z in unknown)
        raise StructureError(f"the model knows {known}, not {names}; use a model trained with these elements")
    return np.searchsorted(species, structure.numbers)


@compiled()
def _sorted_pairs(first, second, vectors, row_of, kinds, species):  # type: ignore[no-untyped-def]
    """Pairs by row and species of the neighbour, those of one row and species in the order given."""
    rows = row_of.shape[0]
    starts = np.zeros((rows, species + 1), np.int64)
    for p in range(first.shape[0]):
        starts[row_of[first[p]], kinds[second[p]] + 1] += 1
    total = 0
    for i in range(rows):
        starts[i, 0] = total
        for s in range(species):
            total += starts[i, s + 1]
            starts[i, s + 1] = total
    free = starts[:, :species].copy()
    neighbour = np.empty(first.shape[0], np.int64)
    sorted_vectors = np.empty((first.shape[0], 3))
    for p in range(first.shape[0]):
        i, s = row_of[first[p]], kinds[second[p]]
        place = free[i, s]
        free[i, s] += 1
        neighbour[place] = row_of[second[p]]
        for axis in range(3):
            sorted_vectors[place, axis] = vectors[p, axis]
    return starts, neighbour, sorted_vectors
