r"""Solid-harmonic wavelets, in reciprocal and in real space.

A wavelet of width b = beta 2^j is, in reciprocal space (S20 app. B, divided by its peak),

    psi_nlm(G) = (-i)^l R_nl(b|G|) C_lm(G/|G|),   R_nl(x) = (x/x_p)^p exp((x_p^2 - x^2)/2),  p = 2(n-1) - l,  x_p^2 = p,

with C_lm the real spherical harmonics in Racah's normalisation, sum_m C_lm^2 = 1. Its inverse Fourier transform is the
same solid harmonic times a Laguerre polynomial and a Gaussian, with k = n - 1 - l,

    psi_nlm(r) = c_nl b^-3  L_k^(l+1/2)(s^2/2) exp(-s^2/2)  S_lm(s),   s = r/b,   S_lm(s) = |s|^l C_lm(s/|s|).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import eval_genlaguerre, genlaguerre

from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Wavelet:
    """One wavelet psi_nl at scale j (radial width beta * 2**j)."""

    scale: float
    n: int
    l: int

    @property
    def key(self) -> str:
        return f"{repr(self.scale).removesuffix('.0')},{self.n},{self.l}"  # every digit: a key names one wavelet

    @property
    def label(self) -> str:
        return f"psi(j={self.scale:g}, n={self.n}, l={self.l})"

    @classmethod
    def parse(cls, text: str) -> Wavelet:
        scale, n, l = text.split(",")
        return cls(float(scale), int(n), int(l))


def radial_power(n: int, l: int) -> int:
    """p = 2(n-1) - l, the power of |G| in the wavelet's radial part."""
    return 2 * (n - 1) - l


def fourier_radial(n: int, l: int, x: Array) -> tuple[Array, Array]:
    """R_nl(x) / x^l and its derivative with respect to x^2 / 2, for x = b|G| (any shape).

    Divided by x^l because the solid harmonic S_lm(x) carries that factor, so that nothing is singular at 0.
    """
    p, k = radial_power(n, l), n - 1 - l
    square = np.square(x)
    gauss = _peak(p) * np.exp(-square / 2)
    value = square**k * gauss
    slope = (2 * k * square ** (k - 1) if k > 0 else 0.0) * gauss - value
    return value, slope


def _peak(p: int) -> float:
    """1 / max_x x^p exp(-x^2/2)."""
    return math.exp(p / 2) / p ** (p / 2) if p > 0 else 1.0


@cache
def fourier_extent(n: int, l: int, tolerance: float) -> float:
    """The x = b|G| beyond which R_nl(x) < tolerance."""
    p = radial_power(n, l)
    start = math.sqrt(p)
    return float(
        brentq(
            lambda x: math.log(_peak(p)) + (p * math.log(x) if p else 0.0) - x * x / 2 - math.log(tolerance),
            max(start, 1e-3),
            start + 40,
        )
    )


def direct_coefficients(n: int, l: int) -> Array:
    """Coefficients (ascending, in s^2/2) of c_nl L_k^(l+1/2): psi = b^-3 polynomial exp(-s^2/2) S_lm(s)."""
    k = n - 1 - l
    factor = 2.0**k * math.factorial(k) * _peak(radial_power(n, l)) / (2 * math.pi) ** 1.5
    return factor * np.asarray(genlaguerre(k, l + 0.5).coef[::-1], dtype=float)


@cache
def direct_extent(n: int, l: int, tolerance: float) -> float:
    """The s = r/b beyond which |psi(r)| stays below `tolerance` times its largest value."""
    s = np.linspace(0.0, 30.0, 30001)
    size = np.abs(eval_genlaguerre(n - 1 - l, l + 0.5, s * s / 2)) * s**l * np.exp(-s * s / 2)
    return float(s[np.flatnonzero(size > tolerance * size.max())[-1] + 1])


@cache
def direct_peak(n: int, l: int) -> float:
    """The largest b^3 |psi(r)| along the direction in which it is largest, where C_lm = 1."""
    s = np.linspace(0.0, 30.0, 30001)
    return float(
        np.abs(np.polynomial.Polynomial(direct_coefficients(n, l))(s * s / 2) * s**l * np.exp(-s * s / 2)).max()
    )


def harmonic_count(l_max: int) -> int:
    """Number of real solid harmonics with l <= l_max; those of l start at l^2, ordered m = -l..l."""
    return (l_max + 1) ** 2


