"""The rows that linear methods learn from: of which features, and where they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.rows.store import FeatureStore
from ase_wavescat.training.trainer import Request

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings

FEATURES = ".features"
USUAL = {"members": 20, "folds": 5}
SOFTENING_FRAMES = 32


def observe(request: Request, frames: Sequence[Frame], settings: Settings, directions: int | None) -> Observations:
    """No row is computed yet.

    Args:
        request: What else the run was asked for.
        frames: All of them.
        settings: Of the fit.
        directions: The force rows of each frame: None for all, 0 for energies alone.
    """
    if request.network is not None:
        raise DataError(f"the method {settings.method} trains no network: leave out what a network is to be")
    prior = request.prior
    spec = _specification(request.spec or ("correlations" if prior is None else _linear(prior).spec), frames)
    store = FeatureStore(request.folder, spec, request.keys, directions)
    towards = None if prior is None else prior_weights(prior, store)
    return Observations(
        frames, store, request.repulsion_of(spec.species), settings.reference_energies, settings.strong_force, towards
    )


def prior_weights(prior: Model, store: FeatureStore) -> np.ndarray:
    """Mean weights of a model for the features of a store, (F,), zero where the model has none."""
    linear = _linear(prior)
    if linear.spec != store.spec:
        raise DataError("the prior model has another specification: give none, and its own is taken")
    known = dict(zip(linear.keys, linear.mean_weights, strict=True))
    return np.array([known.get(key, 0.0) for key in store.keys])


def _linear(prior: Model) -> LinearPotential:
    """DataError for a prior model of another kind."""
    linear = prior.term(LinearPotential)
    if linear is None:
        raise DataError("the prior model has no linear potential, whose weights this method could be drawn to")
    return linear


def _specification(
    spec: ScatteringSpec | str | Callable[[Sequence[int]], ScatteringSpec], frames: Sequence[Frame]
) -> ScatteringSpec:
    if not isinstance(spec, ScatteringSpec):
        species = sorted({int(z) for frame in frames for z in frame.numbers})
        spec = preset(spec, species) if isinstance(spec, str) else spec(species)
    return _measured(spec, frames)


def _measured(spec: ScatteringSpec, frames: Sequence[Frame]) -> ScatteringSpec:
    """What families take from data, the softening of moduli, they get from some frames, evenly chosen.

    From fully periodic ones where there are any: vacuum thins the others.
    """
    if not spec.unmeasured:
        return spec
    dense = [frame for frame in frames if all(frame.pbc)] or frames
    chosen = dense[:: -(-len(dense) // SOFTENING_FRAMES)]
    gap = spec.beta * 2.0 ** max(spec.scales)  # about as wide as the widest maps
    return spec.measured_on([frame.structure.padded(gap) for frame in chosen])
