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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

from ase_wavescat.scattering.arena import take
from ase_wavescat.scattering.execution import Execution
from ase_wavescat.scattering.features import BandFeature, Map, PairFeature, SpeciesWavelet, Wavelet
from ase_wavescat.scattering.filters import Filter, StrainSums, gather_adjoint, scatter, wavelet_cutoff
from ase_wavescat.scattering.fourier import Shape, Workspace, workspace
from ase_wavescat.scattering.grid import ReciprocalLattice
from ase_wavescat.scattering.spec import Bands, Correlations, ScatteringSpec
from ase_wavescat.scattering.wavelets import direct_extent

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_WINDOW = 16.0  # b of the bands' window: side lobes of 2e-7 from a distance of 8 / spacing on


def band_weights(bands: Bands, lengths: Array) -> tuple[Array, Array]:
    """Bands w_k(|G|) and their derivatives, (bands, P).

    w_k(G) = phi((G - k d) / 2d) + phi((G + k d) / 2d), the first term alone for k = 0, with the spacing d and the
    generalised Kaiser-Bessel window of Lewitt (J. Opt. Soc. Am. A 7, 1834, 1990), order 2,

        phi(t) = z^2 I_2(z) / (b^2 I_2(b)),   z = b (1 - t^2)^(1/2).

    A window of finite width whose transform is as good as finite too: even and smooth in G, a band correlates nothing
    that is further apart than `band_reach`, which vacuum needs and an ordinary spline does not give.
    """
    centres = bands.spacing * np.arange(bands.count)[:, None]
    value, slope = _window((lengths - centres) / (2 * bands.spacing))
    mirrored, mirrored_slope = _window((lengths + centres[1:]) / (2 * bands.spacing))
    value[1:] += mirrored
    slope[1:] += mirrored_slope
    return value, slope / (2 * bands.spacing)


def _window(t: Array) -> tuple[Array, Array]:
    """phi(t) and its derivative -t z I_1(z) / I_2(b)."""
    inside = np.clip(1 - t * t, 0.0, None)
    z = _WINDOW * np.sqrt(inside)
    scale = np.exp(z - _WINDOW) / ive(2, _WINDOW)
    return inside * ive(2, z) * scale, -t * z * ive(1, z) * scale


def band_reach(bands: Bands) -> float:
    """The distance (A) beyond which a band's kernel in real space has fallen to its side lobes, some exp(-b)."""
    return _WINDOW / (2 * bands.spacing)


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
        # of each field: (slot of a map it enters, first row of its partner there, 2 for its own square)
        couplings: dict[SpeciesWavelet, list[tuple[int, int, int]]] = {f: [] for f in self.fields}
        for slot, m in enumerate(maps.values()):
            couplings[m.first].append((slot, self.first_row[m.second], 2 if m.first == m.second else 1))
            if m.first != m.second:
                couplings[m.second].append((slot, self.first_row[m.first], 1))
        self.couplings = {f: np.array(pairs, dtype=np.int64) for f, pairs in couplings.items()}


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
        self.band_cutoff = max(
            [b.maximum for b, t in ((family.three_body, three), (family.four_body, four)) if b and t], default=0.0
        )
        self.l_max = max((m.first.wavelet.l for m in self.maps), default=0)
        self.groups = self._groups()

    def _groups(self) -> list[GridGroup]:
        by_scale: dict[float, dict[int, Map]] = {}
        for i, m in enumerate(self.maps):
            by_scale.setdefault(min(m.first.wavelet.scale, m.second.wavelet.scale), {})[i] = m
        return [GridGroup(maps, self._bandwidth(maps.values())) for maps in by_scale.values()]

    def _bandwidth(self, maps: Iterable[Map]) -> float:
        """What a grid must resolve for these maps to be free of aliases in the bands."""
        products = [
            wavelet_cutoff(self.spec, m.first.wavelet) + wavelet_cutoff(self.spec, m.second.wavelet) for m in maps
        ]
        return max(products) + self.band_cutoff

    @property
    def wavelets(self) -> set[Wavelet]:
        return {f.wavelet for group in self.groups for f in group.fields}

    @property
    def cutoff(self) -> float:
        """The largest |G| that any feature needs (1/A)."""
        pair = self.family.pair.maximum if self.family.pair and len(self.pair.columns) else 0.0
        return max([pair, self.band_cutoff, *(wavelet_cutoff(self.spec, w) for w in self.wavelets)])

    @property
    def reach(self) -> float:
        """The vacuum between images beyond which they do not feel each other (A).

        Fields of two images, and the band between them, are all Gaussian-like: their ranges add in squares.
        """
        family = self.family
        pair = band_reach(family.pair) if family.pair and len(self.pair.columns) else 0.0
        extents = [
            self.spec.beta * 2.0**w.scale * direct_extent(w.n, w.l, self.spec.tolerance**2) for w in self.wavelets
        ]
        kinds = ((family.three_body, self.three), (family.four_body, self.four))
        between = [band_reach(bands) for bands, terms in kinds if bands and len(terms.columns)]
        return max(pair, math.hypot(math.sqrt(2) * max(extents, default=0.0), max(between, default=0.0)))

    def prepare(self, lattice: ReciprocalLattice, execution: Execution = Execution()) -> PreparedCorrelations:
        return PreparedCorrelations(self, lattice)


