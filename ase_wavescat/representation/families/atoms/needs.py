"""What features at the atoms need: neighbour pairs, and fields of wavelets at the atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.representation.direct.pairs import range_parts
from ase_wavescat.representation.protocol import Needs, Part
from ase_wavescat.representation.wavelets import Wavelet
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.atoms.plan import AtomPlan


def atom_needs(plan: AtomPlan, structure: Structure) -> list[Needs]:
    """The fields of each feature, and the pairs within their ranges."""
    pairs = plan.table.pairs_within(structure)
    needs = []
    for feature in plan.features:
        wavelets = {field.wavelet for m in feature.maps for field in (m.first, m.second)}
        needs.append(Needs([part for wavelet in wavelets for part in _field_parts(wavelet, pairs)]))
    return needs


def _field_parts(wavelet: Wavelet, pairs: dict[float, int]) -> list[Part]:
    """A field at the atoms: pairs up to its range, each with 2l+1 components."""
    columns = pairs[wavelet.scale] * (2 * wavelet.l + 1)
    return [*range_parts("range", wavelet.scale, pairs), Part(("at atoms", wavelet), {"columns": columns, "parts": 1})]
