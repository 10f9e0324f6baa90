"""Members by greedy selection: bootstraps of groups, validated by the groups left out."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.linear.bagging import bootstrap_leaving_out, greedy_members


@pytest.fixture
def problem():
    """Sixty rows in ten groups, two of forty features behind the target, noise."""
    rng = np.random.default_rng(0)
    design = rng.normal(size=(60, 40))
    target = design[:, 3] - 2.0 * design[:, 17] + 0.05 * rng.normal(size=60)
    return design, target, np.repeat(np.arange(10) * 7, 6)


def test_finds_the_features_and_stops_early(problem):
    paths = greedy_members(*problem, members=12, max_features=15)
    assert (np.sort(paths.order[:, :2], axis=1) == [3, 17]).all()
    assert (paths.sizes >= 2).all() and np.median(paths.sizes) < 12
    np.testing.assert_allclose(paths.weights[:, 3], 1.0, atol=0.05)


def test_groups_are_drawn_whole_and_validate_when_they_are_not(problem):
    design, target, groups = problem
    paths = greedy_members(design, target, groups, members=3, max_features=4, seed=5)
    draws = bootstrap_leaving_out(10, 3, np.random.default_rng([5, 0]))
    for b in range(3):
        counts = draws[b, groups // 7]
        means = np.average(target, weights=counts)
        assert paths.training_error[b, 0] == pytest.approx(np.average((target - means) ** 2, weights=counts))
        assert paths.validation_error[b, 0] == pytest.approx(np.mean((target - means)[counts == 0] ** 2))


def test_reproducible_by_seed_whatever_the_memory(problem):
    given = {"members": 5, "max_features": 6, "bag": 6}
    one = greedy_members(*problem, seed=1, **given)
    again = greedy_members(*problem, seed=1, memory_limit=1, **given)
    assert one.order.tolist() == again.order.tolist()
    assert one.order.tolist() != greedy_members(*problem, seed=2, **given).order.tolist()


def test_frame_weights_scale_errors(problem):
    """A row of weight two is as good as two rows."""
    design, target, groups = problem
    weights = np.ones(60)
    weights[::6] = 2.0
    doubled = np.concatenate([np.arange(60), np.arange(0, 60, 6)])
    one = greedy_members(design, target, groups, weights, members=4, max_features=5)
    other = greedy_members(design[doubled], target[doubled], groups[doubled], members=4, max_features=5)
    assert one.order.tolist() == other.order.tolist()
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-10)


def test_every_draw_leaves_a_group_out():
    draws = bootstrap_leaving_out(2, 50, np.random.default_rng(0))
    assert (draws.sum(axis=1) == 2).all() and (draws == 0).any(axis=1).all()


def test_refuses_one_group_and_wrong_lengths(problem):
    design, target, groups = problem
    with pytest.raises(DataError, match="at least two groups"):
        greedy_members(design, target, np.zeros(60), members=2, max_features=2)
    with pytest.raises(DataError, match="group of every row"):
        greedy_members(design, target, groups[:-1], members=2, max_features=2)
