"""What a structure must be like for its numbers to mean something, checked before any work is done."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce
from numpy.typing import NDArray

from ase_wavescat.errors import StructureError

Array = NDArray[np.float64]

LARGEST_LENGTH = 1e7
"""A, of cell vectors and of positions from the origin; beyond, double precision loses 1e-9 A and more."""
SMALLEST_VOLUME = 0.1
"""A^3 an atom; a tenth of the densest matter that was made. Cells in nm, or fractional coordinates, are denser."""
SHORTEST_VECTOR = 0.5
"""A, of the shortest lattice vector: the distance between an atom and its own image."""

_NEARLY_ORTHOGONAL = 0.1  # volume over the product of the edges
_FLAT = 1e-13  # the same, where the volume is rounding noise


def plain_array(values: Any, kind: type, name: str) -> NDArray[Any]:
    """A C-ordered copy of real numbers as `kind` (float or int).

    Raises StructureError for masked values, for what is no real number, and for fractions where whole numbers belong.
    """
    if np.ma.is_masked(values):
        raise StructureError(
            f"{np.ma.count_masked(values)} values of the {name} are masked; fill them or drop the atoms"
        )
    given = np.asarray(values)
    if given.dtype.kind not in "iuf":
        raise StructureError(f"the {name} must be real numbers, got an array of {given.dtype}")
    with np.errstate(invalid="ignore"):
        array: NDArray[Any] = np.array(given, dtype=kind, order="C")
    if kind is int and (array != given).any():
        raise StructureError(f"the {name} must be whole numbers, got {given[array != given][:5].tolist()}")
    return array


def reduced_cell(cell: Array) -> Array:
    """Short vectors of the same lattice (3, 3): the cell itself where they are nearly orthogonal, else its
    Minkowski-reduced form. Raises StructureError for a cell without volume."""
    volume, edges = abs(np.linalg.det(cell)), np.prod(np.linalg.norm(cell, axis=1))
    if volume >= _NEARLY_ORTHOGONAL * edges > 0:
        return cell
    if not volume > _FLAT * edges:
        raise StructureError(f"the cell {cell.tolist()} has no volume; set three independent lattice vectors")
    return np.array(minkowski_reduce(cell)[0], dtype=float)


def check_positions(positions: Array) -> None:
    """Raise StructureError for positions (N, 3), A, further from the origin than `LARGEST_LENGTH`."""
    furthest = int(np.argmax(np.abs(positions).max(axis=1)))
    if np.abs(positions[furthest]).max() > LARGEST_LENGTH:
        raise StructureError(
            f"position of atom {furthest} is {positions[furthest].tolist()}, further than {LARGEST_LENGTH:.0e} A from "
            "the origin, where digits are lost; wrap or centre the structure"
        )


def check_cell(cell: Array, atoms: int) -> None:
    """Raise StructureError for a fully periodic cell (3, 3), A, of so many atoms, beyond the limits of this module."""
    longest = float(np.linalg.norm(cell, axis=1).max())
    if longest > LARGEST_LENGTH:
        raise StructureError(
            f"a cell vector is {longest:.3g} A long, the limit is {LARGEST_LENGTH:.0e} A; if atoms have drifted apart, "
            "take the pieces one by one; is the cell in A?"
        )
    short = reduced_cell(cell)  # whose volume has more digits
    shortest, volume = _shortest_vector(short), float(abs(np.linalg.det(short))) / atoms
    if shortest < SHORTEST_VECTOR or volume < SMALLEST_VOLUME:
        raise StructureError(
            f"the lattice repeats after {shortest:.3g} A and has {volume:.3g} A^3 an atom, the limits are "
            f"{SHORTEST_VECTOR} A and {SMALLEST_VOLUME} A^3; are cell and positions in A (not nm, not fractional)?"
        )


def _shortest_vector(cell: Array) -> float:
    """Length (A) of the shortest vector of the lattice; of the shortest edge where none can be as short as the limit.

    A vector with a coefficient of 1 or more along a_i is at least as long as the height of the cell over the other two,
    and that is at least |a_i| V / (|a_1| |a_2| |a_3|).
    """
    lengths = np.linalg.norm(cell, axis=1)
    if abs(np.linalg.det(cell)) * lengths.min() < SHORTEST_VECTOR * np.prod(lengths):
        lengths = np.linalg.norm(minkowski_reduce(cell)[0], axis=1)
    return float(lengths.min())
