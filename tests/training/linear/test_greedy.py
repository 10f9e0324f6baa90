"""Greedy selection against solving every candidate's least-squares problem at every step."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.linear.greedy import bag_size, design_of, greedy_paths


def squared_error(design, target, weights, support, intercept=True):
    """Weighted squared error and solution of the least-squares fit on a support."""
    columns = [np.ones((len(target), 1))] * intercept + [design[:, support]]
    chosen, root = np.concatenate(columns, axis=1), np.sqrt(weights)
    solution = np.linalg.lstsq(root[:, None] * chosen, root * target, rcond=None)[0]
    return float(weights @ (chosen @ solution - target) ** 2), solution


def naive_order(design, target, weights, steps, intercept=True, price=None):
    """Take at each step the feature whose least-squares fit together with those taken is best."""
    support: list[int] = []
    for _ in range(steps):
        before = squared_error(design, target, weights, support, intercept)[0]
        gains = np.full(design.shape[1], -np.inf)
        for j in set(range(design.shape[1])) - set(support):
            gains[j] = before - squared_error(design, target, weights, [*support, j], intercept)[0]
            gains[j] /= 1.0 if price is None else price(support, j)
        support.append(int(np.argmax(gains)))
    return support


@pytest.fixture
def problem():
    """Correlated features of very different sizes and means; the target needs several of them."""
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 12)) + 0.3 * rng.normal(size=(40, 12))
    target = mixed @ rng.normal(size=12) + 0.1 * rng.normal(size=40) - 3.0
    return 10.0 ** rng.uniform(-4, 4, 12) * (mixed + rng.normal(size=12)), target


def multiplicities(rng, members, rows):
    return np.array([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(members)], dtype=float)


def test_takes_what_the_naive_search_takes(problem):
    design, target = problem
    weights = multiplicities(np.random.default_rng(0), 5, 40)
    left_out = (weights == 0).astype(float)
    paths = greedy_paths(design, target, weights, left_out, max_features=9)
    for b in range(5):
        assert paths.order[b].tolist() == naive_order(design, target, weights[b], 9)
        for size in range(10):
            error, solution = squared_error(design, target, weights[b], paths.order[b, :size])
            assert paths.training_error[b, size] == pytest.approx(error / weights[b].sum(), rel=1e-9)
            residual = solution[0] + design[:, paths.order[b, :size]] @ solution[1:] - target
            expected = left_out[b] @ residual**2 / left_out[b].sum()
            assert paths.validation_error[b, size] == pytest.approx(expected, rel=1e-7)


def test_fit_is_that_of_the_best_size(problem):
    design, target = problem
    weights = multiplicities(np.random.default_rng(1), 4, 40)
    paths = greedy_paths(design, target, weights, (weights == 0).astype(float), max_features=12)
    for b, size in enumerate(paths.sizes):
        assert size == np.argmin(paths.validation_error[b])
        support = paths.order[b, :size]
        _, solution = squared_error(design, target, weights[b], support)
        np.testing.assert_allclose(paths.weights[b, support], solution[1:], rtol=1e-6)
        assert paths.biases[b] == pytest.approx(solution[0], rel=1e-6)
        assert set(np.flatnonzero(paths.weights[b])) == set(support)
    assert set(paths.support) == {j for b, size in enumerate(paths.sizes) for j in paths.order[b, :size]}


def test_without_validation_all_is_used(problem):
    design, target = problem
    paths = greedy_paths(design, target, np.ones(40), max_features=3)
    assert paths.sizes.tolist() == [3]
    assert np.isnan(paths.validation_error).all()


def test_duplicates_are_taken_once_and_the_first_wins(problem):
    design, target = problem
    twice = np.concatenate([design, -2.0 * design + 1.0, np.full((40, 1), 7.0)], axis=1)
    alone = greedy_paths(design, target, np.ones(40), max_features=12)
    both = greedy_paths(twice, target, np.ones(40), max_features=25)
    assert both.order[0, :12].tolist() == alone.order[0].tolist()
    assert (both.order[0, 12:] == -1).all()
    np.testing.assert_allclose(both.training_error[0, 12:], alone.training_error[0, 12], rtol=1e-9)


def test_nearly_dependent_columns():
    """A difference of two columns, one in a million of their size, carries the target."""
    rng = np.random.default_rng(5)
    base, small = rng.normal(size=60), rng.normal(size=60)
    design = np.stack([base, base + 1e-5 * small, rng.normal(size=60)], axis=1)
    target = base + 0.1 * small
    paths = greedy_paths(design, target, np.ones(60), max_features=3)
    assert set(paths.order[0, :2]) == {0, 1}
    assert paths.training_error[0, 2] < 1e-18
    np.testing.assert_allclose(design @ paths.weights[0] + paths.biases[0], target, atol=1e-9)


def test_more_features_than_rows_and_exact_fits():
    rng = np.random.default_rng(6)
    design, weights = rng.normal(size=(12, 30)), np.ones((1, 12))
    paths = greedy_paths(design, rng.normal(size=12), weights, max_features=30)
    taken = paths.order[0][paths.order[0] >= 0]
    assert len(taken) <= 12 and len(set(taken)) == len(taken)
    assert paths.training_error[0, -1] < 1e-20
    exact = greedy_paths(design, 2.0 * design[:, 4] + 1.0, weights, max_features=30)
    assert exact.order[0].tolist() == [4] + [-1] * 29
    assert exact.weights[0, 4] == pytest.approx(2.0) and exact.biases[0] == pytest.approx(1.0)


def test_weights_of_zero_hide_rows_and_scale_nothing(problem):
    design, target = problem
    weights = np.random.default_rng(2).uniform(0.5, 2.0, 40)
    weights[25:] = 0.0
    spoilt = target.copy()
    spoilt[25:] = 1e6
    few = greedy_paths(design[:25], target[:25], weights[:25], max_features=8)
    all_rows = greedy_paths(design, spoilt, 3.0 * weights, max_features=8)
    assert few.order.tolist() == all_rows.order.tolist()
    np.testing.assert_allclose(few.training_error, all_rows.training_error, rtol=1e-6)


def test_bagging_is_reproducible_whatever_the_blocks(problem):
    design, target = problem
    rng = np.random.default_rng(4)
    weights = multiplicities(rng, 6, 40)
    seeds = [(7, member) for member in range(6)]
    given = {"max_features": 6, "bag": bag_size(12)}
    one = greedy_paths(design, target, weights, (weights == 0) * 1.0, seeds=seeds, **given)
    blocks = greedy_paths(design, target, weights, (weights == 0) * 1.0, seeds=seeds, memory_limit=1, **given)
    assert one.order.tolist() == blocks.order.tolist()
    np.testing.assert_allclose(one.weights, blocks.weights, rtol=1e-9)
    other = greedy_paths(design, target, weights, (weights == 0) * 1.0, seeds=[(8, m) for m in range(6)], **given)
    assert one.order.tolist() != other.order.tolist()


def test_bagging_takes_the_best_of_what_it_draws(problem):
    design, target = problem
    paths = greedy_paths(design, target, np.ones(40), max_features=5, bag=4, seeds=[(1, 2)])
    generator, taken = np.random.default_rng([1, 2]), []
    for _ in range(5):
        pool = np.setdiff1d(np.arange(12), taken)
        drawn = np.sort(generator.choice(pool, 4, replace=False, shuffle=False))
        errors = [squared_error(design, target, np.ones(40), [*taken, j])[0] for j in drawn]
        taken.append(int(drawn[np.argmin(errors)]))
    assert paths.order[0].tolist() == taken


def test_only_candidates_are_taken(problem):
    design, target = problem
    candidates = np.arange(12) % 3 != 0
    paths = greedy_paths(design, target, np.ones(40), max_features=12, candidates=candidates)
    some = greedy_paths(design[:, candidates], target, np.ones(40), max_features=12)
    assert paths.order[0, :8].tolist() == np.flatnonzero(candidates)[some.order[0]].tolist()
    assert (paths.order[0, 8:] == -1).all()


def test_bag_size_is_that_of_the_papers():
    assert bag_size(3740) == 61


def test_normal_equations_give_the_penalised_fit(problem):
    """Energies with a ridge: the loss of every support is that of the penalised problem."""
    design, target = problem
    scaled = design / design.std(axis=0)
    matrix = scaled.T @ scaled + 0.7 * np.eye(12)
    square, right = design_of(matrix, scaled.T @ target)
    paths = greedy_paths(square, right, np.ones(12), max_features=6, intercept=False)
    extended = np.concatenate([scaled, np.sqrt(0.7) * np.eye(12)])
    labels = np.concatenate([target, np.zeros(12)])
    order = naive_order(extended, labels, np.ones(52), 6, intercept=False)
    assert paths.order[0].tolist() == order
    np.testing.assert_allclose(
        paths.weights[0, order], squared_error(extended, labels, np.ones(52), order, False)[1], rtol=1e-8
    )
    assert paths.biases[0] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design": np.ones((3, 2))}, "same, non-zero rows"),
        ({"design": np.full((4, 2), np.nan)}, "design .* not finite"),
        ({"row_weights": np.zeros((1, 4))}, "needs training rows"),
        ({"row_weights": -np.ones((1, 4))}, "not negative"),
        ({"validation": np.zeros((1, 4))}, "needs validation rows"),
        ({"validation": np.ones((2, 4))}, "shape"),
        ({"max_features": 0}, "at least 1"),
        ({"bag": 2}, "seeds"),
    ],
)
def test_refuses_what_cannot_be_fitted(change, message):
    given = {"design": np.ones((4, 2)), "target": np.arange(4.0), "row_weights": np.ones((1, 4)), "max_features": 1}
    with pytest.raises(DataError, match=message):
        greedy_paths(**(given | change))


def test_rounding_may_make_normal_equations_indefinite():
    """Twice the same columns: the design has their rank, and the same normal equations."""
    half = np.random.default_rng(0).normal(size=(30, 4))
    columns, target = np.concatenate([half, half], axis=1), np.arange(30.0)
    matrix = columns.T @ columns - 1e-15 * np.eye(8)
    design, projected = design_of(matrix, columns.T @ target)
    assert design.shape == (4, 8)
    np.testing.assert_allclose(design.T @ design, matrix, atol=1e-12)
    np.testing.assert_allclose(design.T @ projected, columns.T @ target, rtol=1e-9)


def test_refuses_indefinite_normal_equations():
    with pytest.raises(DataError, match="positive definite"):
        design_of(np.diag([1.0, -1.0]), np.ones(2))
