"""What a prior should charge for each feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_wavescat.representation.registry import parse_key
from ase_wavescat.training.linear.observation import LabelWeights
from ase_wavescat.training.linear.statistics import Statistics

ROUGHNESS = 2.0
STEEP = 100.0
"""Measured on held-out melts of Li-Si: with five-body features and neither of these a few wild atoms spoil the forces
(rms 0.40 eV/A against 0.14 eV/A)."""


def prior_scale(
    statistics: Statistics, weights: LabelWeights, keys: Sequence[str], roughness: float = ROUGHNESS
) -> np.ndarray:
    """The default penalty of each feature, (F,).

    penalty_gamma = s_gamma^2 (r_gamma / r)^(2 roughness) c_gamma, s the norm of the feature's column in the weighted
    design: with roughness 0 this is ridge on standardised features, and strength is relative to the information in the
    data. r_gamma = rms of the force rows over the standard deviation of the energy column (1/A), r its geometric mean:
    a positive roughness makes features expensive that change fast with the positions for the energy they carry.
    c_gamma = 100 for steep features (`Feature.steep`), such as products of two maps at the atoms; 1 otherwise.
    """
    penalty = statistics.scale(weights) ** 2
    usable = (statistics.energy_std > 0) & (statistics.force_rms > 0)
    if roughness > 0 and usable.any():
        ratio = np.ones_like(penalty)
        ratio[usable] = statistics.force_rms[usable] / statistics.energy_std[usable]
        ratio[usable] /= np.exp(np.mean(np.log(ratio[usable])))
        penalty = penalty * ratio ** (2 * roughness)
    return penalty * [STEEP if parse_key(key).steep else 1.0 for key in keys]
