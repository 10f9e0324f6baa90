"""Wavelets in real space, as neighbour sums take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet, direct_coefficients, direct_extent, harmonic_factors
from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

DIRECT_TAIL = 1e-2
"""The real-space tail is cut two decades below the spec's tolerance."""


@dataclass(frozen=True)
class RadialTable:
    """Numbers of all wavelets, sorted by l and then from the widest to the narrowest, ready for the kernels."""

    wavelets: tuple[Wavelet, ...]
    starts: IntArray  # (l_max + 2,) first wavelet of each l
    scale_of: IntArray  # index into widths
    widths: Array  # b of each scale (A)
    cutoffs: Array  # range of each scale (A)
    coefficients: Array  # (wavelets, k_max + 1), polynomial in s^2 / 2 with b^-(3 + l)
    factors: Array  # of the solid harmonics

    @classmethod
    def build(cls, spec: ScatteringSpec, wavelets: Sequence[Wavelet]) -> RadialTable:
        ordered = tuple(sorted(set(wavelets), key=lambda w: (w.l, -w.scale, w.n)))
        l_max = max(w.l for w in ordered)
        scales = sorted({w.scale for w in ordered})
        widths = np.array([spec.beta * 2.0**j for j in scales])
        extents = [
            max(direct_extent(w.n, w.l, DIRECT_TAIL * spec.tolerance) for w in ordered if w.scale == j) for j in scales
        ]
        table = np.zeros((len(ordered), max(w.n - w.l for w in ordered)))
        for row, w in zip(table, ordered, strict=True):
            b = spec.beta * 2.0**w.scale
            row[: w.n - w.l] = direct_coefficients(w.n, w.l) * b ** -(3 + w.l)
        return cls(
            wavelets=ordered,
            starts=np.array([sum(w.l < l for w in ordered) for l in range(l_max + 2)]),
            scale_of=np.array([scales.index(w.scale) for w in ordered]),
            widths=widths,
            cutoffs=widths * np.array(extents),
            coefficients=table,
            factors=harmonic_factors(l_max),
        )

    @property
    def l_max(self) -> int:
        return len(self.starts) - 2

    def size(self, l: int) -> int:
        """Wavelets of this l."""
        return int(self.starts[l + 1] - self.starts[l])

    def offsets(self, species: int) -> IntArray:
        """(l_max + 2,) first column of each l in the layout of fields."""
        return np.cumsum([0] + [(2 * l + 1) * species * self.size(l) for l in range(self.l_max + 1)])

    @property
    def range(self) -> float:
        """A, beyond which no wavelet looks."""
        return float(self.cutoffs.max())

    def pairs_within(self, structure: Structure) -> dict[float, int]:
        """Neighbour pairs within the range of each scale, from the finest to the coarsest."""
        distances = structure.neighbours(self.range).distances
        counts = [int(np.count_nonzero(distances < cutoff)) for cutoff in np.sort(self.cutoffs)]
        return dict(zip(sorted({w.scale for w in self.wavelets}), counts, strict=True))

    @property
    def arguments(self) -> tuple[IntArray, IntArray, Array, Array, Array, Array]:
        return self.starts, self.scale_of, self.widths, self.cutoffs, self.coefficients, self.factors
