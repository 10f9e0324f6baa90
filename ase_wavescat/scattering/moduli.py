r"""First- and second-order scattering moduli (S20 sec. II D) and their polynomial twins, for any support.

    order 0   sum_k |f(Z_k)|^q
    order 1   integral sigma_1^q du,  sigma_1 = (sum_m |rho_f * psi_1m|^2)^(1/2)
    order 2   integral sigma_2^q du,  sigma_2 = (sum_m |sigma_1 * psi_2m|^2)^(1/2)        (second_input "modulus")
                                      sigma_2 = (sum_m |sigma_1^2 * psi_2m|^2)^(1/2)      (second_input "squared")

with every sigma softened, on request, to (sigma^2 + epsilon^2 s^2)^(1/2), s the root mean square of that map.

Species are convolved once, as real fields; channels are combined point by point. Each first-order map is transformed
once, on the finest grid that it and its children need; a child takes the reciprocal vectors within its own cutoff.
`moduli_grids` says how fine the grids are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.scattering import pointwise
from ase_wavescat.scattering.features import ModulusFeature, Wavelet
from ase_wavescat.scattering.filters import Filter, StrainSums, wavelet_cutoff
from ase_wavescat.scattering.fourier import workspace
from ase_wavescat.scattering.grid import ReciprocalLattice
from ase_wavescat.scattering.moduli_grids import Grid, GridRules
from ase_wavescat.scattering.spec import Moduli, ScatteringSpec, SpecError
from ase_wavescat.scattering.structure_factor import Phases

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_CHUNK = 2**17  # field values transformed at a time, where a map is small: about the second-level cache
_KEPT_BYTES = 2**28  # fields kept for the adjoint; beyond, they are computed again


class MapRow(NamedTuple):
    """One map: a channel and a path of wavelets."""

    channel: str
    path: tuple[Wavelet, ...]

    @property
    def key(self) -> str:
        """The map's name in `softening_rms`."""
        return f"{self.channel}:" + ">".join(w.key for w in self.path)


@dataclass
class Layer:
    """Maps of one wavelet that share a grid.

    sources (R,): of each map, the channel (order 1) or the row among all first-order maps (order 2).
    columns (R, Q): the feature that takes each power of each map, -1 for none; offsets (R,): epsilon^2 s^2.
    """

    wavelet: Wavelet
    grid: Grid
    rows: list[MapRow] = field(default_factory=list)
    sources: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    powers: tuple[Fraction, ...] = ()
    columns: IntArray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    offsets: Array = field(default_factory=lambda: np.empty(0))
    table: Array = field(default_factory=lambda: np.empty((0, 8)))
    spectra: slice = field(default_factory=lambda: slice(0, 0))

    @property
    def wanted(self) -> NDArray[np.bool_]:
        return self.columns >= 0

    def coefficients(self, weights: Array) -> Array:
        """(R, Q): the weight of each power of each map, 0 where it is no feature."""
        return np.where(self.wanted, weights[self.columns], 0.0)


