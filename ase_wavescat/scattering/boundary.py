"""Molecules, wires and slabs: a fully periodic cell whose images do not feel each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.errors import StructureError

Array = NDArray[np.float64]

# Edges along open directions are whole multiples of this (A): the cell, and with it grids and filters, stays the same
# while atoms move a little.
_EDGE_STEP = 1.0


def padded_cell(cell: Array, pbc: Sequence[bool] | NDArray[np.bool_], positions: Array, gap: float) -> Array:
    """A cell (3, 3) with the structure's own vectors along its periodic directions and vacuum along the open ones.

    cell: (3, 3) rows, A; those of open directions do not matter. positions: (N, 3), A. gap: least distance between
    the structure and its images (A). Open directions become orthogonal to the periodic ones and to each other, as long
    as the atoms are apart plus the gap. Raises StructureError where the periodic vectors are not independent.
    """
    periodic = np.asarray(pbc, dtype=bool)
    if periodic.all():
        return cell
    vectors = cell[periodic]
    _check_independent(vectors)
    directions = _open_directions(vectors)
    extents = np.ptp(positions @ directions.T, axis=0)
    edges = _EDGE_STEP * np.ceil((extents + gap) / _EDGE_STEP)
    padded = cell.copy()
    padded[~periodic] = edges[:, None] * directions
    return padded


def _check_independent(vectors: Array) -> None:
    sizes = np.linalg.svd(vectors, compute_uv=False)
    if len(vectors) and sizes[-1] < 1e-6:
        raise StructureError(
            f"the cell vectors along periodic directions, {vectors.tolist()}, are zero or parallel; "
            "set them, or set pbc = False along directions that do not repeat"
        )


def _open_directions(vectors: Array) -> Array:
    """Unit vectors orthogonal to the given ones (0 to 2 of them) and to each other, each near a Cartesian axis."""
    if len(vectors) == 0:
        return np.eye(3)
    along = np.linalg.svd(vectors)[2]
    free = along[len(vectors) :]
    # the same plane in any cell: project the Cartesian axis that lies best in it first
    axes = np.eye(3)[np.argsort(-np.linalg.norm(free, axis=0), kind="stable")[: len(free)]]
    projected = axes @ free.T @ free
    return np.linalg.qr(projected.T)[0].T
