r"""Fields at the atoms, by neighbour sums, and the features made of them: three- and five-body correlations.

    U_z,lambda,m(R_k) = sum_{j of z, images} psi_lambda,m(R_k - R_j)          (the atom itself included)
    P_i(R_k) = sum_m U_first,m(R_k) U_second,m(R_k)
    feature = sum_{k of centre} P_i(R_k)   or   sum_{k of centre} P_i(R_k) P_j(R_k)

Wavelets are Gaussian in real space too, so a neighbour sum needs no grid: it is linear in the number of atoms and
invariant to rounding, and every derivative follows from the gradient of psi. The tail is tapered to zero, twice
continuously differentiable, where it has fallen to the tolerance.

Layout: fields are stored as (N, columns), column = start_l + (m * species + s) * wavelets_l + w, so that for one l the
fields of an atom are a matrix X (2l+1, species * wavelets_l) and all its three-body products are X^T X.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.direct.radial_table import RadialTable
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.atoms.features import AtomFeature
from ase_wavescat.representation.families.atoms.needs import atom_needs
from ase_wavescat.representation.families.atoms.state import AtomState
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.maps import SpeciesWavelet
from ase_wavescat.representation.protocol import Needs, Plan
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class AtomPlan(Plan):
    """The features at the atoms of a support.

    Attributes:
        three: of each (centre, l) the columns of its three-body features and their places in X^T X.
        maps: the five-body maps, each as l, first and second column of X.
        five: of each centre the columns of its five-body features and the maps that they multiply.
    """

    has_jacobian = True
    has_atom_values = True

    def __init__(self, spec: ScatteringSpec, features: Sequence[AtomFeature]) -> None:
        self.species = spec.species
        fields = {f for feature in features for m in feature.maps for f in (m.first, m.second)}
        self.table = RadialTable.build(spec, [f.wavelet for f in fields])
        self.offsets = self.table.offsets(len(spec.species))
        self.features = list(features)
        self.three: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}
        self.maps: list[tuple[int, int, int]] = []
        self.five: dict[int, tuple[IntArray, IntArray, IntArray]] = {}
        self._index_three(features)
        self._index_five(features)

    def _column(self, field: SpeciesWavelet) -> int:
        """Column of a field in the matrix X of its l."""
        l = field.wavelet.l
        within = self.table.wavelets.index(field.wavelet) - int(self.table.starts[l])
        return self.species.index(field.number) * self.table.size(l) + within

    def _index_three(self, features: Sequence[AtomFeature]) -> None:
        lists: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for column, feature in enumerate(features):
            if len(feature.maps) == 1:
                first, second = feature.maps[0].first, feature.maps[0].second
                l = first.wavelet.l
                width = len(self.species) * self.table.size(l)
                place = self._column(first) * width + self._column(second)
                lists.setdefault((self.species.index(feature.centre), l), []).append((column, place))
        for key, pairs in lists.items():
            columns, places = np.array(pairs).T
            self.three[key] = columns, places

    def _index_five(self, features: Sequence[AtomFeature]) -> None:
        known: dict[tuple[int, int, int], int] = {}
        lists: dict[int, list[tuple[int, int, int]]] = {}
        for column, feature in enumerate(features):
            if len(feature.maps) == 2:
                rows = [(m.first.wavelet.l, self._column(m.first), self._column(m.second)) for m in feature.maps]
                first, second = (known.setdefault(row, len(known)) for row in rows)
                lists.setdefault(self.species.index(feature.centre), []).append((column, first, second))
        self.maps = list(known)
        for centre, triples in lists.items():
            columns, first, second = np.array(triples).T
            self.five[centre] = columns, first, second

    @property
    def neighbour_reach(self) -> float:
        return self.table.range

    def prepare(self, lattice: ReciprocalLattice, execution: Execution) -> AtomPlan:
        """Itself: neighbour sums have nothing to keep of a cell."""
        return self

    def forward(self, scene: Scene) -> AtomState:
        return AtomState(self, scene)

    def needs(self, structure: Structure) -> list[Needs]:
        return atom_needs(self, structure)

    def matrix(self, fields: Array, l: int) -> Array:
        """(..., 2l+1, species * wavelets_l) view of fields (..., columns)."""
        block = fields[..., self.offsets[l] : self.offsets[l + 1]]
        return block.reshape(*fields.shape[:-1], 2 * l + 1, len(self.species) * self.table.size(l))
