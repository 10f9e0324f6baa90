"""Names of moduli."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ase_wavescat.representation.paths import parse_path_key, path_key, path_properties
from ase_wavescat.representation.protocol import Feature
from ase_wavescat.representation.wavelets import Wavelet


@dataclass(frozen=True)
class ModulusFeature(Feature):
    """Integral of a modulus to a power (S20 sec. II D); an empty path is the zeroth order sum_k |f(Z_k)|^q."""

    channel: str
    power: Fraction
    path: tuple[Wavelet, ...] = ()

    kind = "modulus"

    @property
    def key(self) -> str:
        return "modulus:" + path_key(self.channel, self.power, self.path)

    @classmethod
    def parse(cls, rest: str) -> ModulusFeature:
        return cls(*parse_path_key(rest))

    @property
    def label(self) -> str:
        inner = f"rho[{self.channel}]"
        for wavelet in self.path:
            inner = f"|{inner} * {wavelet.label}|"
        return f"integral {inner}^{self.power}"

    @property
    def heading(self) -> str:
        return f"scattering moduli of order {len(self.path)}"

    @property
    def properties(self) -> Mapping[str, Hashable]:
        return path_properties("moduli", self.channel, self.power, self.path)

    @property
    def peers(self) -> str:
        """Those of the same channel, power and order.

        The widest wavelets of `sinz2020` do not fit into cells of ten angstrom: their maps are all but constant there
        and a million times as large in a cell of twice the side, where a weight learnt on them predicts anything.
        """
        return f"modulus:{self.channel}:{self.power}:order {len(self.path)}"