class ModuliPlan:
    """The tree of a support: which maps are computed on which grids, and nothing else.

    features: the support, in column order. refinement: multiplies the points of every grid along each axis, for
    studies of convergence. Raises SpecError for a softened family without its root mean squares.
    """

    def __init__(
        self, spec: ScatteringSpec, family: Moduli, features: Sequence[ModulusFeature], refinement: float = 1.0
    ) -> None:
        self.spec, self.family, self.count = spec, family, len(features)
        self.squared = family.second_input == "squared"
        self.channels = [name for name, _ in spec.channels]
        self.weights: Array = np.array([[spec.channel(c)[z] for z in spec.species] for c in self.channels])
        self.zeroth = [
            (column, self.channels.index(f.channel), float(f.power)) for column, f in enumerate(features) if not f.path
        ]
        self._columns: dict[MapRow, dict[Fraction, int]] = {}
        for column, f in enumerate(features):
            if f.path:
                self._columns.setdefault(MapRow(f.channel, f.path), {})[f.power] = column
        self._softening_rms = dict(family.softening_rms)
        self.rules = GridRules(spec, self.squared, refinement)
        seconds = [row for row in self._columns if len(row.path) == 2]
        firsts = dict.fromkeys([row for row in self._columns if len(row.path) == 1])
        firsts.update(dict.fromkeys(MapRow(row.channel, row.path[:1]) for row in seconds))
        self.first = self._first_layers(list(firsts), seconds)
        self.second = self._second_layers(seconds)
        self.l_max = max((layer.wavelet.l for layer in [*self.first, *self.second]), default=0)

    def _powers(self, row: MapRow) -> set[Fraction]:
        return set(self._columns.get(row, {}))

    def _first_layers(self, rows: list[MapRow], seconds: list[MapRow]) -> list[Layer]:
        """One layer a wavelet; `spectra` = its rows in the array of all spectra, maps with children first."""
        parents = {MapRow(row.channel, row.path[:1]) for row in seconds}
        layers, start = [], 0
        for wavelet in sorted({row.path[0] for row in rows}):
            own = sorted((r for r in rows if r.path[0] == wavelet), key=lambda r: r not in parents)
            children = {row.path[1] for row in seconds if row.path[0] == wavelet}
            layer = Layer(wavelet, self.rules.first(wavelet, set().union(*map(self._powers, own)), children), own)
            layer.sources = np.array([self.channels.index(r.channel) for r in own])
            layer.spectra = slice(start, start + sum(r in parents for r in own))
            start = layer.spectra.stop
            layers.append(self._finish(layer))
        return layers

    def _second_layers(self, seconds: list[MapRow]) -> list[Layer]:
        """One layer for each second wavelet and grid; grids depend on the first wavelet's scale only."""
        grids: dict[tuple[Wavelet, float], Grid] = {}
        for row in seconds:
            key = (row.path[1], row.path[0].scale)
            grid = self.rules.second(row.path[0], row.path[1], self._powers(row))
            grids[key] = grid.union(grids[key]) if key in grids else grid
        layers: dict[tuple[Wavelet, Grid], Layer] = {}
        for row in sorted(seconds, key=lambda r: (r.path[1], r.path[0], r.channel)):
            grid = grids[row.path[1], row.path[0].scale]
            layers.setdefault((row.path[1], grid), Layer(row.path[1], grid)).rows.append(row)
        spectrum = {row: layer.spectra.start + i for layer in self.first for i, row in enumerate(layer.rows)}
        for layer in layers.values():
            layer.sources = np.array([spectrum[MapRow(r.channel, r.path[:1])] for r in layer.rows])
            self._finish(layer)
        return list(layers.values())

    def _finish(self, layer: Layer) -> Layer:
        layer.powers = tuple(sorted(set().union(*map(self._powers, layer.rows))))
        layer.table = pointwise.power_table(layer.powers)
        layer.columns = np.array(
            [[self._columns.get(row, {}).get(q, -1) for q in layer.powers] for row in layer.rows], dtype=np.int64
        ).reshape(len(layer.rows), len(layer.powers))
        layer.offsets = np.array([self._offset(row) for row in layer.rows])
        return layer

    def _offset(self, row: MapRow) -> float:
        if self.family.softening == 0:
            return 0.0
        if row.key not in self._softening_rms:
            raise SpecError(
                f"softening = {self.family.softening:g} needs the root mean square of every map, and softening_rms lacks "
                f"{row.key!r}: measure them with ase_wavescat.scattering.moduli.measure_softening(spec, structures), "
                "or set softening = 0"
            )
        return (self.family.softening * self._softening_rms[row.key]) ** 2

    @property
    def cutoff(self) -> float:
        """The largest |G| that any feature needs (1/A)."""
        return max((wavelet_cutoff(self.spec, layer.wavelet) for layer in [*self.first, *self.second]), default=0.0)

    def prepare(self, lattice: ReciprocalLattice) -> PreparedModuli:
        """Grids and filters on a cell's reciprocal lattice (cutoff at least `cutoff`)."""
        return PreparedModuli(self, lattice)


