"""The least-squares problem of a training run: prices of the features and close contacts joined to its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.representation.transform import Transform
from ase_wavescat.training.data.contacts import Contacts, close_contacts
from ase_wavescat.training.linear.least_squares import LeastSquares
from ase_wavescat.training.linear.prior import prior_scale
from ase_wavescat.training.linear.statistics import Statistics
from ase_wavescat.training.linear.visibility import visible_features
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.trainer import Problem

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings


def least_squares(problem: Problem[Observations], settings: Settings) -> LeastSquares:
    """Of all features; the rows are read when it is solved, once a stream."""
    observations, label_weights = problem.observations, settings.label_weights
    keys, penalty = observations.store.keys, problem.penalty or prior_scale
    energy_rows = observations.energy_rows

    def prices(statistics: Statistics) -> np.ndarray:
        return penalty(statistics, label_weights, keys)

    return LeastSquares(
        observations,
        problem.groups,
        label_weights,
        energy_rows=energy_rows,
        judged=problem.judged,
        usable=visible_features(keys, energy_rows.per_atom.std(axis=0)),
        prices=prices,
        contacts=_contacts(observations),
        towards=observations.towards,
        progress=problem.progress,
    )


def _contacts(observations: Observations) -> Contacts | None:
    """Rows that leave short distances to the repulsion, where there is one."""
    if observations.repulsion is None:
        return None
    spec = observations.store.spec
    transform = Transform(spec, observations.store.keys)
    return close_contacts(transform, observations.frames, observations.closest, observations.repulsion)
