"""Held-out errors add up, and are told by kind."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.training.validation import (
    CrossValidation,
    FrameErrors,
    composition_bin,
    far_off,
    summarise,
    summarise_by,
)


def test_frames_count_in_the_calibration_by_their_weights():
    """Many frames of one relaxation, each of little weight, do not decide what the spread is worth elsewhere."""
    usual = FrameErrors(0.01, np.array([0.1, -0.1]), None, 0.01, np.full(2, 0.1), 1.0)
    hard = FrameErrors(0.05, np.array([0.4, 0.4]), None, 0.01, np.full(2, 0.1), 0.1)
    validation = CrossValidation((usual, *[hard] * 10), (), {})
    assert validation.energy_scale == pytest.approx(np.sqrt((1 + 25) / 2))
    assert validation.force_scale == pytest.approx(np.sqrt((1 + 16) / 2))


def test_summaries():
    a = FrameErrors(0.001, np.array([0.1, -0.3]), None, 0.0, np.zeros(2))
    b = FrameErrors(-0.003, None, np.array([0.01] * 6), 0.0, None)
    both = summarise([a, b])
    assert both["frames"] == 2
    assert both["energy_mae_mev_per_atom"] == pytest.approx(2.0)
    assert both["energy_rmse_mev_per_atom"] == pytest.approx(np.sqrt(5.0))
    assert both["force_mae_ev_per_a"] == pytest.approx(0.2)
    assert both["stress_mae_ev_per_a3"] == pytest.approx(0.01)
    parts = summarise_by([a, b], ["relaxed", "liquid"])
    assert list(parts) == ["liquid", "relaxed"]
    assert "force_mae_ev_per_a" not in parts["liquid"]


@pytest.mark.parametrize(
    ("fraction", "name"), [(0.0, "0.0-0.2"), (0.19, "0.0-0.2"), (0.2, "0.2-0.4"), (0.6, "0.6-0.8"), (1.0, "0.8-1.0")]
)
def test_composition_bins(fraction, name):
    assert composition_bin(fraction) == name


def test_frames_that_are_far_off_are_named():
    errors = [FrameErrors(0.01 * (-1) ** i, np.array([0.1, -0.1]), None) for i in range(20)]
    errors[7] = FrameErrors(5.0, np.array([0.1, 0.1]), None)
    errors[11] = FrameErrors(0.01, np.array([0.1, 1e6]), None)
    assert far_off(errors) == [7, 11]
