"""What features a model is made of, as frozen, validated data."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import combinations_with_replacement
from numbers import Integral
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ase_wavescat.representation.features import (
    AtomFeature,
    BandFeature,
    Feature,
    Map,
    ModulusFeature,
    PairFeature,
    SpeciesWavelet,
    Wavelet,
)
from ase_wavescat.system.errors import WaveScatError

Channel = tuple[str, tuple[tuple[int, float], ...]]

# Far beyond what fits of any structure need, and within what can be computed: specifications come from files, too.
LARGEST_SPEC = 1_000_000  # features; those of one preset for ten species are a hundred thousand
LARGEST_N = 20  # the Laguerre polynomials of larger n lose their digits
_MOST_SCALES = 100
_WIDTHS = (0.01, 100.0)  # A
_LARGEST_POWER = 32
_SMALLEST_TOLERANCE = 1e-12
_MOST_COMPARED = 20_000  # names, for a spelling that is close


class SpecError(WaveScatError, ValueError):
    """A specification that cannot be used; the message says which value and why."""


@dataclass(frozen=True)
class Bands:
    """Radial bands in reciprocal space: smooth windows of |G|, centred at k * spacing, k = 0..count-1 (1/A).

    Each reaches `half_width` = 2.5 spacings to either side, so that nothing lies beyond `maximum`.
    """

    count: int
    spacing: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", _whole(self.count, "the count of bands"))
        _require(self.count >= 1, f"bands need a count of at least 1, got {self.count}")
        _require(math.isfinite(self.spacing) and self.spacing > 0, f"band spacing must be positive, got {self.spacing}")

    @property
    def half_width(self) -> float:
        return 2.5 * self.spacing

    @property
    def maximum(self) -> float:
        return (self.count - 1) * self.spacing + self.half_width


@dataclass(frozen=True)
class Maps:
    """Which products P of two fields: same l, any two species, scales at most `span` apart (octaves), any n."""

    wavelets: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]
    span: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "wavelets", _wavelets(self.wavelets))
        object.__setattr__(self, "scales", _scales(self.scales))
        _require(self.span >= 0, f"the span of scales must not be negative, got {self.span}")

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


_CHOICES = {
    "second_input": ("modulus", "squared"),
    "second_orbitals": ("any", "same", "ascending"),
    "normalisation": ("none", "ratio"),
}


@dataclass(frozen=True)
class Moduli:
    """First- and second-order scattering moduli of the papers (S20 sec. II D, B18, E18, B21 ch. 2).

    Attributes:
        powers: Exponents q >= 1/4 of the integrals; below 1 (E18) derivatives are finite but steep where a field
            vanishes.
        scale_step: Second-order paths keep j2 - j1 >= scale_step (S20: -1, B21: 0, B18 with half octaves: 0.5, E18: 1).
        second_orbitals: And of the wavelets (n2, l2) keep "any" (S20), those with the "same" l as the first (E18), or
            those with (n2, l2) > (n1, l1), n before l, "ascending" (B18).
        second_input: The second layer acts on the "modulus" (papers) or its square ("squared": polynomial scattering).
        density_width: Alpha (A) of the Gaussians of unit integral that make the density, rho_f(u) = sum_k f(Z_k)
            g_alpha(u - R_k) (B18, E18); the zeroth order is integral |rho_f|^q du then. 0: points, sum_k |f(Z_k)|^q.
        normalisation: "none", or "ratio" (B18): features of orders 1 and 2 are N integral sigma^q du over the same of
            the parent, that of the first order being the zeroth. N makes a cell tiled twice count twice, but quotients
            of sums are no sums: two structures far apart do not have the sum of their features.
        softening: Epsilon of sigma = sqrt(sigma^2 + epsilon^2 s^2), less epsilon s where it vanishes (see `moduli`); s
            is the map's root mean square, in `softening_rms` by feature path (channel, wavelets), filled in by
            training.
        orders: Which of the orders 0, 1, 2 are present.
    """

    powers: tuple[Fraction, ...] = (Fraction(1), Fraction(4, 3), Fraction(5, 3), Fraction(2))
    scale_step: float = -1.0
    second_input: str = "modulus"
    softening: float = 0.0
    softening_rms: tuple[tuple[str, float], ...] = ()
    orders: tuple[int, ...] = (0, 1, 2)
    second_orbitals: str = "any"
    density_width: float = 0.0
    normalisation: str = "none"

    def __post_init__(self) -> None:
        powers = _powers(self.powers)
        object.__setattr__(self, "powers", powers)
        _require(_is_sequence(self.orders), f"orders are a sequence of 0, 1, 2, got {self.orders!r}")
        object.__setattr__(self, "orders", tuple(_whole(o, "an order") for o in self.orders))
        object.__setattr__(self, "softening_rms", tuple((str(k), float(v)) for k, v in self.softening_rms))
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            _require(value in choices, f"{name} is one of {', '.join(map(repr, choices))}, got {value!r}")
        for name, unit in (("softening", ""), ("density_width", " of A")):
            value = getattr(self, name)
            valid = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
            _require(valid, f"{name} must be a number{unit}, zero or positive, got {value!r}")
        valid = isinstance(self.scale_step, (int, float)) and not math.isnan(self.scale_step)
        _require(valid, f"scale_step must be a number of octaves, got {self.scale_step!r}")
        _require(len(set(powers)) == len(powers), f"powers q must be given once each, got {self.powers}")
        _require(0 < len(self.orders) == len(set(self.orders)), f"orders must be given once each, got {self.orders}")
        _require(set(self.orders) <= {0, 1, 2}, f"orders are among 0, 1, 2, got {self.orders}")

    def most_features(self, spec: ScatteringSpec) -> int:
        """How many features there can be at most, without making them."""
        maps = len(spec.wavelets) * len(spec.scales)
        return sum(maps**order for order in self.orders) * len(spec.channels) * len(self.powers)

    def features(self, spec: ScatteringSpec) -> list[Feature]:
        return [ModulusFeature(c, q, p) for p in self.paths(spec) for c, _ in spec.channels for q in self.powers]

    def paths(self, spec: ScatteringSpec) -> list[tuple[Wavelet, ...]]:
        """The wavelets of every map, none for the zeroth order."""
        wavelets = [Wavelet(j, n, l) for j in spec.scales for n, l in spec.wavelets]
        paths: list[tuple[Wavelet, ...]] = [()] if 0 in self.orders else []
        if 1 in self.orders:
            paths += [(w,) for w in wavelets]
        if 2 in self.orders:
            paths += [(a, b) for a in wavelets for b in wavelets if self._has_path(a, b)]
        return paths

    def _has_path(self, first: Wavelet, second: Wavelet) -> bool:
        orbitals = {
            "any": True,
            "same": second.l == first.l,
            "ascending": (second.n, second.l) > (first.n, first.l),
        }
        return second.scale - first.scale >= self.scale_step - 1e-9 and orbitals[self.second_orbitals]


@dataclass(frozen=True)
class Correlations:
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

    def __post_init__(self) -> None:
        for name, kind in _NESTED.items():
            value = getattr(self, name)
            _require(value is None or isinstance(value, kind), f"{name} is made by {kind.__name__}(...), got {value!r}")
        grid = self.grid_maps is not None
        bands = self.three_body is not None or self.four_body is not None
        _require(grid == bands, "grid_maps and its bands (three_body, four_body) go together: give both or neither")
        _require(
            any(v is not None for v in (self.pair, self.atom_maps, self.five_body, self.grid_maps)),
            "a correlations family without any part: give pair, atom_maps, five_body or grid_maps",
        )

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


Family = Moduli | Correlations
_FAMILIES: dict[str, type[Moduli] | type[Correlations]] = {"moduli": Moduli, "correlations": Correlations}
_NESTED = {
    "pair": Bands,
    "three_body": Bands,
    "four_body": Bands,
    "atom_maps": Maps,
    "five_body": Maps,
    "grid_maps": Maps,
}


@dataclass(frozen=True)
class ScatteringSpec:
    """Species, channels, wavelets, scales and feature families of a model.

    Attributes:
        species: Atomic numbers, ascending.
        channels: ((name, ((Z, weight), ...)), ...), the channel rho_f = sum_k f(Z_k) delta(u - R_k); a mapping is
            accepted.
        wavelets: (n, l) with n >= l + 1.
        scales: Real exponents j.
        beta: Width of the finest wavelet (A).
        tolerance: Relative size at which a wavelet's tail in reciprocal space is cut.
    """

    species: tuple[int, ...]
    wavelets: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]
    beta: float
    families: tuple[Family, ...]
    channels: tuple[Channel, ...] = ()
    tolerance: float = 1e-4
    _index: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "species", tuple(sorted(element_number(z) for z in self.species)))
        set_(self, "wavelets", _wavelets(self.wavelets))
        set_(self, "scales", _scales(self.scales))
        set_(self, "channels", _channels(self.channels))
        set_(self, "families", tuple(self.families))
        _require(len(self.species) > 0, "a spec needs at least one species")
        _require(len(set(self.species)) == len(self.species), f"species named twice: {self.species}")
        for name in ("beta", "tolerance"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            _require(number, f"{name} must be a number, got {value!r}")
        _require(math.isfinite(self.beta) and self.beta > 0, f"beta must be a positive length in A, got {self.beta}")
        valid = _SMALLEST_TOLERANCE <= self.tolerance <= 0.1
        _require(valid, f"tolerance must lie in [{_SMALLEST_TOLERANCE}, 0.1], got {self.tolerance}")
        low, high = (self.beta * 2.0**j for j in (self.scales[0], self.scales[-1]))
        valid = _WIDTHS[0] <= low <= high <= _WIDTHS[1]
        _require(valid, f"wavelets are {_WIDTHS[0]} to {_WIDTHS[1]} A wide, beta 2^j is {low:g} to {high:g} A")
        _require(len(self.families) > 0, "a spec needs at least one feature family")
        kinds = [type(family) for family in self.families]
        _require(len(set(kinds)) == len(kinds), "a spec holds each kind of family once: merge the two of the same kind")
        for family in self.families:
            self._check_family(family)
        most = sum(family.most_features(self) for family in self.families)
        _require(
            most <= LARGEST_SPEC,
            f"this spec has up to {most} features, the limit is {LARGEST_SPEC}: take fewer wavelets, scales, bands or"
            " powers, a narrower span, or no five_body",
        )

    def _check_family(self, family: Family) -> None:
        if isinstance(family, Moduli):
            _require(len(self.channels) > 0, "the moduli family needs at least one channel")
            for name, weights in self.channels:
                missing = set(self.species) - {z for z, _ in weights}
                _require(
                    not missing, f"channel {name!r} has no weight for {sorted(chemical_symbols[z] for z in missing)}"
                )
            return
        for name in ("atom_maps", "five_body", "grid_maps"):
            maps = getattr(family, name)
            if maps is not None:
                extra = set(maps.wavelets) - set(self.wavelets)
                _require(not extra, f"{name} uses wavelets {sorted(extra)} that the spec does not list")
                lost = set(maps.scales) - set(self.scales)
                _require(not lost, f"{name} uses scales {sorted(lost)} that the spec does not list")

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Every feature of every family, in a fixed order."""
        return tuple(feature for family in self.families for feature in family.features(self))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Of the features, in the order of their values."""
        return tuple(feature.key for feature in self.features)

    def index(self, key: str) -> int:
        """Position of a feature by key; SpecError when the spec does not have it."""
        if not self._index:
            self._index.update({k: i for i, k in enumerate(self.keys)})
        if key not in self._index:
            raise SpecError(f"this spec has no feature {key!r}{did_you_mean(key, self.keys)}")
        return self._index[key]

    def channel(self, name: str) -> dict[int, float]:
        """Weights of a channel by atomic number.

        Raises:
            SpecError: For a name that no channel has.
        """
        for known, weights in self.channels:
            if known == name:
                return dict(weights)
        raise SpecError(f"no channel {name!r}{did_you_mean(name, [c for c, _ in self.channels])}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready; `from_dict` is its inverse."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        plain["families"] = [_family_to_dict(f) for f in self.families]
        plain["channels"] = {name: {chemical_symbols[z]: w for z, w in weights} for name, weights in self.channels}
        plain["species"] = [chemical_symbols[z] for z in self.species]
        return json.loads(json.dumps(plain))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScatteringSpec:
        """From what `to_dict` gives.

        Raises:
            SpecError: For unknown keys and values that make no sense.
        """
        data = dict(data)
        _refuse_unknown(data, [f.name for f in dataclasses.fields(cls) if f.init], "spec")
        missing = [k for k in ("species", "wavelets", "scales", "beta", "families") if k not in data]
        _require(not missing, f"the spec lacks {missing}")
        data["families"] = tuple(_family_from_dict(f) for f in data["families"])
        return cls(**data)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of an error message: the known name closest to an unknown one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1) if len(known) <= _MOST_COMPARED else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _refuse_unknown(data: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in data:
        _require(key in known, f"unknown key {key!r} in the {where}{did_you_mean(key, known)}")


def element_number(species: int | str) -> int:
    """Atomic number of a symbol or number; SpecError for what is no element."""
    if isinstance(species, str):
        _require(species in atomic_numbers, f"unknown element {species!r}")
        return atomic_numbers[species]
    known = 1 <= species < len(chemical_symbols) and int(species) == species
    _require(known, f"unknown atomic number {species}")
    return int(species)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def _whole(value: Any, what: str) -> int:
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    _require(whole and not isinstance(value, bool), f"{what} must be a whole number, got {value!r}")
    return int(value)


def _powers(values: Any) -> tuple[Fraction, ...]:
    """Exponents from numbers, fractions or their texts ("4/3")."""
    _require(_is_sequence(values) and len(values) > 0, f"powers q are a sequence of numbers, got {values!r}")
    try:
        powers = tuple(Fraction(q).limit_denominator(1000) for q in values)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise SpecError(f"powers q must be numbers or fractions such as '4/3', got {values!r}") from None
    small = [str(q) for q in powers if q < Fraction(1, 4)]
    _require(not small, f"powers q must be at least 1/4, got {', '.join(small)}: smaller ones see noise alone")
    _require(max(powers) <= _LARGEST_POWER, f"powers q are at most {_LARGEST_POWER}, got {max(powers)}")
    return powers


def _wavelets(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    paired = _is_sequence(pairs) and all(_is_sequence(pair) and len(pair) == 2 for pair in pairs)
    _require(paired, f"wavelets are a sequence of pairs (n, l), got {pairs!r}")
    pairs = [[_whole(value, "n and l of a wavelet") for value in pair] for pair in pairs]
    for n, l in pairs:
        _require(l >= 0 and n >= l + 1, f"n must be at least l + 1 and l at least 0, got n = {n}, l = {l}")
        _require(n <= LARGEST_N, f"n must be at most {LARGEST_N}, got {n}")
    wavelets = tuple((int(n), int(l)) for n, l in pairs)
    _require(
        len(wavelets) > 0 and len(set(wavelets)) == len(wavelets), f"wavelets must be given once each, got {wavelets}"
    )
    return wavelets


def _scales(values: Sequence[float]) -> tuple[float, ...]:
    _require(_is_sequence(values), f"scales are a sequence of numbers, got {values!r}")
    scales = tuple(float(j) for j in values)
    _require(len(scales) > 0 and all(math.isfinite(j) for j in scales), f"scales must be finite numbers, got {values}")
    _require(len(scales) <= _MOST_SCALES, f"there may be {_MOST_SCALES} scales, got {len(scales)}")
    _require(list(scales) == sorted(set(scales)), f"scales must ascend, each once, got {values}")
    _require(max(map(abs, scales)) <= _MOST_SCALES, f"scales are octaves, got {values}")
    return scales


def _channels(channels: Any) -> tuple[Channel, ...]:
    items = channels.items() if isinstance(channels, Mapping) else channels
    result = []
    for name, weights in items:
        _require(str(name) != "" and ":" not in str(name), f"a channel's name is a word without ':', got {name!r}")
        pairs = weights.items() if isinstance(weights, Mapping) else weights
        table = tuple(sorted((element_number(z), float(w)) for z, w in pairs))
        _require(all(math.isfinite(w) for _, w in table), f"channel {name!r} has a weight that is not finite")
        result.append((str(name), table))
    names = [name for name, _ in result]
    _require(len(set(names)) == len(names), f"channels named twice: {names}")
    return tuple(result)


def _family_to_dict(family: Family) -> dict[str, Any]:
    kind = next(name for name, cls in _FAMILIES.items() if isinstance(family, cls))
    plain = dataclasses.asdict(family)
    if isinstance(family, Moduli):
        plain["powers"] = [str(q) for q in family.powers]
    return {"family": kind, **{k: v for k, v in plain.items() if v is not None}}


def _family_from_dict(data: Mapping[str, Any]) -> Family:
    data = dict(data)
    kind = data.pop("family", None)
    _require(kind in _FAMILIES, f"unknown feature family {kind!r}; known are {sorted(_FAMILIES)}")
    cls = _FAMILIES[kind]
    _refuse_unknown(data, [f.name for f in dataclasses.fields(cls)], f"{kind} family")
    if cls is Correlations:
        for name, nested in _NESTED.items():
            if data.get(name) is not None:
                _refuse_unknown(data[name], [f.name for f in dataclasses.fields(nested)], name)
                data[name] = nested(**data[name])
    return cls(**data)
