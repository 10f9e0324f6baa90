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

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.features import BandFeature, Map, PairFeature, SpeciesWavelet, Wavelet
from ase_wavescat.representation.lattice.arena import take
from ase_wavescat.representation.lattice.bands import band_weights
from ase_wavescat.representation.lattice.filters import Filter, StrainSums, gather_adjoint, scatter, wavelet_cutoff
from ase_wavescat.representation.lattice.fourier import Shape
from ase_wavescat.representation.lattice.planes import Columns, Rows
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.specification import Bands, Correlations, ScatteringSpec
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_KEPT_BYTES = 2**30  # fields kept for the derivatives; beyond, they are made again


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


class CorrelationPlan:
    """The band features of a support: which fields, maps and grids they need, and nothing else."""

    def __init__(
        self, spec: ScatteringSpec, family: Correlations, features: Sequence[PairFeature | BandFeature]
    ) -> None:
        self.spec, self.family, self.count = spec, family, len(features)
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

    def prepare(self, lattice: ReciprocalLattice, execution: Execution = Execution()) -> PreparedCorrelations:
        return PreparedCorrelations(self, lattice, execution)


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

    def _field_rows(self, group: GridGroup, shape: Shape) -> Rows:
        wavelets = [f.wavelet for f in group.fields]
        columns = {w: Columns(self.lattice, self.filters[w].count, shape) for w in set(wavelets)}
        return Rows("fields", shape, [columns[w] for w in wavelets for _ in range(2 * w.l + 1)], self.execution)

    def _map_rows(self, group: GridGroup, shape: Shape) -> Rows:
        return Rows("maps", shape, [Columns(self.lattice, self.band_count, shape)] * len(group.maps), self.execution)

    def _bands(self, bands: Bands | None, count: int) -> PreparedBands | None:
        return None if bands is None else PreparedBands(bands, self.lattice, count)

    def forward(self, densities: ComplexArray, counts: IntArray) -> CorrelationState:
        """densities: (species, P) structure factors on the lattice."""
        return CorrelationState(self, densities)


