"""The prices of features."""

from __future__ import annotations

import numpy as np

from ase_wavescat.representation import Correlations, Maps, ScatteringSpec
from ase_wavescat.training.linear.observation import LabelWeights
from ase_wavescat.training.linear.prior import STEEP, prior_scale
from ase_wavescat.training.linear.statistics import Statistics

WEIGHTS = LabelWeights(energy=20.0, forces=2.0, stress=50.0)
MAPS = Maps(((2, 0), (2, 1)), (0.0,))
SPEC = ScatteringSpec((3,), ((2, 0), (2, 1)), (0.0,), 0.9, (Correlations(atom_maps=MAPS, five_body=MAPS),))


def statistics(force_rms: list[float]) -> Statistics:
    ones = np.ones(len(force_rms))
    sizes, counts = np.array(force_rms), (10.0, 90.0, 60.0)
    return Statistics(ones, ones, sizes, ones, counts, ones > 0)


def test_a_rough_feature_costs_more():
    measured = statistics([1.0, 1.0, 10.0, 1.0, 1.0])
    plain, rough = (prior_scale(measured, WEIGHTS, SPEC.keys, roughness) for roughness in (0.0, 1.0))
    np.testing.assert_allclose(rough[2] / plain[2] / (rough[1] / plain[1]), 100.0)


def test_steep_features_cost_more():
    penalty = prior_scale(statistics([1.0] * 5), WEIGHTS, SPEC.keys)
    np.testing.assert_allclose(penalty[2:] / penalty[0], STEEP)
    np.testing.assert_allclose(penalty[:2], penalty[0])
