"""Linear models in tests: their parts by name, and models with some of them changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.linear import FeatureRanges, LinearPotential
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.protocol import Prediction
from ase_wavescat.potentials.repulsion import PairRepulsion


def linear(model: Model) -> LinearPotential:
    part = model.term(LinearPotential)
    assert part is not None
    return part


def species_energies(model: Model) -> np.ndarray:
    """(M, S)."""
    part = model.term(AtomEnergies)
    assert part is not None
    return part.energies


def parts(model: Model) -> dict[str, Any]:
    """What `linear_model` takes."""
    own = linear(model)
    return {
        "spec": own.spec,
        "keys": own.keys,
        "weights": own.weights,
        "species_energies": species_energies(model),
        "repulsion": model.term(PairRepulsion),
        "ranges": own.ranges,
        "domain": model.domain,
        "calibration": model.calibration,
        "provenance": model.provenance,
    }


def changed(model: Model, **changes: Any) -> Model:
    """The model with other parts."""
    return linear_model(**{**parts(model), **changes})


def wide_ranges(count: int) -> FeatureRanges:
    """Of so many features, that no sensible structure leaves."""
    return FeatureRanges(np.full(count, -1e9), np.full(count, 1e9), np.zeros(count), np.linspace(0.1, 1.0, count))


def whole(prediction: Prediction) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy and its derivatives by positions and by strain."""
    return prediction.energy, prediction.gradient, prediction.strain_gradient