class Stage:
    """One layer on one cell: from sources in reciprocal space to fields on its grid, and back."""

    def __init__(self, layer: Layer, wavelet_filter: Filter, lattice: ReciprocalLattice) -> None:
        self.layer, self.filter = layer, wavelet_filter
        self.shape = lattice.shape(layer.grid.bandwidth, layer.grid.margin)
        self.points = math.prod(self.shape)
        self.count = min(wavelet_filter.count, lattice.count(layer.grid.cutoff))
        self.places = lattice.places(self.shape, self.count)
        self.components = 2 * layer.wavelet.l + 1
        self.value: Array = wavelet_filter.value[: self.count]
        self.harmonics: Array = np.ascontiguousarray(wavelet_filter.harmonics[:, : self.count])
        self.input_places = lattice.places(self.shape, lattice.count(layer.grid.input_cutoff))

    def chunks(self, rows: IntArray) -> Iterator[tuple[slice, IntArray]]:
        """The rows in chunks of equal length whose fields fit the cache; a chunk's transforms are one call."""
        most = max(1, _CHUNK // (self.components * self.points))
        size = -(-len(rows) // -(-len(rows) // most))
        for start in range(0, len(rows), size):
            part = slice(start, min(start + size, len(rows)))
            yield part, rows[part]

    def buffer(self, rows: int) -> tuple[Array, ComplexArray]:
        """The fields (rows, M, n) and their transforms (rows M, ...) in this thread's workspace."""
        space = workspace(self.shape, rows * self.components)
        return space.real.reshape(rows, self.components, -1), space.half.reshape(rows * self.components, -1)

    def fields(self, sources: ComplexArray, rows: IntArray, more: tuple[ComplexArray, Array] | None = None) -> Array:
        """(rows, M, n) fields of sources[rows], valid until the workspace is used again; more = (sources, factors (M, P))."""
        real, half = self.buffer(len(rows))
        phase = self.filter.phase
        pointwise.scatter(sources, rows, self.value, self.harmonics, phase, self.places, half)
        if more is not None:
            pointwise.scatter_more(more[0], rows, more[1], phase, self.places, half)
        workspace(self.shape, len(rows) * self.components).inverse()
        return real

    def adjoint(self, sources: ComplexArray, rows: IntArray, adjoint: ComplexArray, products: Array) -> None:
        """From dE/dfields in the workspace to `adjoint`[rows] and `products` (M, P); see `pointwise.gather`."""
        _, half = self.buffer(len(rows))
        workspace(self.shape, len(rows) * self.components).forward()
        pointwise.gather(
            half, sources, rows, self.value, self.harmonics, self.filter.phase, self.places, adjoint, products
        )

    def strained(self, strain: Array) -> Array:
        """Change of the filter's factors (M, P) along a strain."""
        return np.array([self.filter.strained(m, strain)[: self.count] for m in range(self.components)])

    def add_strain(self, sums: StrainSums, products: Array, weights: Array) -> None:
        """The filter's part of dE/dstrain."""
        l, count = self.layer.wavelet.l, self.count  # noqa: E741
        weighted = products * weights[:count]
        sums.by_harmonic[l**2 : (l + 1) ** 2, :count] += weighted * self.value
        sums.by_length[:count] += self.filter.slope[:count] * (weighted * self.harmonics).sum(axis=0)


class PreparedModuli:
    """A plan on one cell: grids, places and filters."""

    def __init__(self, plan: ModuliPlan, lattice: ReciprocalLattice) -> None:
        self.plan, self.lattice = plan, lattice
        wavelets = {layer.wavelet for layer in [*plan.first, *plan.second]}
        filters = {w: Filter(plan.spec, w, lattice, plan.l_max) for w in wavelets}
        self.first = [Stage(layer, filters[layer.wavelet], lattice) for layer in plan.first]
        self.second = [Stage(layer, filters[layer.wavelet], lattice) for layer in plan.second]
        self.spectra_shape = (
            sum(layer.spectra.stop - layer.spectra.start for layer in plan.first),
            max((len(stage.input_places) for stage in self.first), default=0),
        )
        fields = sum(s.points * s.components * len(s.layer.rows) for s in self.second)
        self.keeps = 8 * fields <= _KEPT_BYTES

    def forward(self, densities: ComplexArray, counts: IntArray, keep: bool = True) -> ModuliState:
        """Features of densities (S, P), the structure factors of each species, and counts (S,) of atoms.

        keep: fields are stored for the adjoint if they fit 256 MB, which then costs one forward pass, not two.
        """
        return ModuliState(self, densities, counts, keep and self.keeps)

    def tangent(
        self, densities: ComplexArray, counts: IntArray, density_tangents: ComplexArray, strains: Array
    ) -> tuple[Array, Array]:
        """Features (F,) and their derivatives (D, F) along changes (D, S, P) of the densities with strains (D, 3, 3)."""
        state = self.forward(densities, counts)
        rows = [state.tangent(change, strain) for change, strain in zip(density_tangents, strains, strict=True)]
        return state.features, np.array(rows).reshape(len(rows), self.plan.count)


class ModuliState:
    """One evaluation: features (F,), and what their derivatives need."""

    def __init__(self, prepared: PreparedModuli, densities: ComplexArray, counts: IntArray, keep: bool) -> None:
        self._prepared, self._plan, self._volume = prepared, prepared.plan, prepared.lattice.volume
        self._densities = np.ascontiguousarray(densities)
        self._species: IntArray = np.arange(len(densities))
        self.features: Array = np.zeros(self._plan.count)
        for column, channel, power in self._plan.zeroth:
            self.features[column] = counts @ np.abs(self._plan.weights[channel]) ** power
        self._spectra: ComplexArray = np.zeros(prepared.spectra_shape, dtype=complex)
        self._species_fields = [self._first(stage) for stage in prepared.first]
        self._kept: dict[tuple[int, int], Array] = {}
        self._means = [self._second(i, stage, keep) for i, stage in enumerate(prepared.second)]

    def _first(self, stage: Stage) -> tuple[Array, Array]:
        """Fills features and spectra of one wavelet; returns the species fields (S, M, n) and the mean squares (C,)."""
        layer = stage.layer
        fields = self._species_fields_of(stage)
        sums = np.zeros((len(layer.rows), len(layer.powers) + 1))
        inputs = np.empty((layer.spectra.stop - layer.spectra.start, stage.points))
        channels = self._plan.weights[layer.sources]
        pointwise.first_sums(
            fields, channels, layer.offsets, layer.table, layer.wanted, self._plan.squared, sums, inputs
        )
        self._store(stage, sums)
        self._transform(stage, inputs, self._spectra[layer.spectra])
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
        wanted = stage.layer.wanted
        self.features[stage.layer.columns[wanted]] = sums[:, :-1][wanted] * (self._volume / stage.points)

    def _transform(self, stage: Stage, inputs: Array, out: ComplexArray) -> None:
        """out (C, >= P) = integral of inputs (C, n) exp(-iGu) du."""
        space = workspace(stage.shape)
        count = len(stage.input_places)
        for row, values in enumerate(inputs):
            space.real.reshape(-1)[:] = values
            space.forward()
            out[row, :count] = space.flat[stage.input_places] * (self._volume / stage.points)

    def _second(self, index: int, stage: Stage, keep: bool) -> Array:
        """Fills the features of one layer, keeps its fields on request; returns the mean squares (R,)."""
        layer = stage.layer
        sums = np.zeros((len(layer.rows), len(layer.powers) + 1))
        for part, rows in stage.chunks(layer.sources):
            fields = stage.fields(self._spectra, rows)
            pointwise.second_sums(fields, layer.offsets[part], layer.table, layer.wanted[part], sums[part])
            if keep:
                self._kept[index, part.start] = fields.copy()
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
        zeroth = sum(weights[column] * self.features[column] for column, _, _ in plan.zeroth)
        trace = float(weights @ self.features - zeroth - np.vdot(adjoint, self._densities).real)
        return adjoint, sums.strain() + trace * np.eye(3)

    def _second_adjoint(
        self, index: int, stage: Stage, weights: Array, spectra: ComplexArray, products: Array
    ) -> None:
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
        """dE/dinputs (C, n) from the adjoints (C, >= P) of the spectra."""
        space = workspace(stage.shape)
        count = len(stage.input_places)
        inputs = np.empty((len(spectra), stage.points))
        for row, spectrum in enumerate(spectra):
            space.flat[:] = 0.0
            space.flat[stage.input_places] = spectrum[:count]
            space.inverse()
            np.multiply(space.real.reshape(-1), self._volume / stage.points, out=inputs[row])
        return inputs

    def tangent(self, change: ComplexArray, strain: Array) -> Array:
        """Derivatives (F,) of the features along a change (S, P) of the densities with a strain (3, 3)."""
        result = np.zeros(self._plan.count)
        spectra = np.zeros_like(self._spectra)
        change = np.ascontiguousarray(change)
        for stage, kept in zip(self._prepared.first, self._species_fields, strict=True):
            self._first_tangent(stage, kept, change, strain, spectra[stage.layer.spectra], result)
        spectra += np.trace(strain) * self._spectra
        for index, stage in enumerate(self._prepared.second):
            self._second_tangent(index, stage, spectra, strain, result)
        orders = np.ones(self._plan.count)
        orders[[column for column, _, _ in self._plan.zeroth]] = 0.0
        return result + np.trace(strain) * orders * self.features

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
        inputs = np.empty((len(spectra), stage.points))
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
            inputs,
        )
        result[layer.columns[layer.wanted]] = sums[layer.wanted] * (self._volume / stage.points)
        self._transform(stage, inputs, spectra)

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
    """The spec with `softening_rms` of its moduli measured over structures (cell (3, 3), positions (N, 3), numbers (N,)).

    s = (sum over structures of integral sigma^2 du / sum of volumes)^(1/2) for every map of every path, sigma unsoftened.
    """
    if len(structures) == 0:
        raise SpecError("softening is measured over structures, and there are none: give at least one")
    families = tuple(_measured(spec, f, structures) if isinstance(f, Moduli) else f for f in spec.families)
    return dataclasses.replace(spec, families=families)


def _measured(spec: ScatteringSpec, family: Moduli, structures: Sequence[Structure]) -> Moduli:
    orders = tuple(o for o in (1, 2) if max(family.orders) >= o)
    plain = dataclasses.replace(family, powers=(Fraction(2),), softening=0.0, softening_rms=(), orders=orders)
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
