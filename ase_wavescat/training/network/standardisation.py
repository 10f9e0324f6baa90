"""Means and deviations of the invariants over the examples, for each species."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.training.network.examples import Example

# What hardly varies is not blown up: deviations are at least this share of an invariant's mean, and of the largest.
_OF_MEAN, _OF_LARGEST = 1e-3, 1e-9


def standardised(weights: NetworkWeights, examples: Sequence[Example]) -> NetworkWeights:
    """The same weights with means and deviations of the examples' atoms; species without atoms keep theirs.

    Those of the second order follow from the first's, so that they are found after these.
    """
    for order in range(weights.specification.orders):
        weights = _of_one_order(weights, examples, order)
    return weights


def _of_one_order(weights: NetworkWeights, examples: Sequence[Example], order: int) -> NetworkWeights:
    specification, potential = weights.specification, NetworkPotential(weights)
    start = sum(specification.invariants[:order])
    columns = slice(start, start + specification.invariants[order])
    shape = (len(specification.species), specification.invariants[order])
    counts, sums, squares = np.zeros(shape[0]), np.zeros(shape), np.zeros(shape)
    for example in examples:
        values = potential.predict(example.structure).states[0].values[:, columns]
        for kind, number in enumerate(specification.species):
            own = values[example.structure.numbers == number]
            counts[kind] += len(own)
            sums[kind] += own.sum(axis=0)
            squares[kind] += (own**2).sum(axis=0)
    name = ("first", "second")[order]
    mean, deviation = weights[f"{name}_mean"].copy(), weights[f"{name}_deviation"].copy()
    for kind in np.flatnonzero(counts).tolist():
        mean[kind] = sums[kind] / counts[kind]
        spread = np.sqrt(np.maximum(0.0, squares[kind] / counts[kind] - mean[kind] ** 2))
        if spread.max() > 0:
            least = np.maximum(_OF_MEAN * np.abs(mean[kind]), _OF_LARGEST * spread.max())
            deviation[kind] = np.maximum(spread, least)
    return NetworkWeights(specification, {**weights.arrays, f"{name}_mean": mean, f"{name}_deviation": deviation})