class CorrelationState:
    """Maps of one structure, its features and their derivatives."""

    def __init__(self, prepared: PreparedCorrelations, densities: ComplexArray) -> None:
        self.prepared, self.plan, self.lattice = prepared, prepared.plan, prepared.lattice
        self.densities = densities
        self._map = prepared.execution.map
        self._kept = self._keep()
        self.maps = np.zeros((len(self.plan.maps), prepared.band_count), dtype=complex)
        for g, rows in enumerate(prepared.fields):
            with rows.memory() as data:
                self._fill_columns(g, data)
                self._add_maps(g, data, self.maps)
        self.features = self._correlate()

    def _keep(self) -> list[NDArray[Any] | None]:
        """Memory for the fields of every group, (n1, rows, n2 n3), unless it is too much: then they are made again."""
        shapes = [(rows.shape[0], len(rows), rows.shape[1] * rows.shape[2]) for rows in self.prepared.fields]
        sizes = [math.prod(shape) for shape in shapes]
        real = self.prepared.execution.real
        if sum(sizes) * np.dtype(real).itemsize > _KEPT_BYTES:
            return [None] * len(shapes)
        memory = take(self, sum(sizes), real)
        ends = np.cumsum([0, *sizes])
        return [memory[a:b].reshape(s) for (a, b), s in zip(pairwise(ends), shapes, strict=True)]

    def _fill_columns(
        self, g: int, data: NDArray[Any], change: ComplexArray | None = None, strain: Array | None = None
    ) -> None:
        """The fields of a group as columns; with a change of the densities and a strain, the change of the fields."""
        group, rows = self.plan.groups[g], self.prepared.fields[g]

        def fill(f: SpeciesWavelet) -> None:
            kernel = self.prepared.filters[f.wavelet]
            species = self.plan.spec.species.index(f.number)
            source = self.densities[species] if change is None else change[species]
            for m in range(2 * kernel.l + 1):
                row = group.first_row[f] + m
                space, places = rows.column_space(row), rows.columns[row].places
                scatter(space.flat, places, kernel.value, kernel.harmonics[m], source, kernel.phase)
                if strain is not None:
                    moved = kernel.phase * kernel.strained(m, strain) * self.densities[species, : kernel.count]
                    space.flat[places] += moved
                rows.store(space, data, row)

        self._map(fill, group.fields)

    def _parts(self, g: int) -> list[slice]:
        return list(self.prepared.fields[g].parts(len(self.prepared.fields[g])))

    @contextmanager
    def _field_columns(self, g: int) -> Iterator[NDArray[Any] | None]:
        """The fields of a group as columns, where the fields themselves are not kept."""
        if self._kept[g] is not None:
            yield None
            return
        with self.prepared.fields[g].memory() as data:
            self._fill_columns(g, data)
            yield data

    def _fields(self, g: int, data: NDArray[Any] | None, part: slice) -> NDArray[Any]:
        """(planes, rows, n2 n3): the kept fields, or those of the columns."""
        kept = self._kept[g]
        if kept is not None:
            return kept[part]
        assert data is not None
        return self.prepared.fields[g].planes(data, part)

    def _add_maps(self, g: int, data: NDArray[Any], out: ComplexArray) -> None:
        """out[i] += P^_i in the band, of the fields in columns; the fields are kept where there is room."""
        fields, maps, kept = self.prepared.fields[g], self.prepared.maps[g], self._kept[g]
        table = self.plan.groups[g].table

        def multiply(part: slice, products: NDArray[Any]) -> None:
            values = fields.planes(data, part)
            if kept is not None:
                kept[part] = values
            space = maps.space(part)
            _products(values, table, maps.values(space, part))
            maps.take(space, products, part)

        self._collect(g, multiply, out)

    def _add_map_changes(self, g: int, data: NDArray[Any] | None, moved: NDArray[Any], out: ComplexArray) -> None:
        """out[i] += the change of P^_i along the change of the fields in the columns `moved`."""
        fields, maps = self.prepared.fields[g], self.prepared.maps[g]
        table = self.plan.groups[g].table

        def multiply(part: slice, products: NDArray[Any]) -> None:
            space = maps.space(part)
            values, changes = self._fields(g, data, part), fields.planes(moved, part, "moved")
            _product_changes(values, changes, table, maps.values(space, part))
            maps.take(space, products, part)

        self._collect(g, multiply, out)

    def _collect(self, g: int, multiply: Callable[[slice, NDArray[Any]], None], out: ComplexArray) -> None:
        """out[i] += transforms in the band of what `multiply` puts, planes by planes, into the columns of the maps."""
        maps = self.prepared.maps[g]
        scale = self.lattice.volume / math.prod(maps.shape)
        with maps.memory() as products:

            def collect(item: tuple[int, int]) -> None:
                row, i = item
                out[i] += scale * maps.fetch(products, row)[maps.columns[row].places]

            self._map(lambda part: multiply(part, products), self._parts(g))
            self._map(collect, enumerate(self.plan.groups[g].maps))

    def _operands(
        self, densities: ComplexArray, maps: ComplexArray
    ) -> list[tuple[Terms, PreparedBands, ComplexArray, ComplexArray]]:
        """Each kind of feature present: its terms, its bands, views of its first and second operands."""
        plan, prepared = self.plan, self.prepared
        kinds = (
            (plan.pair, prepared.pair_bands, densities, densities),
            (plan.three, prepared.three_bands, densities[:, : prepared.band_count], maps),
            (plan.four, prepared.four_bands, maps, maps),
        )
        return [
            (terms, bands, left, right)
            for terms, bands, left, right in kinds
            if bands is not None and len(terms.columns)
        ]

    def _correlate(self) -> Array:
        features = np.zeros(self.plan.count)
        for terms, bands, left, right in self._operands(self.densities, self.maps):
            table = _correlations(bands.value, bands.parts, left, right)
            features[terms.columns] = table[terms.band, terms.first, terms.second]
        return features

    def adjoint(self, weights: Array) -> tuple[ComplexArray, Array]:
        """Adjoint A (species, P) of the densities, dE = Re sum conj(A) dS, and dE/dstrain (3, 3) at fixed phases."""
        plan = self.plan
        adjoint = np.zeros_like(self.densities)
        map_adjoint = np.zeros_like(self.maps)
        by_vector = np.zeros(len(self.lattice))
        operands = self._operands(self.densities, self.maps)
        adjoints = self._operands(adjoint, map_adjoint)
        for (terms, bands, left, right), (*_, onto_left, onto_right) in zip(operands, adjoints, strict=True):
            for k in np.unique(terms.band):
                mine = terms.band == k
                table = np.zeros((len(left), len(right)))
                table[terms.first[mine], terms.second[mine]] = weights[terms.columns[mine]]
                part = bands.parts[k]
                value, slope = _twice(bands.value[k, part]), _twice(bands.slope[k, part])
                from_right = table @ _doubled(right, part)
                by_half = slope * np.einsum("lp,lp->p", from_right, _doubled(left, part))
                by_vector[part] -= by_half[0::2] + by_half[1::2]
                _add_banded(value, from_right, _doubled(onto_left, part))
                _add_banded(value, table.T @ _doubled(left, part), _doubled(onto_right, part))
        sums = StrainSums(self.lattice, plan.l_max)
        for g in range(len(plan.groups)):
            self._group_adjoint(g, map_adjoint, adjoint, sums)
        # P^ has an explicit V, and two fields with 1/V each; the features have 1/V
        volume_term = -float(weights @ self.features) - np.vdot(map_adjoint, self.maps).real
        vectors = self.lattice.vectors
        strain = (
            sums.strain()
            + np.einsum("p,pa,pb->ab", by_vector, vectors, vectors, optimize=True)
            + volume_term * np.eye(3)
        )
        return adjoint, strain

    def _group_adjoint(self, g: int, map_adjoint: ComplexArray, adjoint: ComplexArray, sums: StrainSums) -> None:
        """Take the maps' adjoints through the fields of a group."""
        group, fields = self.plan.groups[g], self.prepared.fields[g]
        with (
            self._field_columns(g) as data,
            # planes that have been read are free
            fields.memory() if data is None else nullcontext(data) as onto_fields,
            self.prepared.maps[g].memory() as slopes,
        ):
            self._fill_slopes(g, map_adjoint, slopes)
            self._combine(g, data, slopes, onto_fields)
            parts = self._map(lambda f: self._field_adjoint(g, f, onto_fields), group.fields)
        for f, (onto_density, by_harmonic, by_length) in zip(group.fields, parts, strict=True):
            l, count = f.wavelet.l, len(by_length)
            adjoint[self.plan.spec.species.index(f.number), :count] += onto_density
            sums.by_harmonic[l**2 : (l + 1) ** 2, :count] += by_harmonic
            sums.by_length[:count] += by_length

    def _fill_slopes(self, g: int, map_adjoint: ComplexArray, slopes: NDArray[Any]) -> None:
        """The adjoints of a group's maps, dE/dP(u), as columns."""
        maps = self.prepared.maps[g]
        scale = (self.lattice.volume / math.prod(maps.shape)) / self.lattice.weights[: map_adjoint.shape[1]]

        def spread(item: tuple[int, int]) -> None:
            row, i = item
            space = maps.column_space(row)
            space.data[:] = 0.0
            space.flat[maps.columns[row].places] = scale * map_adjoint[i]
            maps.store(space, slopes, row)

        self._map(spread, enumerate(self.plan.groups[g].maps))

    def _combine(self, g: int, data: NDArray[Any] | None, slopes: NDArray[Any], onto_fields: NDArray[Any]) -> None:
        """The adjoints of a group's fields, dE/dU(u), as columns."""
        group, fields, maps = self.plan.groups[g], self.prepared.fields[g], self.prepared.maps[g]

        def combine(part: slice) -> None:
            space = fields.space(part, "adjoint")
            values = self._fields(g, data, part)
            _combine(maps.planes(slopes, part), values, group.starts, group.couplings, fields.values(space, part))
            fields.take(space, onto_fields, part)

        self._map(combine, self._parts(g))

    def _field_adjoint(self, g: int, f: SpeciesWavelet, onto_fields: NDArray[Any]) -> tuple[ComplexArray, Array, Array]:
        """From the adjoint of a field to that of its density (P,), and to the filter's strain sums (2l+1, P), (P,)."""
        group, rows, kernel = self.plan.groups[g], self.prepared.fields[g], self.prepared.filters[f.wavelet]
        density = self.densities[self.plan.spec.species.index(f.number)]
        onto_density = np.zeros(kernel.count, dtype=complex)
        by_harmonic, by_length = np.zeros((2 * kernel.l + 1, kernel.count)), np.zeros(kernel.count)
        for m in range(2 * kernel.l + 1):
            row = group.first_row[f] + m
            gather_adjoint(
                rows.fetch(onto_fields, row),
                rows.columns[row].places,
                self.lattice.weights,
                kernel.value,
                kernel.slope,
                kernel.harmonics[m],
                density,
                kernel.phase,
                onto_density,
                by_harmonic[m],
                by_length,
            )
        return onto_density, by_harmonic, by_length

    def tangent(self, density_tangent: ComplexArray, strain: Array) -> Array:
        """Derivative of the features (F,) along a change of the densities and a strain."""
        lattice = self.lattice
        trace = float(np.trace(strain))
        change = np.multiply(trace, self.maps, dtype=np.complex128)
        for g, rows in enumerate(self.prepared.fields):
            with self._field_columns(g) as data, rows.memory() as moved:
                self._fill_columns(g, moved, density_tangent, strain)
                self._add_map_changes(g, data, moved, change)
        stretch = -np.einsum("pa,ab,pb->p", lattice.vectors, strain, lattice.vectors)
        derivative = -trace * self.features
        operands = self._operands(self.densities, self.maps)
        changes = self._operands(density_tangent, change)
        for (terms, bands, left, right), (*_, left_change, right_change) in zip(operands, changes, strict=True):
            value, parts = bands.value, bands.parts
            table = _correlations(bands.slope * stretch[: value.shape[1]], parts, left, right)
            table += _correlations(value, parts, left_change, right) + _correlations(value, parts, left, right_change)
            derivative[terms.columns] += table[terms.band, terms.first, terms.second]
        return derivative

    def all_fields(self, g: int) -> NDArray[Any]:
        """(rows, n1 n2 n3) of a group."""
        with self._field_columns(g) as data:
            planes = [self._fields(g, data, part).swapaxes(0, 1).copy() for part in self._parts(g)]
        return np.concatenate(planes, axis=1).reshape(self.plan.groups[g].rows, -1)


