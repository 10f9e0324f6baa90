"""Neighbour pairs in any periodic cell, by linked cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.structure.limits import reduced_cell
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def neighbour_pairs(cell: Array, positions: Array, cutoff: float) -> tuple[IntArray, IntArray, Array]:
    """Every ordered pair closer than the cutoff, periodic images included.

    cell: (3, 3) rows, A; positions: (N, 3), A, wrapped or not; cutoff: A.
    Returns (first (P,), second (P,), vectors (P, 3)), sorted by `first`; vectors = R_second + lattice shift - R_first.
    An atom and its own images are pairs, an atom and itself is not. Raises StructureError for a cell without volume.
    """
    # the bins of a strongly skewed cell are thin slices, of which the cutoff crosses any number
    cell = np.ascontiguousarray(reduced_cell(np.asarray(cell, dtype=float)))
    inverse = np.linalg.inv(cell)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    fractional = positions @ inverse
    wrapped = fractional - np.floor(fractional)
    wrapped[wrapped >= 1.0] = 0.0  # a tiny negative fraction rounds up to 1
    # about one atom a bin, bins not finer than a quarter of the cutoff
    width = max(cutoff / 4.0, float(abs(np.linalg.det(cell)) / len(positions)) ** (1 / 3))
    bins = np.maximum(1, (heights / width).astype(np.int64))
    reach = np.ceil(cutoff * bins / heights).astype(np.int64)
    index = np.minimum((wrapped * bins).astype(np.int64), bins - 1)
    flat = (index[:, 0] * bins[1] + index[:, 1]) * bins[2] + index[:, 2]
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(bins.prod() + 1))
    return _search(cell, wrapped @ cell, index, bins, reach, order, starts, float(cutoff))


@compiled()
def _search(cell, points, index, bins, reach, order, starts, cutoff):  # type: ignore[no-untyped-def]
    """Two sweeps over the neighbouring bins of each atom: count the pairs, then store them."""
    total = _sweep(
        cell,
        points,
        index,
        bins,
        reach,
        order,
        starts,
        cutoff,
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty((0, 3)),
    )
    first = np.empty(total, np.int64)
    second = np.empty(total, np.int64)
    vectors = np.empty((total, 3))
    _sweep(cell, points, index, bins, reach, order, starts, cutoff, first, second, vectors)
    return first, second, vectors


@compiled()
def _sweep(cell, points, index, bins, reach, order, starts, cutoff, first, second, vectors):  # type: ignore[no-untyped-def]
    store = first.size > 0
    limit = cutoff * cutoff
    found = 0
    for k in range(points.shape[0]):
        for da in range(-reach[0], reach[0] + 1):
            a = index[k, 0] + da
            image_a = a // bins[0]
            for db in range(-reach[1], reach[1] + 1):
                b = index[k, 1] + db
                image_b = b // bins[1]
                for dc in range(-reach[2], reach[2] + 1):
                    c = index[k, 2] + dc
                    image_c = c // bins[2]
                    bin_ = ((a - image_a * bins[0]) * bins[1] + b - image_b * bins[1]) * bins[2] + c - image_c * bins[2]
                    sx = image_a * cell[0, 0] + image_b * cell[1, 0] + image_c * cell[2, 0] - points[k, 0]
                    sy = image_a * cell[0, 1] + image_b * cell[1, 1] + image_c * cell[2, 1] - points[k, 1]
                    sz = image_a * cell[0, 2] + image_b * cell[1, 2] + image_c * cell[2, 2] - points[k, 2]
                    for slot in range(starts[bin_], starts[bin_ + 1]):
                        j = order[slot]
                        x = points[j, 0] + sx
                        y = points[j, 1] + sy
                        z = points[j, 2] + sz
                        if x * x + y * y + z * z < limit and (j != k or image_a != 0 or image_b != 0 or image_c != 0):
                            if store:
                                first[found] = k
                                second[found] = j
                                vectors[found, 0] = x
                                vectors[found, 1] = y
                                vectors[found, 2] = z
                            found += 1
    return found
