r"""Fields at the atoms, by neighbour sums, and the features made of them: three- and five-body correlations.

    U_z,lambda,m(R_k) = sum_{j of z, images} psi_lambda,m(R_k - R_j)          (the atom itself included)
    P_i(R_k) = sum_m U_first,m(R_k) U_second,m(R_k)
    feature = sum_{k of centre} P_i(R_k)   or   sum_{k of centre} P_i(R_k) P_j(R_k)

Wavelets are Gaussian in real space too, so a neighbour sum needs no grid: it is linear in the number of atoms and
invariant to rounding, and every derivative follows from the gradient of psi. The tail is tapered to zero, twice
continuously differentiable, where it has fallen to the tolerance.

Layout: fields are stored as (N, columns), column = start_l + (m * species + s) * wavelets_l + w, so that for one l the
fields of an atom are a matrix X (2l+1, species * wavelets_l) and all its three-body products are X^T X.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.features import AtomFeature, SpeciesWavelet, Wavelet
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import (
    direct_coefficients,
    direct_extent,
    harmonic_factors,
    solid_harmonics,
    solid_harmonics_gradient,
)
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

# The real-space tail is cut two decades below the spec's tolerance and tapered over the last tenth of its range.
DIRECT_TAIL = 1e-2
_TAPER_START = 0.9
_ATOMS = 256  # whose pairs are one thread's work at a time


@dataclass(frozen=True)
class RadialTable:
    """Numbers of all wavelets, sorted by l and then from the widest to the narrowest, ready for the kernels."""

    wavelets: tuple[Wavelet, ...]
    starts: IntArray  # (l_max + 2,) first wavelet of each l
    scale_of: IntArray  # index into widths
    widths: Array  # b of each scale (A)
    cutoffs: Array  # range of each scale (A)
    coefficients: Array  # (wavelets, k_max + 1), polynomial in s^2 / 2 with b^-(3 + l)
    factors: Array  # of the solid harmonics

    @classmethod
    def build(cls, spec: ScatteringSpec, wavelets: Sequence[Wavelet]) -> RadialTable:
        ordered = tuple(sorted(set(wavelets), key=lambda w: (w.l, -w.scale, w.n)))
        l_max = max(w.l for w in ordered)
        scales = sorted({w.scale for w in ordered})
        widths = np.array([spec.beta * 2.0**j for j in scales])
        extents = [
            max(direct_extent(w.n, w.l, DIRECT_TAIL * spec.tolerance) for w in ordered if w.scale == j) for j in scales
        ]
        table = np.zeros((len(ordered), max(w.n - w.l for w in ordered)))
        for row, w in zip(table, ordered, strict=True):
            b = spec.beta * 2.0**w.scale
            row[: w.n - w.l] = direct_coefficients(w.n, w.l) * b ** -(3 + w.l)
        return cls(
            wavelets=ordered,
            starts=np.array([sum(w.l < l for w in ordered) for l in range(l_max + 2)]),
            scale_of=np.array([scales.index(w.scale) for w in ordered]),
            widths=widths,
            cutoffs=widths * np.array(extents),
            coefficients=table,
            factors=harmonic_factors(l_max),
        )

    @property
    def l_max(self) -> int:
        return len(self.starts) - 2

    def size(self, l: int) -> int:
        """Wavelets of this l."""
        return int(self.starts[l + 1] - self.starts[l])

    def offsets(self, species: int) -> IntArray:
        """(l_max + 2,) first column of each l in the layout of fields."""
        return np.cumsum([0] + [(2 * l + 1) * species * self.size(l) for l in range(self.l_max + 1)])

    @property
    def arguments(self) -> tuple[IntArray, IntArray, Array, Array, Array, Array]:
        return self.starts, self.scale_of, self.widths, self.cutoffs, self.coefficients, self.factors


class AtomPlan:
    """The at-atom features of a support, in column order."""

    def __init__(self, spec: ScatteringSpec, features: Sequence[AtomFeature]) -> None:
        self.species = spec.species
        fields = {f for feature in features for m in feature.maps for f in (m.first, m.second)}
        self.table = RadialTable.build(spec, [f.wavelet for f in fields])
        self.offsets = self.table.offsets(len(spec.species))
        self.count = len(features)
        self._three: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}  # (centre, l): columns, places in X^T X
        self._maps: list[tuple[int, int, int]] = []  # five-body maps: l, first, second column of X
        self._five: dict[int, tuple[IntArray, IntArray, IntArray]] = {}  # centre: columns, map indices
        self._index_three(features)
        self._index_five(features)

    @property
    def reach(self) -> float:
        """The distance (A) up to which neighbours count."""
        return float(self.table.cutoffs.max())

    def _column(self, field: SpeciesWavelet) -> int:
        """Column of a field in the matrix X of its l."""
        l = field.wavelet.l
        within = self.table.wavelets.index(field.wavelet) - int(self.table.starts[l])
        return self.species.index(field.number) * self.table.size(l) + within

    def _index_three(self, features: Sequence[AtomFeature]) -> None:
        lists: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for column, feature in enumerate(features):
            if len(feature.maps) == 1:
                first, second = feature.maps[0].first, feature.maps[0].second
                l = first.wavelet.l
                width = len(self.species) * self.table.size(l)
                place = self._column(first) * width + self._column(second)
                lists.setdefault((self.species.index(feature.centre), l), []).append((column, place))
        for key, pairs in lists.items():
            columns, places = np.array(pairs).T
            self._three[key] = columns, places

    def _index_five(self, features: Sequence[AtomFeature]) -> None:
        known: dict[tuple[int, int, int], int] = {}
        lists: dict[int, list[tuple[int, int, int]]] = {}
        for column, feature in enumerate(features):
            if len(feature.maps) == 2:
                rows = [(m.first.wavelet.l, self._column(m.first), self._column(m.second)) for m in feature.maps]
                first, second = (known.setdefault(row, len(known)) for row in rows)
                lists.setdefault(self.species.index(feature.centre), []).append((column, first, second))
        self._maps = list(known)
        for centre, triples in lists.items():
            columns, first, second = np.array(triples).T
            self._five[centre] = columns, first, second

    def forward(self, structure: Structure, species: IntArray, execution: Execution = Execution()) -> AtomState:
        """species: (N,) index of each atom's species in the spec."""
        return AtomState(self, structure, species, execution)

    def matrix(self, fields: Array, l: int) -> Array:
        """(..., 2l+1, species * wavelets_l) view of fields (..., columns)."""
        block = fields[..., self.offsets[l] : self.offsets[l + 1]]
        return block.reshape(*fields.shape[:-1], 2 * l + 1, len(self.species) * self.table.size(l))


