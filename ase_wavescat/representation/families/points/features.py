"""Names of scattering at the atoms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ase_wavescat.representation.paths import parse_path_key, path_key, path_properties
from ase_wavescat.representation.protocol import Feature
from ase_wavescat.representation.wavelets import Wavelet

_STEEP = 4
"""Of the density, as in products of two maps."""


@dataclass(frozen=True)
class PointFeature(Feature):
    """Sum over the atoms of a modulus at each to a power; an empty path is the zeroth order, sum_i |f(Z_i)|^q."""

    channel: str
    power: Fraction
    path: tuple[Wavelet, ...] = ()

    kind = "point"

    @property
    def key(self) -> str:
        return "point:" + path_key(self.channel, self.power, self.path)

    @classmethod
    def parse(cls, rest: str) -> PointFeature:
        return cls(*parse_path_key(rest))

    @property
    def label(self) -> str:
        inner = self.channel
        for wavelet in self.path:
            inner = f"|{inner} * {wavelet.label}|"
        return f"sum over the atoms of {inner}^{self.power}"

    @property
    def heading(self) -> str:
        return f"point scattering of order {len(self.path)}"

    @property
    def properties(self) -> Mapping[str, Hashable]:
        return path_properties("points", self.channel, self.power, self.path)

    @property
    def peers(self) -> str:
        """Those of the same channel, power and order: of wavelets too wide for the cells little can be learnt."""
        return f"point:{self.channel}:{self.power}:order {len(self.path)}"

    @property
    def steep(self) -> bool:
        """Each order sums over neighbours once more, so that atoms count by the power q times the order."""
        return self.power * len(self.path) >= _STEEP
