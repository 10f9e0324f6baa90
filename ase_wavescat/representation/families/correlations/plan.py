r"""Correlations in radial bands of reciprocal space: pair, three-body and four-body features.

    pair        (1/V) sum_G w(|G|) Re conj(S_z) S_z'
    three-body  (1/V) sum_G w(|G|) Re conj(S_z) P^_i
    four-body   (1/V) sum_G w(|G|) Re conj(P^_i) P^_j

with P_i(u) = sum_m U_first,m(u) U_second,m(u) and P^(G) its integral against exp(-iGu). Fields are cut on a sphere, so
on a grid that holds first cutoff + second cutoff + band every P^ in the band is *exact*: a product of band-limited
fields has no aliases there. A map needs one inverse FFT a field and one forward FFT; all correlations of the maps
are then one matrix product (scattering covariances of Cheng, Morel, Allys, Menard, Mallat, PNAS Nexus 3, pgae103,
2024, with solid-harmonic wavelets).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.correlations.features import BandFeature, PairFeature
from ase_wavescat.representation.families.correlations.needs import correlation_needs
from ase_wavescat.representation.families.correlations.prepared import PreparedCorrelations
from ase_wavescat.representation.lattice.filters import wavelet_cutoff
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.maps import Map, SpeciesWavelet
from ase_wavescat.representation.protocol import Needs, Plan
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.correlations.family import Correlations

IntArray = NDArray[np.int64]


class GridGroup:
    """Maps that share a grid: those whose finer wavelet has the same scale. Each field has 2l+1 rows."""

    def __init__(self, maps: dict[int, Map], bandwidth: float) -> None:
        self.maps = list(maps)
        self.bandwidth = bandwidth
        self.fields = sorted({f for m in maps.values() for f in (m.first, m.second)})
        self.first_row: dict[SpeciesWavelet, int] = {}
        self.rows = 0
        for f in self.fields:
            self.first_row[f] = self.rows
            self.rows += 2 * f.wavelet.l + 1
        # first rows of the two operands and the number of components, by map
        self.operands = {
            i: (self.first_row[m.first], self.first_row[m.second], 2 * m.first.wavelet.l + 1) for i, m in maps.items()
        }
        self.table: IntArray = np.array(list(self.operands.values()), dtype=np.int64)
        self._couple()

    def _couple(self) -> None:
        """couplings[starts[row] : starts[row + 1]]: (map that a row enters, its partner, 2 if it is itself else 1)."""
        rows: list[list[tuple[int, int, int]]] = [[] for _ in range(self.rows)]
        for slot, (first, second, components) in enumerate(self.table.tolist()):
            for m in range(components):
                rows[first + m].append((slot, second + m, 2 if first == second else 1))
                if first != second:
                    rows[second + m].append((slot, first + m, 1))
        self.starts: IntArray = np.cumsum([0] + [len(row) for row in rows])
        self.couplings: IntArray = np.array([entry for row in rows for entry in row], dtype=np.int64)


@dataclass(frozen=True)
class Terms:
    """Features of one kind: columns, the two operands (indices of species or maps) and the bands."""

    columns: IntArray
    first: IntArray
    second: IntArray
    band: IntArray

    @classmethod
    def build(cls, rows: Sequence[tuple[int, int, int, int]]) -> Terms:
        return cls(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


class CorrelationPlan(Plan):
    """The band features of a support: which fields, maps and grids they need, and nothing else."""

    has_jacobian = True

    def __init__(
        self, spec: ScatteringSpec, family: Correlations, features: Sequence[PairFeature | BandFeature]
    ) -> None:
        self.spec, self.family, self.features = spec, family, list(features)
        self.maps: list[Map] = sorted(
            {m for f in features if isinstance(f, BandFeature) for m in (f.first, f.second) if isinstance(m, Map)}
        )
        place = {m: i for i, m in enumerate(self.maps)}
        pair, three, four = [], [], []
        for column, f in enumerate(features):
            if isinstance(f, PairFeature):
                pair.append((column, spec.species.index(f.species[0]), spec.species.index(f.species[1]), f.band))
            elif isinstance(f.first, Map):
                four.append((column, place[f.first], place[f.second], f.band))
            else:
                three.append((column, spec.species.index(f.first), place[f.second], f.band))
        self.pair, self.three, self.four = Terms.build(pair), Terms.build(three), Terms.build(four)
        between = [b for b, terms in ((family.three_body, three), (family.four_body, four)) if b and terms]
        self.band_cutoff = max((b.maximum for b in between), default=0.0)
        self.band_slack = 0.2 * min((b.half_width for b in between), default=0.0)
        self.l_max = max((m.first.wavelet.l for m in self.maps), default=0)
        self.groups = self._groups()

    def _groups(self) -> list[GridGroup]:
        by_scale: dict[float, dict[int, Map]] = {}
        for i, m in enumerate(self.maps):
            by_scale.setdefault(min(m.first.wavelet.scale, m.second.wavelet.scale), {})[i] = m
        return [GridGroup(maps, self._bandwidth(maps.values())) for maps in by_scale.values()]

    def _bandwidth(self, maps: Iterable[Map]) -> float:
        """What a grid must resolve for these maps to be free of aliases in the bands.

        In the outer tenths of a band aliases do not matter: windows are below 1e-3 there, and what would be folded in
        are products of the tapered ends of two fields.
        """
        products = [
            wavelet_cutoff(self.spec, m.first.wavelet) + wavelet_cutoff(self.spec, m.second.wavelet) for m in maps
        ]
        return max(products) + self.band_cutoff - self.band_slack

    @property
    def wavelets(self) -> set[Wavelet]:
        return {f.wavelet for group in self.groups for f in group.fields}

    @property
    def cutoff(self) -> float:
        """The largest |G| that any feature needs (1/A)."""
        pair = self.family.pair.maximum if self.family.pair and len(self.pair.columns) else 0.0
        return max([pair, self.band_cutoff, *(wavelet_cutoff(self.spec, w) for w in self.wavelets)])

    def prepare(self, lattice: ReciprocalLattice, execution: Execution) -> PreparedCorrelations:
        return PreparedCorrelations(self, lattice, execution)

    def needs(self, structure: Structure) -> list[Needs]:
        return correlation_needs(self, structure)
