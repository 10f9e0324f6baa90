"""How fine the grids are: envelopes, bandwidths of products, refinement."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from ase_wavescat.representation import Moduli
from ase_wavescat.representation.families.moduli.grids import Envelope, GridRules, product_extent
from ase_wavescat.representation.lattice.filters import wavelet_cutoff
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.wavelets import Wavelet, fourier_extent

SPEC = preset("polynomial", ["Li", "Si"])
POLYNOMIAL, PAPERS = SPEC.families[0], Moduli()
FINE, COARSE = Wavelet(0.0, 3, 0), Wavelet(1.0, 3, 1)


@pytest.mark.parametrize(("power", "width"), [(0, 0.6), (3, 0.6), (4, 1.3), (12, 0.7)])
def test_extent_is_where_the_envelope_meets_the_tolerance(power, width):
    envelope = Envelope(power, width)
    assert envelope.log(envelope.extent(1e-5)) == pytest.approx(np.log(1e-5))
    peak = np.sqrt(power) / width
    assert peak == 0 or envelope.log(peak) == pytest.approx(0.0, abs=1e-12)


def test_product_extent_is_the_best_split():
    """Of two unlike envelopes, against a scan over all splits of the same total."""
    envelopes = [Envelope(4, 0.6), Envelope(2, 1.1)]
    total = product_extent(envelopes, 1e-4)
    first = np.linspace(1e-3, total - 1e-3, 20001)
    best = max(envelopes[0].log(g) + envelopes[1].log(total - g) for g in first)
    assert best == pytest.approx(np.log(1e-4), abs=1e-5)
    same = Envelope(3, 0.8)
    assert product_extent([same] * 4, 1e-4) == pytest.approx(4 * same.extent(0.1))


def test_every_grid_holds_its_fields():
    for family in (POLYNOMIAL, PAPERS):
        rules = GridRules(SPEC, family)
        for powers in ({Fraction(1)}, {Fraction(2)}, {Fraction(4)}, set()):
            grid = rules.first(COARSE, powers, {FINE})
            assert grid.bandwidth >= 2 * max(grid.cutoff, grid.input_cutoff)
            second = rules.second(COARSE, FINE, powers)
            assert second.bandwidth >= 2 * second.cutoff
            assert second.cutoff <= wavelet_cutoff(SPEC, FINE)


def test_squares_need_a_narrower_band_than_moduli():
    """sigma^2 of a coarse wavelet decays within its own band: its child is cut there."""
    even = {Fraction(2)}
    assert GridRules(SPEC, POLYNOMIAL).second(COARSE, FINE, even).cutoff < wavelet_cutoff(SPEC, FINE)
    assert GridRules(SPEC, PAPERS).second(COARSE, FINE, even).cutoff == wavelet_cutoff(SPEC, FINE)


def test_refinement_scales_the_grid_and_not_the_fields():
    plain, fine = (GridRules(SPEC, PAPERS, r).first(FINE, {Fraction(1)}, {COARSE}) for r in (1.0, 2.5))
    assert fine.bandwidth == pytest.approx(2.5 * plain.bandwidth)
    assert fine.minimum == 40 and plain.minimum == 16
    assert (fine.cutoff, fine.input_cutoff) == (plain.cutoff, plain.input_cutoff)


def test_a_smooth_density_needs_coarser_grids_and_small_powers_finer_ones():
    plain, smooth, steep = (
        GridRules(SPEC, Moduli(**options)).first(FINE, {Fraction(1)}, {COARSE})
        for options in ({}, {"density_width": SPEC.beta}, {"powers": (Fraction(1, 2), Fraction(1))})
    )
    assert smooth.cutoff == pytest.approx(plain.cutoff / np.sqrt(2))
    assert steep.cutoff == pytest.approx(plain.cutoff * fourier_extent(3, 0, 1e-8) / fourier_extent(3, 0, 1e-4))


def test_a_number_of_points_replaces_the_rules():
    grid = GridRules(SPEC, PAPERS, points=48).first(FINE, {Fraction(1)}, {COARSE})
    assert (grid.bandwidth, grid.minimum) == (0.0, 48)
    assert grid.cutoff == wavelet_cutoff(SPEC, FINE)
