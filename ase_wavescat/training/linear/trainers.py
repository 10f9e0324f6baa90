"""The ways to fit: all features by ridge, a chosen few by ridge, or the papers' greedy members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from ase_wavescat.representation.reach import reach
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.cost import SupportCost, support_cost
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.linear.bagging import greedy_members
from ase_wavescat.training.linear.greedy import GreedyPaths, bag_size
from ase_wavescat.training.linear.least_squares import Fit, collect
from ase_wavescat.training.linear.visibility import visible_features
from ase_wavescat.training.rows.consolidate import Consolidation, consolidate
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.settings import Settings
from ase_wavescat.training.validation import (
    ENOUGH,
    CrossValidation,
    bootstrap,
    cross_validate,
    frame_errors,
    held_out_summaries,
    judged_groups,
    learning_curve,
    search_strength,
    training_sets,
)

MEMBERS_PER_FOLD = 8
SIZES = (25, 50, 100, 200, 400, 800)  # of the curve of a sparse model
AGREEING = 4  # selections that choose a support together: a training set and three bootstraps of it
MAX_FEATURES = 500  # of a greedy member; the papers' best sizes are 121 +- 64


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted, and how it is judged: fold (G,) of each group; judged (n,) whose frames' errors count."""

    observations: Observations
    fit: Fit
    fold: np.ndarray
    judged: np.ndarray

    @property
    def judged_groups(self) -> np.ndarray:
        return judged_groups(self.fit.groups, self.judged)

    @property
    def judged_frames(self) -> list[Frame]:
        return [self.observations.frames[i] for i in np.flatnonzero(self.judged).tolist()]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Members on a support: indices of features (K,), weights (M, K), unpenalised columns' energies (M, B).

    curves: errors against the number of frames and of features, by name, for the report.
    """

    support: np.ndarray
    weights: np.ndarray
    energies: np.ndarray
    validation: CrossValidation
    curves: dict[str, Any]


def ridge(problem: Problem, settings: Settings) -> Outcome:
    """All features, with the strength of the prior that predicts held-out groups best."""
    fit, fold, judged = problem.fit, problem.fold, problem.judged
    search = search_strength(fit, fold, settings.strengths, judged)
    validation = cross_validate(fit, fold, search, MEMBERS_PER_FOLD, settings.seed, judged)
    curves = {"learning_curve": learning_curve(fit, fold, search, judged, settings.seed)}
    support = np.arange(len(fit.scale))
    return Outcome(support, *members(problem, search.strength, settings, support), validation, curves)


def sparse(problem: Problem, settings: Settings) -> Outcome:
    """A few features, chosen within each fold and once for all groups, then fitted by ridge.

    The curve of held-out errors against the number of features, with the time that these cost, decides on their number
    where it is not given.
    """
    fit, fold, judged = problem.fit, problem.fold, problem.judged
    strength = search_strength(fit, fold, settings.strengths, judged).strength
    largest = min(settings.size or SIZES[-1], len(fit.scale))
    cost = _cost(problem.observations)
    sets = np.concatenate([training_sets(fold), np.ones((1, len(fold)), dtype=int)])
    chosen = _selections(problem, sets, strength, largest, cost, settings.seed)
    largest = min(len(selection.order) for selection in chosen)  # where the others add nothing
    if largest == 0:
        raise DataError("no feature explains anything beyond the composition; use other data or features")
    sizes = [size for size in SIZES if size < largest] + [largest]
    columns, within = _columns_of(chosen, largest)
    few = replace(problem, fit=fit.of(columns))
    curve = _size_curve(few, within[:-1], strength, sizes)
    for point in curve:
        point["milliseconds"] = cost.total(chosen[-1].support(point["features"]))
        point["stability"] = float(chosen[-1].stability[: point["features"]].mean())
    enough = ENOUGH * min(point["loss"] for point in curve)
    size = largest if settings.size else next(point["features"] for point in curve if point["loss"] <= enough)
    supports = [of_fold.support(size) for of_fold in within]
    search = search_strength(few.fit, fold, settings.strengths, judged, supports[:-1])
    validation = cross_validate(few.fit, fold, search, MEMBERS_PER_FOLD, settings.seed, judged)
    curves = {"size_curve": curve, "learning_curve": learning_curve(few.fit, fold, search, judged, settings.seed)}
    return Outcome(columns[supports[-1]], *members(few, search.strength, settings, supports[-1]), validation, curves)


def _selections(
    problem: Problem, sets: np.ndarray, strength: float, size: int, cost: SupportCost, seed: int
) -> list[Consolidation]:
    """For each training set, groups (K, G): nested supports on which it and bootstraps of it agree."""
    rows = []
    for groups in sets:
        rng, mine = np.random.default_rng([seed, 3]), np.flatnonzero(groups)
        rows += [groups[None], bootstrap(mine, len(groups), AGREEING - 1, rng, problem.judged_groups)]
    equations = problem.fit.normal_equations(np.concatenate(rows), np.repeat(sets, AGREEING, axis=0))
    return [consolidate((own.with_prior(strength) for own in islice(equations, AGREEING)), size, cost) for _ in sets]


def _columns_of(chosen: Sequence[Consolidation], size: int) -> tuple[np.ndarray, list[Consolidation]]:
    """Indices of all features that are in a support of that size, and the selections among these."""
    columns = np.unique(np.concatenate([selection.order[:size] for selection in chosen]))
    return columns, [
        Consolidation(np.searchsorted(columns, own.order[:size]), own.stability[:size], own.unexplained[:size])
        for own in chosen
    ]


def _size_curve(
    problem: Problem, chosen: Sequence[Consolidation], strength: float, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Held-out errors for each number of features."""
    problems = zip(problem.fit.normal_equations(training_sets(problem.fold)), chosen, strict=True)
    found = collect(own.solve(strength, selection.support(n)) for own, selection in problems for n in sizes)
    shape = len(chosen), len(sizes), -1
    weights, energies = found.weights.reshape(shape), found.species_energies.reshape(shape)
    summaries = held_out_summaries(problem.fit, problem.fold, weights, energies, problem.judged)
    return [{"features": size, **summary} for size, summary in zip(sizes, summaries, strict=True)]


