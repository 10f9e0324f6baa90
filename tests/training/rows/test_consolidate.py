"""One support for many selections: exact gains, agreement, costs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.cost import SupportCost
from ase_wavescat.training.rows.consolidate import consolidate

FEATURES, STRENGTH = 15, 0.5


def equations(seed: int, *truth: int, noise: float = 0.3, rows: int = 60):
    """Normal equations, with a ridge, of a target made of some features."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(rows, 5)) @ rng.normal(size=(5, FEATURES)) + 0.5 * rng.normal(size=(rows, FEATURES))
    target = design[:, list(truth)].sum(axis=1) + noise * rng.normal(size=rows)
    return design.T @ design + STRENGTH * np.eye(FEATURES), design.T @ target


def least_loss(matrix, right, support):
    """Minimum over the support of w A w - 2 b w."""
    chosen = np.ix_(support, support)
    return -float(right[support] @ np.linalg.solve(matrix[chosen], right[support])) if support else 0.0


def test_each_step_takes_the_largest_mean_gain():
    selections = [equations(seed, 2, 7, 11) for seed in range(4)]
    found = consolidate(selections, 5)
    support: list[int] = []
    for step in range(5):
        gains = np.zeros((4, FEATURES))
        for b, (matrix, right) in enumerate(selections):
            left = least_loss(matrix, right, support) - least_loss(matrix, right, list(range(FEATURES)))
            for j in set(range(FEATURES)) - set(support):
                gains[b, j] = least_loss(matrix, right, support) - least_loss(matrix, right, [*support, j])
                gains[b, j] /= left
        assert found.order[step] == np.argmax(gains.mean(axis=0))
        mine = gains[:, found.order[step]]
        assert found.stability[step] == np.mean(mine >= 0.9 * gains.max(axis=1))
        support.append(int(found.order[step]))


def test_unexplained_loss_ends_at_nothing():
    selections = [equations(seed, 1, 4) for seed in range(3)]
    found = consolidate(selections, FEATURES)
    assert sorted(found.order) == list(range(FEATURES))
    assert np.all(np.diff(found.unexplained) < 1e-12) and found.unexplained[-1] < 1e-12
    matrix, right = selections[0]
    alone = consolidate([(matrix, right)], 3)
    everything = least_loss(matrix, right, list(range(FEATURES)))
    expected = 1 - least_loss(matrix, right, alone.order.tolist()) / everything
    assert alone.unexplained[-1] == pytest.approx(expected)


def test_what_one_selection_alone_wants_comes_later():
    """Three selections need features 2 and 7; one of them needs 11 far more."""
    rng, selections = np.random.default_rng(3), []
    for own in (0.0, 0.0, 1.5):
        design = rng.normal(size=(300, FEATURES))
        right = design.T @ (design[:, 2] + design[:, 7] + own * design[:, 11])
        selections.append((design.T @ design, right))
    assert consolidate(selections[2:], 1).order.tolist() == [11]
    found = consolidate(selections, 3)
    assert set(found.order[:2]) == {2, 7} and found.order[2] == 11


def test_supports_are_nested():
    found = consolidate([equations(0, 3, 9)], 6)
    for size in range(1, 6):
        assert set(found.support(size)) < set(found.support(size + 1))
        assert list(found.support(size)) == sorted(found.support(size))


def test_cost_prefers_what_is_there():
    """Feature 2 and its like 3 are equally good; 3 shares a dear part with 7, which is needed anyway."""
    rng = np.random.default_rng(0)
    design = rng.normal(size=(200, 10))
    design[:, 3] = design[:, 2] + 0.05 * rng.normal(size=200)
    right = design.T @ (design[:, 2] + 3.0 * design[:, 7])
    matrix = design.T @ design + 1e-3 * np.eye(10)
    needs = np.eye(10)
    needs[3] = needs[7]
    cost = SupportCost(np.ones(10), csr_array(needs))
    assert consolidate([(matrix, right)], 2).order.tolist() == [7, 2]
    assert consolidate([(matrix, right)], 2, cost).order.tolist() == [7, 3]
    assert consolidate([(matrix, right)], 2, cost, cost_power=0.0).order.tolist() == [7, 2]


def test_where_nothing_is_to_be_explained_nothing_is_taken():
    found = consolidate([(np.eye(3), np.zeros(3)), (2 * np.eye(3), np.zeros(3))], 2)
    assert len(found.order) == len(found.stability) == len(found.unexplained) == 0
    with pytest.raises(DataError, match="supports have 1 to 0 features"):
        found.support(1)


def test_refuses_nothing_to_do():
    with pytest.raises(DataError, match="at least one selection"):
        consolidate([], 3)
    with pytest.raises(DataError, match="at least one feature"):
        consolidate([equations(0, 1)], 0)
    with pytest.raises(DataError, match="positive definite"):
        consolidate([(np.zeros((3, 3)), np.ones(3))], 2)
    with pytest.raises(DataError, match="1 to 4"):
        consolidate([equations(0, 1)], 4).support(5)
