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

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.scattering import pointwise
from ase_wavescat.scattering.arena import take
from ase_wavescat.scattering.execution import Execution
from ase_wavescat.scattering.features import ModulusFeature
from ase_wavescat.scattering.filters import RadialFilter, StrainSums
from ase_wavescat.scattering.fourier import workspace
from ase_wavescat.scattering.grid import ReciprocalLattice
from ase_wavescat.scattering.moduli_stage import Stage
from ase_wavescat.scattering.moduli_tree import MapRow, ModuliTree
from ase_wavescat.scattering.spec import Moduli, ScatteringSpec, SpecError
from ase_wavescat.scattering.structure_factor import Phases

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_ROUNDING = 1e-13  # of a field, in parts of the largest that it could be
_KEPT_BYTES = 2**28  # fields kept for the adjoint; beyond, they are computed again


class ModuliPlan(ModuliTree):
    """The tree of a support, ready for any cell."""

    def prepare(self, lattice: ReciprocalLattice, execution: Execution = Execution()) -> PreparedModuli:
        """Grids and filters on a cell's reciprocal lattice (cutoff at least `cutoff`)."""
        return PreparedModuli(self, lattice)


class PreparedModuli:
    """A plan on one cell: grids, places and filters."""

    def __init__(self, plan: ModuliPlan, lattice: ReciprocalLattice) -> None:
        self.plan, self.lattice = plan, lattice
        radials = {layer.radial for layer in [*plan.first, *plan.second]}
        filters = {radial: RadialFilter(radial, lattice, plan.l_max) for radial in radials}
        self.first = [Stage(layer, filters[layer.radial], lattice) for layer in plan.first]
        self.second = [Stage(layer, filters[layer.radial], lattice) for layer in plan.second]
        self.spectra_shape = (
            sum(layer.spectra.stop - layer.spectra.start for layer in plan.first),
            max((len(stage.input_places) for stage in self.first), default=0),
        )
        self.kept_values = sum(s.points * s.components * len(s.layer.rows) for s in self.second)

    def forward(self, densities: ComplexArray, counts: IntArray, keep: bool = True) -> ModuliState:
        """Features of densities (S, P), the structure factors of each species, and counts (S,) of atoms.

        keep: fields are stored for the adjoint if they fit 256 MB, which then costs one forward pass, not two.
        """
        return ModuliState(self, densities, counts, keep and 8 * self.kept_values <= _KEPT_BYTES)

    def tangent(
        self, densities: ComplexArray, counts: IntArray, density_tangents: ComplexArray, strains: Array
    ) -> tuple[Array, Array]:
        """Features (F,) and derivatives (D, F) along changes (D, S, P) of the densities with strains (D, 3, 3)."""
        state = self.forward(densities, counts)
        rows = [state.tangent(change, strain) for change, strain in zip(density_tangents, strains, strict=True)]
        return state.features, np.array(rows).reshape(len(rows), self.plan.count)


