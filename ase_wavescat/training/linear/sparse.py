"""A few features, chosen by energies, forces, stresses and by what they cost, and weighed by ridge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ase_wavescat.representation.reach import reach
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.cost import SupportCost, support_cost
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.groups import bootstrap
from ase_wavescat.training.linear.cross_validation import (
    ENOUGH,
    Curve,
    Fitted,
    FoldModels,
    Plan,
    fit_members,
    held_out_losses,
    search_strength,
)
from ase_wavescat.training.linear.least_squares import NormalEquations, Selections, collect
from ase_wavescat.training.linear.model import finish
from ase_wavescat.training.linear.observing import FEATURES, USUAL, observe
from ase_wavescat.training.linear.problem import least_squares
from ase_wavescat.training.rows.consolidate import Consolidation, consolidate
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.trainer import Problem, Request, Trained, Trainer

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings

SIZES = (25, 50, 100, 200, 400, 800)  # of the curve of a sparse model
AGREEING = 4  # selections that choose a support together: a training set and three bootstraps of it


class Sparse:
    """Features chosen within each fold and once for all groups.

    The curve of held-out errors against the number of features, with the time that these cost, decides on their number
    where it is not given.
    """

    fewest_groups = 2
    takes_prior = False
    keeps = FEATURES
    usual = USUAL
    ignores: Sequence[str] = ()

    def check(self, settings: Settings) -> None:
        pass

    def observe(self, request: Request, frames: Sequence[Frame], settings: Settings) -> Observations:
        return observe(request, frames, settings, settings.directions)

    def train(self, problem: Problem[Observations], settings: Settings) -> Trained:
        squares, plan = least_squares(problem, settings), Plan.draw(problem, settings.members, settings.seed)
        cost = _cost(problem.observations)
        largest = min(settings.size or SIZES[-1], len(squares.towards))
        equations = squares.normal_equations(plan.searched + _agreeing(problem, plan, settings.seed))
        training, held_out = (islice(equations, plan.folds) for _ in range(2))
        strength = search_strength(training, held_out, settings.strengths, [None] * plan.folds).strength
        chosen = list(_consolidations(equations, strength, largest, cost))
        largest = min(len(selection.order) for selection in chosen)  # where the others add nothing
        if largest == 0:
            raise DataError("no feature explains anything beyond the composition; use other data or features")
        columns, within = _columns_of(chosen, largest)

        few = squares.of(columns)
        equations = few.normal_equations(plan.searched + plan.fitted)
        of_training, of_held_out = (list(islice(equations, plan.folds)) for _ in range(2))
        sizes = [size for size in SIZES if size < largest] + [largest]
        models = _models_by_size(of_training, within[:-1], strength, sizes)
        losses = held_out_losses(of_held_out, models.weights, models.species_energies)
        size = largest if settings.size else _smallest(sizes, losses)
        supports = [own.support(size) for own in within]
        search = search_strength(of_training, of_held_out, settings.strengths, supports[:-1])
        members, folds, curve, how = fit_members(problem, plan, search, equations, supports[:-1], supports[-1])
        support = supports[-1]
        fitted = Fitted(
            observations=few.observations,
            support=support,
            keys=tuple(problem.observations.store.keys[i] for i in columns[support]),
            weights=members.weights[:, support],
            energies=members.species_energies,
            folds=folds,
            curves={"size_curve": Curve(models, _points(sizes, chosen[-1], cost)), "learning_curve": curve},
            regularisation=how,
            told={},
        )
        return finish(problem, fitted, settings)


def _agreeing(problem: Problem[Observations], plan: Plan, seed: int) -> Selections:
    """Each training set, and all groups, with bootstraps of it."""
    everything = np.ones((1, len(problem.fold)), dtype=int)
    sets = np.concatenate([plan.training, everything])
    rows = []
    for groups in sets:
        rng, mine = np.random.default_rng([seed, 3]), np.flatnonzero(groups)
        rows += [groups[None], bootstrap(mine, len(groups), AGREEING - 1, rng, problem.judged_groups)]
    return Selections.fits(np.concatenate(rows), np.repeat(sets, AGREEING, axis=0))


def _consolidations(
    equations: Iterator[NormalEquations], strength: float, size: int, cost: SupportCost
) -> Iterator[Consolidation]:
    """Nested supports on which each set and its bootstraps agree."""
    for first in equations:
        own = [first.with_prior(strength)]
        own += [other.with_prior(strength) for other in islice(equations, AGREEING - 1)]
        yield consolidate(own, size, cost)


def _columns_of(chosen: Sequence[Consolidation], size: int) -> tuple[np.ndarray, list[Consolidation]]:
    """Indices of all features that are in a support of that size, and the selections among these."""
    columns = np.unique(np.concatenate([selection.order[:size] for selection in chosen]))
    return columns, [
        Consolidation(np.searchsorted(columns, own.order[:size]), own.stability[:size], own.unexplained[:size])
        for own in chosen
    ]


def _models_by_size(
    training: Sequence[NormalEquations], chosen: Sequence[Consolidation], strength: float, sizes: Sequence[int]
) -> FoldModels:
    """Of each fold, one for each number of features."""
    problems = zip(training, chosen, strict=True)
    found = collect(own.solve(strength, selection.support(n)) for own, selection in problems for n in sizes)
    return FoldModels.of(found, len(training))


def _smallest(sizes: Sequence[int], losses: np.ndarray) -> int:
    """The fewest features that are good enough."""
    return next(size for size, loss in zip(sizes, losses, strict=True) if loss <= ENOUGH * losses.min())


def _points(sizes: Sequence[int], chosen: Consolidation, cost: SupportCost) -> list[dict[str, Any]]:
    return [
        {
            "features": size,
            "milliseconds": cost.total(chosen.support(size)),
            "stability": float(chosen.stability[:size].mean()),
        }
        for size in sizes
    ]


def _cost(observations: Observations) -> SupportCost:
    """Of all features, for the frame in which an atom finds itself in the median: single atoms do not count."""
    frames, store = sorted(observations.frames, key=len), observations.store
    atoms = np.cumsum([len(frame) for frame in frames])
    frame = frames[int(np.searchsorted(atoms, atoms[-1] / 2))]
    return support_cost(store.spec, store.keys, frame.structure.padded(reach(store.spec)))


TRAINER: Trainer = Sparse()
