"""What features a model is made of, as frozen, validated data."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from ase_wavescat.representation.checks import refuse_unknown, require, scale_exponents, wavelet_pairs
from ase_wavescat.representation.protocol import Family, Feature, Plan
from ase_wavescat.system.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from ase_wavescat.structure.structure import Structure

Channel = tuple[str, tuple[tuple[int, float], ...]]
IntArray = NDArray[np.int64]

# Far beyond what fits of any structure need, and within what can be computed: specifications come from files, too.
LARGEST_SPEC = 1_000_000  # features; those of one preset for ten species are a hundred thousand
_WIDTHS = (0.01, 100.0)  # A
_SMALLEST_TOLERANCE = 1e-12


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
        set_(self, "wavelets", wavelet_pairs(self.wavelets))
        set_(self, "scales", scale_exponents(self.scales))
        set_(self, "channels", _channels(self.channels))
        set_(self, "families", tuple(self.families))
        require(len(self.species) > 0, "a spec needs at least one species")
        require(len(set(self.species)) == len(self.species), f"species named twice: {self.species}")
        for name in ("beta", "tolerance"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            require(number, f"{name} must be a number, got {value!r}")
        require(math.isfinite(self.beta) and self.beta > 0, f"beta must be a positive length in A, got {self.beta}")
        valid = _SMALLEST_TOLERANCE <= self.tolerance <= 0.1
        require(valid, f"tolerance must lie in [{_SMALLEST_TOLERANCE}, 0.1], got {self.tolerance}")
        low, high = (self.beta * 2.0**j for j in (self.scales[0], self.scales[-1]))
        valid = _WIDTHS[0] <= low <= high <= _WIDTHS[1]
        require(valid, f"wavelets are {_WIDTHS[0]} to {_WIDTHS[1]} A wide, beta 2^j is {low:g} to {high:g} A")
        require(len(self.families) > 0, "a spec needs at least one feature family")
        kinds = [type(family) for family in self.families]
        require(len(set(kinds)) == len(kinds), "a spec holds each kind of family once: merge the two of the same kind")
        for family in self.families:
            family.check(self)
        most = sum(family.most_features(self) for family in self.families)
        require(
            most <= LARGEST_SPEC,
            f"this spec has up to {most} features, the limit is {LARGEST_SPEC}: take fewer wavelets, scales, bands or"
            " powers, a narrower span, or no five_body",
        )

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

    def plans(self, keys: Sequence[str]) -> list[tuple[IntArray, Plan]]:
        """Plans that together compute the features of these keys, with their columns among these."""
        features = [self.features[self.index(key)] for key in keys]
        found = []
        for family in self.families:
            own = [i for i, feature in enumerate(features) if type(feature) in family.feature_classes]
            for columns, plan in family.plans(self, [features[i] for i in own]) if own else ():
                found.append((np.array(own, dtype=np.int64)[columns], plan))
        return found

    @property
    def unmeasured(self) -> bool:
        """Whether a family lacks something that `measured_on` finds out."""
        return any(family.unmeasured for family in self.families)

    def measured_on(self, structures: Sequence[Structure]) -> ScatteringSpec:
        """The spec with all that its families take from typical structures, such as the softening of moduli.

        Args:
            structures: fully periodic.

        Raises:
            SpecError: where there is none.
        """
        families = tuple(family.measured_on(self, structures) for family in self.families)
        return dataclasses.replace(self, families=families)

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
        plain["families"] = [{"family": f.name, **f.to_dict()} for f in self.families]
        plain["channels"] = {name: {chemical_symbols[z]: w for z, w in weights} for name, weights in self.channels}
        plain["species"] = [chemical_symbols[z] for z in self.species]
        return json.loads(json.dumps(plain))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScatteringSpec:
        """From what `to_dict` gives.

        Raises:
            SpecError: For unknown keys and values that make no sense.
        """
        from ase_wavescat.representation.registry import family_from_dict  # families are made of specifications

        data = dict(data)
        refuse_unknown(data, [f.name for f in dataclasses.fields(cls) if f.init], "spec")
        missing = [k for k in ("species", "wavelets", "scales", "beta", "families") if k not in data]
        require(not missing, f"the spec lacks {missing}")
        data["families"] = tuple(family_from_dict(f) for f in data["families"])
        return cls(**data)


def element_number(species: int | str) -> int:
    """Atomic number of a symbol or number; SpecError for what is no element."""
    if isinstance(species, str):
        require(species in atomic_numbers, f"unknown element {species!r}")
        return atomic_numbers[species]
    known = 1 <= species < len(chemical_symbols) and int(species) == species
    require(known, f"unknown atomic number {species}")
    return int(species)


def _channels(channels: Any) -> tuple[Channel, ...]:
    items = channels.items() if isinstance(channels, Mapping) else channels
    result = []
    for name, weights in items:
        require(str(name) != "" and ":" not in str(name), f"a channel's name is a word without ':', got {name!r}")
        pairs = weights.items() if isinstance(weights, Mapping) else weights
        table = tuple(sorted((element_number(z), float(w)) for z, w in pairs))
        require(all(math.isfinite(w) for _, w in table), f"channel {name!r} has a weight that is not finite")
        result.append((str(name), table))
    names = [name for name, _ in result]
    require(len(set(names)) == len(names), f"channels named twice: {names}")
    return tuple(result)