class PreparedCorrelations:
    """Everything that depends on the cell only: filters, bands, grids."""

    def __init__(self, plan: CorrelationPlan, lattice: ReciprocalLattice) -> None:
        self.plan, self.lattice = plan, lattice
        self.filters = {w: Filter(plan.spec, w, lattice, plan.l_max) for w in plan.wavelets}
        self.shapes: list[Shape] = [lattice.shape(g.bandwidth) for g in plan.groups]
        self.band_count = lattice.count(plan.band_cutoff)
        self.band_places = [lattice.places(s, self.band_count) for s in self.shapes]
        self.field_places = [
            {f.wavelet: lattice.places(s, self.filters[f.wavelet].count) for f in g.fields}
            for g, s in zip(plan.groups, self.shapes, strict=True)
        ]
        family = plan.family
        self.pair_bands = self._bands(family.pair, lattice.count(family.pair.maximum)) if family.pair else None
        self.three_bands = self._bands(family.three_body, self.band_count) if family.three_body else None
        self.four_bands = self._bands(family.four_body, self.band_count) if family.four_body else None

    def _bands(self, bands: Bands, count: int) -> tuple[Array, Array]:
        """Band weights with the half sphere's weights and 1/V, and their derivatives divided by |G| (0 at G = 0)."""
        lengths = self.lattice.lengths[:count]
        value, slope = band_weights(bands, lengths)
        factor = self.lattice.weights[:count] / self.lattice.volume
        safe = np.where(lengths > 0, lengths, 1.0)
        return value * factor, np.where(lengths > 0, slope * factor / safe, 0.0)

    def forward(self, densities: ComplexArray, counts: IntArray) -> CorrelationState:
        """densities: (species, P) structure factors on the lattice."""
        return CorrelationState(self, densities)

    def tangent(
        self, densities: ComplexArray, counts: IntArray, density_tangents: ComplexArray, strains: Array
    ) -> tuple[Array, Array]:
        """Features (F,) and derivatives (D, F) along displacements (as density tangents) and strains (D, 3, 3)."""
        state = CorrelationState(self, densities)
        rows = [state.tangent(d, e) for d, e in zip(density_tangents, strains, strict=True)]
        return state.features, np.array(rows).reshape(len(rows), self.plan.count)


