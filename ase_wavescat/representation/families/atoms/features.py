"""Names of features at the atoms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from ase.data import atomic_numbers, chemical_symbols

from ase_wavescat.representation.maps import Map, map_properties
from ase_wavescat.representation.protocol import Feature


@dataclass(frozen=True)
class AtomFeature(Feature):
    """sum_{k of species} prod_i P_i(R_k): one map is a three-body feature, two maps a five-body one."""

    centre: int
    maps: tuple[Map, ...]

    kind = "atom"

    @property
    def key(self) -> str:
        return f"atom:{chemical_symbols[self.centre]}:" + "|".join(m.key for m in self.maps)

    @classmethod
    def parse(cls, rest: str) -> AtomFeature:
        symbol, maps = rest.split(":")
        return cls(atomic_numbers[symbol], tuple(Map.parse(m) for m in maps.split("|")))

    @property
    def body_order(self) -> int:
        return 1 + 2 * len(self.maps)

    @property
    def label(self) -> str:
        return f"{self.body_order}-body at {chemical_symbols[self.centre]} atoms: " + " x ".join(
            m.key for m in self.maps
        )

    @property
    def heading(self) -> str:
        return f"{self.body_order}-body at the atoms"

    @property
    def properties(self) -> Mapping[str, Hashable]:
        shared = map_properties(self.body_order, (self.centre,), self.maps)
        return {**shared, "features at the atoms: central species": chemical_symbols[self.centre]}

    @property
    def steep(self) -> bool:
        """Products of two maps are fourth powers of the density, with tails to match."""
        return len(self.maps) > 1
