"""What scattering at the atoms needs: neighbour pairs, and maps at the atoms; of the second order their parents too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ase_wavescat.representation.direct.pairs import range_parts
from ase_wavescat.representation.families.points.features import PointFeature
from ase_wavescat.representation.protocol import Needs, Part
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.points.plan import PointPlan


def point_needs(plan: PointPlan, structure: Structure) -> list[Needs]:
    """The maps along the path of each feature, and the pairs within their ranges."""
    pairs = [layer.convolution.table.pairs_within(structure) for layer in plan.layers]
    return [_needs(feature, pairs) for feature in plan.features]


def _needs(feature: PointFeature, pairs: Sequence[Mapping[float, int]]) -> Needs:
    parts: list[Part] = []
    for order, wavelet in enumerate(feature.path):
        convolved = pairs[order][wavelet.scale] * (2 * wavelet.l + 1)
        name = "point map", feature.channel, feature.path[: order + 1]
        parts += range_parts(("point range", order), wavelet.scale, pairs[order], unit="looked")
        parts.append(Part(name, {"convolved": convolved, "parts": 1}))
    return Needs(parts)
