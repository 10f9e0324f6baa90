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

import math
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ase_wavescat.representation.families.atoms.plan import RadialTable
from ase_wavescat.representation.families.correlations.plan import CorrelationPlan
from ase_wavescat.representation.families.moduli.tree import Layer, MapRow, ModuliTree
from ase_wavescat.representation.features import (
    AtomFeature,
    BandFeature,
    Feature,
    Map,
    ModulusFeature,
    PairFeature,
    Wavelet,
    parse_key,
)
from ase_wavescat.representation.lattice.filters import wavelet_cutoff
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.specification import Correlations, Moduli, ScatteringSpec
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
    "parts": 5e-3,
}
"""Milliseconds per unit of work: grid values transformed (there and back; of moduli all at once, of correlations plane
by plane), grid values multiplied into maps, grid values raised to powers, reciprocal vectors put on a grid, phases of
atoms times vectors, neighbour pairs, neighbour pairs times components of wavelets, and a map or a field as such."""
_CACHED = 40_000  # grid values of a transform that the second-level cache holds; beyond, each takes twice as long


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
    """The costs of features of a spec on a typical structure: cell (3, 3) rows, A; positions (N, 3); numbers (N,).

    All directions repeat. Raises SpecError for a key that the spec does not have.
    """
    for key in keys:
        spec.index(key)
    features = [parse_key(key) for key in keys]
    catalogue = _Catalogue(spec, features, structure)
    needed = [sorted(set(catalogue.needs(feature))) for feature in features]
    lengths = np.cumsum([0] + [len(parts) for parts in needed])
    indices = np.array([part for parts in needed for part in parts], dtype=np.int64)
    prices = np.array(catalogue.prices)
    needs = csr_array((np.ones(len(indices)), indices, lengths), shape=(len(keys), len(prices)))
    return SupportCost(prices, needs)


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
    """The parts of a set of features with their prices; each is entered when it is first needed."""

    def __init__(self, spec: ScatteringSpec, features: Sequence[Feature], structure: Structure) -> None:
        self.spec, self.structure = spec, structure
        self.prices: list[float] = []
        self._places: dict[Hashable, int] = {}
        at_atoms = [f for f in features if isinstance(f, AtomFeature)]
        bands = [f for f in features if isinstance(f, PairFeature | BandFeature)]
        moduli = [f for f in features if isinstance(f, ModulusFeature)]
        self._plan: CorrelationPlan | None = None
        cutoffs: set[float] = set()
        for family in spec.families:
            if isinstance(family, Correlations) and bands:
                self._plan = CorrelationPlan(spec, family, bands)
                self._groups = {self._plan.maps[i]: group for group in self._plan.groups for i in group.maps}
                pair = {family.pair.maximum} if family.pair and len(self._plan.pair.columns) else set()
                cutoffs |= {self._plan.band_cutoff, *pair, *(wavelet_cutoff(spec, w) for w in self._plan.wavelets)}
            elif isinstance(family, Moduli) and moduli:
                tree = ModuliTree(spec, family, moduli)
                self._layers = {row: layer for layer in [*tree.first, *tree.second] for row in layer.rows}
                cutoffs |= {layer.radial.cutoff for layer in self._layers.values()}
        if cutoffs:
            self._lattice = ReciprocalLattice(structure.cell, max(cutoffs))
            self._levels = sorted(cutoffs)
        if at_atoms:
            self._index_ranges(at_atoms)

    def needs(self, feature: Feature) -> list[int]:
        """The parts of one feature."""
        if isinstance(feature, AtomFeature):
            wavelets = {f.wavelet for m in feature.maps for f in (m.first, m.second)}
            return [part for wavelet in wavelets for part in self._at_atoms(wavelet)]
        if isinstance(feature, ModulusFeature):
            return self._modulus(feature)
        assert self._plan is not None
        if isinstance(feature, PairFeature):
            assert self._plan.family.pair is not None
            return self._vectors(self._plan.family.pair.maximum)
        maps = [m for m in (feature.first, feature.second) if isinstance(m, Map)]
        return [part for m in maps for part in self._map(m)] + self._vectors(self._plan.band_cutoff)

    def _part(self, name: Hashable, **work: float) -> int:
        """The part's number; its price is entered the first time."""
        if name not in self._places:
            self._places[name] = len(self.prices)
            self.prices.append(sum(RATES[kind] * amount for kind, amount in work.items()))
        return self._places[name]

    def _index_ranges(self, features: Sequence[AtomFeature]) -> None:
        """Pairs of atoms within the range of each scale."""
        table = RadialTable.build(
            self.spec, [f.wavelet for feature in features for m in feature.maps for f in (m.first, m.second)]
        )
        distances = self.structure.neighbours(float(table.cutoffs.max())).distances
        ranges = np.sort(table.cutoffs)
        counts = [int(np.count_nonzero(distances < cutoff)) for cutoff in ranges]
        self._pairs = dict(zip(sorted({w.scale for w in table.wavelets}), counts, strict=True))

    def _at_atoms(self, wavelet: Wavelet) -> list[int]:
        """A field at the atoms: pairs up to its range, each with 2l+1 components."""
        within = [scale for scale in self._pairs if scale <= wavelet.scale]
        fewer = [0, *(self._pairs[scale] for scale in within)]
        ranges = [
            self._part(("range", scale), pairs=self._pairs[scale] - less)
            for scale, less in zip(within, fewer, strict=False)
        ]
        components = 2 * wavelet.l + 1
        return [*ranges, self._part(("at atoms", wavelet), columns=self._pairs[wavelet.scale] * components, parts=1)]

    def _vectors(self, cutoff: float) -> list[int]:
        """Structure factors up to a cutoff."""
        parts, known, atoms = [], 0, len(self.structure)
        for level in self._levels:
            if level <= cutoff:
                count = self._lattice.count(level)
                parts.append(self._part(("vectors", level), phases=atoms * (count - known)))
                known = count
        return parts

    def _map(self, m: Map) -> list[int]:
        """A map on its grid and the fields that it is made of."""
        assert self._plan is not None
        group = self._groups[m]
        points = math.prod(self._lattice.shape(group.bandwidth))
        components = 2 * m.first.wavelet.l + 1
        scattered = self._lattice.count(self._plan.band_cutoff)
        parts = [self._part(m, transformed=points, multiplied=components * points, scattered=scattered, parts=1)]
        for f in (m.first, m.second):
            cutoff = wavelet_cutoff(self.spec, f.wavelet)
            scattered = components * self._lattice.count(cutoff)
            name = (group.bandwidth, f)
            parts.append(self._part(name, transformed=components * points, scattered=scattered, parts=components))
            parts += self._vectors(cutoff)
        return parts

    def _modulus(self, feature: ModulusFeature) -> list[int]:
        """A map; of the second order with its parent and the parent's spectrum."""
        row = MapRow(feature.channel, feature.path)
        if row not in self._layers:  # of the zeroth order: counts of atoms
            return []
        if len(row.path) < 2:
            return [self._part(row, powers=self._points(row), parts=1), *self._species_fields(row)]
        parent = MapRow(row.channel, row.path[:1])
        points, transforms = self._points(parent), self._transforms(row, 1)
        return [
            self._part(row, powers=self._points(row), parts=1, **transforms),
            self._part(("spectrum", parent), transformed_moduli=_transformed(points), parts=1),
            self._part(parent, powers=points, parts=1),
            *self._species_fields(parent),
        ]

    def _species_fields(self, row: MapRow) -> list[int]:
        layer = self._layers[row]
        work = self._transforms(row, len(self.spec.species))
        return [self._part(("fields", row.path), parts=1, **work), *self._vectors(layer.radial.cutoff)]

    def _transforms(self, row: MapRow, fields: int) -> dict[str, float]:
        layer = self._layers[row]
        components = fields * (2 * layer.radial.l + 1)
        count = self._lattice.count(min(layer.radial.cutoff, layer.grid.cutoff))
        return {"transformed_moduli": components * _transformed(self._points(row)), "scattered": components * count}

    def _points(self, row: MapRow) -> int:
        layer: Layer = self._layers[row]
        return math.prod(self._lattice.shape(layer.grid.bandwidth, layer.grid.minimum))


def _transformed(points: int) -> int:
    """Work of a transform of a whole grid."""
    return points if points <= _CACHED else 2 * points
