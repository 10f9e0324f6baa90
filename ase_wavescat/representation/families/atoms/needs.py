"""What features at the atoms need: neighbour pairs, and fields of wavelets at the atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.representation.protocol import Needs, Part
from ase_wavescat.representation.wavelets import Wavelet
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.atoms.plan import AtomPlan


def atom_needs(plan: AtomPlan, structure: Structure) -> list[Needs]:
    """The fields of each feature, and the pairs within their ranges."""
    pairs = _pairs_within(plan, structure)
    needs = []
    for feature in plan.features:
        wavelets = {field.wavelet for m in feature.maps for field in (m.first, m.second)}
        needs.append(Needs([part for wavelet in wavelets for part in _field_parts(wavelet, pairs)]))
    return needs


def _pairs_within(plan: AtomPlan, structure: Structure) -> dict[float, int]:
    """Neighbour pairs within the range of each scale, from the finest to the coarsest."""
    table = plan.table
    distances = structure.neighbours(plan.neighbour_reach).distances
    counts = [int(np.count_nonzero(distances < cutoff)) for cutoff in np.sort(table.cutoffs)]
    return dict(zip(sorted({w.scale for w in table.wavelets}), counts, strict=True))


def _field_parts(wavelet: Wavelet, pairs: dict[float, int]) -> list[Part]:
    """A field at the atoms: pairs up to its range, each with 2l+1 components."""
    within = [scale for scale in pairs if scale <= wavelet.scale]
    fewer = [0, *(pairs[scale] for scale in within)]
    ranges = [
        Part(("range", scale), {"pairs": pairs[scale] - less}) for scale, less in zip(within, fewer, strict=False)
    ]
    columns = pairs[wavelet.scale] * (2 * wavelet.l + 1)
    return [*ranges, Part(("at atoms", wavelet), {"columns": columns, "parts": 1})]