def _extent(value: Array, slope: Array) -> slice:
    """From the first to the last vector where a band is not zero."""
    inside = np.flatnonzero((value != 0) | (slope != 0))
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def _twice(weights: Array) -> Array:
    """For real and imaginary parts in turn, (2 P,)."""
    return np.repeat(weights, 2)


def _doubled(rows: ComplexArray, part: slice) -> Array:
    """Real and imaginary parts in turn of some of the vectors, a view."""
    return rows.view(np.float64)[:, 2 * part.start : 2 * part.stop]


def _correlations(bands: Array, parts: Sequence[slice], left: ComplexArray, right: ComplexArray) -> Array:
    """(bands, left, right) table of sum_p bands Re conj(left) right."""
    return np.array([
        (_doubled(left, part) * _twice(band[part])) @ _doubled(right, part).T
        for band, part in zip(bands, parts, strict=True)
    ])  # fmt: skip


@compiled(fastmath=True)
def _add_banded(band, rows, out):  # type: ignore[no-untyped-def]
    """out[k, p] += band[p] rows[k, p]."""
    for k in range(out.shape[0]):
        for p in range(band.shape[0]):
            out[k, p] += band[p] * rows[k, p]


@compiled(fastmath=True, nogil=True)
def _products(fields, table, out):  # type: ignore[no-untyped-def]
    """out[:, i] = sum_m fields[:, first + m] fields[:, second + m] with (first, second, components) = table[i]."""
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            first, second, components = table[i]
            line = out[plane, i]
            one, other = fields[plane, first], fields[plane, second]
            for u in range(line.shape[0]):
                line[u] = one[u] * other[u]
            for m in range(1, components):
                one, other = fields[plane, first + m], fields[plane, second + m]
                for u in range(line.shape[0]):
                    line[u] += one[u] * other[u]


@compiled(fastmath=True, nogil=True)
def _product_changes(fields, moved, table, out):  # type: ignore[no-untyped-def]
    """The change of `_products` along a change of the fields."""
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            first, second, components = table[i]
            line = out[plane, i]
            line[:] = 0.0
            for m in range(components):
                one, other = fields[plane, first + m], fields[plane, second + m]
                one_moved, other_moved = moved[plane, first + m], moved[plane, second + m]
                for u in range(line.shape[0]):
                    line[u] += one[u] * other_moved[u] + one_moved[u] * other[u]


@compiled(fastmath=True, nogil=True)
def _combine(slopes, fields, starts, couplings, out):  # type: ignore[no-untyped-def]
    """Adjoint of `_products`: out[:, row] = sum over couplings of times slopes[:, map] fields[:, partner]."""
    for plane in range(out.shape[0]):
        for row in range(out.shape[1]):
            line = out[plane, row]
            line[:] = 0.0
            for c in range(starts[row], starts[row + 1]):
                slot, partner, times = couplings[c]
                slope, field = slopes[plane, slot], fields[plane, partner]
                for u in range(line.shape[0]):
                    line[u] += times * slope[u] * field[u]
