"""Radial bands in reciprocal space: windows of |G| whose kernels in real space end, too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, i1e, ive

from ase_wavescat.representation.checks import require, whole

Array = NDArray[np.float64]

_WINDOW = 16.0  # b of the bands' window
_REACH = 17.5  # side lobes of 2e-7 from a distance of this over the half width on


@dataclass(frozen=True)
class Bands:
    """Radial bands in reciprocal space: smooth windows of |G|, centred at k * spacing, k = 0..count-1 (1/A).

    Each reaches `half_width` = 2.5 spacings to either side, so that nothing lies beyond `maximum`.
    """

    count: int
    spacing: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", whole(self.count, "the count of bands"))
        require(self.count >= 1, f"bands need a count of at least 1, got {self.count}")
        require(math.isfinite(self.spacing) and self.spacing > 0, f"band spacing must be positive, got {self.spacing}")

    @property
    def half_width(self) -> float:
        return 2.5 * self.spacing

    @property
    def maximum(self) -> float:
        return (self.count - 1) * self.spacing + self.half_width


def band_weights(bands: Bands, lengths: Array) -> tuple[Array, Array]:
    """Bands w_k(|G|) and their derivatives, (bands, P).

    w_k(G) = phi((G - k d) / h) + phi((G + k d) / h), the first term alone for k = 0, with spacing d, half width h and
    the generalised Kaiser-Bessel window of Lewitt (J. Opt. Soc. Am. A 7, 1834, 1990), order 2,

        phi(t) = z^2 I_2(z) / (b^2 I_2(b)),   z = b (1 - t^2)^(1/2).

    A window of finite width whose transform is as good as finite too: even and smooth in G, a band correlates nothing
    that is further apart than `band_reach`, which vacuum needs and an ordinary spline does not give.
    """
    centres = bands.spacing * np.arange(bands.count)[:, None]
    value, slope = _window((lengths - centres) / bands.half_width)
    mirrored, mirrored_slope = _window((lengths + centres[1:]) / bands.half_width)
    value[1:] += mirrored
    slope[1:] += mirrored_slope
    return value, slope / bands.half_width


def _window(t: Array) -> tuple[Array, Array]:
    """phi(t) and its derivative -t z I_1(z) / I_2(b)."""
    value, slope = np.zeros_like(t), np.zeros_like(t)
    inside = np.abs(t) < 1
    x = t[inside]
    z = _WINDOW * np.sqrt(1 - x * x)
    scale = np.exp(z - _WINDOW) / ive(2, _WINDOW)
    first = i1e(z)
    second = i0e(z) - 2 * first / z  # I_2, much quicker than ive and as exact where it matters
    value[inside] = (z / _WINDOW) ** 2 * second * scale
    slope[inside] = -x * z * first * scale
    return value, slope


def band_reach(bands: Bands) -> float:
    """The distance (A) beyond which a band's kernel in real space has fallen to its side lobes, some exp(-b)."""
    return _REACH / bands.half_width
