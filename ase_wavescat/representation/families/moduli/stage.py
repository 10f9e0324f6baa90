"""One layer of moduli on one cell: from reciprocal space to fields on the layer's grid, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.moduli import pointwise
from ase_wavescat.representation.families.moduli.tree import Layer
from ase_wavescat.representation.lattice.filters import RadialFilter, StrainSums
from ase_wavescat.representation.lattice.fourier import Workspace, workspace
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_CHUNK = 2**17  # field values transformed at a time, where a map is small: about the second-level cache


class Stage:
    """One layer on one cell: from sources in reciprocal space to fields on its grid, and back."""

    def __init__(
        self, layer: Layer, radial_filter: RadialFilter, lattice: ReciprocalLattice, execution: Execution
    ) -> None:
        self.layer, self.filter, self._real = layer, radial_filter, execution.real
        # rounding noise of sigma^2, in units of that of 64 bits
        self.noise = float(np.finfo(self._real).eps / np.finfo(float).eps) ** 2
        self.count = min(radial_filter.count, lattice.count(layer.grid.cutoff))
        self.shape = lattice.shape(layer.grid.bandwidth, layer.grid.minimum)
        if self.count <= 1 and layer.grid.input_cutoff == 0:  # the cell holds no wave so long: fields are constant
            self.shape = (1, 1, 1)
        self._check_shape(lattice)
        self.points = math.prod(self.shape)
        self.places = lattice.places(self.shape, self.count)
        self.components = 2 * layer.radial.l + 1
        self.value: Array = radial_filter.value[: self.count]
        self.harmonics: Array = np.ascontiguousarray(radial_filter.harmonics[:, : self.count])
        # the largest value of the field of one atom of unit weight
        self.peak = float(self.value @ (lattice.weights * lattice.lengths**layer.radial.l)[: self.count])
        self.input_places = lattice.places(self.shape, lattice.count(layer.grid.input_cutoff))

    def _check_shape(self, lattice: ReciprocalLattice) -> None:
        """A number of points that is given, not derived, may be too small for the fields."""
        count = max(self.count, lattice.count(self.layer.grid.input_cutoff))
        needed = 2 * np.abs(lattice.indices[:count]).max(axis=0, initial=0) + 1
        if (np.array(self.shape) < needed).any():
            raise ValueError(
                f"a grid of {self.shape} points does not hold fields up to {needed.tolist()} points: take more points, "
                "wider wavelets or a larger tolerance"
            )

    def chunks(self, rows: IntArray) -> Iterator[tuple[slice, IntArray]]:
        """The rows in chunks of equal length whose fields fit the cache; a chunk's transforms are one call."""
        most = max(1, _CHUNK // (self.components * self.points))
        size = -(-len(rows) // -(-len(rows) // most))
        for start in range(0, len(rows), size):
            part = slice(start, min(start + size, len(rows)))
            yield part, rows[part]

    def space(self, fields: int) -> Workspace:
        """This thread's workspace for so many fields."""
        return workspace(self.shape, fields, self._real)

    def buffer(self, rows: int) -> tuple[Array, ComplexArray]:
        """The fields (rows, M, n) and their transforms (rows M, ...) in this thread's workspace."""
        space = self.space(rows * self.components)
        return space.real.reshape(rows, self.components, -1), space.half.reshape(rows * self.components, -1)

    @property
    def inputs(self) -> Array:
        """(C, n) in this thread's workspace: what the layer's maps hand to the second layer."""
        count = self.layer.spectra.stop - self.layer.spectra.start
        return self.space(count).real.reshape(count, -1) if count else np.empty((0, self.points), dtype=self._real)

    def fields(self, sources: ComplexArray, rows: IntArray, more: tuple[ComplexArray, Array] | None = None) -> Array:
        """(rows, M, n) fields of sources[rows], valid until the workspace is used again.

        more = (other sources, factors (M, P)): adds the fields of these sources through other factors.
        """
        real, half = self.buffer(len(rows))
        phase = self.filter.phase
        pointwise.scatter(sources, rows, self.value, self.harmonics, phase, self.places, half)
        if more is not None:
            pointwise.scatter_more(more[0], rows, more[1], phase, self.places, half)
        self.space(len(rows) * self.components).inverse()
        return real

    def adjoint(self, sources: ComplexArray, rows: IntArray) -> tuple[ComplexArray, Array]:
        """From dE/dfields in the workspace to adjoints (R, P) of the rows and products (M, P): `pointwise.gather`."""
        _, half = self.buffer(len(rows))
        self.space(len(rows) * self.components).forward()
        adjoint, products = np.empty((len(rows), self.count), dtype=complex), np.zeros((self.components, self.count))
        pointwise.gather(
            half, sources, rows, self.value, self.harmonics, self.filter.phase, self.places, adjoint, products
        )
        return adjoint, products

    def strained(self, strain: Array) -> Array:
        """Change of the filter's factors (M, P) along a strain."""
        return np.array([self.filter.strained(m, strain)[: self.count] for m in range(self.components)])

    def add_strain(self, sums: StrainSums, products: Array, weights: Array) -> None:
        """The filter's part of dE/dstrain."""
        l, count = self.layer.radial.l, self.count
        weighted = products * weights[:count]
        sums.by_harmonic[l**2 : (l + 1) ** 2, :count] += weighted * self.value
        sums.by_length[:count] += self.filter.slope[:count] * (weighted * self.harmonics).sum(axis=0)
