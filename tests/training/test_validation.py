"""Held-out errors are held out, and add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ase_wavescat.training.linear.least_squares import Fit, LabelWeights, Observation
from ase_wavescat.training.validation import (
    CrossValidation,
    FrameErrors,
    assign_folds,
    bootstrap,
    composition_bin,
    cross_validate,
    far_off,
    learning_curve,
    search_strength,
    summarise,
    summarise_by,
    training_sets,
)

WEIGHTS = LabelWeights(10.0, 1.0, 10.0)


def frames_of_groups(rng: np.random.Generator, groups: int, each: int, features: int, offset: float):
    """Energies are noise common to a group, features its fingerprint: nothing can be learnt across groups."""
    observations = []
    for _ in range(groups):
        fingerprint, energy = rng.normal(size=features), offset * rng.normal()
        observations += [
            Observation(np.array([4.0]), 4 * (fingerprint + 1e-3 * rng.normal(size=features)), 4 * energy)
            for _ in range(each)
        ]
    return observations, np.repeat(np.arange(groups), each)


def validate(fit: Fit, fold: np.ndarray, strengths: list[float], members: int, judged: np.ndarray | None = None):
    """The search for a strength and the errors at it."""
    judged = np.ones(len(fit.groups), dtype=bool) if judged is None else judged
    search = search_strength(fit, fold, strengths, judged)
    return search, cross_validate(fit, fold, search, members, 0, judged)


def test_folds_keep_groups_together_and_are_even():
    groups = np.repeat(np.arange(40), np.random.default_rng(0).integers(1, 5, 40))
    fold = assign_folds(groups, 5, seed=3)
    sizes = np.bincount(fold[groups])
    assert len(fold) == 40
    assert sizes.max() - sizes.min() <= 4
    np.testing.assert_array_equal(fold, assign_folds(groups, 5, seed=3))
    assert (fold != assign_folds(groups, 5, seed=4)).any()


def test_bootstrap_draws_only_from_the_groups_given():
    draws = bootstrap(np.array([1, 3, 4]), 6, 50, np.random.default_rng(0))
    assert draws.shape == (50, 6)
    assert (draws.sum(axis=1) == 3).all()
    assert not draws[:, [0, 2, 5]].any()


def test_a_small_source_is_in_every_draw():
    judged = np.arange(40) < 3
    draws = bootstrap(np.arange(1, 40), 40, 50, np.random.default_rng(0), judged)
    assert (draws[:, judged].sum(axis=1) == 2).all()
    assert (draws[:, ~judged].sum(axis=1) == 37).all()


def test_groups_do_not_leak():
    """With as many features as groups, leaking siblings would make the error vanish; held out by group it cannot."""
    observations, groups = frames_of_groups(np.random.default_rng(5), groups=20, each=4, features=30, offset=1.0)
    fold = assign_folds(groups, 5, seed=0)
    _, held_out = validate(Fit(observations, groups, WEIGHTS), fold, [1e-6], members=3)
    single = np.arange(len(groups))
    _, leaking = validate(Fit(observations, single, WEIGHTS), assign_folds(single, 5, seed=0), [1e-6], members=3)
    assert summarise(held_out.errors)["energy_rmse_mev_per_atom"] > 500
    assert summarise(leaking.errors)["energy_rmse_mev_per_atom"] < 50


def test_errors_are_those_of_a_fit_without_the_fold():
    observations, groups = frames_of_groups(np.random.default_rng(6), groups=9, each=2, features=3, offset=0.2)
    fit = Fit(observations, groups, WEIGHTS)
    fold = assign_folds(groups, 3, seed=0)
    search, validation = validate(fit, fold, [1e-3, 1e-1], members=4)
    index = 7
    rest = np.flatnonzero(fold[groups] != fold[groups[index]])
    parts = {name: getattr(fit.statistics, name)[rest] for name in ("fractions", "energies", "shares")}
    statistics = replace(fit.statistics, **parts)
    alone = Fit([observations[i] for i in rest], np.arange(len(rest)), WEIGHTS, statistics, fit.penalty)
    solution = alone.solve(np.ones((1, len(rest)), dtype=int), [search.strength])
    expected = fit.residuals(index, solution.weights, solution.species_energies).energy[0]
    assert validation.errors[index].energy == pytest.approx(expected, rel=1e-6)


def test_strength_is_the_strongest_of_the_best():
    observations, groups = frames_of_groups(np.random.default_rng(7), groups=20, each=2, features=30, offset=1.0)
    strengths = [1e2, 1e-8, 1e-4, 3e-1, 1e-1]
    search, validation = validate(Fit(observations, groups, WEIGHTS), assign_folds(groups, 5, seed=0), strengths, 2)
    losses = dict(zip(strengths, search.losses, strict=True))
    assert search.strength == max(s for s, loss in losses.items() if loss <= 1.02 * min(losses.values()))
    loss = sum((WEIGHTS.energy * error.energy) ** 2 for error in validation.errors)
    assert loss == pytest.approx(losses[search.strength])
    assert search.strength >= 1e-1  # there is nothing to learn here


def test_the_worst_posed_fold_is_reported():
    observations, groups = frames_of_groups(np.random.default_rng(8), groups=9, each=1, features=4, offset=1.0)
    fit, fold = Fit(observations, groups, WEIGHTS), assign_folds(groups, 3, seed=0)
    search = search_strength(fit, fold, [1e-3], np.ones(9, dtype=bool))
    conditions = fit.solve(training_sets(fold), [1e-3]).condition
    assert len(set(conditions)) == 3
    assert search.condition == pytest.approx(conditions.max())


def test_the_spread_is_calibrated_on_noise():
    """A well-specified linear model with noisy labels: error over spread is what the noise makes it, and positive."""
    rng = np.random.default_rng(8)
    truth = rng.normal(size=6)
    observations = []
    for _ in range(60):
        phi, rows = 4 * rng.normal(size=6), rng.normal(size=(12, 6))
        observations.append(
            Observation(
                np.array([4.0]), phi, phi @ truth + 0.04 * rng.normal(), rows, rows @ truth + 0.1 * rng.normal(size=12)
            )
        )
    groups = np.arange(60)
    _, validation = validate(Fit(observations, groups, WEIGHTS), assign_folds(groups, 5, seed=0), [1e-8], 20)
    rms = summarise(validation.errors)
    assert rms["force_rmse_ev_per_a"] == pytest.approx(0.1, rel=0.1)
    spread = np.sqrt(np.mean(np.concatenate([e.forces_spread for e in validation.errors]) ** 2))
    assert validation.force_scale == pytest.approx(rms["force_rmse_ev_per_a"] / spread)
    assert validation.energy_scale > 1


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


def test_only_judged_frames_count_and_fill_folds():
    """Frames of another label source train in every fold, but neither errors nor folds are theirs."""
    observations, groups = frames_of_groups(np.random.default_rng(9), groups=20, each=3, features=3, offset=0.3)
    judged = np.arange(len(groups)) % 3 == 0
    judged[groups > 9] = False
    fold = assign_folds(groups, 5, 0, judged)
    np.testing.assert_array_equal(np.bincount(fold[groups[judged]], minlength=5), 2)
    assert (np.bincount(fold[10:], minlength=5) == 2).all()  # the others, evenly
    fit = Fit(observations, groups, WEIGHTS)
    search, validation = validate(fit, fold, [1e-3], members=2, judged=judged)
    assert len(validation.errors) == judged.sum()
    index = int(np.flatnonzero(judged)[4])
    k = fold[groups[index]]
    expected = fit.residuals(index, search.weights[[k]], search.species_energies[[k]]).energy[0]
    assert validation.errors[4].energy == pytest.approx(expected)


def test_groups_that_are_not_judged_are_spread_over_the_folds():
    sizes = np.random.default_rng(3).integers(1, 6, 410)
    groups = np.repeat(np.arange(410), sizes)
    judged = groups < 40
    for seed in range(4):
        fold = assign_folds(groups, 5, seed, judged)
        frames = np.bincount(fold[groups[~judged]], minlength=5)
        assert frames.max() - frames.min() <= 5
        assert np.ptp(np.bincount(fold[groups[judged]], minlength=5)) <= 5


def test_frames_that_are_far_off_are_named():
    errors = [FrameErrors(0.01 * (-1) ** i, np.array([0.1, -0.1]), None) for i in range(20)]
    errors[7] = FrameErrors(5.0, np.array([0.1, 0.1]), None)
    errors[11] = FrameErrors(0.01, np.array([0.1, 1e6]), None)
    assert far_off(errors) == [7, 11]


def test_learning_curve_falls_and_ends_at_the_full_fit():
    rng = np.random.default_rng(10)
    truth = rng.normal(size=6)
    phi = rng.normal(size=(80, 6))
    observations = [Observation(np.array([4.0]), 4 * p, 4 * (p @ truth + 0.01 * rng.normal())) for p in phi]
    groups, judged = np.repeat(np.arange(40), 2), np.ones(80, dtype=bool)
    fit, fold = Fit(observations, groups, WEIGHTS), assign_folds(groups, 5, seed=0)
    search, validation = validate(fit, fold, [1e-6], members=2)
    curve = learning_curve(fit, fold, search, judged, seed=0)
    assert [point["groups"] for point in curve] == [4, 8, 16, 32]
    assert [point["frames"] for point in curve] == [8, 16, 32, 64]
    errors = [point["energy_rmse_mev_per_atom"] for point in curve]
    assert errors[0] > errors[2]
    assert errors[-1] == pytest.approx(summarise(validation.errors)["energy_rmse_mev_per_atom"])
    assert curve[-1]["loss"] == pytest.approx(search.losses[0])
