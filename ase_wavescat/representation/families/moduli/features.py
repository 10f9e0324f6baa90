"""Names of moduli."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction

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
        return f"modulus:{self.channel}:{self.power}:" + ">".join(w.key for w in self.path)

    @classmethod
    def parse(cls, rest: str) -> ModulusFeature:
        channel, power, path = rest.rsplit(":", 2)
        wavelets = tuple(Wavelet.parse(p) for p in path.split(">")) if path else ()
        return cls(channel, Fraction(power), wavelets)

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
        found: dict[str, Hashable] = {
            "moduli: order": len(self.path),
            "moduli: channel": self.channel,
            "moduli: power q": self.power,
        }
        if len(self.path) == 1:
            found["first order: scale j"] = self.path[0].scale
            found["first order: (n, l)"] = (self.path[0].n, self.path[0].l)
        if len(self.path) == 2:
            first, second = self.path
            found["second order: scales (j1, j2)"] = (first.scale, second.scale)
            found["second order: (n1, l1)"] = (first.n, first.l)
            found["second order: (n2, l2)"] = (second.n, second.l)
        return found

    @property
    def peers(self) -> str:
        """Those of the same channel, power and order.

        The widest wavelets of `sinz2020` do not fit into cells of ten angstrom: their maps are all but constant there
        and a million times as large in a cell of twice the side, where a weight learnt on them predicts anything.
        """
        return f"modulus:{self.channel}:{self.power}:order {len(self.path)}"
