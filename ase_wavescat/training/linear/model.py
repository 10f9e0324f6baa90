"""From fitted weights to a calibrated model with its domain, in one stream through the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.linear import FeatureRanges, LinearPotential
from ase_wavescat.potentials.model import linear_model
from ase_wavescat.training.domain import domain_of
from ase_wavescat.training.linear.cross_validation import Fitted, HeldOut
from ase_wavescat.training.linear.observation import Observation
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.trainer import Problem, Trained

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings


def finish(problem: Problem[Observations], fitted: Fitted, settings: Settings) -> Trained:
    """The held-out errors, the calibration by them, and the model."""
    ranges, spec = _ranges(problem, fitted), problem.observations.store.spec
    held_out = HeldOut(fitted, settings.label_weights)
    spread = _ForceSpread(LinearPotential(spec, fitted.keys, fitted.weights, ranges), fitted.support)
    fold = problem.fold[problem.groups].tolist()
    for index, observation in enumerate(fitted.observations):
        if problem.judged[index]:
            held_out.add(observation, fold[index])
        spread.add(observation)
    validation = held_out.validation
    model = linear_model(
        spec=spec,
        keys=fitted.keys,
        weights=fitted.weights,
        species_energies=problem.observations.species_energies(fitted.energies),
        repulsion=problem.observations.repulsion,
        ranges=ranges,
        domain=domain_of(problem, validation.typical_spread),
        calibration=Calibration(validation.energy_scale, validation.force_scale * spread.truncation),
    )
    return Trained(model, problem.judged_frames, validation, {**held_out.curves, **fitted.told})


class _ForceSpread:
    """Force spread of all members over that of the components the model keeps, root mean square over the data."""

    def __init__(self, potential: LinearPotential, support: np.ndarray | None) -> None:
        self._support = slice(None) if support is None else support
        self._centred = potential.weights - potential.mean_weights
        self._kept = potential.force_components.weights
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


def _ranges(problem: Problem[Observations], fitted: Fitted) -> FeatureRanges:
    place = {key: index for index, key in enumerate(problem.observations.store.keys)}
    per_atom = problem.observations.energy_rows.per_atom[:, [place[key] for key in fitted.keys]]
    return FeatureRanges(per_atom.min(axis=0), per_atom.max(axis=0), per_atom.mean(axis=0), per_atom.std(axis=0))