class AtomState:
    """Fields at the atoms of one structure, its features and their derivatives."""

    def __init__(self, plan: AtomPlan, structure: Structure, species: IntArray, execution: Execution) -> None:
        self._plan, self._species, self._execution = plan, species, execution
        self._pairs = structure.neighbours(plan.reach)
        shape = (len(structure), int(plan.offsets[-1]))
        self.fields = np.zeros(shape)
        _add_self(self.fields, species, len(plan.species), plan.table.coefficients[: plan.table.starts[1], 0])
        table = plan.table.arguments

        def fill(pairs: tuple[IntArray, IntArray, Array]) -> None:
            _sum_fields(pairs, species, len(plan.species), plan.offsets, table, self.fields)

        self._execution.map(fill, self._pair_parts())
        self.features = self._features()

    def _pair_parts(self) -> list[tuple[IntArray, IntArray, Array]]:
        """The pairs in parts, each of atoms of its own."""
        first, second, vectors, _ = self._pairs
        ends = np.searchsorted(first, np.arange(0, len(self._species) + _ATOMS, _ATOMS))
        return [(first[a:b], second[a:b], vectors[a:b]) for a, b in pairwise(ends)]

    def _atoms(self, centre: int) -> IntArray:
        return np.flatnonzero(self._species == centre)

    def _features(self) -> Array:
        plan, features = self._plan, np.zeros(self._plan.count)
        for (centre, l), (columns, places) in plan._three.items():
            x = plan.matrix(self.fields[self._atoms(centre)], l)
            x = x.reshape(-1, x.shape[-1])
            features[columns] = (x.T @ x).reshape(-1)[places]
        self._values = self._map_values()
        for centre, (columns, first, second) in plan._five.items():
            values = self._values[self._atoms(centre)]
            features[columns] = (values.T @ values)[first, second]
        return features

    def _map_values(self) -> Array:
        """P_i(R_k) of the five-body maps, (N, maps)."""
        values = np.empty((len(self.fields), len(self._plan._maps)))
        for i, (l, first, second) in enumerate(self._plan._maps):
            x = self._plan.matrix(self.fields, l)
            values[:, i] = np.einsum("km,km->k", x[:, :, first], x[:, :, second])
        return values

    def gradient(self, weights: Array) -> tuple[Array, Array]:
        """dE/dR (N, 3) and dE/dstrain (3, 3) of E = weights . features."""
        plan = self._plan
        adjoint = np.zeros_like(self.fields)
        for (centre, l), (columns, places) in plan._three.items():
            atoms = self._atoms(centre)
            x = plan.matrix(self.fields[atoms], l)
            coupling = np.zeros((x.shape[-1], x.shape[-1]))
            coupling.reshape(-1)[places] = weights[columns]
            start, stop = plan.offsets[l : l + 2]
            adjoint[atoms, start:stop] += (x @ (coupling + coupling.T)).reshape(len(atoms), stop - start)
        if plan._five:
            self._add_five_adjoint(weights, adjoint)
        table = plan.table.arguments

        def contract(pairs: tuple[IntArray, IntArray, Array]) -> tuple[Array, Array]:
            gradient, strain = np.zeros((len(self.fields), 3)), np.zeros((3, 3))
            _sum_gradient(pairs, self._species, len(plan.species), plan.offsets, table, adjoint, gradient, strain)
            return gradient, strain

        gradients, strains = zip(*self._execution.map(contract, self._pair_parts()), strict=True)
        strain = np.sum(strains, axis=0)
        return np.sum(gradients, axis=0), (strain + strain.T) / 2

    def _add_five_adjoint(self, weights: Array, adjoint: Array) -> None:
        plan = self._plan
        slopes = np.zeros_like(self._values)
        for centre, (columns, first, second) in plan._five.items():
            atoms = self._atoms(centre)
            coupling = np.zeros((len(plan._maps), len(plan._maps)))
            coupling[first, second] = weights[columns]
            slopes[atoms] = self._values[atoms] @ (coupling + coupling.T)
        for i, (l, one, other) in enumerate(plan._maps):
            x, a = plan.matrix(self.fields, l), plan.matrix(adjoint, l)
            a[:, :, one] += slopes[:, i, None] * x[:, :, other]
            a[:, :, other] += slopes[:, i, None] * x[:, :, one]

    def jacobian(self) -> tuple[Array, Array]:
        """Derivatives of all features: (F, N, 3) by positions and (F, 6) by strain (Voigt, see `Transform.jacobian`).

        The gradients of the fields at all atoms by all atoms are formed once, (N, N, 3, columns / species); every
        feature's derivative is then a matrix product with the fields.
        """
        plan, atoms = self._plan, len(self.fields)
        species = len(plan.species)
        width = int(plan.offsets[-1]) // species
        by_atom = np.zeros((atoms, atoms, 3, width))
        by_centre = np.zeros((atoms, species, 9, width))
        _sum_jacobian(self._pairs[:3], self._species, plan.offsets // species, plan.table.arguments, by_atom, by_centre)
        positions, strain = np.zeros((plan.count, atoms, 3)), np.zeros((plan.count, 6))
        for (centre, l), (columns, places) in plan._three.items():
            self._three_jacobian(centre, l, columns, places, by_atom, by_centre, positions, strain)
        if plan._five:
            self._five_jacobian(by_atom, by_centre, positions, strain)
        return positions, strain

    def _block(self, array: Array, l: int) -> Array:
        """(..., 2l+1, wavelets_l) view of derivatives (..., columns / species)."""
        start, stop = self._plan.offsets[l : l + 2] // len(self._plan.species)
        return array[..., start:stop].reshape(*array.shape[:-1], 2 * l + 1, self._plan.table.size(l))

    def _three_jacobian(
        self,
        centre: int,
        l: int,
        columns: IntArray,
        places: IntArray,
        by_atom: Array,
        by_centre: Array,
        positions: Array,
        strain: Array,
    ) -> None:
        atoms, size = self._atoms(centre), self._plan.table.size(l)
        x = self._plan.matrix(self.fields[atoms], l)
        width = x.shape[-1]
        first, second = places // width, places % width
        sources = np.einsum("kjamw,kmc->jawc", self._block(by_atom[atoms], l), x, optimize=True)
        centres = np.einsum("ksamw,kmc->kaswc", self._block(by_centre[atoms], l), x, optimize=True)
        for one, other in ((first, second), (second, first)):
            owner = one // size
            values = sources[:, :, one % size, other]  # (atoms, 3, features)
            positions[columns] += np.einsum("jaf,jf->fja", values, self._species[:, None] == owner[None, :])
            mine = centres[:, :, owner, one % size, other]  # (centre atoms, 9, features)
            positions[np.ix_(columns, atoms)] += mine[:, :3].transpose(2, 0, 1)
            strain[columns] += mine[:, 3:].sum(axis=0).T

    def _five_jacobian(self, by_atom: Array, by_centre: Array, positions: Array, strain: Array) -> None:
        plan = self._plan
        count = len(self.fields)
        maps_by_atom = np.zeros((len(plan._maps), count, count, 3))
        maps_by_centre = np.zeros((len(plan._maps), count, 9))
        for i, (l, first, second) in enumerate(plan._maps):
            x, size = plan.matrix(self.fields, l), plan.table.size(l)
            sources, centres = self._block(by_atom, l), self._block(by_centre, l)
            for one, other in ((first, second), (second, first)):
                owner, within = divmod(one, size)
                mine = self._species == owner
                maps_by_atom[i][:, mine] += np.einsum("kjam,km->kja", sources[..., within][:, mine], x[:, :, other])
                maps_by_centre[i] += np.einsum("kam,km->ka", centres[:, owner, ..., within], x[:, :, other])
        for atom in range(count):
            maps_by_atom[:, atom, atom] += maps_by_centre[:, atom, :3]
        for centre, (columns, left, right) in plan._five.items():
            atoms = self._atoms(centre)
            values = self._values[atoms]
            by_positions = np.einsum("ikja,kc->icja", maps_by_atom[:, atoms], values, optimize=True)
            by_strain = np.einsum("ikv,kc->icv", maps_by_centre[:, atoms, 3:], values, optimize=True)
            positions[columns] = by_positions[left, right] + by_positions[right, left]
            strain[columns] = by_strain[left, right] + by_strain[right, left]


@compiled()
def _add_self(fields, species, species_count, at_zero):  # type: ignore[no-untyped-def]
    """The atom's own wavelet at distance zero: only l = 0 has one."""
    for k in range(fields.shape[0]):
        for w in range(at_zero.shape[0]):
            fields[k, species[k] * at_zero.shape[0] + w] += at_zero[w]


@compiled(fastmath=True)
def _tapered_gauss(r, widths, cutoffs, gauss, slope):  # type: ignore[no-untyped-def]
    """T(r) exp(-r^2/2b^2) of each scale and its derivative divided by r; zero beyond the scale's range."""
    for j in range(widths.shape[0]):
        gauss[j] = 0.0
        slope[j] = 0.0
        if r < cutoffs[j]:
            inverse = 1.0 / (widths[j] * widths[j])
            gauss[j] = np.exp(-0.5 * r * r * inverse)
            slope[j] = -inverse * gauss[j]
            start = _TAPER_START * cutoffs[j]
            if r > start:
                x = (cutoffs[j] - r) / (cutoffs[j] - start)
                taper = x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
                fall = -30.0 * x * x * (1.0 - x) * (1.0 - x) / ((cutoffs[j] - start) * r)
                slope[j] = slope[j] * taper + gauss[j] * fall
                gauss[j] *= taper


@compiled()
def _scratch(table):  # type: ignore[no-untyped-def]
    """Work arrays of `_look`: q, trig, harmonic, gauss, slope, value, change, active."""
    _, scale_of, widths, _, _, factors = table
    size, count = factors.shape[0], scale_of.shape[0]
    return (
        np.zeros((size, size)),
        np.zeros((2, size)),
        np.empty(size * size),
        np.empty(widths.shape[0]),
        np.empty(widths.shape[0]),
        np.empty(count),
        np.empty(count),
        np.empty(size, np.int64),
    )


@compiled(fastmath=True)
def _look(x, y, z, table, scratch):  # type: ignore[no-untyped-def]
    """All wavelets at (x, y, z): solid harmonics, radial factors g (value) and g'(r)/r (change) of those within reach.

    active[l] counts the wavelets of l within reach, which come first, as the widest do.
    """
    starts, scale_of, widths, cutoffs, coefficients, factors = table
    q, trig, harmonic, gauss, slope, value, change, active = scratch
    r = np.sqrt(x * x + y * y + z * z)
    solid_harmonics(x, y, z, factors, q, trig, harmonic)
    _tapered_gauss(r, widths, cutoffs, gauss, slope)
    for l in range(starts.shape[0] - 1):
        active[l] = 0
        for w in range(starts[l], starts[l + 1]):
            j = scale_of[w]
            if r >= cutoffs[j]:
                break
            active[l] += 1
            inverse = 1.0 / (widths[j] * widths[j])
            t = 0.5 * r * r * inverse
            polynomial = 0.0
            derivative = 0.0
            for c in range(coefficients.shape[1] - 1, -1, -1):
                derivative = derivative * t + polynomial
                polynomial = polynomial * t + coefficients[w, c]
            value[w] = polynomial * gauss[j]
            change[w] = derivative * inverse * gauss[j] + polynomial * slope[j]


@compiled(fastmath=True, nogil=True)
def _sum_fields(pairs, species, species_count, offsets, table, fields):  # type: ignore[no-untyped-def]
    """fields[k] += psi(R_k - R_j) over all pairs."""
    first, second, vectors = pairs
    starts, scratch = table[0], _scratch(table)
    harmonic, value, active = scratch[2], scratch[5], scratch[7]
    for p in range(first.shape[0]):
        _look(-vectors[p, 0], -vectors[p, 1], -vectors[p, 2], table, scratch)
        row, s = fields[first[p]], species[second[p]]
        for l in range(active.shape[0]):
            wavelets = starts[l + 1] - starts[l]
            for m in range(2 * l + 1):
                base = offsets[l] + (m * species_count + s) * wavelets
                factor = harmonic[l * l + m]
                for w in range(active[l]):
                    row[base + w] += factor * value[starts[l] + w]


@compiled(fastmath=True, nogil=True)
def _sum_gradient(pairs, species, species_count, offsets, table, adjoint, gradient, strain):  # type: ignore[no-untyped-def]
    """Adjoint of `_sum_fields`: pair forces f = sum adjoint . grad psi, onto both atoms and the strain (f outer r)."""
    first, second, vectors = pairs
    starts, scratch = table[0], _scratch(table)
    q, trig, harmonic, value, change, active = scratch[0], scratch[1], scratch[2], scratch[5], scratch[6], scratch[7]
    slopes = np.empty((harmonic.shape[0], 3))
    for p in range(first.shape[0]):
        x, y, z = -vectors[p, 0], -vectors[p, 1], -vectors[p, 2]
        _look(x, y, z, table, scratch)
        solid_harmonics_gradient(x, y, z, table[5], q, trig, slopes)
        row, s = adjoint[first[p]], species[second[p]]
        fx, fy, fz, along = 0.0, 0.0, 0.0, 0.0
        for l in range(active.shape[0]):
            wavelets = starts[l + 1] - starts[l]
            for m in range(2 * l + 1):
                base = offsets[l] + (m * species_count + s) * wavelets
                radial = 0.0
                radial_change = 0.0
                for w in range(active[l]):
                    radial += row[base + w] * value[starts[l] + w]
                    radial_change += row[base + w] * change[starts[l] + w]
                lm = l * l + m
                along += radial_change * harmonic[lm]
                fx += radial * slopes[lm, 0]
                fy += radial * slopes[lm, 1]
                fz += radial * slopes[lm, 2]
        force = (fx + along * x, fy + along * y, fz + along * z)
        place = (x, y, z)
        for a in range(3):
            gradient[first[p], a] += force[a]
            gradient[second[p], a] -= force[a]
            for b in range(3):
                strain[a, b] += force[a] * place[b]


@compiled(fastmath=True)
def _sum_jacobian(pairs, species, offsets, table, by_atom, by_centre):  # type: ignore[no-untyped-def]
    """Derivatives of the fields at atom k: by_atom[k, j] by R_j of the source alone; by_centre[k, s, :3] by R_k of the
    part that species s makes, by_centre[k, s, 3:] of that part by strain (Voigt)."""
    first, second, vectors = pairs
    starts, scratch = table[0], _scratch(table)
    q, trig, harmonic, value, change, active = scratch[0], scratch[1], scratch[2], scratch[5], scratch[6], scratch[7]
    slopes = np.empty((harmonic.shape[0], 3))
    for p in range(first.shape[0]):
        x, y, z = -vectors[p, 0], -vectors[p, 1], -vectors[p, 2]
        _look(x, y, z, table, scratch)
        solid_harmonics_gradient(x, y, z, table[5], q, trig, slopes)
        source, centre = by_atom[first[p], second[p]], by_centre[first[p], species[second[p]]]
        for l in range(active.shape[0]):
            wavelets = starts[l + 1] - starts[l]
            for m in range(2 * l + 1):
                lm, base = l * l + m, offsets[l] + m * wavelets
                for w in range(active[l]):
                    g, h = value[starts[l] + w], change[starts[l] + w] * harmonic[lm]
                    dx = g * slopes[lm, 0] + h * x
                    dy = g * slopes[lm, 1] + h * y
                    dz = g * slopes[lm, 2] + h * z
                    column = base + w
                    source[0, column] -= dx
                    source[1, column] -= dy
                    source[2, column] -= dz
                    centre[0, column] += dx
                    centre[1, column] += dy
                    centre[2, column] += dz
                    centre[3, column] += dx * x
                    centre[4, column] += dy * y
                    centre[5, column] += dz * z
                    centre[6, column] += 0.5 * (dy * z + dz * y)
                    centre[7, column] += 0.5 * (dx * z + dz * x)
                    centre[8, column] += 0.5 * (dx * y + dy * x)
