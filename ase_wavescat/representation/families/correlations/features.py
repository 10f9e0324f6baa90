"""Names of features in radial bands of reciprocal space."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ase.data import atomic_numbers, chemical_symbols

from ase_wavescat.representation.maps import Map, map_properties
from ase_wavescat.representation.protocol import Feature


@dataclass(frozen=True)
class PairFeature(Feature):
    """(1/V) sum_G w_band(|G|) Re conj(S_z) S_z'."""

    species: tuple[int, int]
    band: int

    kind = "pair"

    @property
    def key(self) -> str:
        first, second = (chemical_symbols[z] for z in self.species)
        return f"pair:{first}-{second}:{self.band}"

    @classmethod
    def parse(cls, rest: str) -> PairFeature:
        pair, band = rest.split(":")
        first, second = pair.split("-")
        return cls((atomic_numbers[first], atomic_numbers[second]), int(band))

    @property
    def body_order(self) -> int:
        return 2

    @property
    def label(self) -> str:
        return f"pair {'-'.join(chemical_symbols[z] for z in self.species)}, radial band {self.band}"

    @property
    def heading(self) -> str:
        return "pair bands"

    @property
    def properties(self) -> Mapping[str, Hashable]:
        return {**map_properties(2, self.species, ()), "2-body: radial band": self.band}


@dataclass(frozen=True)
class BandFeature(Feature):
    """(1/V) sum_G w_band(|G|) Re conj(A) B with B a map, A a species density (three-body) or a map (four-body)."""

    first: int | Map
    second: Map
    band: int

    kind = "band"

    @property
    def key(self) -> str:
        first = self.first.key if isinstance(self.first, Map) else chemical_symbols[self.first]
        return f"band:{first}|{self.second.key}:{self.band}"

    @classmethod
    def parse(cls, rest: str) -> BandFeature:
        operands, band = rest.split(":")
        first, second = operands.split("|")
        left = Map.parse(first) if "*" in first else atomic_numbers[first]
        return cls(left, Map.parse(second), int(band))

    @property
    def body_order(self) -> int:
        return 4 if isinstance(self.first, Map) else 3

    @property
    def maps(self) -> tuple[Map, ...]:
        """One or both of the operands."""
        return (self.first, self.second) if isinstance(self.first, Map) else (self.second,)

    @property
    def label(self) -> str:
        first = self.first.key if isinstance(self.first, Map) else f"{chemical_symbols[self.first]} density"
        return f"{self.body_order}-body in band {self.band}: {first} with {self.second.key}"

    @property
    def heading(self) -> str:
        return "4-body, two maps in bands" if isinstance(self.first, Map) else "3-body, density and map in bands"

    @property
    def properties(self) -> Mapping[str, Hashable]:
        densities = () if isinstance(self.first, Map) else (self.first,)
        shared = map_properties(self.body_order, densities, self.maps)
        return {**shared, f"{self.body_order}-body: radial band": self.band}
