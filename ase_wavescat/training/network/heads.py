"""Members of a single network: heads on its trunk, each of other groups.

Site energies are linear in the last hidden layers, so that the energy of a cell is linear in sums of these over its
atoms, and a change of the last layers is a linear least-squares problem: the energies of groups drawn with replacement,
and a penalty on the change. What the heads have in common is taken away again, so that their mean is the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.prepared import HEAD
from ase_wavescat.potentials.network.rows import species_indices
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.groups import bootstrap
from ase_wavescat.training.network.examples import Example, atom_energies, less_atoms
from ase_wavescat.training.network.settings import Stage

Array = NDArray[np.float64]

_PENALTIES = 10.0 ** np.arange(-6, 3)
_SMALL = 1e-12  # a column of zeros stays one


def bootstrap_heads(weights: NetworkWeights, stage: Stage, count: int, seed: int) -> list[NetworkWeights]:
    """So many networks that differ from this one in their last layers alone, and have it as their mean.

    Args:
        weights: What was trained.
        stage: What it has learned last, and what was held out: which tells the penalty.
        count: At least two.
        seed: Of the draws.
    """
    species = weights.specification.species
    energies = atom_energies(stage.examples, species)
    rows, targets = _problem(weights, less_atoms(stage.examples, energies, species))
    held_rows, held_targets = _problem(weights, less_atoms(stage.held_out, energies, species))
    names, groups = np.unique([example.group for example in stage.examples], return_inverse=True)
    everything = np.ones(len(rows))
    losses = [np.mean((held_targets - held_rows @ _fitted(rows, targets, everything, p)) ** 2) for p in _PENALTIES]
    penalty = _PENALTIES[int(np.argmin(losses))]
    draws = bootstrap(np.arange(len(names)), len(names), count, np.random.default_rng([seed, 2]))
    changes = np.array([_fitted(rows, targets, own[groups].astype(float), penalty) for own in draws])
    return [_changed(weights, change) for change in changes - changes.mean(axis=0)]


def _problem(weights: NetworkWeights, examples: Sequence[Example]) -> tuple[Array, Array]:
    """Rows (n, K) and targets (n,): what the last layers should add, an atom."""
    network = NetworkPotential(weights)
    rows, targets = [], []
    for example in examples:
        prediction = network.predict(example.structure)
        scale = np.sqrt(example.weight) / len(example.structure)
        rows.append(scale * _sums(network, example.structure, prediction.states[0].hidden))
        targets.append(scale * (example.energy - prediction.energy))
    return np.array(rows), np.array(targets)


def _sums(network: NetworkPotential, structure: Structure, hidden: Array) -> Array:
    """(orders S width + S,) of the hidden outputs by order and species, and the atoms of each species."""
    kinds = species_indices(structure, network.species)
    sums = np.array([hidden[kinds == kind].sum(axis=0) for kind in range(len(network.species))])
    orders = np.split(sums, network.specification.orders, axis=1)
    return np.concatenate([*(order.ravel() for order in orders), structure.count(network.species)])


def _fitted(rows: Array, targets: Array, times: Array, penalty: float) -> Array:
    """Weighted ridge, each column in its own size."""
    size = np.sqrt(np.mean(rows**2, axis=0)) + _SMALL
    scaled = rows / size
    gram = scaled.T @ (times[:, None] * scaled) + penalty * len(rows) * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(gram, scaled.T @ (times * targets)) / size)


def _changed(weights: NetworkWeights, change: Array) -> NetworkWeights:
    """The network with other last layers."""
    arrays, place = dict(weights.arrays), 0
    for name in (name for name in HEAD if name in arrays):
        part = change[place : place + arrays[name].size]
        arrays[name] = arrays[name] + part.reshape(arrays[name].shape)
        place += arrays[name].size
    return NetworkWeights(weights.specification, arrays)
