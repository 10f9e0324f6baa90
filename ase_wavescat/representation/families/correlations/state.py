"""Maps of one structure, their correlations in bands, and the derivatives of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.families.correlations.jacobian import PositionsJacobian
from ase_wavescat.representation.families.correlations.kernels import (
    add_banded,
    combine_slopes,
    product_changes,
    products_of,
)
from ase_wavescat.representation.lattice.arena import take
from ase_wavescat.representation.lattice.filters import StrainSums, gather_adjoint, scatter
from ase_wavescat.representation.maps import SpeciesWavelet
from ase_wavescat.representation.protocol import DensityState
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.strains import unit_strains

if TYPE_CHECKING:
    from ase_wavescat.representation.families.correlations.plan import Terms
    from ase_wavescat.representation.families.correlations.prepared import PreparedBands, PreparedCorrelations

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_KEPT_BYTES = 2**30  # fields kept for the derivatives; beyond, they are made again


class CorrelationState(DensityState):
    """Maps of one structure, its features and their derivatives."""

    def __init__(self, prepared: PreparedCorrelations, scene: Scene) -> None:
        self.prepared, self.plan, self.lattice = prepared, prepared.plan, prepared.lattice
        self.scene, self.densities = scene, scene.densities
        self._map = prepared.execution.map
        self._kept = self._keep()
        self.maps = np.zeros((len(self.plan.maps), prepared.band_count), dtype=complex)
        for g, rows in enumerate(prepared.fields):
            with rows.memory() as data:
                self._fill_columns(g, data)
                self._add_maps(g, data, self.maps)
        self.values = self._correlate()

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
            products_of(values, table, maps.values(space, part))
            maps.take(space, products, part)

        self._collect(g, multiply, out)

    def _add_map_changes(self, g: int, data: NDArray[Any] | None, moved: NDArray[Any], out: ComplexArray) -> None:
        """out[i] += the change of P^_i along the change of the fields in the columns `moved`."""
        fields, maps = self.prepared.fields[g], self.prepared.maps[g]
        table = self.plan.groups[g].table

        def multiply(part: slice, products: NDArray[Any]) -> None:
            space = maps.space(part)
            values, changes = self._fields(g, data, part), fields.planes(moved, part, "moved")
            product_changes(values, changes, table, maps.values(space, part))
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
        values = np.zeros(len(self.plan.features))
        for terms, bands, left, right in self._operands(self.densities, self.maps):
            table = _correlations(bands.value, bands.parts, left, right)
            values[terms.columns] = table[terms.band, terms.first, terms.second]
        return values

    def jacobian(self) -> tuple[Array, Array]:
        by_positions = PositionsJacobian(self, self.scene.phases_by_atom(), self.scene.species).fill()
        still = np.zeros_like(self.densities)
        return by_positions, np.stack([self.tangent(still, unit) for unit in unit_strains()], axis=1)

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
                add_banded(value, from_right, _doubled(onto_left, part))
                add_banded(value, table.T @ _doubled(left, part), _doubled(onto_right, part))
        sums = StrainSums(self.lattice, plan.l_max)
        for g in range(len(plan.groups)):
            self._group_adjoint(g, map_adjoint, adjoint, sums)
        # P^ has an explicit V, and two fields with 1/V each; the features have 1/V
        volume_term = -float(weights @ self.values) - np.vdot(map_adjoint, self.maps).real
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
            combine_slopes(maps.planes(slopes, part), values, group.starts, group.couplings, fields.values(space, part))
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
        derivative = -trace * self.values
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
