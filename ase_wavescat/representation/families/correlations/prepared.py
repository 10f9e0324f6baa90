"""Correlations on one cell: filters, bands and grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.correlations.state import CorrelationState
from ase_wavescat.representation.lattice.bands import Bands, band_weights
from ase_wavescat.representation.lattice.filters import Filter
from ase_wavescat.representation.lattice.fourier import Shape
from ase_wavescat.representation.lattice.planes import Columns, GridRows
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.scene import Scene

if TYPE_CHECKING:
    from ase_wavescat.representation.families.correlations.plan import CorrelationPlan, GridGroup

Array = NDArray[np.float64]


class PreparedBands:
    """Radial bands on a lattice.

    value, slope (bands, P): weights of the bands with the half sphere's weights and 1/V, and their derivatives divided
        by |G| (0 at G = 0).
    parts: of each band the vectors from the first to the last where it is not zero, often few of all.
    """

    def __init__(self, bands: Bands, lattice: ReciprocalLattice, count: int) -> None:
        lengths = lattice.lengths[:count]
        value, slope = band_weights(bands, lengths)
        factor = lattice.weights[:count] / lattice.volume
        safe = np.where(lengths > 0, lengths, 1.0)
        self.value, self.slope = value * factor, np.where(lengths > 0, slope * factor / safe, 0.0)
        self.parts = [_extent(v, s) for v, s in zip(self.value, self.slope, strict=True)]


class PreparedCorrelations:
    """Everything that depends on the cell only: filters, bands, grids."""

    def __init__(self, plan: CorrelationPlan, lattice: ReciprocalLattice, execution: Execution) -> None:
        self.plan, self.lattice, self.execution = plan, lattice, execution
        self.filters = {w: Filter(plan.spec, w, lattice, plan.l_max) for w in plan.wavelets}
        self.shapes: list[Shape] = [lattice.shape(g.bandwidth) for g in plan.groups]
        self.band_count = lattice.count(plan.band_cutoff)
        self.fields = [self._field_rows(g, s) for g, s in zip(plan.groups, self.shapes, strict=True)]
        self.maps = [self._map_rows(g, s) for g, s in zip(plan.groups, self.shapes, strict=True)]
        family = plan.family
        self.pair_bands = self._bands(family.pair, lattice.count(family.pair.maximum) if family.pair else 0)
        self.three_bands = self._bands(family.three_body, self.band_count)
        self.four_bands = self._bands(family.four_body, self.band_count)

    def _field_rows(self, group: GridGroup, shape: Shape) -> GridRows:
        wavelets = [f.wavelet for f in group.fields]
        columns = {w: Columns(self.lattice, self.filters[w].count, shape) for w in set(wavelets)}
        return GridRows("fields", shape, [columns[w] for w in wavelets for _ in range(2 * w.l + 1)], self.execution)

    def _map_rows(self, group: GridGroup, shape: Shape) -> GridRows:
        return GridRows(
            "maps", shape, [Columns(self.lattice, self.band_count, shape)] * len(group.maps), self.execution
        )

    def _bands(self, bands: Bands | None, count: int) -> PreparedBands | None:
        return None if bands is None else PreparedBands(bands, self.lattice, count)

    def forward(self, scene: Scene) -> CorrelationState:
        return CorrelationState(self, scene)


def _extent(value: Array, slope: Array) -> slice:
    """From the first to the last vector where a band is not zero."""
    inside = np.flatnonzero((value != 0) | (slope != 0))
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
