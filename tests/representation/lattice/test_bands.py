"""Bands: their derivative, their width, and the end of their kernels."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from ase_wavescat.representation import Bands
from ase_wavescat.representation.lattice.bands import band_reach, band_weights
from finite_difference import best_relative_error

BANDS = Bands(6, 0.7)
LENGTHS = np.linspace(0.0, BANDS.maximum, 20001)


def test_slopes_are_derivatives():
    inside = LENGTHS[100:-100:50]
    _, slopes = band_weights(BANDS, inside)
    error = best_relative_error(lambda t: band_weights(BANDS, inside + t)[0], slopes, steps=(1e-2, 3e-3, 1e-3))
    assert error < 1e-6


def test_bands_peak_at_their_centres_and_end_within_their_width():
    values, _ = band_weights(BANDS, LENGTHS)
    for k, value in enumerate(values):
        assert LENGTHS[value.argmax()] == pytest.approx(k * BANDS.spacing, abs=0.05 * BANDS.spacing)
        assert not value[np.abs(LENGTHS - k * BANDS.spacing) > BANDS.half_width].any()
    np.testing.assert_array_equal(band_weights(BANDS, np.array([BANDS.maximum, 50.0]))[0], 0.0)


def test_bands_are_flat_at_the_origin():
    """Even functions of |G| are smooth there, which kernels that end need."""
    assert np.abs(band_weights(BANDS, np.zeros(1))[1]).max() < 1e-12


def test_kernels_end_at_the_reach():
    """W(r) = (1/2 pi^2 r) integral G w(G) sin(Gr) dG."""
    values, _ = band_weights(BANDS, LENGTHS)
    largest = trapezoid(values * LENGTHS**2, LENGTHS, axis=1)
    for r in np.linspace(1.0, 4.0, 40) * band_reach(BANDS):
        kernel = trapezoid(values * LENGTHS * np.sin(LENGTHS * r), LENGTHS, axis=1) / r
        assert np.abs(kernel / largest).max() < 1e-6
    inside = trapezoid(values * LENGTHS * np.sin(LENGTHS * 5.0), LENGTHS, axis=1) / 5.0
    assert np.abs(inside / largest).max() > 1e-2
