r"""Scattering at the atoms: the tree of moduli by neighbour sums alone (B21 ch. 5, with fixed channels).

    order 0   sum_i |f(Z_i)|^q
    order 1   sum_i sigma_1(i)^q,   sigma_1(i) = (sum_m |sum_k f(Z_k) psi_lambda1,m(R_i - R_k)|^2)^(1/2)
    order 2   sum_i sigma_2(i)^q,   sigma_2(i) = (sum_m |sum_k sigma_1(k) psi_lambda2,m(R_i - R_k)|^2)^(1/2)

Each sum over k runs over all atoms and their images, the atom i itself included: it is the point convolution of B21
(eq. 5.1), first of the channel's weights, then of the moduli at the atoms. Wavelets are tapered to zero where they have
fallen to the tolerance, as at the atoms of `correlations`. What the papers integrate over space is summed over the
atoms: no grid is needed, and the work is linear in their number.

A softened modulus is (sigma^2 + epsilon^2 u^2)^(1/2), u = max_Z |f(Z)| times the peaks of the path's wavelets; features
are sums of its powers less (epsilon u)^q, and the second order takes it less epsilon u, so that an atom that sees
nothing counts nothing. All derivatives are then finite everywhere. Without softening sigma has a kink where it vanishes
(a centre of inversion, l odd): the derivative of sigma^q, q >= 1, is taken as zero there, as that of `moduli` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.direct.radial_table import RadialTable
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.points.convolution import MapName, PointConvolution
from ase_wavescat.representation.families.points.features import PointFeature
from ase_wavescat.representation.families.points.needs import point_needs
from ase_wavescat.representation.families.points.powers import SoftPowers
from ase_wavescat.representation.families.points.state import PointState
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.protocol import Needs, Plan
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import direct_peak
from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layer:
    """One order of a support: its convolution, and the powers of the maps that this makes."""

    convolution: PointConvolution
    powers: SoftPowers


class PointPlan(Plan):
    """The scattering at the atoms of a support.

    Attributes:
        channels: (S, C) weights of the species.
        zeroth: columns of the features of the zeroth order, and what an atom of each species adds to them (S, columns).
        layers: those of the first and second order, as far as the support needs them.
    """

    has_atom_values = True

    def __init__(self, spec: ScatteringSpec, softening: float, features: Sequence[PointFeature]) -> None:
        self.spec, self.features = spec, list(features)
        self._softening, self._names = softening, [name for name, _ in spec.channels]
        self.channels: Array = np.array([[spec.channel(name)[z] for name in self._names] for z in spec.species])
        self.zeroth = self._zeroth()
        self.layers: list[Layer] = []
        inputs: list[MapName] = [(name, ()) for name in self._names]
        for order in (1, 2):
            maps = {(f.channel, f.path[:order]) for f in features if len(f.path) >= order}
            if maps:
                self.layers.append(self._layer(sorted(maps), inputs))
                inputs = self.layers[-1].convolution.maps

    def _zeroth(self) -> tuple[IntArray, Array]:
        columns = [column for column, f in enumerate(self.features) if not f.path]
        weights = [self.channels[:, self._names.index(self.features[c].channel)] for c in columns]
        values = [np.abs(w) ** float(self.features[c].power) for c, w in zip(columns, weights, strict=True)]
        return np.array(columns, dtype=np.int64), np.array(values).reshape(len(columns), len(self.channels)).T

    def _layer(self, maps: Sequence[MapName], inputs: Sequence[MapName]) -> Layer:
        table = RadialTable.build(self.spec, [path[-1] for _, path in maps])
        convolution = PointConvolution.build(table, maps, inputs)
        columns = {(f.channel, f.path, f.power): column for column, f in enumerate(self.features)}
        powers = sorted({f.power for f in self.features if f.path})
        places = [[columns.get((*name, power), -1) for power in powers] for name in convolution.maps]
        units = np.array([self._unit(name) for name in convolution.maps])
        return Layer(convolution, SoftPowers(tuple(map(float, powers)), np.array(places), units, self._softening))

    def _unit(self, name: MapName) -> float:
        """The largest that one atom alone can make of a map."""
        channel, path = name
        peaks = [direct_peak(w.n, w.l) * (self.spec.beta * 2.0**w.scale) ** -3 for w in path]
        return float(np.abs(self.channels[:, self._names.index(channel)]).max() * np.prod(peaks))

    @property
    def neighbour_reach(self) -> float:
        return max((layer.convolution.table.range for layer in self.layers), default=0.0)

    def prepare(self, lattice: ReciprocalLattice, execution: Execution) -> PointPlan:
        """Itself: neighbour sums have nothing to keep of a cell."""
        return self

    def forward(self, scene: Scene) -> PointState:
        return PointState(self, scene)

    def needs(self, structure: Structure) -> list[Needs]:
        return point_needs(self, structure)
