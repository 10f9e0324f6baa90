"""Molecules, wires and slabs: a fully periodic cell whose images do not feel each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.system.errors import StructureError

Array = NDArray[np.float64]
Periodicity = Sequence[bool] | NDArray[np.bool_]
"""Three flags, as ASE's `pbc`: along which of the cell's vectors the structure repeats."""

FULLY_PERIODIC = (True, True, True)

# Edges along open directions are whole multiples of this (A): the cell, and with it grids and filters, stays the same
# while atoms move a little. Where it does change, energies change by what the vacuum leaves.
_EDGE_STEP = 1.0

# Half of the reciprocal vectors in the sphere of the features, at most. By figures measured on smaller boxes, forces
# then take 9 GB with the preset correlations and 23 GB with polynomial, the largest. A glass of 4096 atoms and the
# shipped model have 160 thousand.
LARGEST_SPHERE = 2_500_000


def padded_cell(cell: Array, pbc: Periodicity, positions: Array, gap: float) -> Array:
    """A cell (3, 3) with the structure's own vectors along its periodic directions and vacuum along the open ones.

    cell: (3, 3) rows, A; those of open directions do not matter. positions: (N, 3), A. gap: least distance between
    the structure and its images (A). Open directions become orthogonal to the periodic ones and to each other, as long
    as the atoms are apart plus the gap. The periodic vectors must be independent.
    """
    periodic = np.asarray(pbc, dtype=bool)
    if periodic.all():
        return cell
    vectors = cell[periodic]
    directions = _open_directions(vectors)
    extents = np.ptp(positions @ directions.T, axis=0)
    edges = _EDGE_STEP * np.ceil((extents + gap) / _EDGE_STEP)
    padded = cell.copy()
    padded[~periodic] = edges[:, None] * directions
    return padded


def check_size(cell: Array, cutoff: float) -> None:
    """Refuse a cell (3, 3) whose sphere of reciprocal vectors up to the cutoff (1/A) would not fit in memory.

    Half of the sphere holds cutoff^3 V / 12 pi^2 vectors. Raises StructureError beyond `LARGEST_SPHERE`.
    """
    volume = float(abs(np.linalg.det(cell)))
    count = cutoff**3 * volume / (12 * np.pi**2)
    if count > LARGEST_SPHERE:
        edges = ", ".join(f"{edge:.4g}" for edge in np.linalg.norm(cell, axis=1))
        points = cutoff**3 * volume / np.pi**3
        raise StructureError(
            f"a box with edges of {edges} A needs {count:.2g} reciprocal vectors and grids of {points:.2g} points, the "
            f"limit is {LARGEST_SPHERE:.2g} vectors; open directions get vacuum for the widest wavelet, take "
            "fewer coarse scales for molecules; if atoms have drifted apart, take the pieces one by one; set "
            "atoms.pbc = True where the structure repeats; or take coarser wavelets (less detail needs fewer vectors)"
        )


def independent(vectors: Array) -> bool:
    """Whether cell vectors (k, 3), none included, are finite and neither zero nor parallel nor in one plane."""
    if len(vectors) == 0:
        return True
    return bool(np.isfinite(vectors).all()) and float(np.linalg.svd(vectors, compute_uv=False)[-1]) > 1e-6


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
