"""Names of single features: frozen records with a parseable key and a readable label.

A key is what a model file stores; `parse_key(feature.key) == feature` for every feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ase.data import atomic_numbers, chemical_symbols


@dataclass(frozen=True, order=True)
class Wavelet:
    """One wavelet psi_nl at scale j (radial width beta * 2**j)."""

    scale: float
    n: int
    l: int

    @property
    def key(self) -> str:
        return f"{repr(self.scale).removesuffix('.0')},{self.n},{self.l}"  # every digit: a key names one wavelet

    @property
    def label(self) -> str:
        return f"psi(j={self.scale:g}, n={self.n}, l={self.l})"

    @classmethod
    def parse(cls, text: str) -> Wavelet:
        scale, n, l = text.split(",")
        return cls(float(scale), int(n), int(l))


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
class ModulusFeature:
    """Integral of a modulus to a power (S20 sec. II D); an empty path is the zeroth order sum_k |f(Z_k)|^q."""

    channel: str
    power: Fraction
    path: tuple[Wavelet, ...] = ()

    @property
    def key(self) -> str:
        return f"modulus:{self.channel}:{self.power}:" + ">".join(w.key for w in self.path)

    @property
    def label(self) -> str:
        inner = f"rho[{self.channel}]"
        for wavelet in self.path:
            inner = f"|{inner} * {wavelet.label}|"
        return f"integral {inner}^{self.power}"


@dataclass(frozen=True)
class PairFeature:
    """(1/V) sum_G w_band(|G|) Re conj(S_z) S_z'."""

    species: tuple[int, int]
    band: int

    @property
    def key(self) -> str:
        first, second = (chemical_symbols[z] for z in self.species)
        return f"pair:{first}-{second}:{self.band}"

    @property
    def body_order(self) -> int:
        return 2

    @property
    def label(self) -> str:
        return f"pair {'-'.join(chemical_symbols[z] for z in self.species)}, radial band {self.band}"


@dataclass(frozen=True)
class AtomFeature:
    """sum_{k of species} prod_i P_i(R_k): one map is a three-body feature, two maps a five-body one."""

    centre: int
    maps: tuple[Map, ...]

    @property
    def key(self) -> str:
        return f"atom:{chemical_symbols[self.centre]}:" + "|".join(m.key for m in self.maps)

    @property
    def body_order(self) -> int:
        return 1 + 2 * len(self.maps)

    @property
    def label(self) -> str:
        return f"{self.body_order}-body at {chemical_symbols[self.centre]} atoms: " + " x ".join(
            m.key for m in self.maps
        )


@dataclass(frozen=True)
class BandFeature:
    """(1/V) sum_G w_band(|G|) Re conj(A) B with B a map, A a species density (three-body) or a map (four-body)."""

    first: int | Map
    second: Map
    band: int

    @property
    def key(self) -> str:
        first = self.first.key if isinstance(self.first, Map) else chemical_symbols[self.first]
        return f"band:{first}|{self.second.key}:{self.band}"

    @property
    def body_order(self) -> int:
        return 4 if isinstance(self.first, Map) else 3

    @property
    def label(self) -> str:
        first = self.first.key if isinstance(self.first, Map) else f"{chemical_symbols[self.first]} density"
        return f"{self.body_order}-body in band {self.band}: {first} with {self.second.key}"


Feature = ModulusFeature | PairFeature | AtomFeature | BandFeature


def parse_key(key: str) -> Feature:
    """The feature that a key names; ValueError on anything else."""
    try:
        kind, rest = key.split(":", 1)
        if kind == "modulus":
            channel, power, path = rest.rsplit(":", 2)
            wavelets = tuple(Wavelet.parse(p) for p in path.split(">")) if path else ()
            return ModulusFeature(channel, Fraction(power), wavelets)
        if kind == "pair":
            pair, band = rest.split(":")
            first, second = pair.split("-")
            return PairFeature((atomic_numbers[first], atomic_numbers[second]), int(band))
        if kind == "atom":
            symbol, maps = rest.split(":")
            return AtomFeature(atomic_numbers[symbol], tuple(Map.parse(m) for m in maps.split("|")))
        if kind == "band":
            operands, band = rest.split(":")
            first, second = operands.split("|")
            left = Map.parse(first) if "*" in first else atomic_numbers[first]
            return BandFeature(left, Map.parse(second), int(band))
    except (ValueError, KeyError) as error:
        raise ValueError(f"cannot read the feature key {key!r}: {error}") from None
    raise ValueError(f"cannot read the feature key {key!r}: unknown kind {kind!r}, known are modulus, pair, atom, band")
