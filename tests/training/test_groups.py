"""Groups are held out and drawn as a whole, and evenly."""

from __future__ import annotations

import numpy as np

from ase_wavescat.training.groups import assign_folds, bootstrap


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


def test_groups_that_are_not_judged_are_spread_over_the_folds():
    sizes = np.random.default_rng(3).integers(1, 6, 410)
    groups = np.repeat(np.arange(410), sizes)
    judged = groups < 40
    for seed in range(4):
        fold = assign_folds(groups, 5, seed, judged)
        frames = np.bincount(fold[groups[~judged]], minlength=5)
        assert frames.max() - frames.min() <= 5
        assert np.ptp(np.bincount(fold[groups[judged]], minlength=5)) <= 5