class CorrelationState:
    """Fields and maps of one structure, its features and their derivatives."""

    def __init__(self, prepared: PreparedCorrelations, densities: ComplexArray) -> None:
        self.prepared, self.plan, self.lattice = prepared, prepared.plan, prepared.lattice
        self.densities = densities
        self._spare: Array | None = None
        sizes = [group.rows * self.workspace(g).points for g, group in enumerate(self.plan.groups)]
        arena = np.split(take(self, sum(sizes)), np.cumsum(sizes)[:-1]) if sizes else []
        self.fields = [self._group_fields(g, densities, out) for g, out in enumerate(arena)]
        self.maps = np.zeros((len(self.plan.maps), prepared.band_count), dtype=complex)
        for g in range(len(self.plan.groups)):
            self._transform_maps(g, self.fields[g], self.fields[g], self.maps)
        self.features = self._correlate()

    def workspace(self, g: int) -> Workspace:
        return workspace(self.prepared.shapes[g])

    def _group_fields(self, g: int, densities: ComplexArray, out: Array, strain: Array | None = None) -> Array:
        """U (rows, points) of a group, or with a strain the change of U that the filters make, in the memory of out."""
        group, space = self.plan.groups[g], self.workspace(g)
        fields = out.reshape(group.rows, space.points)
        row = 0
        for f in group.fields:
            kernel = self.prepared.filters[f.wavelet]
            places = self.prepared.field_places[g][f.wavelet]
            density = densities[self.plan.spec.species.index(f.number)]
            for m in range(2 * kernel.l + 1):
                factor = kernel.value if strain is None else kernel.strained(m, strain)
                harmonic = kernel.harmonics[m] if strain is None else np.ones(kernel.count)
                scatter(space.flat, places, factor, harmonic, density, kernel.phase)
                space.inverse()
                fields[row] = space.real.reshape(-1)
                row += 1
        return fields

    def _transform_maps(self, g: int, left: Array, right: Array, out: ComplexArray) -> None:
        """out[i] += P^_i of the products left x right, in the band."""
        space = self.workspace(g)
        for i in self.plan.groups[g].maps:
            first, second, components = self.plan.groups[g].operands[i]
            _product(left, right, first, second, components, space.real.reshape(-1))
            space.forward()
            out[i] += (self.lattice.volume / space.points) * space.flat[self.prepared.band_places[g]]

    def _operands(
        self, densities: ComplexArray, maps: ComplexArray
    ) -> list[tuple[Terms, tuple[Array, Array], ComplexArray, ComplexArray]]:
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
            table = _correlations(bands[0], left, right)
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
                value, slope = _twice(bands[0][k]), _twice(bands[1][k])
                from_right = table @ _parts(right, value)
                by_part = slope * np.einsum("lp,lp->p", from_right, _parts(left, value))
                by_vector[: by_part.size // 2] -= by_part.reshape(-1, 2).sum(axis=1)
                _add_banded(value, from_right, _parts(onto_left, value))
                _add_banded(value, table.T @ _parts(left, value), _parts(onto_right, value))
        sums = StrainSums(self.lattice, plan.l_max)
        volume_term = -float(weights @ self.features)
        for g in range(len(plan.groups)):
            volume_term += self._group_adjoint(g, map_adjoint, adjoint, sums)
        vectors = self.lattice.vectors
        strain = (
            sums.strain()
            + np.einsum("p,pa,pb->ab", by_vector, vectors, vectors, optimize=True)
            + volume_term * np.eye(3)
        )
        return adjoint, strain

    def _slopes(self, size: int) -> Array:
        """Memory for the maps' adjoints of one group, kept for the other groups and calls."""
        if self._spare is None:
            largest = max(len(g.maps) * self.workspace(i).points for i, g in enumerate(self.plan.groups))
            self._spare = take(self, largest)
        return self._spare[:size]

    def _group_adjoint(self, g: int, map_adjoint: ComplexArray, adjoint: ComplexArray, sums: StrainSums) -> float:
        """Take the maps' adjoints through the fields of a group; returns the derivative by the trace of the strain."""
        group, space = self.plan.groups[g], self.workspace(g)
        slopes = self._slopes(len(group.maps) * space.points).reshape(len(group.maps), space.points)
        trace = 0.0
        for slot, i in enumerate(group.maps):
            self.inverse_band(g, map_adjoint[i])
            slopes[slot] = space.real.reshape(-1)
            trace += np.vdot(map_adjoint[i], self.maps[i]).real
        for f in group.fields:
            kernel = self.prepared.filters[f.wavelet]
            species = self.plan.spec.species.index(f.number)
            places = self.prepared.field_places[g][f.wavelet]
            for m in range(2 * kernel.l + 1):
                _combine(slopes, self.fields[g], group.couplings[f], m, space.real.reshape(-1))
                space.forward()
                gather_adjoint(
                    space.flat,
                    places,
                    self.lattice.weights,
                    kernel.value,
                    kernel.slope,
                    kernel.harmonics[m],
                    self.densities[species],
                    kernel.phase,
                    adjoint[species],
                    sums.by_harmonic[kernel.l**2 + m],
                    sums.by_length,
                )
        return trace - 2 * trace  # P^ has an explicit V, and two fields with 1/V each

    def inverse_band(self, g: int, adjoint: ComplexArray) -> None:
        """Workspace real = dE/dP(u) from the adjoint of P^ on the half sphere in the band, dE = Re sum conj(Q) dP^."""
        space, lattice = self.workspace(g), self.lattice
        space.flat[:] = 0.0
        scale = (lattice.volume / space.points) / lattice.weights[: len(adjoint)]
        space.flat[self.prepared.band_places[g]] = scale * adjoint
        space.inverse()

    def tangent(self, density_tangent: ComplexArray, strain: Array) -> Array:
        """Derivative of the features (F,) along a change of the densities and a strain."""
        plan, lattice = self.plan, self.lattice
        trace = float(np.trace(strain))
        change = np.multiply(trace, self.maps, dtype=np.complex128)
        for g in range(len(plan.groups)):
            moved = np.zeros_like(self.fields[g])
            if density_tangent.any():
                moved += self._group_fields(g, density_tangent, np.empty(moved.size))
            if strain.any():
                moved += self._group_fields(g, self.densities, np.empty(moved.size), strain)
            self._transform_maps(g, moved, self.fields[g], change)
            self._transform_maps(g, self.fields[g], moved, change)
        stretch = -np.einsum("pa,ab,pb->p", lattice.vectors, strain, lattice.vectors)
        derivative = -trace * self.features
        operands = self._operands(self.densities, self.maps)
        changes = self._operands(density_tangent, change)
        for (terms, bands, left, right), (*_, left_change, right_change) in zip(operands, changes, strict=True):
            table = _correlations(bands[1] * stretch[: bands[1].shape[1]], left, right)
            table += _correlations(bands[0], left_change, right) + _correlations(bands[0], left, right_change)
            derivative[terms.columns] += table[terms.band, terms.first, terms.second]
        return derivative


def _twice(bands: Array) -> Array:
    """Bands (..., P) for real and imaginary parts in turn, (..., 2 P)."""
    return np.repeat(bands, 2, axis=-1)


def _parts(rows: ComplexArray, doubled: Array) -> Array:
    """Real and imaginary parts in turn of the first vectors, a view as wide as the doubled bands."""
    return rows.view(np.float64)[:, : doubled.shape[-1]]


def _correlations(bands: Array, left: ComplexArray, right: ComplexArray) -> Array:
    """(bands, left, right) table of sum_p bands Re conj(left) right."""
    doubled = _twice(bands)
    a, b = _parts(left, doubled), _parts(right, doubled)
    return np.array([(a * w) @ b.T for w in doubled])


@numba.njit(cache=True, fastmath=True)
def _add_banded(band, rows, out):  # type: ignore[no-untyped-def]
    """out[k, p] += band[p] rows[k, p]."""
    for k in range(out.shape[0]):
        for p in range(band.shape[0]):
            out[k, p] += band[p] * rows[k, p]


@numba.njit(cache=True, fastmath=True)
def _product(left, right, first, second, components, out):  # type: ignore[no-untyped-def]
    """out = sum_m left[first + m] right[second + m]."""
    for u in range(out.shape[0]):
        out[u] = left[first, u] * right[second, u]
    for m in range(1, components):
        for u in range(out.shape[0]):
            out[u] += left[first + m, u] * right[second + m, u]


@numba.njit(cache=True, fastmath=True)
def _combine(slopes, fields, couplings, m, out):  # type: ignore[no-untyped-def]
    """out = sum over (map slot, partner row, times) of times slopes[slot] fields[row + m]."""
    slot, row, times = couplings[0]
    for u in range(out.shape[0]):
        out[u] = times * slopes[slot, u] * fields[row + m, u]
    for c in range(1, couplings.shape[0]):
        slot, row, times = couplings[c]
        for u in range(out.shape[0]):
            out[u] += times * slopes[slot, u] * fields[row + m, u]