@cache
def harmonic_factors(l_max: int) -> Array:
    """F_lm (l_max + 1, l_max + 1): (-1)^m sqrt(2 (l-m)!/(l+m)!), 1 for m = 0 (Racah's normalisation)."""
    factors = np.zeros((l_max + 1, l_max + 1))
    for l in range(l_max + 1):
        for m in range(l + 1):
            norm = math.sqrt((2 if m else 1) * math.factorial(l - m) / math.factorial(l + m))
            factors[l, m] = (-1) ** m * norm
    return factors


@compiled(fastmath=True)
def solid_harmonics(x, y, z, factors, q, trig, out):  # type: ignore[no-untyped-def]
    """Real solid harmonics S_lm(x, y, z), into out ((l_max + 1)^2,).

    Scratch: q (l_max + 1, l_max + 1), trig (2, l_max + 1).

    Recursions of Bigi, Fraux, Browning, Ceriotti, J. Chem. Phys. 159, 064802 (2023), eqs. 5-9: polynomials only.
    """
    l_max = factors.shape[0] - 1
    square = x * x + y * y + z * z
    trig[0, 0] = 1.0
    trig[1, 0] = 0.0
    q[0, 0] = 1.0
    for m in range(1, l_max + 1):
        trig[0, m] = x * trig[0, m - 1] - y * trig[1, m - 1]
        trig[1, m] = x * trig[1, m - 1] + y * trig[0, m - 1]
        q[m, m] = -(2 * m - 1) * q[m - 1, m - 1]
    for l in range(1, l_max + 1):
        q[l, l - 1] = (2 * l - 1) * z * q[l - 1, l - 1]
        for m in range(l - 1):
            q[l, m] = ((2 * l - 1) * z * q[l - 1, m] - (l + m - 1) * square * q[l - 2, m]) / (l - m)
    for l in range(l_max + 1):
        centre = l * l + l
        out[centre] = q[l, 0]
        for m in range(1, l + 1):
            scaled = factors[l, m] * q[l, m]
            out[centre + m] = scaled * trig[0, m]
            out[centre - m] = scaled * trig[1, m]


@compiled(fastmath=True)
def solid_harmonics_gradient(x, y, z, factors, q, trig, out):  # type: ignore[no-untyped-def]
    """Gradients of S_lm into out ((l_max + 1)^2, 3), from the q and trig that `solid_harmonics` left (eqs. 10-13)."""
    l_max = factors.shape[0] - 1
    for l in range(l_max + 1):
        centre = l * l + l
        for m in range(l + 1):
            above = q[l - 1, m + 1] if m + 1 <= l - 1 else 0.0
            same = (l + m) * q[l - 1, m] if m <= l - 1 else 0.0
            factor = factors[l, m]
            lower_cos = m * trig[0, m - 1] if m > 0 else 0.0
            lower_sin = m * trig[1, m - 1] if m > 0 else 0.0
            out[centre + m, 0] = factor * (x * above * trig[0, m] + q[l, m] * lower_cos)
            out[centre + m, 1] = factor * (y * above * trig[0, m] - q[l, m] * lower_sin)
            out[centre + m, 2] = factor * same * trig[0, m]
            if m > 0:
                out[centre - m, 0] = factor * (x * above * trig[1, m] + q[l, m] * lower_sin)
                out[centre - m, 1] = factor * (y * above * trig[1, m] + q[l, m] * lower_cos)
                out[centre - m, 2] = factor * same * trig[1, m]


def solid_harmonics_at(points: Array, l_max: int, gradient: bool = False) -> tuple[Array, Array | None]:
    """S_lm at points (P, 3): values ((l_max+1)^2, P) and, on request, gradients ((l_max+1)^2, 3, P)."""
    values = np.empty((harmonic_count(l_max), len(points)))
    slopes = np.empty((harmonic_count(l_max), 3, len(points))) if gradient else np.empty((0, 3, 0))
    _harmonics_at(np.ascontiguousarray(points), harmonic_factors(l_max), values, slopes)
    return values, slopes if gradient else None


@compiled()
def _harmonics_at(points, factors, values, slopes):  # type: ignore[no-untyped-def]
    size = factors.shape[0]
    q = np.zeros((size, size))
    trig = np.zeros((2, size))
    value = np.empty(size * size)
    slope = np.empty((size * size, 3))
    for i in range(points.shape[0]):
        x, y, z = points[i]
        solid_harmonics(x, y, z, factors, q, trig, value)
        values[:, i] = value
        if slopes.size > 0:
            solid_harmonics_gradient(x, y, z, factors, q, trig, slope)
            slopes[:, :, i] = slope
