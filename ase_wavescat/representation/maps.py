"""Maps: rotation-invariant products of two fields, and which of them a family takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from ase.data import atomic_numbers, chemical_symbols

from ase_wavescat.representation.checks import require, scale_exponents, wavelet_pairs
from ase_wavescat.representation.wavelets import Wavelet


@dataclass(frozen=True, order=True)
class SpeciesWavelet:
    """The field U = rho_z * psi: the density of species z seen through one wavelet."""

    number: int
    wavelet: Wavelet

    @property
    def key(self) -> str:
        return f"{chemical_symbols[self.number]},{self.wavelet.key}"

    @classmethod
    def parse(cls, text: str) -> SpeciesWavelet:
        symbol, rest = text.split(",", 1)
        return cls(atomic_numbers[symbol], Wavelet.parse(rest))


@dataclass(frozen=True, order=True)
class Map:
    """P(u) = sum_m U_first,m(u) U_second,m(u): rotation-invariant product of two fields of the same l."""

    first: SpeciesWavelet
    second: SpeciesWavelet

    @property
    def key(self) -> str:
        return f"{self.first.key}*{self.second.key}"

    @classmethod
    def parse(cls, text: str) -> Map:
        first, second = text.split("*")
        return cls(SpeciesWavelet.parse(first), SpeciesWavelet.parse(second))


@dataclass(frozen=True)
class Maps:
    """Which products P of two fields: same l, any two species, scales at most `span` apart (octaves), any n."""

    wavelets: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]
    span: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "wavelets", wavelet_pairs(self.wavelets))
        object.__setattr__(self, "scales", scale_exponents(self.scales))
        require(self.span >= 0, f"the span of scales must not be negative, got {self.span}")

    def count(self, species: int) -> int:
        """How many maps `expand` makes for so many species."""
        near = sum(abs(a - b) <= self.span + 1e-9 for a in self.scales for b in self.scales)
        fields = [species * orbitals for orbitals in Counter(l for _, l in self.wavelets).values()]
        return sum((many * many * near + many * len(self.scales)) // 2 for many in fields)

    def expand(self, species: Sequence[int]) -> tuple[Map, ...]:
        """All maps, each unordered pair of (species, wavelet) once."""
        fields = [SpeciesWavelet(z, Wavelet(j, n, l)) for z in species for n, l in self.wavelets for j in self.scales]
        return tuple(
            Map(a, b)
            for a, b in combinations_with_replacement(fields, 2)
            if a.wavelet.l == b.wavelet.l and abs(a.wavelet.scale - b.wavelet.scale) <= self.span + 1e-9
        )


def map_properties(body_order: int, densities: Sequence[int], maps: Sequence[Map]) -> dict[str, Hashable]:
    """What can be said of a correlation of species densities and maps, see `Feature.properties`."""
    fields = [field for m in maps for field in (m.first, m.second)]
    species = {*densities, *(field.number for field in fields)}
    found: dict[str, Hashable] = {
        "correlations: body order": f"{body_order}-body",
        "correlations: species": "-".join(chemical_symbols[z] for z in sorted(species)),
    }
    if maps:
        found["maps: scales j"] = tuple(sorted({field.wavelet.scale for field in fields}))
        found["maps: degrees l"] = tuple(sorted(m.first.wavelet.l for m in maps))
    return found
