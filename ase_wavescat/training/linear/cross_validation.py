"""Fits to all folds but one, to bootstraps and to shares of them: drawn beforehand, so that one stream serves all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ase_wavescat.training.groups import bootstrap, training_sets
from ase_wavescat.training.linear.least_squares import NormalEquations, Selections, Solutions, collect
from ase_wavescat.training.linear.observation import LabelWeights, Observation, Residuals
from ase_wavescat.training.trainer import Problem
from ase_wavescat.training.validation import CrossValidation, FrameErrors, summarise

MEMBERS_PER_FOLD = 8
LEARNING_SHARES = (0.125, 0.25, 0.5)  # of the training groups; all of them are the fold's own fit
ENOUGH = 1.02  # of the lowest held-out loss: a stronger prior, or fewer features, are worth that
Supports = Sequence["np.ndarray | None"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The groups of every fit that a model with held-out errors and members needs.

    Attributes:
        training: (K, G), all folds but one.
        bagged: (K M, G), bootstraps of each of these.
        shares: (K L, G), growing shares of each of these, the smaller within the larger.
        members: (1 or 1 + members, G), all groups and bootstraps of them.
    """

    training: np.ndarray
    bagged: np.ndarray
    shares: np.ndarray
    members: np.ndarray

    @classmethod
    def draw(cls, problem: Problem, members: int, seed: int, per_fold: int = MEMBERS_PER_FOLD) -> Plan:
        """Reproducible by the seed."""
        training, own = training_sets(problem.fold), problem.judged_groups
        count, rng = len(problem.fold), np.random.default_rng(seed)
        bagged = [bootstrap(np.flatnonzero(row), count, per_fold, rng, own) for row in training]
        order = np.random.default_rng([seed, 2]).permutation(count)
        everything = np.ones((1, count), dtype=int)
        draws = [everything]
        if members > 1:
            draws.append(bootstrap(np.arange(count), count, members, np.random.default_rng([seed, 1]), own))
        return cls(training, np.concatenate(bagged), _shares(training, order), np.concatenate(draws))

    @property
    def folds(self) -> int:
        return len(self.training)

    @property
    def searched(self) -> Selections:
        """What `search_strength` takes: the training sets, then what each leaves out."""
        return Selections.fits(self.training) + Selections.losses(1 - self.training)

    @property
    def fitted(self) -> Selections:
        """What `fit_members` takes."""
        origins = np.repeat(self.training, len(self.bagged) // self.folds, axis=0)
        members = Selections.fits(self.members, np.ones_like(self.members))
        return Selections.fits(self.bagged, origins) + Selections.fits(self.shares) + members


def _shares(training: np.ndarray, order: np.ndarray) -> np.ndarray:
    parts = []
    for row in training:
        mine = order[row[order] > 0]
        parts += [mine[: max(1, round(share * len(mine)))] for share in LEARNING_SHARES]
    return np.array([np.bincount(part, minlength=len(order)) for part in parts])


@dataclass(frozen=True, eq=False)
class Search:
    """The strength of the prior that was chosen by the held-out loss, and each fold's fit with it.

    Attributes:
        strengths, losses: What was tried, and the data term of the fit on held-out frames.
        weights, species_energies: (K, F) and (K, B).
        condition: Largest condition number.
        indefinite: How many fits had to leave out eigenvalues.
    """

    strength: float
    strengths: tuple[float, ...]
    losses: tuple[float, ...]
    weights: np.ndarray
    species_energies: np.ndarray
    condition: float
    indefinite: int


def search_strength(
    training: Iterable[NormalEquations],
    held_out: Iterable[NormalEquations],
    strengths: Sequence[float],
    supports: Supports,
) -> Search:
    """Fit on all folds but one with every strength, look at the judged frames of that one.

    The strongest prior is taken whose loss is within two per cent of the lowest: the loss is flat there and held-out
    frames are like those of the fit, but dynamics go where no frame is, and a stronger prior is smoother there. It is
    one number chosen among few on the same folds that the errors are quoted for, which flatters them by next to
    nothing: the losses around the lowest are all but equal.
    supports: indices of the features of each fold's fit, None for all.
    """
    problems = zip(training, supports, strict=True)
    solutions = collect(problem.solve(strength, own) for problem, own in problems for strength in strengths)
    shape = len(supports), len(strengths), -1
    weights, species = solutions.weights.reshape(shape), solutions.species_energies.reshape(shape)
    losses = held_out_losses(held_out, weights, species)
    best = int(np.argmax(np.where(losses <= ENOUGH * losses.min(), strengths, 0.0)))
    return Search(
        strength=float(strengths[best]),
        strengths=tuple(map(float, strengths)),
        losses=tuple(map(float, losses)),
        weights=weights[:, best],
        species_energies=species[:, best],
        condition=float(solutions.condition.reshape(shape)[:, best].max()),
        indefinite=int(solutions.indefinite.reshape(shape)[:, best].sum()),
    )


def held_out_losses(
    held_out: Iterable[NormalEquations], weights: np.ndarray, species_energies: np.ndarray
) -> np.ndarray:
    """Data term on the judged frames of all folds, (n,), of n models a fold: weights (K, n, F), energies (K, n, B)."""
    losses = [own.loss(*models) for own, *models in zip(held_out, weights, species_energies, strict=True)]
    return np.sum(losses, axis=0)


@dataclass(frozen=True, eq=False)
class FoldModels:
    """n models of each fold, to be judged by its held-out frames: weights (K, n, F), species_energies (K, n, B)."""

    weights: np.ndarray
    species_energies: np.ndarray

    @classmethod
    def of(cls, found: Solutions, folds: int) -> FoldModels:
        """As many for each fold, those of one fold together."""
        return cls(*(part.reshape(folds, -1, part.shape[1]) for part in (found.weights, found.species_energies)))

    def __add__(self, other: FoldModels) -> FoldModels:
        """More models for each fold."""
        pairs = (self.weights, other.weights), (self.species_energies, other.species_energies)
        return FoldModels(*(np.concatenate(pair, axis=1) for pair in pairs))

    @property
    def count(self) -> int:
        return self.weights.shape[1]


@dataclass(frozen=True, eq=False)
class Curve:
    """Models of each fold, one for each point of a curve of errors; points: what else is told of each."""

    models: FoldModels
    points: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a method found.

    Attributes:
        observations: The rows that the weights belong to, of all features or of some.
        support: (K,) indices among these of the features that members use; None for all.
        keys: (K,) their names.
        weights: (M, K); energies: (M, B), of the columns that are not penalised.
        folds: Of each fold the fit to its training groups, then its members.
        curves: Models for curves of held-out errors, by name.
        regularisation: How strong the prior is, how well posed the fits were ..., for the metrics.
        told: Curves that are known already.
    """

    observations: Sequence[Observation]
    support: np.ndarray | None
    keys: tuple[str, ...]
    weights: np.ndarray
    energies: np.ndarray
    folds: FoldModels
    curves: Mapping[str, Curve]
    regularisation: dict[str, Any]
    told: Mapping[str, Any]


def fit_members(
    problem: Problem,
    plan: Plan,
    search: Search,
    equations: Iterator[NormalEquations],
    supports: Supports,
    support: np.ndarray | None,
) -> tuple[Solutions, FoldModels, Curve, dict[str, Any]]:
    """Members, models of the folds, learning curve and how they were regularised.

    equations: of `Plan.fitted`.  supports: of the folds; support: of the members.
    The members are the fit to all groups plus the deviations of bootstrap fits from their own mean.
    """
    bagged, shares = (
        collect(
            own.solve(search.strength, supports[i // (count // plan.folds)])
            for i, own in enumerate(islice(equations, count))
        )
        for count in (len(plan.bagged), len(plan.shares))
    )
    found = collect(own.solve(search.strength, support) for own in equations)
    own = FoldModels(search.weights[:, None], search.species_energies[:, None])
    curve = Curve(FoldModels.of(shares, plan.folds) + own, _points(problem, plan))
    how = {
        "strength": search.strength,
        "losses": {f"{s:g}": loss for s, loss in zip(search.strengths, search.losses, strict=True)},
        "condition": max(search.condition, float(bagged.condition.max())),
        "indefinite_fits": search.indefinite + int(bagged.indefinite.sum()),
    }
    return _centred(found), own + FoldModels.of(bagged, plan.folds), curve, how


def _centred(found: Solutions) -> Solutions:
    """The first fit alone, or plus the deviations of the others from their mean."""
    if len(found.weights) == 1:
        return found
    weights, energies = (part[0] + part[1:] - part[1:].mean(axis=0) for part in (found.weights, found.species_energies))
    return Solutions(weights, energies, found.condition[1:], found.indefinite[1:])


def _points(problem: Problem, plan: Plan) -> list[dict[str, int]]:
    """Mean numbers of groups and frames that the fits of the learning curve are to."""
    shares = plan.shares.reshape(plan.folds, -1, plan.shares.shape[1])
    sets = np.concatenate([shares, plan.training[:, None]], axis=1).swapaxes(0, 1)
    sizes = np.bincount(problem.groups, minlength=len(problem.fold))
    return [
        {"groups": round(float(own.sum(axis=1).mean())), "frames": round(float((own @ sizes).mean()))} for own in sets
    ]


class HeldOut:
    """Held-out errors of the models of each fold, gathered observation by observation: rows need not stay."""

    def __init__(self, fitted: Fitted, label_weights: LabelWeights) -> None:
        self._fitted = fitted
        self._errors: list[tuple[FrameErrors, FrameErrors]] = []
        self._curves = {name: Summaries(curve.models.count, label_weights) for name, curve in fitted.curves.items()}
        models, self._parts = fitted.folds, {}
        for name, curve in fitted.curves.items():
            self._parts[name] = slice(models.count, models.count + curve.models.count)
            models = models + curve.models
        self._models = models

    def add(self, observation: Observation, fold: int) -> None:
        """One that is judged, by the models of its fold."""
        found = observation.residuals(self._models.weights[fold], self._models.species_energies[fold])
        self._errors.append(frame_errors(found.of(slice(0, self._fitted.folds.count))))
        for name, part in self._parts.items():
            self._curves[name].add(found.of(part))

    @property
    def validation(self) -> CrossValidation:
        errors, bagged = zip(*self._errors, strict=True)
        return CrossValidation(errors, bagged, self._fitted.regularisation)

    @property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """Each point with the held-out errors there."""
        return {
            name: [
                {**point, **summary, **point} for point, summary in zip(curve.points, self._curves[name](), strict=True)
            ]
            for name, curve in self._fitted.curves.items()
        }


class Summaries:
    """`summarise`, with the "loss", of each of several models, from their residuals on one frame after the other."""

    def __init__(self, models: int, label_weights: LabelWeights) -> None:
        self._label_weights, self._losses = label_weights, np.zeros(models)
        self._errors: list[list[FrameErrors]] = [[] for _ in range(models)]

    def add(self, residuals: Residuals) -> None:
        self._losses += residuals.loss(self._label_weights)
        for model, mine in enumerate(self._errors):
            forces, stress = (None if part is None else part[:, model] for part in (residuals.forces, residuals.stress))
            mine.append(FrameErrors(float(residuals.energy[model]), forces, stress))

    def __call__(self) -> list[dict[str, Any]]:
        return [summarise(mine) | {"loss": float(loss)} for mine, loss in zip(self._errors, self._losses, strict=True)]


def frame_errors(residuals: Residuals) -> tuple[FrameErrors, FrameErrors]:
    """Errors of the first model and of the mean of the others, with the spread of the others."""
    frame_weight = residuals.observation.frame_weight
    freedom = min(1, len(residuals.energy) - 2)  # a single member has no spread
    energy_spread = float(residuals.energy[1:].std(ddof=freedom))
    forces, stress = residuals.forces, residuals.stress
    forces_spread = None if forces is None else forces[:, 1:].std(axis=1, ddof=freedom)

    def pick(array: np.ndarray | None, mean: bool) -> np.ndarray | None:
        return None if array is None else array[:, 1:].mean(axis=1) if mean else array[:, 0]

    own, bagged = (
        FrameErrors(float(energy), pick(forces, mean), pick(stress, mean), energy_spread, forces_spread, frame_weight)
        for mean, energy in ((False, residuals.energy[0]), (True, residuals.energy[1:].mean()))
    )
    return own, bagged
