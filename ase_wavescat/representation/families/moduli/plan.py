r"""First- and second-order scattering moduli (S20 sec. II D) and their polynomial twins, for any support.

    order 0   sum_k |f(Z_k)|^q, or integral |rho_f|^q du of a density that is smooth
    order 1   integral sigma_1^q du,  sigma_1 = (sum_m |rho_f * psi_1m|^2)^(1/2)
    order 2   integral sigma_2^q du,  sigma_2 = (sum_m |sigma_1 * psi_2m|^2)^(1/2)        (second_input "modulus")
                                      sigma_2 = (sum_m |sigma_1^2 * psi_2m|^2)^(1/2)      (second_input "squared")

with rho_f a sum of points or of Gaussians (B18, E18), and every feature, on request, over its parent's (B18; see
`normalisation`). A softened modulus is (sigma^2 + epsilon^2 s^2)^(1/2), s the root mean square of that map; its
integrals are those of sigma^q - (epsilon s)^q and the second layer takes sigma - epsilon s, so that vacuum contributes
nothing.

Species are convolved once, as real fields; channels are combined point by point. Each first-order map is transformed
once, on the finest grid that it and its children need; a child takes the reciprocal vectors within its own cutoff.
`moduli_grids` says how fine the grids are, `moduli_tree` what a support needs; `pointwise` does the work on a grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.moduli import pointwise
from ase_wavescat.representation.families.moduli.stage import Stage
from ase_wavescat.representation.families.moduli.tree import MapRow, ModuliTree
from ase_wavescat.representation.features import ModulusFeature
from ase_wavescat.representation.lattice.arena import take
from ase_wavescat.representation.lattice.filters import RadialFilter, StrainSums
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import Phases
from ase_wavescat.representation.specification import Moduli, ScatteringSpec, SpecError
from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_ROUNDING = 1e-13  # of a field, in parts of the largest that it could be
_KEPT_BYTES = 2**28  # fields of each order kept for the adjoint; beyond, they are computed again


class ModuliPlan(ModuliTree):
    """The tree of a support, ready for any cell."""

    def prepare(self, lattice: ReciprocalLattice, execution: Execution = Execution()) -> PreparedModuli:
        """Grids and filters on a cell's reciprocal lattice (cutoff at least `cutoff`)."""
        return PreparedModuli(self, lattice, execution)


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

    def forward(self, densities: ComplexArray, counts: IntArray, keep: bool = True) -> ModuliState:
        """Features of densities (S, P), the structure factors of each species, and counts (S,) of atoms.

        keep: fields are stored for the adjoint where those of an order fit 256 MB; it costs one forward pass then, not
        two.
        """
        return ModuliState(self, densities, counts, keep)


class ModuliState:
    """One evaluation: features (F,), and what their derivatives need. Threads share layers and chunks of maps."""

    def __init__(self, prepared: PreparedModuli, densities: ComplexArray, counts: IntArray, keep: bool) -> None:
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
        self.features: Array = self._integrals if self._ratios is None else self._ratios.features

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


def measure_softening(spec: ScatteringSpec, structures: Sequence[Structure]) -> ScatteringSpec:
    """The spec with the `softening_rms` of its moduli measured.

    structures: fully periodic. For every map of every path, unsoftened,
    s = (sum over structures of integral sigma^2 du / sum of volumes)^(1/2). Raises SpecError if there is no structure.
    """
    if len(structures) == 0:
        raise SpecError("softening is measured over structures, and there are none: give at least one")
    families = tuple(_measured(spec, f, structures) if isinstance(f, Moduli) else f for f in spec.families)
    return dataclasses.replace(spec, families=families)


def _measured(spec: ScatteringSpec, family: Moduli, structures: Sequence[Structure]) -> Moduli:
    orders = tuple(o for o in (1, 2) if max(family.orders) >= o)
    plain = dataclasses.replace(
        family, powers=(Fraction(2),), softening=0.0, softening_rms=(), orders=orders, normalisation="none"
    )
    features = [f for f in plain.features(spec) if isinstance(f, ModulusFeature)]
    plan = ModuliPlan(spec, plain, features)
    sums, volume = np.zeros(len(features)), 0.0
    for structure in structures:
        lattice = ReciprocalLattice(structure.cell, plan.cutoff)
        groups = [structure.positions[structure.numbers == z] for z in spec.species]
        densities = np.array([Phases(lattice, positions).structure_factor() for positions in groups])
        sums += plan.prepare(lattice).forward(densities, structure.count(spec.species), keep=False).features
        volume += lattice.volume
    rms = np.sqrt(sums / volume)
    keys = [MapRow(f.channel, f.path).key for f in features]
    return dataclasses.replace(family, softening_rms=tuple(zip(keys, rms.tolist(), strict=True)))
