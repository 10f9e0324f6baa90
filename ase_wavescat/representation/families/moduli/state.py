"""Moduli of one structure and their derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.families.moduli import pointwise
from ase_wavescat.representation.families.moduli.stage import Stage
from ase_wavescat.representation.lattice.arena import take
from ase_wavescat.representation.lattice.filters import StrainSums
from ase_wavescat.representation.protocol import DensityState
from ase_wavescat.representation.scene import Scene

if TYPE_CHECKING:
    from ase_wavescat.representation.families.moduli.prepared import Chunk, PreparedModuli

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_ROUNDING = 1e-13  # of a field, in parts of the largest that it could be


class ModuliState(DensityState):
    """One evaluation: features (F,), and what their derivatives need. Threads share layers and chunks of maps."""

    def __init__(self, prepared: PreparedModuli, scene: Scene, keep: bool) -> None:
        self.scene, densities, counts = scene, scene.densities, scene.counts
        self._prepared, self._plan, self._volume = prepared, prepared.plan, prepared.lattice.volume
        self._map = prepared.execution.map
        self._densities = np.ascontiguousarray(densities)
        self._species: IntArray = np.arange(len(densities))
        self._integrals: Array = np.zeros(self._plan.integral_count)
        self._floors: Array = np.zeros(self._plan.integral_count)
        self._charges: Array = np.abs(self._plan.weights) @ counts
        for column, channel, power in self._plan.zeroth:
            self._integrals[column] = counts @ np.abs(self._plan.weights[channel]) ** power
        self._spectra: ComplexArray = np.zeros(prepared.spectra_shape, dtype=complex)
        self._keep_first = keep and prepared.fits(sum(len(densities) * s.components * s.points for s in prepared.first))
        self._first_kept = self._map(self._first, prepared.first)
        self._second_kept = self._arena(prepared.chunks[-1].stop if keep and prepared.chunks else 0)
        self._second_means = self._second()
        ratios = self._plan.ratios
        self._ratios = None if ratios is None else ratios.of(self._integrals, self._floors, int(counts.sum()))
        self.values: Array = self._integrals if self._ratios is None else self._ratios.features

    def _arena(self, values: int) -> Array | None:
        """Room for all second-order fields, if they are kept."""
        if values == 0 or not self._prepared.fits(values):
            return None
        return take(self, values, self._prepared.execution.real)

    def _first(self, stage: Stage) -> tuple[Array | None, Array]:
        """Fills integrals and spectra of one wavelet; the species fields, if kept, and mean squares (C,) with noise."""
        layer = stage.layer
        fields = self._species_fields(stage)
        sums = np.zeros((len(layer.rows), len(layer.powers) + 1))
        channels = self._plan.weights[layer.sources]
        pointwise.first_sums(
            fields, channels, layer.offsets, layer.table, layer.wanted, self._plan.squared, sums, stage.inputs
        )
        self._store(stage, sums)
        self._set_floors(stage)
        self._transform(stage, self._spectra[layer.spectra])
        return fields if self._keep_first else None, sums[:, -1] * (stage.noise / stage.points)

    def _species_fields(self, stage: Stage, more: tuple[ComplexArray, ComplexArray, Array] | None = None) -> Array:
        """(S, M, n) of the densities; with more = (density tangents, densities, factors) their tangent."""
        fields = np.empty((len(self._species), stage.components, stage.points), self._prepared.execution.real)
        for part, rows in stage.chunks(self._species):
            if more is None:
                fields[part] = stage.fields(self._densities, rows)
            else:
                fields[part] = stage.fields(more[0], rows, more[1:])
        return fields

    def _kept_or_again(self, stage: Stage, fields: Array | None) -> Array:
        return self._species_fields(stage) if fields is None else fields

    def _store(self, stage: Stage, sums: Array) -> None:
        layer = stage.layer
        values = sums[:, :-1] - stage.points * layer.vacuum
        self._integrals[layer.columns[layer.wanted]] = values[layer.wanted] * (self._volume / stage.points)

    def _set_floors(self, stage: Stage) -> None:
        """Integrals of a field that is zero but for rounding: below 1e-13 of what all atoms at one place would give."""
        layer = stage.layer
        largest = _ROUNDING * stage.peak * self._charges[layer.sources]
        floors = self._volume * largest[:, None] ** np.array(layer.powers, dtype=float)
        self._floors[layer.columns[layer.wanted]] = floors[layer.wanted]

    def _transform(self, stage: Stage, out: ComplexArray) -> None:
        """out (C, >= P) = integral of stage.inputs exp(-iGu) du."""
        if len(out):
            space = stage.space(len(out))
            space.forward()
            spectra = space.half.reshape(len(out), -1)[:, stage.input_places]
            np.multiply(spectra, self._volume / stage.points, out=out[:, : len(stage.input_places)])

    def _second(self) -> list[Array]:
        """Fills the integrals of the second order, keeps its fields on request; mean squares (R,) of each layer."""
        stages = self._prepared.second
        sums = [np.zeros((len(stage.layer.rows), len(stage.layer.powers) + 1)) for stage in stages]

        def fill(chunk: Chunk) -> None:
            index, stage, part, rows, _ = chunk
            layer = stage.layer
            fields = stage.fields(self._spectra, rows)
            pointwise.second_sums(fields, layer.offsets[part], layer.table, layer.wanted[part], sums[index][part])
            if self._second_kept is not None:
                self._second_kept[chunk.start : chunk.stop].reshape(fields.shape)[:] = fields

        self._map(fill, self._prepared.chunks)
        for stage, of_stage in zip(stages, sums, strict=True):
            self._store(stage, of_stage)
        return [s[:, -1] * (stage.noise / stage.points) for stage, s in zip(stages, sums, strict=True)]

    def _second_fields(self, chunk: Chunk) -> Array:
        """(R, M, n), kept or in this thread's workspace."""
        if self._second_kept is None:
            return chunk.stage.fields(self._spectra, chunk.rows)
        return self._second_kept[chunk.start : chunk.stop].reshape(len(chunk.rows), chunk.stage.components, -1)

    def adjoint(self, weights: Array) -> tuple[ComplexArray, Array]:
        """Reverse mode of E = weights . features: A (S, P) with dE = Re sum over the half sphere of conj(A) dS, and
        dE/dstrain (3, 3) at fixed phases G.R."""
        prepared, plan = self._prepared, self._plan
        lattice = prepared.lattice
        weights = weights if self._ratios is None else self._ratios.adjoint(weights)
        sums = StrainSums(lattice, plan.l_max)
        spectra = self._second_adjoint(weights, sums)
        adjoint = np.zeros_like(self._densities)
        parts = self._map(
            lambda item: self._first_adjoint(*item, weights, spectra[item[0].layer.spectra]),
            list(zip(prepared.first, self._first_kept, strict=True)),
        )
        for stage, (part, products) in zip(prepared.first, parts, strict=True):
            adjoint[:, : stage.count] += part
            stage.add_strain(sums, products, lattice.weights)
        adjoint *= lattice.weights[: adjoint.shape[1]]
        # explicit volumes: the cell integral, and 1/V of the densities (those of the second layer cancel)
        zeroth = sum(weights[column] * self._integrals[column] for column, _, _ in plan.zeroth)
        trace = float(weights @ self._integrals - zeroth - np.vdot(adjoint, self._densities).real)
        return adjoint, sums.strain() + trace * np.eye(3)

    def _second_adjoint(self, weights: Array, sums: StrainSums) -> ComplexArray:
        """dE/dspectra; adds to the strain sums."""
        prepared = self._prepared
        coefficients = [stage.layer.coefficients(weights) * (self._volume / stage.points) for stage in prepared.second]

        def pull(chunk: Chunk) -> tuple[ComplexArray, Array]:
            index, stage, part, rows, _ = chunk
            layer, means = stage.layer, self._second_means[index][part]
            fields, out = self._second_fields(chunk), stage.buffer(len(rows))[0]
            pointwise.second_adjoint(fields, layer.offsets[part], layer.table, coefficients[index][part], means, out)
            return stage.adjoint(self._spectra, rows)

        used = [chunk for chunk in prepared.chunks if coefficients[chunk.layer][chunk.part].any()]
        spectra = np.zeros_like(self._spectra)
        totals = [np.zeros((stage.components, stage.count)) for stage in prepared.second]
        # added in the order of the chunks: the same for any number of threads; few at a time to save memory
        size = 4 * prepared.execution.threads
        for start in range(0, len(used), size):
            some = used[start : start + size]
            for chunk, (part, products) in zip(some, self._map(pull, some), strict=True):
                pointwise.add_rows(part, chunk.rows, spectra)
                totals[chunk.layer] += products
        for stage, total in zip(prepared.second, totals, strict=True):
            stage.add_strain(sums, total, prepared.lattice.weights)
        return spectra

    def _first_adjoint(
        self, stage: Stage, kept: tuple[Array | None, Array], weights: Array, spectra: ComplexArray
    ) -> tuple[ComplexArray, Array]:
        """Adjoints (S, P) of the densities and products (M, P) of one wavelet."""
        layer, (fields, means) = stage.layer, kept
        fields = self._kept_or_again(stage, fields)
        out = np.empty_like(fields)
        pointwise.first_adjoint(
            fields,
            self._plan.weights[layer.sources],
            layer.offsets,
            layer.table,
            layer.coefficients(weights) * (self._volume / stage.points),
            means,
            self._plan.squared,
            self._transform_adjoint(stage, spectra),
            out,
        )
        adjoint = np.zeros((len(self._species), stage.count), dtype=complex)
        products = np.zeros((stage.components, stage.count))
        for part, rows in stage.chunks(self._species):
            stage.buffer(len(rows))[0][:] = out[part]
            adjoint[part], more = stage.adjoint(self._densities, rows)
            products += more
        return adjoint, products

    def _transform_adjoint(self, stage: Stage, spectra: ComplexArray) -> Array:
        """dE/d(stage.inputs) (C, n), in its place, from the adjoints (C, >= P) of the spectra."""
        if len(spectra):
            space = stage.space(len(spectra))
            half = space.half.reshape(len(spectra), -1)
            half[:] = 0.0
            half[:, stage.input_places] = spectra[:, : len(stage.input_places)] * (self._volume / stage.points)
            space.inverse()
        return stage.inputs

    def tangent(self, change: ComplexArray, strain: Array) -> Array:
        """Derivatives (F,) of the features along a change (S, P) of the densities with a strain (3, 3)."""
        result = np.zeros(self._plan.integral_count)
        spectra = np.zeros_like(self._spectra)
        change = np.ascontiguousarray(change)
        self._map(
            lambda item: self._first_tangent(*item, change, strain, spectra[item[0].layer.spectra], result),
            list(zip(self._prepared.first, self._first_kept, strict=True)),
        )
        spectra += np.trace(strain) * self._spectra
        self._second_tangent(spectra, strain, result)
        orders = np.ones(self._plan.integral_count)
        orders[[column for column, _, _ in self._plan.zeroth]] = 0.0
        result += np.trace(strain) * orders * self._integrals
        return result if self._ratios is None else self._ratios.tangent(result)

    def _first_tangent(
        self,
        stage: Stage,
        kept: tuple[Array | None, Array],
        change: ComplexArray,
        strain: Array,
        spectra: ComplexArray,
        result: Array,
    ) -> None:
        layer, (fields, means) = stage.layer, kept
        fields = self._kept_or_again(stage, fields)
        tangents = self._species_fields(stage, (change, self._densities, stage.strained(strain)))
        sums = np.zeros((len(layer.rows), len(layer.powers)))
        pointwise.first_tangent(
            fields,
            tangents,
            self._plan.weights[layer.sources],
            layer.offsets,
            layer.table,
            layer.wanted,
            means,
            self._plan.squared,
            sums,
            stage.inputs,
        )
        result[layer.columns[layer.wanted]] = sums[layer.wanted] * (self._volume / stage.points)
        self._transform(stage, spectra)

    def _second_tangent(self, spectra: ComplexArray, strain: Array, result: Array) -> None:
        stages = self._prepared.second
        sums = [np.zeros((len(stage.layer.rows), len(stage.layer.powers))) for stage in stages]
        factors = [stage.strained(strain) for stage in stages]

        def push(chunk: Chunk) -> None:
            index, stage, part, rows, _ = chunk
            layer, means = stage.layer, self._second_means[index][part]
            # the workspace holds one set of fields at a time
            fields = self._second_fields(chunk)
            fields = fields.copy() if self._second_kept is None else fields
            tangents = stage.fields(spectra, rows, (self._spectra, factors[index]))
            pointwise.second_tangent(
                fields, tangents, layer.offsets[part], layer.table, layer.wanted[part], means, sums[index][part]
            )

        self._map(push, self._prepared.chunks)
        for stage, of_stage in zip(stages, sums, strict=True):
            wanted = stage.layer.wanted
            result[stage.layer.columns[wanted]] = of_stage[wanted] * (self._volume / stage.points)
