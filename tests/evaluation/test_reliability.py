"""Spreads against errors: scales, their standard errors, coverage, ranks."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.evaluation.reliability import Reliability, reliability


def drawn(scale: float = 1.0, count: int = 6000, seed: int = 0) -> Reliability:
    """Normal errors whose deviations are `scale` times the predicted spreads, in groups of twenty."""
    rng = np.random.default_rng(seed)
    spreads = np.exp(rng.normal(scale=0.7, size=count))
    errors = scale * spreads * rng.normal(size=count)
    return Reliability(errors, spreads, np.arange(count) // 20, stored_scale=3.0)


def test_exact_spreads_are_found_exact() -> None:
    found = drawn()
    assert found.scale == pytest.approx(3.0, rel=0.05)
    assert found.miscalibration < 0.1
    coverage = found.coverage((0.5, 0.68, 0.95))
    assert all(share == pytest.approx(level, abs=0.02) for level, share in coverage.items())
    spreads, errors = found.bins
    assert len(spreads) == 10 and np.all(np.diff(spreads) > 0)
    np.testing.assert_allclose(errors, spreads, rtol=0.15)
    assert 0.3 < found.rank_correlation < 0.7  # errors scatter even about exact spreads


def test_spreads_too_small_by_half_ask_for_twice_the_stored_scale() -> None:
    found = drawn(scale=2.0)
    assert found.scale == pytest.approx(6.0, rel=0.05)
    assert found.miscalibration == pytest.approx(1.0, abs=0.15)
    assert found.coverage((0.68,))[0.68] == pytest.approx(0.38, abs=0.02)  # erf(0.994 / 2 / sqrt 2)


def test_scale_error_is_that_of_repeated_draws() -> None:
    scales = [drawn(count=400, seed=seed).scale for seed in range(60)]
    assert drawn(count=400, seed=100).scale_error == pytest.approx(np.std(scales), rel=0.5)


def test_scale_error_is_of_groups_not_of_data() -> None:
    """Twenty copies of each datum, in one group, say no more than one."""
    single = drawn(count=100)
    copied = Reliability(
        np.repeat(single.errors, 20), np.repeat(single.spreads, 20), np.repeat(np.arange(100), 20), stored_scale=3.0
    )
    alone = Reliability(single.errors, single.spreads, np.arange(100), stored_scale=3.0)
    assert copied.scale_error == pytest.approx(alone.scale_error, rel=1e-9)
    assert Reliability(single.errors, single.spreads, np.zeros(100), 3.0).scale_error is None


def test_data_without_spread_are_left_out() -> None:
    errors, spreads = np.array([1.0, -2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.0])
    found = reliability(errors, spreads, np.arange(4), 1.0)
    assert found is not None and len(found.errors) == 3
    assert found.scale == pytest.approx(np.sqrt(29 / 14))
    rounding = np.array([1e-9, 1.0, 2.0, 3.0])  # as of a force that is zero by symmetry
    assert len(reliability(errors, rounding, np.arange(4), 1.0).errors) == 3
    assert reliability(errors, np.zeros(4), np.arange(4), 1.0) is None
    assert reliability(errors[:2], spreads[:2] + 1, np.arange(2), 1.0) is None


def test_rank_correlation_is_undefined_for_equal_spreads() -> None:
    assert Reliability(np.array([1.0, 2.0, 3.0]), np.ones(3), np.arange(3), 1.0).rank_correlation is None
