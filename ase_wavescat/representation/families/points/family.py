"""Settings of scattering at the atoms, and what is known about it without computing any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.checks import non_negative, octaves
from ase_wavescat.representation.direct.radial_table import DIRECT_TAIL
from ase_wavescat.representation.families.points.features import PointFeature
from ase_wavescat.representation.families.points.plan import PointPlan
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
from ase_wavescat.representation.wavelets import direct_extent

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Points(Family):
    """First- and second-order scattering at the atoms, with fixed channels and wavelets (B21 ch. 5); see `plan`.

    With C channels, W wavelets (n, l), S scales, Q powers, and P pairs of scales with j2 - j1 >= scale_step there are
    C Q (1 + W S + W^2 P) features.

    Attributes:
        powers: Exponents q >= 1 of the sums.
        scale_step: Second-order paths keep j2 - j1 >= scale_step (B21: 0).
        softening: Epsilon of the moduli, which are (sigma^2 + epsilon^2 u^2)^(1/2), less epsilon u where they vanish; u
            is the largest that one atom alone can make of the map. 0: moduli themselves, with kinks where they vanish.
        orders: Which of the orders 0, 1, 2 are present.
    """

    powers: tuple[Fraction, ...] = (Fraction(1), Fraction(2))
    scale_step: float = 0.0
    softening: float = 0.0
    orders: tuple[int, ...] = (0, 1, 2)

    name = "points"
    feature_classes = (PointFeature,)

    @classmethod
    def example(cls) -> ScatteringSpec:
        channels = (("light", ((3, 3.0), (14, 0.0))), ("valence", ((3, 1.0), (14, 4.0))))
        return ScatteringSpec((3, 14), ((2, 0), (2, 1)), (0.0, 0.5), 0.5, (cls(),), channels)

    def __post_init__(self) -> None:
        reason = "derivatives of smaller ones grow without limit where a modulus vanishes"
        object.__setattr__(self, "powers", exponents(self.powers, Fraction(1), reason))
        object.__setattr__(self, "orders", scattering_orders(self.orders))
        non_negative(self.softening, "softening")
        octaves(self.scale_step, "scale_step")

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "powers": [str(q) for q in self.powers]}

    def check(self, spec: ScatteringSpec) -> None:
        check_channels(spec, self.name)

    def most_features(self, spec: ScatteringSpec) -> int:
        return most_maps(spec, self.orders) * len(self.powers)

    def features(self, spec: ScatteringSpec) -> list[PointFeature]:
        paths = scattering_paths(spec, self.orders, lambda first, second: coarse_enough(first, second, self.scale_step))
        return [PointFeature(c, q, path) for path in paths for c, _ in spec.channels for q in self.powers]

    def reach(self, spec: ScatteringSpec) -> float:
        """The range of the widest wavelet, twice that of the second order: an atom sees its neighbours' neighbours."""
        extent = max(direct_extent(n, l, DIRECT_TAIL * spec.tolerance) for n, l in spec.wavelets)
        return spec.beta * 2.0 ** spec.scales[-1] * extent * max(1, *self.orders)

    def plans(self, spec: ScatteringSpec, features: Sequence[Feature]) -> list[tuple[IntArray, Plan]]:
        points = [feature for feature in features if isinstance(feature, PointFeature)]
        return [(np.arange(len(points)), PointPlan(spec, self.softening, points))]
