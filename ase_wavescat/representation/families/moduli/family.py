"""Settings of moduli, and what is known about them without computing any."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.checks import non_negative, octaves, require
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.families.moduli.grids import GridRules
from ase_wavescat.representation.families.moduli.plan import ModuliPlan, map_sizes
from ase_wavescat.representation.paths import (
    check_channels,
    coarse_enough,
    exponents,
    most_maps,
    scattering_orders,
    scattering_paths,
)
from ase_wavescat.representation.protocol import Family, Feature, Plan
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet
from ase_wavescat.structure.structure import Structure

IntArray = NDArray[np.int64]

_CHOICES = {
    "second_input": ("modulus", "squared"),
    "second_orbitals": ("any", "same", "ascending"),
    "normalisation": ("none", "ratio"),
}


@dataclass(frozen=True)
class Moduli(Family):
    """First- and second-order scattering moduli of the papers (S20 sec. II D, B18, E18, B21 ch. 2).

    Attributes:
        powers: Exponents q >= 1/4 of the integrals; below 1 (E18) derivatives are finite but steep where a field
            vanishes.
        scale_step: Second-order paths keep j2 - j1 >= scale_step (S20: -1, B21: 0, B18 with half octaves: 0.5, E18: 1).
        second_orbitals: And of the wavelets (n2, l2) keep "any" (S20), those with the "same" l as the first (E18), or
            those with (n2, l2) > (n1, l1), n before l, "ascending" (B18).
        second_input: The second layer acts on the "modulus" (papers) or its square ("squared": polynomial scattering).
        density_width: Alpha (A) of the Gaussians of unit integral that make the density, rho_f(u) = sum_k f(Z_k)
            g_alpha(u - R_k) (B18, E18); the zeroth order is `integral |rho_f|^q du` then. 0: points,
            `sum_k |f(Z_k)|^q`.
        normalisation: "none", or "ratio" (B18): features of orders 1 and 2 are N integral sigma^q du over the same of
            the parent, that of the first order being the zeroth. N makes a cell tiled twice count twice, but quotients
            of sums are no sums: two structures far apart do not have the sum of their features.
        softening: Epsilon of sigma = sqrt(sigma^2 + epsilon^2 s^2), less epsilon s where it vanishes (see `plan`); s
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

    name = "moduli"
    feature_classes = (ModulusFeature,)

    @classmethod
    def example(cls) -> ScatteringSpec:
        channels = (("light", ((3, 3.0), (14, 0.0))), ("valence", ((3, 1.0), (14, 4.0))))
        family = cls(powers=(Fraction(2), Fraction(4)), second_input="squared", scale_step=0.5)
        return ScatteringSpec((3, 14), ((2, 0), (2, 1)), (0.0, 0.5), 0.5, (family,), channels)

    def __post_init__(self) -> None:
        object.__setattr__(self, "powers", exponents(self.powers, Fraction(1, 4), "smaller ones see noise alone"))
        object.__setattr__(self, "orders", scattering_orders(self.orders))
        object.__setattr__(self, "softening_rms", tuple((str(k), float(v)) for k, v in self.softening_rms))
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            require(value in choices, f"{name} is one of {', '.join(map(repr, choices))}, got {value!r}")
        for name, unit in (("softening", ""), ("density_width", " of A")):
            non_negative(getattr(self, name), name, unit)
        octaves(self.scale_step, "scale_step")

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "powers": [str(q) for q in self.powers]}

    def check(self, spec: ScatteringSpec) -> None:
        check_channels(spec, self.name)

    def most_features(self, spec: ScatteringSpec) -> int:
        """How many features there can be at most, without making them."""
        return most_maps(spec, self.orders) * len(self.powers)

    def features(self, spec: ScatteringSpec) -> list[ModulusFeature]:
        return [ModulusFeature(c, q, p) for p in self.paths(spec) for c, _ in spec.channels for q in self.powers]

    def paths(self, spec: ScatteringSpec) -> list[tuple[Wavelet, ...]]:
        """The wavelets of every map, none for the zeroth order."""
        return scattering_paths(spec, self.orders, self._has_path)

    def _has_path(self, first: Wavelet, second: Wavelet) -> bool:
        orbitals = {
            "any": True,
            "same": second.l == first.l,
            "ascending": (second.n, second.l) > (first.n, first.l),
        }
        return coarse_enough(first, second, self.scale_step) and orbitals[self.second_orbitals]

    def reach(self, spec: ScatteringSpec) -> float:
        rules = GridRules(spec, self)
        return max(map(rules.reach, self.paths(spec)))

    def plans(self, spec: ScatteringSpec, features: Sequence[Feature]) -> list[tuple[IntArray, Plan]]:
        moduli = [feature for feature in features if isinstance(feature, ModulusFeature)]
        return [(np.arange(len(moduli)), ModuliPlan(spec, self, moduli))]

    def resized(self, finer: float, scales: tuple[float, ...]) -> Moduli:
        return dataclasses.replace(self, density_width=round(self.density_width / finer, 4))

    @property
    def unmeasured(self) -> bool:
        """Whether softened maps lack their root mean squares."""
        return self.softening > 0 and not self.softening_rms

    def measured_on(self, spec: ScatteringSpec, structures: Sequence[Structure]) -> Moduli:
        """With the root mean square of every map of every path, unsoftened,

            s = (sum over structures of integral sigma^2 du / sum of volumes)^(1/2).

        Raises:
            SpecError: where there is no structure.
        """
        require(len(structures) > 0, "softening is measured over structures, and there are none: give at least one")
        return dataclasses.replace(self, softening_rms=map_sizes(spec, self, structures))
