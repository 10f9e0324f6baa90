"""What features in bands need: structure factors, maps on grids and the fields that these are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ase_wavescat.representation.families.correlations.features import BandFeature, PairFeature
from ase_wavescat.representation.lattice.filters import wavelet_cutoff
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.maps import Map
from ase_wavescat.representation.protocol import Needs, Part
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.correlations.plan import CorrelationPlan


def correlation_needs(plan: CorrelationPlan, structure: Structure) -> list[Needs]:
    """The maps of each feature with their fields, and structure factors as far as they look."""
    lattice = ReciprocalLattice(structure.cell, plan.cutoff)
    bandwidths = {plan.maps[i]: group.bandwidth for group in plan.groups for i in group.maps}
    parts = {m: _map_parts(plan, lattice, m, bandwidth) for m, bandwidth in bandwidths.items()}
    return [_needs(plan, feature, parts) for feature in plan.features]


def _needs(plan: CorrelationPlan, feature: PairFeature | BandFeature, parts: dict[Map, list[Part]]) -> Needs:
    if isinstance(feature, PairFeature):
        assert plan.family.pair is not None
        return Needs([], plan.family.pair.maximum)
    wavelets = [field.wavelet for m in feature.maps for field in (m.first, m.second)]
    cutoff = max(plan.band_cutoff, *(wavelet_cutoff(plan.spec, wavelet) for wavelet in wavelets))
    return Needs([part for m in feature.maps for part in parts[m]], cutoff)


def _map_parts(plan: CorrelationPlan, lattice: ReciprocalLattice, m: Map, bandwidth: float) -> list[Part]:
    """A map on its grid and its two fields there."""
    points = math.prod(lattice.shape(bandwidth))
    components = 2 * m.first.wavelet.l + 1
    vectors = lattice.count(plan.band_cutoff)
    work = {"transformed": points, "multiplied": components * points, "scattered": vectors, "parts": 1}
    parts = [Part(m, work)]
    for field in (m.first, m.second):
        vectors = lattice.count(wavelet_cutoff(plan.spec, field.wavelet))
        work = {"transformed": components * points, "scattered": components * vectors, "parts": components}
        parts.append(Part((bandwidth, field), work))
    return parts
