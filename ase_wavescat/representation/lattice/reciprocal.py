"""The reciprocal lattice of a cell: vectors in a sphere, their places on FFT grids, grid sizes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce
from numpy.typing import NDArray

from ase_wavescat.representation.lattice.fourier import Shape, fast_length
from ase_wavescat.representation.wavelets import solid_harmonics_at

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class ReciprocalLattice:
    """Half of the reciprocal vectors with |G| <= cutoff, sorted by length, so that a smaller sphere is a prefix.

    The cell is Minkowski-reduced first. Of each pair G, -G the one with h3 > 0 is kept, with weight 2; on the plane
    h3 = 0 both are, with weight 1 (the layout of a real-to-complex FFT), so that
    sum over the sphere = sum over the half of weight x real part.
    With a reference cell, the set, its order and all grids are those of the reference, deformed with the cell.
    """

    def __init__(self, cell: Array, cutoff: float, reference_cell: Array | None = None) -> None:
        reference = cell if reference_cell is None else reference_cell
        reduced, operation = minkowski_reduce(np.asarray(reference, dtype=float))
        self.cell: Array = operation @ np.asarray(cell, dtype=float)
        self.volume = float(abs(np.linalg.det(self.cell)))
        self.reciprocal: Array = 2 * np.pi * np.linalg.inv(self.cell).T
        self._reference = np.asarray(reduced)
        self.extent = np.floor(cutoff * np.linalg.norm(reduced, axis=1) / (2 * np.pi) + 1e-9).astype(np.int64)
        self._select(cutoff)

    def _select(self, cutoff: float) -> None:
        m1, m2, m3 = (int(m) for m in self.extent)
        h = np.stack(
            np.meshgrid(np.arange(-m1, m1 + 1), np.arange(-m2, m2 + 1), np.arange(m3 + 1), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        squares = np.square(h @ (2 * np.pi * np.linalg.inv(self._reference).T)).sum(axis=1)
        inside = np.flatnonzero(squares <= cutoff**2)
        order = inside[np.argsort(squares[inside], kind="stable")]
        self.indices: IntArray = h[order]
        self.box_index: IntArray = order
        self._reference_lengths = np.sqrt(squares[order])
        self.vectors: Array = self.indices @ self.reciprocal
        self.lengths: Array = np.sqrt(np.square(self.vectors).sum(axis=1))
        self.weights: Array = np.where(self.indices[:, 2] > 0, 2.0, 1.0)
        self._harmonics: dict[int, tuple[Array, Array]] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def box_shape(self) -> Shape:
        """(2 m1 + 1, 2 m2 + 1, m3 + 1): the box that holds the sphere; `box_index` is flat in it."""
        m1, m2, m3 = (int(m) for m in self.extent)
        return 2 * m1 + 1, 2 * m2 + 1, m3 + 1

    def count(self, cutoff: float) -> int:
        """How many of the vectors lie within a smaller cutoff."""
        return int(np.searchsorted(self._reference_lengths, cutoff, side="right"))

    def shape(self, bandwidth: float, minimum: int = 1) -> Shape:
        """Points n_i > bandwidth |a_i| / 2 pi of a grid on which reciprocal vectors up to `bandwidth` / 2 are distinct.

        A product of fields with cutoffs K1, K2 is free of aliasing for |G| <= K3 if bandwidth = K1 + K2 + K3.
        minimum: points along each axis at least.
        """
        points = np.floor(bandwidth * np.linalg.norm(self._reference, axis=1) / (2 * np.pi)).astype(int) + 1
        n1, n2, n3 = (fast_length(max(int(n), minimum)) for n in points)
        return n1, n2, n3

    def places(self, shape: Shape, count: int) -> IntArray:
        """Flat index of the first `count` vectors in the half-complex array of a grid."""
        h = self.indices[:count]
        return ((h[:, 0] % shape[0]) * shape[1] + h[:, 1] % shape[1]) * (shape[2] // 2 + 1) + h[:, 2]

    def harmonics(self, l_max: int, count: int) -> tuple[Array, Array]:
        """Solid harmonics S_lm(G) ((l_max+1)^2, count) and gradients ((l_max+1)^2, 3, count) of the first vectors."""
        known = self._harmonics.get(l_max)
        if known is None or known[0].shape[1] < count:
            values, slopes = solid_harmonics_at(self.vectors[:count], l_max, gradient=True)
            assert slopes is not None
            self._harmonics[l_max] = known = (values, slopes)
        return known[0][:, :count], known[1][:, :, :count]