def _cost(observations: Observations) -> SupportCost:
    """Of all features, for the frame in which an atom finds itself in the median: single atoms do not count."""
    frames, store = sorted(observations.frames, key=len), observations.store
    atoms = np.cumsum([len(frame) for frame in frames])
    frame = frames[int(np.searchsorted(atoms, atoms[-1] / 2))]
    return support_cost(store.spec, store.keys, frame.structure.padded(reach(store.spec)))


def members(
    problem: Problem, strength: float, settings: Settings, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (M, K) on the support and energies (M, B): the fit to all groups plus centred bootstrap deviations."""
    groups = len(problem.fold)
    selections = np.ones((1, groups), dtype=int)
    if settings.members > 1:
        rng = np.random.default_rng([settings.seed, 1])
        draws = bootstrap(np.arange(groups), groups, settings.members, rng, problem.judged_groups)
        selections = np.concatenate([selections, draws])
    everything = np.ones_like(selections)
    found = collect(own.solve(strength, support) for own in problem.fit.normal_equations(selections, everything))
    weights = found.weights[:, support]
    if settings.members == 1:
        return weights, found.species_energies
    return _centred(weights), _centred(found.species_energies)


def _centred(part: np.ndarray) -> np.ndarray:
    """The first row plus the deviations of the others from their mean."""
    return part[0] + part[1:] - part[1:].mean(axis=0)


def greedy(problem: Problem, settings: Settings) -> Outcome:
    """The papers' members (S20 sec. II C): each its own features, chosen on the energies alone.

    One energy an atom is fitted besides the references; where these are not given, energies of the species are found
    beforehand by least squares on the composition.
    """
    fit, everything = problem.fit, np.ones(len(problem.fit.groups), dtype=bool)
    paths, energies = _greedy_members(problem, everything, settings)
    results = []
    for k in range(int(problem.fold.max()) + 1):
        mine = problem.fold[fit.groups] == k
        found, species = _greedy_members(problem, ~mine, settings)
        mean = found.weights.mean(axis=0)[None], species.mean(axis=0)[None]
        models = np.concatenate([mean[0], found.weights]), np.concatenate([mean[1], species])
        judged = np.flatnonzero(mine & problem.judged).tolist()
        results += [(index, frame_errors(fit, index, *models)) for index in judged]
    errors, bagged = zip(*(pair for _, pair in sorted(results, key=lambda result: result[0])), strict=True)
    steps = 1e3 * np.sqrt(np.nanmean(paths.validation_error, axis=0))
    curves = {"m_star": paths.sizes.tolist(), "validation_rmse_mev_per_atom": steps.tolist()}
    support, validation = paths.support, CrossValidation(errors, bagged, {})
    return Outcome(support, paths.weights[:, support], energies, validation, {"greedy": curves})


def _greedy_members(problem: Problem, chosen: np.ndarray, settings: Settings) -> tuple[GreedyPaths, np.ndarray]:
    """Members fitted to some frames (n,) of those that are judged, and their energies (M, B)."""
    rows = [problem.observations[i] for i in np.flatnonzero(chosen & problem.judged).tolist()]
    design = np.array([row.features / row.atoms for row in rows])
    columns = np.array([row.counts / row.atoms for row in rows])
    energies = np.array([row.energy / row.atoms for row in rows])
    weights = np.array([row.weight for row in rows])
    root = np.sqrt(weights)
    species = np.linalg.lstsq(root[:, None] * columns, root * energies)[0]
    keys = problem.observations.store.keys
    candidates = visible_features(keys, design.std(axis=0))
    paths = greedy_members(
        design,
        energies - columns @ species,
        problem.fit.groups[chosen & problem.judged],
        weights,
        members=settings.members,
        max_features=settings.size or MAX_FEATURES,
        bag=bag_size(int(candidates.sum())) if settings.bagging else None,
        candidates=candidates,
        seed=settings.seed,
    )
    return paths, species + paths.biases[:, None]


METHODS: dict[str, Callable[[Problem, Settings], Outcome]] = {"ridge": ridge, "sparse": sparse, "greedy": greedy}
