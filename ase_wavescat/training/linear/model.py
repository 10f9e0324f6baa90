"""From fitted weights to a calibrated model with its domain, in one stream through the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.ensemble import Calibration, Ensemble
from ase_wavescat.training.data.surroundings import collect_environments
from ase_wavescat.training.linear.cross_validation import Fitted, HeldOut
from ase_wavescat.training.linear.observation import Observation
from ase_wavescat.training.trainer import Problem, Trained

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings


def finish(problem: Problem, fitted: Fitted, settings: Settings) -> Trained:
    """The held-out errors, the calibration by them, and the model."""
    domain = _domain(problem, fitted)
    held_out = HeldOut(fitted, settings.label_weights)
    spread = _ForceSpread(_model(problem, fitted, domain, Calibration()), fitted.support)
    fold = problem.fold[problem.groups].tolist()
    for index, observation in enumerate(fitted.observations):
        if problem.judged[index]:
            held_out.add(observation, fold[index])
        spread.add(observation)
    validation = held_out.validation
    domain = replace(domain, typical_spread=validation.typical_spread)
    calibration = Calibration(validation.energy_scale, validation.force_scale * spread.truncation)
    model = _model(problem, fitted, domain, calibration)
    return Trained(model, validation, {**held_out.curves, **fitted.told})


def _model(problem: Problem, fitted: Fitted, domain: Domain, calibration: Calibration) -> Ensemble:
    """The only place that makes the potential."""
    observations = problem.observations
    return Ensemble(
        spec=observations.store.spec,
        keys=fitted.keys,
        weights=fitted.weights,
        species_energies=observations.species_energies(fitted.energies),
        repulsion=observations.repulsion,
        domain=domain,
        calibration=calibration,
    )


class _ForceSpread:
    """Force spread of all members over that of the components the model keeps, root mean square over the data."""

    def __init__(self, model: Ensemble, support: np.ndarray | None) -> None:
        self._support = slice(None) if support is None else support
        self._centred = model.weights - model.mean_weights
        self._kept = model.force_components.weights
        self._all = self._part = 0.0

    def add(self, observation: Observation) -> None:
        if observation.force_rows is None or len(self._centred) == 1:
            return
        rows = observation.force_rows[:, self._support]
        self._all += float(np.sum((rows @ self._centred.T) ** 2)) / (len(self._centred) - 1)
        self._part += float(np.sum((rows @ self._kept.T) ** 2))

    @property
    def truncation(self) -> float:
        return float(np.sqrt(self._all / self._part)) if self._part > 0 else 1.0


def _domain(problem: Problem, fitted: Fitted) -> Domain:
    """All but the typical spread."""
    observations, frames = problem.observations, problem.observations.frames
    species, keys = observations.store.spec.species, observations.store.keys
    place = {key: index for index, key in enumerate(keys)}
    per_atom = observations.energy_rows.per_atom[:, [place[key] for key in fitted.keys]]
    fractions = np.array([frame.count(species) / len(frame) for frame in frames])
    return Domain(
        minimum=per_atom.min(axis=0),
        maximum=per_atom.max(axis=0),
        mean=per_atom.mean(axis=0),
        std=per_atom.std(axis=0),
        fractions={z: (float(x.min()), float(x.max())) for z, x in zip(species, fractions.T, strict=True)},
        closest=observations.closest,
        environments=collect_environments(frames, species, problem.fold[problem.groups]),
        periodic_only=all(all(frame.pbc) for frame in frames),
    )
