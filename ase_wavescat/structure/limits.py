"""What a structure must be like for its numbers to mean something, checked before any work is done."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce
from numpy.typing import NDArray
from scipy.linalg import eigvalsh

from ase_wavescat.structure.periodicity import Periodicity, independent
from ase_wavescat.system.errors import StructureError

Array = NDArray[np.float64]

LARGEST_LENGTH = 1e7
"""A, of cell vectors and of positions from the origin; beyond, double precision loses 1e-9 A and more."""
SMALLEST_VOLUME = 0.1
"""A^3 an atom; a tenth of the densest matter that was made. Cells in nm, or fractional coordinates, are denser."""
SMALLEST_DETERMINANT = 1e-6
"""A^3; less is no volume."""
SHORTEST_VECTOR = 0.5
"""A, of the shortest lattice vector: the distance between an atom and its own image."""

STRETCHES = (0.5, 1.12)
"""Of a cell against its reference_cell, along any direction. The reciprocal vectors are those of the reference, so in a
stretched cell they reach less far than wavelets do: with lisi-linear.h5 and a Li-Si glass energies lose 0.4 meV/atom
at 1.05, 2.8 at 1.10, 29 at 1.20 and 437 at 1.40. In a compressed cell they reach further, so that nothing is lost
but time; one of half the size is another structure's, or in another unit."""

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
    if abs(np.linalg.det(cell)) < SMALLEST_DETERMINANT:
        raise StructureError(f"the cell {cell.tolist()} has no volume; set three independent lattice vectors")
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


def check_reference(reference_cell: Array, cell: Array, pbc: Periodicity) -> None:
    """Raise StructureError for a reference cell (3, 3), A, of which the cell, where it repeats, is no moderate strain.

    The principal stretches of the deformation between the two lie within `STRETCHES`: the roots of the eigenvalues of
    one metric tensor, a_i . a_j, relative to the other. How the cells are turned in space does not matter.
    """
    reference_cell, periodic = np.asarray(reference_cell, dtype=float), np.asarray(pbc, dtype=bool)
    ours, theirs = cell[periodic], reference_cell[periodic]
    if not independent(theirs):
        raise StructureError(
            f"reference_cell {reference_cell.tolist()} has no vector along a direction of pbc = {periodic.tolist()}, "
            "or parallel ones; set it to a cell of this structure, or to None"
        )
    stretches = np.sqrt(eigvalsh(ours @ ours.T, theirs @ theirs.T)) if periodic.any() else np.ones(1)
    if not STRETCHES[0] <= stretches[0] <= stretches[-1] <= STRETCHES[1]:
        raise StructureError(
            f"reference_cell {reference_cell.tolist()} belongs to another structure: the cell {cell.tolist()} is "
            f"stretched by factors of {stretches[0]:.3g} to {stretches[-1]:.3g} against it, the limits are "
            f"{STRETCHES[0]} and {STRETCHES[1]}, beyond which its grids give wrong energies; set it to a cell of this "
            "structure (the largest of a scan), or to None"
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
