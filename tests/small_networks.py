"""Networks with all parameters random, and structures of all kinds, small enough to be quick."""

from __future__ import annotations

import numpy as np

from ase_wavescat.potentials.network.radial import Gaussians, RadialWavelets
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.structure.structure import Structure

SPECIFICATIONS = {
    "two orders": NetworkSpecification((3, 14), 4.0, Gaussians(6), 3, (4, 3), hidden=(8, 7)),
    "one order": NetworkSpecification((3, 14), 4.0, Gaussians(5), 2, (3,), ((1, 1, 2), (2, 2, 2)), (6,)),
    "wavelets, three species": NetworkSpecification(
        (3, 8, 14), 4.0, RadialWavelets(0.7, (0.0, 1.0), 2), 1, (3, 2), (), (5, 4)
    ),
    "degree four": NetworkSpecification((3, 14), 4.0, Gaussians(4), 4, (2, 2), ((2, 2, 4), (1, 3, 4)), (4,)),
}

CELL = np.array([[5.2, 0.3, -0.4], [1.1, 4.9, 0.2], [-0.7, 0.9, 5.6]])


def structure(pbc: tuple[bool, bool, bool] = (True, True, True), seed: int = 1) -> Structure:
    """Five atoms in a triclinic cell, none too near."""
    generator = np.random.default_rng(seed)
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.3, 0.3, 0.25]])
    positions = (sites + generator.uniform(-0.03, 0.03, sites.shape)) @ CELL
    return Structure(CELL, positions, np.array([14, 3, 3, 14, 3]), pbc)


STRUCTURES = {
    "triclinic": structure(),
    "tiny": Structure(
        np.array([[2.4, 0.1, 0.0], [0.3, 2.6, 0.2], [-0.2, 0.5, 2.5]]),
        np.array([[0.0, 0.1, 0.0], [1.3, 1.2, 1.4]]),
        np.array([3, 14]),
    ),
    "cluster": structure((False, False, False)),
    "slab": structure((True, True, False)),
    "wire": structure((False, True, False)),
    "single atom": Structure(np.zeros((3, 3)), np.zeros((1, 3)), np.array([14]), (False, False, False)),
}


def random_weights(name: str, seed: int = 0) -> NetworkWeights:
    """All of them, biases, means and deviations included."""
    weights, generator = NetworkWeights.random(SPECIFICATIONS[name], seed), np.random.default_rng(seed + 1)
    arrays = {}
    for key, values in weights.arrays.items():
        if key.endswith("_deviation"):
            arrays[key] = generator.uniform(0.5, 2.0, values.shape)
        elif key.endswith("_mean") or "bias" in key:
            arrays[key] = generator.normal(scale=0.5, size=values.shape)
        else:
            arrays[key] = values
    return NetworkWeights(weights.specification, arrays)
