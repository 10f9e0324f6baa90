"""Held-out errors are held out, and add up."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from ase_wavescat.training.groups import assign_folds, training_sets
from ase_wavescat.training.linear.cross_validation import (
    Fitted,
    HeldOut,
    Plan,
    Search,
    fit_members,
    search_strength,
)
from ase_wavescat.training.linear.least_squares import LeastSquares
from ase_wavescat.training.linear.observation import LabelWeights, Observation
from ase_wavescat.training.trainer import Problem
from ase_wavescat.training.validation import CrossValidation, summarise

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


@dataclass(frozen=True, eq=False)
class Found:
    squares: LeastSquares
    search: Search
    errors: HeldOut

    @property
    def validation(self) -> CrossValidation:
        return self.errors.validation


def validate(
    observations: list[Observation], groups: np.ndarray, fold: np.ndarray, strengths: list[float], members: int,
    judged: np.ndarray | None = None,
) -> Found:  # fmt: skip
    """The search for a strength, and the errors at it of the fit and of members of each fold."""
    judged = np.ones(len(groups), dtype=bool) if judged is None else judged
    problem = Problem(observations, groups, fold, judged)
    squares, plan = LeastSquares(observations, groups, WEIGHTS, judged=judged), Plan.draw(problem, 1, 0, members)
    equations, supports = squares.normal_equations(plan.searched + plan.fitted), [None] * plan.folds
    training, held_out = (islice(equations, plan.folds) for _ in range(2))
    search = search_strength(training, held_out, strengths, supports)
    all_groups, folds, curve, how = fit_members(problem, plan, search, equations, supports, None)
    weights, energies = all_groups.weights, all_groups.species_energies
    fitted = Fitted(observations, None, (), weights, energies, folds, {"learning_curve": curve}, how, {})
    errors = HeldOut(fitted, WEIGHTS)
    for index in np.flatnonzero(judged):
        errors.add(observations[index], fold[groups[index]])
    return Found(squares, search, errors)


def test_groups_do_not_leak():
    """With as many features as groups, leaking siblings would make the error vanish; held out by group it cannot."""
    observations, groups = frames_of_groups(np.random.default_rng(5), groups=20, each=4, features=30, offset=1.0)
    fold = assign_folds(groups, 5, seed=0)
    held_out = validate(observations, groups, fold, [1e-6], members=3).validation
    single = np.arange(len(groups))
    leaking = validate(observations, single, assign_folds(single, 5, seed=0), [1e-6], members=3).validation
    assert summarise(held_out.errors)["energy_rmse_mev_per_atom"] > 500
    assert summarise(leaking.errors)["energy_rmse_mev_per_atom"] < 50


def test_errors_are_those_of_a_fit_without_the_fold():
    observations, groups = frames_of_groups(np.random.default_rng(6), groups=9, each=2, features=3, offset=0.2)
    fold = assign_folds(groups, 3, seed=0)
    found = validate(observations, groups, fold, [1e-3, 1e-1], members=4)
    index = 7
    rest = np.flatnonzero(fold[groups] != fold[groups[index]])
    alone = LeastSquares(
        [observations[i] for i in rest], np.arange(len(rest)), WEIGHTS, prices=lambda _: found.squares.penalty
    )
    solution = alone.solve(np.ones((1, len(rest)), dtype=int), [found.search.strength])
    expected = observations[index].residuals(solution.weights, solution.species_energies).energy[0]
    assert found.validation.errors[index].energy == pytest.approx(expected, rel=1e-6)


def test_strength_is_the_strongest_of_the_best():
    observations, groups = frames_of_groups(np.random.default_rng(7), groups=20, each=2, features=30, offset=1.0)
    strengths = [1e2, 1e-8, 1e-4, 3e-1, 1e-1]
    found = validate(observations, groups, assign_folds(groups, 5, seed=0), strengths, 2)
    search, validation = found.search, found.validation
    losses = dict(zip(strengths, search.losses, strict=True))
    assert search.strength == max(s for s, loss in losses.items() if loss <= 1.02 * min(losses.values()))
    loss = sum((WEIGHTS.energy * error.energy) ** 2 for error in validation.errors)
    assert loss == pytest.approx(losses[search.strength])
    assert search.strength >= 1e-1  # there is nothing to learn here


def test_the_worst_posed_fold_is_reported():
    observations, groups = frames_of_groups(np.random.default_rng(8), groups=9, each=1, features=4, offset=1.0)
    fold = assign_folds(groups, 3, seed=0)
    found = validate(observations, groups, fold, [1e-3], members=1)
    conditions = found.squares.solve(training_sets(fold), [1e-3]).condition
    assert len(set(conditions)) == 3
    assert found.search.condition == pytest.approx(conditions.max())


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
    validation = validate(observations, groups, assign_folds(groups, 5, seed=0), [1e-8], 20).validation
    rms = summarise(validation.errors)
    assert rms["force_rmse_ev_per_a"] == pytest.approx(0.1, rel=0.1)
    spread = np.sqrt(np.mean(np.concatenate([e.forces_spread for e in validation.errors]) ** 2))
    assert validation.force_scale == pytest.approx(rms["force_rmse_ev_per_a"] / spread)
    assert validation.energy_scale > 1


def test_only_judged_frames_count_and_fill_folds():
    """Frames of another label source train in every fold, but neither errors nor folds are theirs."""
    observations, groups = frames_of_groups(np.random.default_rng(9), groups=20, each=3, features=3, offset=0.3)
    judged = np.arange(len(groups)) % 3 == 0
    judged[groups > 9] = False
    fold = assign_folds(groups, 5, 0, judged)
    np.testing.assert_array_equal(np.bincount(fold[groups[judged]], minlength=5), 2)
    assert (np.bincount(fold[10:], minlength=5) == 2).all()  # the others, evenly
    found = validate(observations, groups, fold, [1e-3, 1e-1], members=2, judged=judged)
    search, validation = found.search, found.validation
    assert len(validation.errors) == judged.sum()
    index = int(np.flatnonzero(judged)[4])
    k = fold[groups[index]]
    expected = observations[index].residuals(search.weights[[k]], search.species_energies[[k]]).energy[0]
    assert validation.errors[4].energy == pytest.approx(expected)
    loss = sum((WEIGHTS.energy * error.energy) ** 2 for error in validation.errors)
    assert loss == pytest.approx(dict(zip(search.strengths, search.losses, strict=True))[search.strength])


def test_learning_curve_falls_and_ends_at_the_full_fit():
    rng = np.random.default_rng(10)
    truth = rng.normal(size=6)
    phi = rng.normal(size=(80, 6))
    observations = [Observation(np.array([4.0]), 4 * p, 4 * (p @ truth + 0.01 * rng.normal())) for p in phi]
    groups = np.repeat(np.arange(40), 2)
    found = validate(observations, groups, assign_folds(groups, 5, seed=0), [1e-6], members=2)
    curve = found.errors.curves["learning_curve"]
    assert [point["groups"] for point in curve] == [4, 8, 16, 32]
    assert [point["frames"] for point in curve] == [8, 16, 32, 64]
    errors = [point["energy_rmse_mev_per_atom"] for point in curve]
    assert errors[0] > errors[2]
    assert errors[-1] == pytest.approx(summarise(found.validation.errors)["energy_rmse_mev_per_atom"])
    assert curve[-1]["loss"] == pytest.approx(found.search.losses[0])
