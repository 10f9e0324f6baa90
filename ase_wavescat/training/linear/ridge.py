"""All features, weighed by ridge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.linear.cross_validation import Fitted, Plan, fit_members, search_strength
from ase_wavescat.training.linear.model import finish
from ase_wavescat.training.linear.observing import FEATURES, USUAL, observe
from ase_wavescat.training.linear.problem import least_squares
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.trainer import Problem, Request, Trained, Trainer

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings


class Ridge:
    """With the strength of the prior that predicts held-out groups best."""

    fewest_groups = 2
    takes_prior = True
    keeps = FEATURES
    usual = USUAL
    ignores: Sequence[str] = ()

    def check(self, settings: Settings) -> None:
        if settings.size is not None:
            raise ValueError("ridge takes all features: a size belongs to the methods sparse and greedy")

    def observe(self, request: Request, frames: Sequence[Frame], settings: Settings) -> Observations:
        return observe(request, frames, settings, settings.directions)

    def train(self, problem: Problem[Observations], settings: Settings) -> Trained:
        squares, plan = least_squares(problem, settings), Plan.draw(problem, settings.members, settings.seed)
        equations = squares.normal_equations(plan.searched + plan.fitted)
        supports = [None] * plan.folds
        training, held_out = (islice(equations, plan.folds) for _ in range(2))
        search = search_strength(training, held_out, settings.strengths, supports)
        members, folds, curve, how = fit_members(problem, plan, search, equations, supports, None)
        observations = problem.observations
        fitted = Fitted(
            observations=observations,
            support=None,
            keys=observations.store.keys,
            weights=members.weights,
            energies=members.species_energies,
            folds=folds,
            curves={"learning_curve": curve},
            regularisation=how,
            told={},
        )
        return finish(problem, fitted, settings)


TRAINER: Trainer = Ridge()
