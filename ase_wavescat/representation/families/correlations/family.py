"""Settings of correlations, and what is known about them without computing any."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.checks import refuse_unknown, require
from ase_wavescat.representation.direct.radial_table import DIRECT_TAIL
from ase_wavescat.representation.families.atoms.features import AtomFeature
from ase_wavescat.representation.families.atoms.plan import AtomPlan
from ase_wavescat.representation.families.correlations.features import BandFeature, PairFeature
from ase_wavescat.representation.families.correlations.plan import CorrelationPlan
from ase_wavescat.representation.lattice.bands import Bands, band_reach
from ase_wavescat.representation.maps import Maps
from ase_wavescat.representation.protocol import Family, Feature, Plan
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import direct_extent

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Correlations(Family):
    """Correlations of species densities and of products of fields: pair, three-, four- and five-body.

    Attributes:
        pair: Bands of the pair term.
        atom_maps: Maps sampled at the atoms (three-body).
        five_body: Maps whose products two by two are summed over the atoms.
        grid_maps: Maps taken on a grid, correlated with the species densities in the bands `three_body` and with one
            another in the bands `four_body`.
    """

    pair: Bands | None = None
    atom_maps: Maps | None = None
    five_body: Maps | None = None
    grid_maps: Maps | None = None
    three_body: Bands | None = None
    four_body: Bands | None = None

    name = "correlations"
    feature_classes = (PairFeature, AtomFeature, BandFeature)

    @classmethod
    def example(cls) -> ScatteringSpec:
        wavelets, scales = ((2, 0), (2, 1)), (0.0, 0.5)
        family = cls(
            pair=Bands(3, 0.9),
            atom_maps=Maps(wavelets, scales, span=0.5),
            five_body=Maps(wavelets, scales[:1]),
            grid_maps=Maps(wavelets, scales[1:]),
            three_body=Bands(2, 0.8),
            four_body=Bands(1, 1.0),
        )
        return ScatteringSpec((3, 14), wavelets, scales, 0.5, (family,))

    def __post_init__(self) -> None:
        for name, kind in _NESTED.items():
            value = getattr(self, name)
            require(value is None or isinstance(value, kind), f"{name} is made by {kind.__name__}(...), got {value!r}")
        grid = self.grid_maps is not None
        bands = self.three_body is not None or self.four_body is not None
        require(grid == bands, "grid_maps and its bands (three_body, four_body) go together: give both or neither")
        require(
            any(v is not None for v in (self.pair, self.atom_maps, self.five_body, self.grid_maps)),
            "a correlations family without any part: give pair, atom_maps, five_body or grid_maps",
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Family:
        data = dict(data)
        for name, nested in _NESTED.items():
            if data.get(name) is not None:
                refuse_unknown(data[name], [f.name for f in dataclasses.fields(nested)], name)
                data[name] = nested(**data[name])
        return super().from_dict(data)

    def check(self, spec: ScatteringSpec) -> None:
        for name in ("atom_maps", "five_body", "grid_maps"):
            maps = getattr(self, name)
            if maps is not None:
                extra = set(maps.wavelets) - set(spec.wavelets)
                require(not extra, f"{name} uses wavelets {sorted(extra)} that the spec does not list")
                lost = set(maps.scales) - set(spec.scales)
                require(not lost, f"{name} uses scales {sorted(lost)} that the spec does not list")

    def most_features(self, spec: ScatteringSpec) -> int:
        """How many features there are, without making them."""
        species = len(spec.species)
        atom, five, grid = (m.count(species) if m else 0 for m in (self.atom_maps, self.five_body, self.grid_maps))
        pair, three, four = (bands.count if bands else 0 for bands in (self.pair, self.three_body, self.four_body))
        at_atoms = species * (atom + five * (five + 1) // 2)
        return species * (species + 1) // 2 * pair + at_atoms + grid * species * three + grid * (grid + 1) // 2 * four

    def features(self, spec: ScatteringSpec) -> list[Feature]:
        features: list[Feature] = []
        if self.pair:
            pairs = combinations_with_replacement(spec.species, 2)
            features += [PairFeature(p, k) for p in pairs for k in range(self.pair.count)]
        if self.atom_maps:
            maps = self.atom_maps.expand(spec.species)
            features += [AtomFeature(z, (m,)) for z in spec.species for m in maps]
        if self.five_body:
            products = list(combinations_with_replacement(self.five_body.expand(spec.species), 2))
            features += [AtomFeature(z, pair) for z in spec.species for pair in products]
        if self.grid_maps:
            maps = self.grid_maps.expand(spec.species)
            if self.three_body:
                features += [
                    BandFeature(z, m, k) for z in spec.species for m in maps for k in range(self.three_body.count)
                ]
            if self.four_body:
                pairs_of_maps = combinations_with_replacement(maps, 2)
                features += [BandFeature(a, b, k) for a, b in pairs_of_maps for k in range(self.four_body.count)]
        return features

    def reach(self, spec: ScatteringSpec) -> float:
        """Fields of two images, and the band between them, are all Gaussian-like: their ranges add in squares."""
        pair = band_reach(self.pair) if self.pair else 0.0
        at_atoms = [_extent(spec, maps, DIRECT_TAIL * spec.tolerance) for maps in (self.atom_maps, self.five_body)]
        fields = math.sqrt(2) * _extent(spec, self.grid_maps, spec.tolerance**2)
        between = max((band_reach(bands) for bands in (self.three_body, self.four_body) if bands), default=0.0)
        return max(pair, *at_atoms, math.hypot(fields, between))

    def plans(self, spec: ScatteringSpec, features: Sequence[Feature]) -> list[tuple[IntArray, Plan]]:
        plans: list[tuple[IntArray, Plan]] = []
        at_atoms = [(i, f) for i, f in enumerate(features) if isinstance(f, AtomFeature)]
        if at_atoms:
            plans.append((np.array([i for i, _ in at_atoms]), AtomPlan(spec, [f for _, f in at_atoms])))
        bands = [(i, f) for i, f in enumerate(features) if isinstance(f, PairFeature | BandFeature)]
        if bands:
            plans.append((np.array([i for i, _ in bands]), CorrelationPlan(spec, self, [f for _, f in bands])))
        return plans

    def resized(self, finer: float, scales: tuple[float, ...]) -> Correlations:
        """Maps on the grid leave out the finest scale where they can."""

        def sized(bands: Bands | None) -> Bands | None:
            return bands and Bands(bands.count, round(bands.spacing * finer, 4))

        def scaled(maps: Maps | None, scales: tuple[float, ...]) -> Maps | None:
            return maps and dataclasses.replace(maps, scales=scales)

        return Correlations(
            pair=sized(self.pair),
            atom_maps=scaled(self.atom_maps, scales),
            five_body=scaled(self.five_body, scales),
            grid_maps=scaled(self.grid_maps, scales[1:] or scales),
            three_body=sized(self.three_body),
            four_body=sized(self.four_body),
        )

    def thinned(self) -> tuple[Correlations, str]:
        if self.grid_maps is None or len(self.grid_maps.scales) == 1:
            return self, ""
        coarsest = dataclasses.replace(self.grid_maps, scales=self.grid_maps.scales[-1:])
        text = (
            "four-body features at the coarsest scale alone: their number grows with the fourth power of that of the"
            " species"
        )
        return dataclasses.replace(self, grid_maps=coarsest), text


def _extent(spec: ScatteringSpec, maps: Maps | None, tolerance: float) -> float:
    """The |r| (A) beyond which all wavelets of the maps are below the tolerance."""
    if maps is None:
        return 0.0
    return spec.beta * 2.0 ** max(maps.scales) * max(direct_extent(n, l, tolerance) for n, l in maps.wavelets)


_NESTED = {
    "pair": Bands,
    "three_body": Bands,
    "four_body": Bands,
    "atom_maps": Maps,
    "five_body": Maps,
    "grid_maps": Maps,
}
