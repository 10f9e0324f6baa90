"""What a network of learned point scattering is made of, as frozen, validated data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase.data import chemical_symbols

from ase_wavescat.potentials.network.radial import Gaussians, Radial, RadialWavelets, radial_from_dict, radial_to_dict
from ase_wavescat.representation.checks import refuse_unknown, require
from ase_wavescat.representation.specification import element_number

Triple = tuple[int, int, int]

MOST_PARAMETERS = 20_000_000
"""A hundred times those of a network for two species; specifications come from files, too."""
LARGEST_L = 6
MOST_CHANNELS = 128
MOST_HIDDEN = 1024
_CUTOFFS = (2.0, 20.0)  # A
_GAUSSIANS = Gaussians()


@dataclass(frozen=True)
class NetworkSpecification:
    """Fields at the atoms, their invariants and the networks on them.

    First order: A_i,qlm = sum_k sum_p W[z_i z_k]_l,pq g_p(r_ik) Y_lm(r_ik) with invariants A_q,00; sum_m A_qlm A_q'lm,
    q <= q'; and, for each triple (l1, l2, l3) and channel, sum G A_q,l1m1 A_q,l2m2 A_q,l3m3 with Gaunt's G. Second
    order: A2_i,qlm = sum_k h_k,q sum_p W2[z_i z_k]_l,pq g_p(r_ik) Y_lm(r_ik), h being what the first network says of
    atom k, with invariants, by l, sum_m A2_qlm A2_q'lm, q <= q', and sum_m A2_qlm A_q'lm (B21, chapter 5). Each species
    has two networks: the second reads the second order's invariants and the first hidden layer of the first.

    Attributes:
        species: atomic numbers, ascending; symbols are accepted.
        cutoff: A, 2 to 20.
        radial: the radial functions g_p.
        l_max: largest degree l, 0 to 6.
        channels: of the first order, and of the second where there is one: (12,) or (12, 8).
        triples: (l1, l2, l3), ascending, whose sum is even and which close a triangle.
        hidden: widths of the hidden layers of each network.

    Raises:
        SpecError: for anything that cannot be used; the message says which value and why.
    """

    species: tuple[int, ...]
    cutoff: float = 6.0
    radial: Radial = _GAUSSIANS
    l_max: int = 3
    channels: tuple[int, ...] = (12, 8)
    triples: tuple[Triple, ...] = ((1, 1, 2), (2, 2, 2), (1, 2, 3), (2, 3, 3))
    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        species = tuple(sorted(element_number(z) for z in self.species))
        require(len(species) > 0, "a network needs at least one species")
        require(len(set(species)) == len(species), f"species named twice: {species}")
        number = isinstance(self.cutoff, (int, float)) and not isinstance(self.cutoff, bool)
        require(number and math.isfinite(self.cutoff), f"the cutoff must be a length in A, got {self.cutoff!r}")
        fits = _CUTOFFS[0] <= self.cutoff <= _CUTOFFS[1]
        require(fits, f"the cutoff is {_CUTOFFS[0]} to {_CUTOFFS[1]} A, got {self.cutoff}")
        known = isinstance(self.radial, (Gaussians, RadialWavelets))
        require(known, f"radial functions are Gaussians or RadialWavelets, got {self.radial!r}")
        _whole(self.l_max, 0, LARGEST_L, "l_max")
        channels = _counts(self.channels, 2, MOST_CHANNELS, "channels")
        hidden = _counts(self.hidden, 4, MOST_HIDDEN, "hidden")
        for name, value in (("species", species), ("channels", channels), ("hidden", hidden)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "cutoff", float(self.cutoff))
        object.__setattr__(self, "triples", tuple(_triple(triple, self.l_max) for triple in self.triples))
        require(len(set(self.triples)) == len(self.triples), f"triples named twice: {self.triples}")
        require(
            self.parameters <= MOST_PARAMETERS,
            f"this network has {self.parameters} parameters, the limit is {MOST_PARAMETERS}: take fewer channels,"
            " narrower hidden layers or fewer species",
        )

    @property
    def orders(self) -> int:
        """1, or 2 where neighbours are seen through what they see."""
        return len(self.channels)

    @property
    def harmonics(self) -> int:
        """(l_max + 1)^2."""
        return (self.l_max + 1) ** 2

    @property
    def invariants(self) -> tuple[int, ...]:
        """Numbers an atom of each order: Q + (l_max + 1) Q (Q + 1) / 2 + Q triples; (l_max + 1) (Q2 (Q2 + 1) / 2 +
        Q2 Q)."""
        degrees, first = self.l_max + 1, self.channels[0]
        counts = [first + degrees * first * (first + 1) // 2 + first * len(self.triples)]
        for second in self.channels[1:]:
            counts.append(degrees * (second * (second + 1) // 2 + second * first))
        return tuple(counts)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each array of weights, by name; S species, I invariants, P radial functions, Q channels.

        {order}_mixing (S, S, l_max + 1, P, Q): W by centre, neighbour, l. {order}_mean, {order}_deviation (S, I): by
        which invariants are standardised. {order}_weight_{layer}, {order}_bias_{layer}: of the hidden layers; the
        second order reads its invariants, then the first hidden layer of the first. {order}_energy_weight (S, width),
        first_energy_bias (S,): site energies. scalar_weight (S, width, Q2), scalar_bias: h.
        """
        species = len(self.species)
        shapes: dict[str, tuple[int, ...]] = {}
        for order, channels, count in zip(("first", "second"), self.channels, self.invariants, strict=False):
            shapes[f"{order}_mixing"] = (species, species, self.l_max + 1, self.radial.count, channels)
            shapes[f"{order}_mean"] = shapes[f"{order}_deviation"] = (species, count)
            width = count if order == "first" else count + self.hidden[0]
            for layer, next_width in enumerate(self.hidden):
                shapes[f"{order}_weight_{layer}"] = (species, width, next_width)
                shapes[f"{order}_bias_{layer}"] = (species, next_width)
                width = next_width
            shapes[f"{order}_energy_weight"] = (species, width)
        shapes["first_energy_bias"] = (species,)
        for channels in self.channels[1:]:
            shapes["scalar_weight"] = (species, self.hidden[-1], channels)
            shapes["scalar_bias"] = (species, channels)
        return shapes

    @property
    def parameters(self) -> int:
        """Numbers that training changes: all arrays but means and deviations."""
        learned = (shape for name, shape in self.shapes.items() if not name.endswith(("_mean", "_deviation")))
        return sum(math.prod(shape) for shape in learned)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready; `from_dict` is its inverse."""
        return {
            "species": [chemical_symbols[z] for z in self.species],
            "cutoff": self.cutoff,
            "radial": radial_to_dict(self.radial),
            "l_max": self.l_max,
            "channels": list(self.channels),
            "triples": [list(triple) for triple in self.triples],
            "hidden": list(self.hidden),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkSpecification:
        """Raises SpecError for unknown keys, with the nearest known one, and for what the class refuses."""
        known = [field.name for field in dataclasses.fields(cls)]
        refuse_unknown(data, known, "network")
        require("species" in data, "the network lacks its species")
        values = dict(data)
        for name in ("species", "channels", "triples", "hidden"):
            if name in values:
                require(isinstance(values[name], (list, tuple)), f"{name} are a list, got {values[name]!r}")
                values[name] = tuple(values[name])
        if "radial" in values:
            values["radial"] = radial_from_dict(values["radial"])
        return cls(**values)


def _whole(value: Any, least: int, most: int, name: str) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(whole and least <= value <= most, f"{name} is a whole number from {least} to {most}, got {value!r}")
    return int(value)


def _counts(values: Sequence[int], longest: int, most: int, name: str) -> tuple[int, ...]:
    fits = isinstance(values, (tuple, list)) and 1 <= len(values) <= longest
    require(fits, f"{name} are 1 to {longest} whole numbers, got {values!r}")
    return tuple(_whole(value, 1, most, f"each of {name}") for value in values)


def _triple(triple: Sequence[int], l_max: int) -> Triple:
    fits = isinstance(triple, (tuple, list)) and len(triple) == 3
    require(fits, f"a triple is (l1, l2, l3), got {triple!r}")
    a, b, c = (_whole(l, 1, l_max, "each l of a triple") if l_max else 0 for l in triple)
    require(l_max > 0, f"a triple needs l_max of at least 1, got l_max = 0 and {tuple(triple)}")
    require(a <= b <= c, f"the l of a triple ascend, got {(a, b, c)}")
    require((a + b + c) % 2 == 0 and c <= a + b, f"{(a, b, c)} has no invariant: even sum and l3 <= l1 + l2 are needed")
    return a, b, c
