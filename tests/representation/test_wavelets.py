"""Solid harmonics and radial parts against scipy."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import factorial, lpmv, spherical_jn

from ase_wavescat.representation.wavelets import (
    direct_coefficients,
    direct_extent,
    fourier_extent,
    fourier_radial,
    solid_harmonics_at,
)
from finite_difference import best_relative_error

POINTS = np.random.default_rng(0).normal(size=(20, 3))
WAVELETS = [(1, 0), (2, 1), (3, 0), (3, 1), (3, 2), (4, 3), (5, 2)]


def real_harmonics(points, l):
    """Racah-normalised real spherical harmonics times r^l, from scipy's associated Legendre functions."""
    r = np.linalg.norm(points, axis=1)
    phi = np.arctan2(points[:, 1], points[:, 0])
    rows = []
    for m in range(-l, l + 1):
        norm = np.sqrt(factorial(l - abs(m)) / factorial(l + abs(m)))
        y = norm * lpmv(abs(m), l, points[:, 2] / r) * np.exp(1j * abs(m) * phi)
        rows.append(y.real if m == 0 else np.sqrt(2) * (-1) ** m * (y.imag if m < 0 else y.real))
    return np.array(rows) * r**l


@pytest.mark.parametrize("l", range(6))
def test_solid_harmonics_are_those_of_scipy(l):
    values, _ = solid_harmonics_at(POINTS, 5)
    block, oracle = values[l**2 : (l + 1) ** 2], real_harmonics(POINTS, l)
    np.testing.assert_allclose(block, oracle, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose((block**2).sum(axis=0), np.linalg.norm(POINTS, axis=1) ** (2 * l), rtol=1e-12)


def test_gradients_of_solid_harmonics():
    _, slopes = solid_harmonics_at(POINTS, 5, gradient=True)
    for axis in range(3):
        shift = np.eye(3)[axis]
        error = best_relative_error(lambda t, s=shift: solid_harmonics_at(POINTS + t * s, 5)[0], slopes[:, axis])
        assert error < 1e-10


@pytest.mark.parametrize(("n", "l"), WAVELETS)
def test_direct_form_is_the_fourier_transform(n, l):
    polynomial = direct_coefficients(n, l)[::-1]
    for s in (0.3, 1.7, 3.0):
        integrand = lambda g, s=s: g**2 * fourier_radial(n, l, np.array(g))[0] * g**l * spherical_jn(l, g * s)  # noqa: E731
        numerical = quad(integrand, 0, 15, epsabs=1e-13)[0] / (2 * np.pi**2)
        closed = np.polyval(polynomial, s * s / 2) * np.exp(-s * s / 2) * s**l
        assert closed == pytest.approx(numerical, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "l"), WAVELETS)
def test_radial_part_peaks_at_one_and_its_slope_is_right(n, l):
    x = np.linspace(1e-3, 8, 8000)
    value, slope = fourier_radial(n, l, x)
    assert (value * x**l).max() == pytest.approx(1, abs=1e-5)
    numerical = np.gradient(value, x**2 / 2)
    np.testing.assert_allclose(numerical[5:-5], slope[5:-5], rtol=1e-2, atol=2e-4 * np.abs(slope).max())


@pytest.mark.parametrize(("n", "l"), WAVELETS)
def test_extents_bound_the_tails(n, l):
    cut = fourier_extent(n, l, 1e-5)
    assert fourier_radial(n, l, np.array(cut))[0] * cut**l == pytest.approx(1e-5, rel=1e-6)
    s = np.linspace(0, 20, 20001)
    size = np.abs(np.polyval(direct_coefficients(n, l)[::-1], s**2 / 2)) * s**l * np.exp(-(s**2) / 2)
    assert size[s >= direct_extent(n, l, 1e-6)].max() <= 1e-6 * size.max()
