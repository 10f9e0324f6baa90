"""A structure as one value: checked once, padded once, its neighbours searched for once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_wavescat.structure.limits import check_cell, check_positions, plain_array
from ase_wavescat.structure.neighbours import neighbour_pairs
from ase_wavescat.structure.periodicity import FULLY_PERIODIC, Periodicity, independent, padded_cell
from ase_wavescat.system.errors import StructureError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MARGIN = 0.1  # A; images along open directions stay beyond the cutoff in spite of rounding


class Neighbours(NamedTuple):
    """Every ordered pair of atoms closer than a cutoff, images included, sorted by `first`.

    first, second: (P,) atoms; vectors: (P, 3) A, from the first to the second; distances: (P,) A.
    """

    first: IntArray
    second: IntArray
    vectors: Array
    distances: Array


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a cell, as everything here computes with them; arrays are copies and read-only.

    cell: (3, 3) rows, A; those along open directions do not matter and may be zero.
    positions: (N, 3), A, wrapped or not.  numbers: (N,).
    pbc: the directions that repeat.

    Raises StructureError for values that are masked, no numbers, not finite or misshapen, for no atoms, for positions
    and cells beyond the limits of `ase_wavescat.structure.limits`, and for periodic directions without a vector.
    """

    cell: Array
    positions: Array
    numbers: IntArray
    pbc: Periodicity = FULLY_PERIODIC

    def __post_init__(self) -> None:
        cell = plain_array(self.cell, float, "cell")
        positions = plain_array(self.positions, float, "positions")
        numbers = plain_array(self.numbers, int, "atomic numbers")
        _check_shapes(cell, positions, numbers)
        _check_finite(cell, positions)
        check_positions(positions)
        pbc = tuple(map(bool, self.pbc))
        if all(pbc):
            check_cell(cell, len(positions))
        elif not independent(cell[list(pbc)]):
            raise StructureError(
                f"the cell vectors along periodic directions, {cell[list(pbc)].tolist()}, are zero or parallel; "
                "set them, or set pbc = False along directions that do not repeat"
            )
        for name, array in (("cell", cell), ("positions", positions), ("numbers", numbers)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "pbc", pbc)

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Structure:
        """Of ASE's atoms, of which nothing is kept but a copy of cell, positions, numbers and pbc."""
        return cls(atoms.cell.array, atoms.positions, atoms.numbers, atoms.pbc)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("cell", "positions", "numbers", "pbc")}

    @property
    def periodic(self) -> bool:
        """Whether it repeats in all directions."""
        return all(self.pbc)

    @property
    def volume(self) -> float:
        """Of the cell (A^3); means something where all directions repeat."""
        return float(abs(np.linalg.det(self.cell)))

    def count(self, species: Sequence[int]) -> IntArray:
        """Atoms of each species, (S,)."""
        return np.array([np.count_nonzero(self.numbers == z) for z in species])

    def padded(self, gap: float) -> Structure:
        """The same atoms in a fully periodic cell, with vacuum of `gap` (A) at least along the open directions.

        Itself where it has none. Raises StructureError where the periodic vectors are not independent.
        """
        if self.periodic:
            return self
        known: dict[float, Structure] = self.__dict__.setdefault("_padded", {})
        if gap not in known:
            cell = padded_cell(self.cell, self.pbc, self.positions, gap)
            known[gap] = Structure(cell, self.positions, self.numbers)
        return known[gap]

    def neighbours(self, cutoff: float) -> Neighbours:
        """Pairs closer than the cutoff (A). The widest search is kept, and narrower ones are taken from it: who asks
        for the widest first searches once."""
        width, widest = self.__dict__.get("_widest", (0.0, None))
        if widest is None or width < cutoff:
            cell = padded_cell(self.cell, self.pbc, self.positions, cutoff + _MARGIN)
            first, second, vectors = neighbour_pairs(cell, self.positions, cutoff)
            widest = Neighbours(first, second, vectors, np.linalg.norm(vectors, axis=1))
            self.__dict__["_widest"] = (width := cutoff), widest
        if width == cutoff:
            return widest
        near = widest.distances < cutoff
        return Neighbours(*(values[near] for values in widest))

    def keep_neighbours(self, cutoff: float, neighbours: Neighbours) -> None:
        """Those closer than the cutoff (A), known already: they are not searched for any more."""
        self.__dict__["_widest"] = (cutoff, neighbours)


def _check_shapes(cell: Array, positions: Array, numbers: IntArray) -> None:
    if numbers.ndim != 1:
        raise StructureError(f"atomic numbers must be (N,), got {numbers.shape}")
    if len(numbers) == 0:
        raise StructureError("the structure has no atoms; give at least one")
    if positions.shape != (len(numbers), 3) or cell.shape != (3, 3):
        raise StructureError(
            f"positions must be ({len(numbers)}, 3) and the cell (3, 3), got {positions.shape} and {cell.shape}"
        )


def _check_finite(cell: Array, positions: Array) -> None:
    wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(wrong):
        raise StructureError(f"position of atom {wrong[0]} is {positions[wrong[0]]}: positions must be finite numbers")
    if not np.isfinite(cell).all():
        raise StructureError(f"the cell {cell.tolist()} must hold finite numbers")
