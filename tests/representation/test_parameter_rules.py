"""Each rule against what it promises."""

import math

import numpy as np
import pytest

from ase_wavescat.representation.parameter_rules import (
    largest_scale,
    overlap_of_width,
    room,
    scales_up_to,
    spacing_from_tolerance,
    wavelet_reach,
    width_from_overlap,
)
from ase_wavescat.representation.wavelets import direct_coefficients, fourier_radial

WAVELETS = ((3, 0), (3, 2), (4, 3))


def real_space(n, l, r, width):
    """Radial part of psi_nl at distances r, up to a constant."""
    s = r / width
    return np.polyval(direct_coefficients(n, l)[::-1], s**2 / 2) * np.exp(-(s**2) / 2) * s**l


@pytest.mark.parametrize("overlap", [0.01, 0.15, 0.5])
def test_gaussians_a_distance_apart_meet_at_the_overlap(overlap):
    distance = 2.3
    beta = width_from_overlap(distance, overlap)
    halfway = np.exp(-((distance / 2) ** 2) / (2 * beta**2))
    assert halfway == pytest.approx(overlap, rel=1e-12)
    assert overlap_of_width(distance, beta) == pytest.approx(overlap, rel=1e-12)
    assert overlap_of_width(distance, 1.1 * beta) > overlap  # the rule is a lower bound


@pytest.mark.parametrize("half_box", [3.0, 4.1, 12.0])
def test_the_widest_wavelet_has_fallen_to_its_tail_at_half_the_box(half_box):
    beta, tail = 0.6, 0.05
    scale = largest_scale(beta, WAVELETS, half_box, tail)
    r = np.linspace(1e-6, 4 * half_box, 40001)
    sizes = []
    for n, l in WAVELETS:
        size = np.abs(real_space(n, l, r, beta * 2**scale))
        sizes.append(size[r >= half_box].max() / size.max())
    assert max(sizes) == pytest.approx(tail, rel=0.01)


def test_scales_start_at_zero_and_never_pass_the_largest():
    assert scales_up_to(1.9, 0.5) == (0.0, 0.5, 1.0, 1.5)
    assert scales_up_to(2.0) == (0.0, 1.0, 2.0)
    assert scales_up_to(0.3) == scales_up_to(-2.0) == scales_up_to(-math.inf) == (0.0,)


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_a_grid_of_the_spacing_cuts_what_is_below_the_tolerance(scale):
    beta, tolerance = 0.6, 1e-4
    nyquist = math.pi / spacing_from_tolerance(beta, WAVELETS, tolerance, scale)
    x = beta * 2**scale * nyquist * np.linspace(1, 3, 2001)
    beyond = [fourier_radial(n, l, x)[0] * x**l for n, l in WAVELETS]
    assert np.max(beyond) == pytest.approx(tolerance, rel=1e-6)


def test_room_is_half_the_shortest_height_of_the_periodic_directions():
    cell = np.array([[8.0, 0.0, 0.0], [3.0, 5.0, 0.0], [1.0, 2.0, 30.0]])
    positions = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 7.0]])
    heights = np.abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(np.roll(cell, -1, 0), np.roll(cell, 1, 0)), axis=1)
    assert room(cell, (True, True, True), positions) == pytest.approx(heights.min() / 2)
    # a slab: lattice lines of the plane alone, whatever the third vector
    area = 8.0 * 5.0
    expected = area / max(np.linalg.norm(cell[0]), np.linalg.norm(cell[1])) / 2
    assert room(cell, (True, True, False), positions) == pytest.approx(expected)
    cell[2] = 0.0
    assert room(cell, (True, True, False), positions) == pytest.approx(expected)
    assert room(cell, (False, True, False), positions) == pytest.approx(np.linalg.norm(cell[1]) / 2)


def test_room_of_a_molecule_is_its_size():
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
    assert room(np.zeros((3, 3)), (False, False, False), positions) == pytest.approx(5.0)
    assert room(np.zeros((3, 3)), (False, False, False), positions[:1]) == 0.0
    assert largest_scale(0.6, WAVELETS, 0.0) == -math.inf


def test_shipped_scales_fit_the_cells_that_they_were_chosen_for():
    assert scales_up_to(largest_scale(0.6, WAVELETS, 8.24 / 2), 0.5) == (0.0, 0.5, 1.0)
    assert width_from_overlap(2.25) == pytest.approx(0.6, abs=0.03)
    assert wavelet_reach(WAVELETS) == wavelet_reach([(4, 3)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: width_from_overlap(0.0), "distance must be a positive number, got 0"),
        (lambda: width_from_overlap(float("nan")), "distance must be a positive number, got nan"),
        (lambda: width_from_overlap(2.0, 1.0), "overlap must lie between 0 and 1"),
        (lambda: overlap_of_width(2.0, -1.0), "width must be a positive number, got -1"),
        (lambda: largest_scale(0.0, WAVELETS, 4.0), "width must be a positive number"),
        (lambda: scales_up_to(2.0, 0.0), "step must be a positive number"),
        (lambda: spacing_from_tolerance(float("inf"), WAVELETS, 1e-4), "width must be a positive number, got inf"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
