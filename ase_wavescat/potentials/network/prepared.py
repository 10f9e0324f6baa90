"""A network's numbers in the precision and the layout of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.couplings import triple_terms
from ase_wavescat.potentials.network.dense import Array, Layers
from ase_wavescat.potentials.network.radial_table import RadialTable
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.representation.wavelets import harmonic_factors

IntArray = NDArray[np.int64]

HEAD = ("first_energy_weight", "second_energy_weight", "first_energy_bias")
"""Names of the weights between the last hidden layers and the site energies."""


@dataclass(frozen=True)
class Order:
    """What one order of scattering does at atoms of one species.

    Attributes:
        mixing: first order (S, l_max + 1, P, Q); second (S, P, (l_max + 1) Q2).
        turned_mixing: first order (S, l_max + 1, Q, P); the second needs none.
        mean: (I,), of the invariants.
        layers: hidden layers, reading invariants less their mean: the deviations are part of the first weights.
    """

    mixing: Array
    turned_mixing: Array
    mean: Array
    layers: Layers


@dataclass(frozen=True)
class Head:
    """From the last hidden layers to site energies, which are linear in them.

    Attributes:
        weights: (S, width) of each order.
        bias: (S,) eV.
    """

    weights: tuple[Array, ...]
    bias: Array

    @classmethod
    def mean(cls, heads: Sequence[Head]) -> Head:
        """Whose site energies are the means of theirs."""
        weights = (np.mean(own, axis=0, dtype=own[0].dtype) for own in zip(*(h.weights for h in heads), strict=True))
        return cls(tuple(weights), np.mean([head.bias for head in heads], axis=0))


class PreparedNetwork:
    """Everything that does not depend on the structure.

    Attributes:
        real: type of all numbers but energies, lengths and sums.
        first: the first order, by species.
        second: the second, by species; empty where there is none.
        head: of the site energies.
        scalar_weight: (S, width, (l_max + 1) Q2), h repeated for each l, as `second_order` reads it; so is the bias.
    """

    def __init__(self, weights: NetworkWeights, real: type[np.floating[Any]]) -> None:
        self.specification, self.real = weights.specification, real
        self._weights = weights
        species = range(len(self.specification.species))
        self.first = tuple(self._order("first", s) for s in species)
        self.second = tuple(self._order("second", s) for s in species) if self.specification.orders == 2 else ()
        self.head = self.head_of(weights)
        if self.second:
            degrees = self.specification.l_max + 1
            self.scalar_weight = self._array(np.tile(weights["scalar_weight"], degrees))
            self.scalar_bias = self._array(np.tile(weights["scalar_bias"], degrees))
        terms = triple_terms(self.specification.triples)
        self.triples = (terms.starts, terms.components, self._array(terms.coefficients))
        table = RadialTable.build(self.specification)
        factors = harmonic_factors(self.specification.l_max)
        self.pair_functions = (table.width, self._array(table.coefficients), factors, self.specification.radial.solid)

    def head_of(self, weights: NetworkWeights) -> Head:
        """That of a network with the same hidden layers, in the same precision."""
        orders = ("first", "second")[: self.specification.orders]
        return Head(tuple(self._array(weights[f"{o}_energy_weight"]) for o in orders), weights["first_energy_bias"])

    def _array(self, values: Array) -> Array:
        return np.ascontiguousarray(values, dtype=self.real)

    def _order(self, order: str, species: int) -> Order:
        weights, hidden = self._weights, range(len(self.specification.hidden))
        mixing = weights[f"{order}_mixing"][species]
        turned = mixing.transpose(0, 1, 3, 2)
        dense = [weights[f"{order}_weight_{layer}"][species] for layer in hidden]
        deviation = weights[f"{order}_deviation"][species]
        dense[0], beside = dense[0][: len(deviation)] / deviation[:, None], dense[0][len(deviation) :]
        if order == "second":
            mixing = mixing.transpose(0, 2, 1, 3).reshape(len(mixing), self.specification.radial.count, -1)
        layers = Layers(
            tuple(map(self._array, dense)),
            tuple(self._array(weights[f"{order}_bias_{layer}"][species]) for layer in hidden),
            self._array(beside) if len(beside) else None,
        )
        return Order(
            self._array(mixing),
            self._array(turned),
            self._array(weights[f"{order}_mean"][species]),
            layers,
        )


@dataclass(frozen=True)
class Trunk:
    """Members of a potential that differ in their heads alone.

    Attributes:
        network: what they share, with the head of the first.
        members: their numbers.
        heads: of each.
    """

    network: PreparedNetwork
    members: tuple[int, ...]
    heads: tuple[Head, ...]

    @classmethod
    def of(cls, members: Mapping[int, NetworkWeights], real: type[np.floating[Any]]) -> Trunk:
        """At least one, by number."""
        network = PreparedNetwork(next(iter(members.values())), real)
        return cls(network, tuple(members), tuple(network.head_of(weights) for weights in members.values()))
