"""Moduli on one cell: grids, places and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.moduli.stage import Stage
from ase_wavescat.representation.families.moduli.state import ModuliState
from ase_wavescat.representation.lattice.filters import RadialFilter
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.scene import Scene

if TYPE_CHECKING:
    from ase_wavescat.representation.families.moduli.plan import ModuliPlan

IntArray = NDArray[np.int64]
_KEPT_BYTES = 2**28  # fields of each order kept for the adjoint; beyond, they are computed again


class Chunk(NamedTuple):
    """Some second-order maps of one layer, whose fields are transformed together; start: of these among all fields."""

    layer: int
    stage: Stage
    part: slice
    rows: IntArray
    start: int

    @property
    def stop(self) -> int:
        return self.start + len(self.rows) * self.stage.components * self.stage.points


class PreparedModuli:
    """A plan on one cell: grids, places and filters."""

    def __init__(self, plan: ModuliPlan, lattice: ReciprocalLattice, execution: Execution) -> None:
        self.plan, self.lattice, self.execution = plan, lattice, execution
        radials = {layer.radial for layer in [*plan.first, *plan.second]}
        filters = {radial: RadialFilter(radial, lattice, plan.l_max) for radial in radials}
        self.first = [Stage(layer, filters[layer.radial], lattice, execution) for layer in plan.first]
        self.second = [Stage(layer, filters[layer.radial], lattice, execution) for layer in plan.second]
        self.spectra_shape = (
            sum(layer.spectra.stop - layer.spectra.start for layer in plan.first),
            max((len(stage.input_places) for stage in self.first), default=0),
        )
        self.chunks: list[Chunk] = []
        for index, stage in enumerate(self.second):
            for part, rows in stage.chunks(stage.layer.sources):
                self.chunks.append(Chunk(index, stage, part, rows, self.chunks[-1].stop if self.chunks else 0))

    def fits(self, values: int) -> bool:
        """Whether so many values of fields are few enough to be kept."""
        return values * np.dtype(self.execution.real).itemsize <= _KEPT_BYTES

    def forward(self, scene: Scene, keep: bool = True) -> ModuliState:
        """Features of a structure.

        keep: fields are stored for the adjoint where those of an order fit 256 MB; it costs one forward pass then, not
        two.
        """
        return ModuliState(self, scene, keep)
