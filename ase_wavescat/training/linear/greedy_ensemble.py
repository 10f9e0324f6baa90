"""The papers' members (S20 sec. II C): each its own features, chosen on the energies alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.linear.bagging import greedy_members
from ase_wavescat.training.linear.cross_validation import Fitted, FoldModels
from ase_wavescat.training.linear.greedy import GreedyPaths, bag_size
from ase_wavescat.training.linear.model import finish
from ase_wavescat.training.linear.observing import FEATURES, USUAL, observe
from ase_wavescat.training.linear.visibility import visible_features
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.trainer import Problem, Request, Trained, Trainer

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings

MAX_FEATURES = 500  # of a member; the papers' best sizes are 121 +- 64


class Greedy:
    """One energy an atom is fitted besides the references; where these are not given, energies of the species are found
    beforehand by least squares on the composition."""

    fewest_groups = 3  # members leave groups out within the training folds
    takes_prior = False
    keeps = FEATURES
    usual = USUAL
    ignores: Sequence[str] = ()

    def check(self, settings: Settings) -> None:
        pass

    def observe(self, request: Request, frames: Sequence[Frame], settings: Settings) -> Observations:
        return observe(request, frames, settings, 0 if settings.directions is None else settings.directions)

    def train(self, problem: Problem[Observations], settings: Settings) -> Trained:
        paths, energies = _members(problem, problem.judged, settings)
        models = []
        for k in range(int(problem.fold.max()) + 1):
            own, species = _members(problem, problem.judged & (problem.fold[problem.groups] != k), settings)
            models.append(
                FoldModels(*(np.concatenate([x.mean(axis=0)[None], x])[None] for x in (own.weights, species)))
            )
        steps = 1e3 * np.sqrt(np.nanmean(paths.validation_error, axis=0))
        told = {"m_star": paths.sizes.tolist(), "validation_rmse_mev_per_atom": steps.tolist()}
        observations = problem.observations
        fitted = Fitted(
            observations=observations,
            support=paths.support,
            keys=tuple(observations.store.keys[i] for i in paths.support),
            weights=paths.weights[:, paths.support],
            energies=energies,
            folds=FoldModels(
                *(np.concatenate([getattr(own, name) for own in models]) for name in ("weights", "species_energies"))
            ),
            curves={},
            regularisation={},
            told={"greedy": told},
        )
        return finish(problem, fitted, settings)


def _members(problem: Problem[Observations], chosen: np.ndarray, settings: Settings) -> tuple[GreedyPaths, np.ndarray]:
    """Members fitted to some frames (n,), and their energies (M, B)."""
    rows = problem.observations.energy_rows
    design, fractions, frame_weights = rows.per_atom[chosen], rows.fractions[chosen], rows.frame_weights[chosen]
    energies = rows.energies[chosen] / rows.atoms[chosen]
    root = np.sqrt(frame_weights)
    species = np.linalg.lstsq(root[:, None] * fractions, root * energies)[0]
    candidates = visible_features(problem.observations.store.keys, design.std(axis=0))
    paths = greedy_members(
        design,
        energies - fractions @ species,
        problem.groups[chosen],
        frame_weights,
        members=settings.members,
        max_features=settings.size or MAX_FEATURES,
        bag=bag_size(int(candidates.sum())) if settings.bagging else None,
        candidates=candidates,
        seed=settings.seed,
    )
    return paths, species + paths.biases[:, None]


TRAINER: Trainer = Greedy()
