"""Wavelet filters on a reciprocal lattice: apply to densities, adjoint, tangent.

With f_m(G) = R_nl(b|G|) C_lm(G) on the half sphere, a field is U_m(u) = (1/V) sum_G (-i)^l f_m(G) S(G) exp(iGu).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet, fourier_extent, fourier_radial, radial_power
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_TAPER_START = 0.9


def wavelet_cutoff(spec: ScatteringSpec, wavelet: Wavelet) -> float:
    """|G| beyond which the wavelet is below the spec's tolerance (1/A)."""
    return fourier_extent(wavelet.n, wavelet.l, spec.tolerance) / (spec.beta * 2.0**wavelet.scale)


@dataclass(frozen=True)
class RadialPart:
    """amplitude R_nl(width |G|), cut where R_nl falls below the tolerance; width in A."""

    n: int
    l: int
    width: float
    tolerance: float
    amplitude: float = 1.0

    @classmethod
    def of(cls, spec: ScatteringSpec, wavelet: Wavelet, tolerance: float | None = None) -> RadialPart:
        """A wavelet's own, cut at the spec's tolerance unless another is given."""
        cut = spec.tolerance if tolerance is None else tolerance
        return cls(wavelet.n, wavelet.l, spec.beta * 2.0**wavelet.scale, cut)

    def smeared(self, density_width: float) -> RadialPart:
        """Times exp(-density_width^2 |G|^2 / 2), the transform of the density's Gaussians.

        R_nl(b|G|) exp(-a^2 |G|^2/2) = (b/B)^p R_nl(B|G|) with B^2 = a^2 + b^2, p = 2(n-1) - l: a wider wavelet.
        """
        if density_width == 0:
            return self
        width = math.hypot(self.width, density_width)
        amplitude = self.amplitude * (self.width / width) ** radial_power(self.n, self.l)
        return RadialPart(self.n, self.l, width, self.tolerance, amplitude)

    @property
    def cutoff(self) -> float:
        """|G| beyond which it is taken as zero (1/A)."""
        return fourier_extent(self.n, self.l, self.tolerance) / self.width


def tapered_radial(wavelet: Wavelet | RadialPart, extent: float, x: Array) -> tuple[Array, Array]:
    """`fourier_radial` times a taper, one below 0.9 extent, zero beyond the extent, twice continuously differentiable.

    So a reciprocal vector enters and leaves the sphere smoothly when the cell is strained.
    """
    value, slope = fourier_radial(wavelet.n, wavelet.l, x)
    t = np.clip((extent - x) / ((1 - _TAPER_START) * extent), 0.0, 1.0)
    taper = t**3 * (10 - 15 * t + 6 * t**2)
    fall = -30 * t**2 * (1 - t) ** 2 / ((1 - _TAPER_START) * extent * np.maximum(x, 1e-300))  # by x^2 / 2
    return value * taper, slope * taper + value * fall


class RadialFilter:
    """One filter on one lattice.

    value, slope: (P,) so that f_m = value S_lm(G) and df_m = slope (G.dG) S_lm + value grad S_lm . dG; both carry 1/V.
    harmonics (2l+1, P), gradients (2l+1, 3, P): views of the lattice's.
    """

    def __init__(self, radial: RadialPart, lattice: ReciprocalLattice, l_max: int) -> None:
        l, width = radial.l, radial.width
        self.l = l
        self.count = lattice.count(radial.cutoff)
        extent = fourier_extent(radial.n, l, radial.tolerance)
        value, slope = tapered_radial(radial, extent, width * lattice.lengths[: self.count])
        self.value: Array = value * (radial.amplitude * width**l) / lattice.volume
        self.slope: Array = slope * (radial.amplitude * width ** (l + 2)) / lattice.volume
        harmonics, gradients = lattice.harmonics(l_max, len(lattice))
        rows = slice(l**2, (l + 1) ** 2)
        self.harmonics: Array = harmonics[rows, : self.count]
        self.gradients: Array = gradients[rows, :, : self.count]
        self.vectors: Array = lattice.vectors[: self.count]

    @property
    def phase(self) -> complex:
        """(-i)^l."""
        return (1, -1j, -1, 1j)[self.l % 4]

    def strained(self, m: int, strain: Array) -> Array:
        """df_m (P,) for the homogeneous strain: dG = -strain G, and 1/V."""
        change = -self.vectors @ strain
        along = np.einsum("pa,pa->p", self.vectors, change)
        slopes = np.einsum("ap,pa->p", self.gradients[m], change)
        return (
            self.slope * along * self.harmonics[m]
            + self.value * slopes
            - np.trace(strain) * self.value * self.harmonics[m]
        )


class Filter(RadialFilter):
    """One wavelet on one lattice."""

    def __init__(self, spec: ScatteringSpec, wavelet: Wavelet, lattice: ReciprocalLattice, l_max: int) -> None:
        super().__init__(RadialPart.of(spec, wavelet), lattice, l_max)


@compiled(nogil=True)
def scatter(flat, places, factor, harmonic, density, phase):  # type: ignore[no-untyped-def]
    """flat[places] = phase factor harmonic density; everything else zero."""
    flat[:] = 0.0
    for p in range(factor.shape[0]):
        flat[places[p]] = phase * density[p] * (factor[p] * harmonic[p])


@compiled(nogil=True)
def gather_adjoint(flat, places, weights, value, slope, harmonic, density, phase, adjoint, value_sums, slope_sums):  # type: ignore[no-untyped-def]
    """Adjoint of `scatter`, from the transform of dE/dU: onto the density and onto the filter (for the strain).

    adjoint (P,) += weights conj(phase) value harmonic flat; with X = Re weights conj(phase flat*...) density,
    value_sums (P,) += value X (to meet grad S_lm) and slope_sums (P,) += slope harmonic X (to meet G G).
    """
    back = phase.conjugate()
    for p in range(value.shape[0]):
        h = weights[p] * (back * flat[places[p]])
        adjoint[p] += value[p] * harmonic[p] * h
        x = h.real * density[p].real + h.imag * density[p].imag
        value_sums[p] += value[p] * x
        slope_sums[p] += slope[p] * harmonic[p] * x


class StrainSums:
    """Collects what all filters of one lattice contribute to dE/dstrain, contracted with G once at the end."""

    def __init__(self, lattice: ReciprocalLattice, l_max: int) -> None:
        self._lattice = lattice
        self._l_max = l_max
        self.by_harmonic = np.zeros(((l_max + 1) ** 2, len(lattice)))
        self.by_length = np.zeros(len(lattice))

    def strain(self) -> Array:
        """(3, 3), symmetric, without the volume terms."""
        vectors = self._lattice.vectors
        gradients = self._lattice.harmonics(self._l_max, len(self._lattice))[1]
        slopes = np.einsum("hp,hap->pa", self.by_harmonic, gradients, optimize=True)
        total = -(slopes + self.by_length[:, None] * vectors).T @ vectors
        return (total + total.T) / 2
