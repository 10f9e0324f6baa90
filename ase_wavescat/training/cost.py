r"""What a support costs: the time of one energy-and-forces call, as a sum over the things that its features share.

A feature needs *parts*: species fields on a grid, maps made of them, reciprocal vectors up to a cutoff, neighbour pairs
up to a range. A part that one feature has paid for is free for all others, so

    cost(support) = base + sum of the prices of the parts that any feature of the support needs.

The price of a part is its work on one typical structure - grid values transformed, multiplied, raised to powers,
reciprocal vectors, phases, neighbour pairs - times milliseconds per unit of work, forward and backward pass together.
These rates were fitted to measured times of a hundred supports of three presets, 3 to 2064 features of one kind or
mixed, on 40 to 100 atoms (one core of an AMD EPYC): half of the estimates are within 10 percent, four in five in 25.
Other machines differ by a factor, which changes no choice. Left out: the preparation of a new cell, and the repulsion.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.protocol import Needs, Part
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

BASE = 0.8  # ms
RATES = {
    "transformed": 4.5e-6,
    "transformed_moduli": 2.4e-6,
    "multiplied": 1.5e-6,
    "powers": 9e-6,
    "scattered": 4.5e-5,
    "phases": 4.2e-6,
    "pairs": 1.5e-4,
    "columns": 1.4e-5,
    "looked": 4.5e-4,
    "convolved": 3e-6,
    "parts": 5e-3,
}
"""Milliseconds per unit of work: grid values transformed (there and back; of moduli all at once, of correlations plane
by plane), grid values multiplied into maps, grid values raised to powers, reciprocal vectors put on a grid, phases of
atoms times vectors, neighbour pairs, neighbour pairs times components of wavelets, the same two of scattering at the
atoms, and a map or a field as such."""


@dataclass(frozen=True, eq=False)
class SupportCost:
    """Prices of the parts that F features need; all in milliseconds for one energy-and-forces call.

    prices (C,): of the parts.  needs (F, C): ones where a feature needs a part.  base: of a call that does nothing.
    """

    prices: Array
    needs: csr_array
    base: float = BASE

    def marginal(self, prices: Array) -> Array:
        """What each feature would add (F,), with prices (C,) set to zero for the parts already paid for.

        At least 1e-3 ms: no feature is for nothing.
        """
        return np.maximum(self.needs @ prices, 1e-3)

    def parts(self, feature: int) -> IntArray:
        """The parts that a feature needs."""
        return self.needs.indices[self.needs.indptr[feature] : self.needs.indptr[feature + 1]]

    def total(self, support: Iterable[int]) -> float:
        """The cost of a support, by indices of features."""
        used = np.unique(np.concatenate([np.empty(0, dtype=int), *(self.parts(f) for f in support)]))
        return self.base + float(self.prices[used].sum())


def support_cost(spec: ScatteringSpec, keys: Sequence[str], structure: Structure) -> SupportCost:
    """The costs of features of a spec on a typical structure, fully periodic.

    Raises:
        SpecError: for a key that the spec does not have.
    """
    needs: list[Needs] = [Needs([])] * len(keys)
    for columns, plan in spec.plans(keys):
        for column, need in zip(columns, plan.needs(structure), strict=True):
            needs[column] = need
    catalogue = _Catalogue(structure, {need.cutoff for need in needs} - {0.0})
    needed = [sorted(set(catalogue.numbers(need))) for need in needs]
    lengths = np.cumsum([0] + [len(parts) for parts in needed])
    indices = np.array([part for parts in needed for part in parts], dtype=np.int64)
    prices = np.array(catalogue.prices)
    table = csr_array((np.ones(len(indices)), indices, lengths), shape=(len(keys), len(prices)))
    return SupportCost(prices, table)


def measured_cost(spec: ScatteringSpec, keys: Sequence[str], structure: Structure, repeats: int = 15) -> float:
    """Milliseconds of processor time of one energy-and-forces call for a support, the fastest of `repeats`."""
    transform = Transform(spec, keys)
    weights = np.ones(len(keys))
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        transform.evaluate(structure).gradient(weights)
        times.append(time.process_time() - start)
    return 1e3 * min(times[1:])


class _Catalogue:
    """Numbers and prices of parts; each is entered when it is first needed."""

    def __init__(self, structure: Structure, cutoffs: set[float]) -> None:
        """cutoffs: of all features; structure factors from one to the next are a part."""
        self.prices: list[float] = []
        self._places: dict[Hashable, int] = {}
        self._atoms, self._levels = len(structure), sorted(cutoffs)
        lattice = ReciprocalLattice(structure.cell, max(cutoffs, default=0.0))
        self._counts = np.diff([0] + [lattice.count(level) for level in self._levels])

    def numbers(self, needs: Needs) -> list[int]:
        """Of the parts of one feature."""
        levels = [
            Part(("vectors", level), {"phases": self._atoms * int(count)})
            for level, count in zip(self._levels, self._counts, strict=True)
            if level <= needs.cutoff
        ]
        return [self._number(part) for part in [*needs.parts, *levels]]

    def _number(self, part: Part) -> int:
        if part.name not in self._places:
            self._places[part.name] = len(self.prices)
            self.prices.append(sum(RATES[unit] * amount for unit, amount in part.work.items()))
        return self._places[part.name]