class ModuliState:
    """One evaluation: features (F,), and what their derivatives need."""

    def __init__(self, prepared: PreparedModuli, densities: ComplexArray, counts: IntArray, keep: bool) -> None:
        self._prepared, self._plan, self._volume = prepared, prepared.plan, prepared.lattice.volume
        self._densities = np.ascontiguousarray(densities)
        self._species: IntArray = np.arange(len(densities))
        self._integrals: Array = np.zeros(self._plan.integral_count)
        self._floors: Array = np.zeros(self._plan.integral_count)
        self._charges: Array = np.abs(self._plan.weights) @ counts
        for column, channel, power in self._plan.zeroth:
            self._integrals[column] = counts @ np.abs(self._plan.weights[channel]) ** power
        self._spectra: ComplexArray = np.zeros(prepared.spectra_shape, dtype=complex)
        self._species_fields = [self._first(stage) for stage in prepared.first]
        self._arena = take(self, prepared.kept_values if keep else 0)
        self._used = 0
        self._kept: dict[tuple[int, int], Array] = {}
        self._means = [self._second(i, stage) for i, stage in enumerate(prepared.second)]
        ratios = self._plan.ratios
        self._ratios = None if ratios is None else ratios.of(self._integrals, self._floors, int(counts.sum()))
        self.features: Array = self._integrals if self._ratios is None else self._ratios.features

    def _first(self, stage: Stage) -> tuple[Array, Array]:
        """Fills features and spectra of one wavelet; returns the species fields (S, M, n) and the mean squares (C,)."""
        layer = stage.layer
        fields = self._species_fields_of(stage)
        sums = np.zeros((len(layer.rows), len(layer.powers) + 1))
        channels = self._plan.weights[layer.sources]
        pointwise.first_sums(
            fields, channels, layer.offsets, layer.table, layer.wanted, self._plan.squared, sums, stage.inputs
        )
        self._store(stage, sums)
        self._set_floors(stage)
        self._transform(stage, self._spectra[layer.spectra])
        return fields, sums[:, -1] / stage.points

    def _species_fields_of(self, stage: Stage, more: tuple[ComplexArray, ComplexArray, Array] | None = None) -> Array:
        """(S, M, n) of the densities; with more = (density tangents, densities, factors) their tangent."""
        fields = np.empty((len(self._species), stage.components, stage.points))
        for part, rows in stage.chunks(self._species):
            if more is None:
                fields[part] = stage.fields(self._densities, rows)
            else:
                fields[part] = stage.fields(more[0], rows, more[1:])
        return fields

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
            space = workspace(stage.shape, len(out))
            space.forward()
            spectra = space.half.reshape(len(out), -1)[:, stage.input_places]
            np.multiply(spectra, self._volume / stage.points, out=out[:, : len(stage.input_places)])

    def _second(self, index: int, stage: Stage) -> Array:
        """Fills the features of one layer, keeps its fields on request; returns the mean squares (R,)."""
        layer = stage.layer
        sums = np.zeros((len(layer.rows), len(layer.powers) + 1))
        for part, rows in stage.chunks(layer.sources):
            fields = stage.fields(self._spectra, rows)
            pointwise.second_sums(fields, layer.offsets[part], layer.table, layer.wanted[part], sums[part])
            if len(self._arena):
                kept = self._arena[self._used : self._used + fields.size].reshape(fields.shape)
                kept[:] = fields
                self._kept[index, part.start] = kept
                self._used += fields.size
        self._store(stage, sums)
        return sums[:, -1] / stage.points

    def _second_fields(self, index: int, stage: Stage, part: slice, rows: IntArray) -> Array:
        kept = self._kept.get((index, part.start))
        return stage.fields(self._spectra, rows) if kept is None else kept

    def adjoint(self, weights: Array) -> tuple[ComplexArray, Array]:
        """Reverse mode of E = weights . features: A (S, P) with dE = Re sum over the half sphere of conj(A) dS, and
        dE/dstrain (3, 3) at fixed phases G.R."""
        prepared, plan = self._prepared, self._plan
        lattice = prepared.lattice
        weights = weights if self._ratios is None else self._ratios.adjoint(weights)
        sums = StrainSums(lattice, plan.l_max)
        spectra = np.zeros_like(self._spectra)
        for index, stage in enumerate(prepared.second):
            products = np.zeros((stage.components, stage.count))
            self._second_adjoint(index, stage, weights, spectra, products)
            stage.add_strain(sums, products, lattice.weights)
        adjoint = np.zeros_like(self._densities)
        for stage, kept in zip(prepared.first, self._species_fields, strict=True):
            products = np.zeros((stage.components, stage.count))
            self._first_adjoint(stage, kept, weights, spectra[stage.layer.spectra], adjoint, products)
            stage.add_strain(sums, products, lattice.weights)
        adjoint *= lattice.weights[: adjoint.shape[1]]
        # explicit volumes: the cell integral, and 1/V of the densities (those of the second layer cancel)
        zeroth = sum(weights[column] * self._integrals[column] for column, _, _ in plan.zeroth)
        trace = float(weights @ self._integrals - zeroth - np.vdot(adjoint, self._densities).real)
        return adjoint, sums.strain() + trace * np.eye(3)

    def _second_adjoint(self, index: int, stage: Stage, weights: Array, spectra: ComplexArray, products: Array) -> None:
        layer = stage.layer
        coefficients = layer.coefficients(weights) * (self._volume / stage.points)
        for part, rows in stage.chunks(layer.sources):
            if not coefficients[part].any():
                continue
            fields = self._second_fields(index, stage, part, rows)
            out, _ = stage.buffer(len(rows))
            pointwise.second_adjoint(
                fields, layer.offsets[part], layer.table, coefficients[part], self._means[index][part], out
            )
            stage.adjoint(self._spectra, rows, spectra, products)

    def _first_adjoint(
        self,
        stage: Stage,
        kept: tuple[Array, Array],
        weights: Array,
        spectra: ComplexArray,
        adjoint: ComplexArray,
        products: Array,
    ) -> None:
        layer, (fields, means) = stage.layer, kept
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
        for part, rows in stage.chunks(self._species):
            stage.buffer(len(rows))[0][:] = out[part]
            stage.adjoint(self._densities, rows, adjoint, products)

    def _transform_adjoint(self, stage: Stage, spectra: ComplexArray) -> Array:
        """dE/d(stage.inputs) (C, n), in its place, from the adjoints (C, >= P) of the spectra."""
        inputs = stage.inputs
        if len(spectra):
            space = workspace(stage.shape, len(spectra))
            half = space.half.reshape(len(spectra), -1)
            half[:] = 0.0
            half[:, stage.input_places] = spectra[:, : len(stage.input_places)] * (self._volume / stage.points)
            space.inverse()
        return inputs

    def tangent(self, change: ComplexArray, strain: Array) -> Array:
        """Derivatives (F,) of the features along a change (S, P) of the densities with a strain (3, 3)."""
        result = np.zeros(self._plan.integral_count)
        spectra = np.zeros_like(self._spectra)
        change = np.ascontiguousarray(change)
        for stage, kept in zip(self._prepared.first, self._species_fields, strict=True):
            self._first_tangent(stage, kept, change, strain, spectra[stage.layer.spectra], result)
        spectra += np.trace(strain) * self._spectra
        for index, stage in enumerate(self._prepared.second):
            self._second_tangent(index, stage, spectra, strain, result)
        orders = np.ones(self._plan.integral_count)
        orders[[column for column, _, _ in self._plan.zeroth]] = 0.0
        result += np.trace(strain) * orders * self._integrals
        return result if self._ratios is None else self._ratios.tangent(result)

    def _first_tangent(
        self,
        stage: Stage,
        kept: tuple[Array, Array],
        change: ComplexArray,
        strain: Array,
        spectra: ComplexArray,
        result: Array,
    ) -> None:
        layer, (fields, means) = stage.layer, kept
        tangents = self._species_fields_of(stage, (change, self._densities, stage.strained(strain)))
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

    def _second_tangent(self, index: int, stage: Stage, spectra: ComplexArray, strain: Array, result: Array) -> None:
        layer = stage.layer
        sums = np.zeros((len(layer.rows), len(layer.powers)))
        factors = stage.strained(strain)
        for part, rows in stage.chunks(layer.sources):
            # the workspace holds one set of fields at a time
            kept = self._kept.get((index, part.start))
            fields = stage.fields(self._spectra, rows).copy() if kept is None else kept
            tangents = stage.fields(spectra, rows, (self._spectra, factors))
            pointwise.second_tangent(
                fields,
                tangents,
                layer.offsets[part],
                layer.table,
                layer.wanted[part],
                self._means[index][part],
                sums[part],
            )
        result[layer.columns[layer.wanted]] = sums[layer.wanted] * (self._volume / stage.points)


Structure = tuple[Array, Array, IntArray]


def measure_softening(spec: ScatteringSpec, structures: Sequence[Structure]) -> ScatteringSpec:
    """The spec with the `softening_rms` of its moduli measured.

    structures: (cell (3, 3) A, positions (N, 3) A, numbers (N,)) each. For every map of every path, unsoftened,
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
    for cell, positions, numbers in structures:
        lattice = ReciprocalLattice(cell, plan.cutoff)
        densities = np.array([Phases(lattice, positions[numbers == z]).structure_factor() for z in spec.species])
        counts = np.array([np.count_nonzero(numbers == z) for z in spec.species])
        sums += plan.prepare(lattice).forward(densities, counts, keep=False).features
        volume += lattice.volume
    rms = np.sqrt(sums / volume)
    keys = [MapRow(f.channel, f.path).key for f in features]
    return dataclasses.replace(family, softening_rms=tuple(zip(keys, rms.tolist(), strict=True)))
