"""The Jacobian pass: derivatives of all band features by all positions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.lattice.fourier import Shape, workspace
from ase_wavescat.system.compiled import compiled

if TYPE_CHECKING:
    from ase_wavescat.representation.families.correlations.plan import GridGroup
    from ase_wavescat.representation.families.correlations.state import CorrelationState

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]


class PositionsJacobian:
    """Derivatives of all band features by all positions, with transforms that many rows share.

    A map changes through its first field by integral of (q U_second,m) dU_first,m, so with C(G) = sum_m conj(psi_m)
    FFT(q U_second,m) the row of an atom of the first field's species is Re sum_G conj(C) (-iG) exp(-iG.R_k), a matrix
    product. q is the other operand of the correlation, seen through the band.
    """

    def __init__(self, state: CorrelationState, phases: ComplexArray, species: IntArray) -> None:
        """phases: (N, P) exp(-iG.R_k); species: (N,)."""
        self._state, self._prepared, self._plan = state, state.prepared, state.plan
        vectors = self._prepared.lattice.vectors
        self._atoms = [np.flatnonzero(species == s) for s in range(len(self._plan.spec.species))]
        # of each species the real and imaginary parts in turn of (-iG) exp(-iG.R), (2 P, atoms * 3)
        self._moves = []
        for atoms in self._atoms:
            moved = (phases[atoms].T[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
            self._moves.append(np.stack([moved.imag, -moved.real], axis=1).reshape(2 * len(vectors), -1))
        self._fields = [state.all_fields(g) for g in range(len(self._plan.groups))]
        self.rows = np.zeros((len(self._plan.features), len(species), 3))

    def fill(self) -> Array:
        """(F, N, 3)."""
        prepared, plan, state = self._prepared, self._plan, self._state
        pair, three, four = plan.pair, plan.three, plan.four
        if prepared.pair_bands is not None:
            seen = prepared.pair_bands.value[pair.band]
            self._add_densities(pair.columns, pair.first, seen, state.densities[pair.second])
            self._add_densities(pair.columns, pair.second, seen, state.densities[pair.first])
        if prepared.three_bands is not None:
            bands = prepared.three_bands.value
            self._add_densities(three.columns, three.first, bands[three.band], state.maps[three.second])
            self._add_maps(three.columns, three.second, three.first, three.band, bands, state.densities)
        if prepared.four_bands is not None:
            bands = prepared.four_bands.value
            self._add_maps(four.columns, four.first, four.second, four.band, bands, state.maps)
            self._add_maps(four.columns, four.second, four.first, four.band, bands, state.maps)
        return self.rows

    def _add(self, columns: IntArray, species: int, adjoints: ComplexArray) -> None:
        """rows[columns] += Re sum_G conj(adjoint) dS for the atoms of a species; adjoints (columns, P)."""
        atoms = self._atoms[species]
        if len(atoms) == 0:
            return
        parts = np.ascontiguousarray(adjoints).view(np.float64)
        values = parts @ self._moves[species][: parts.shape[1]]
        np.add.at(self.rows, (columns[:, None], atoms[None, :]), values.reshape(len(columns), len(atoms), 3))

    def _add_densities(self, columns: IntArray, species: IntArray, bands: Array, partners: ComplexArray) -> None:
        """The dependence on a species density as an operand of its own."""
        for s in range(len(self._atoms)):
            mine = species == s
            if mine.any():
                self._add(columns[mine], s, bands[mine] * partners[mine, : bands.shape[1]])

    def _add_maps(
        self, columns: IntArray, maps: IntArray, others: IntArray, band: IntArray, bands: Array, operands: ComplexArray
    ) -> None:
        """The dependence on maps, the other operand held fixed."""
        for other, k in sorted(set(zip(others.tolist(), band.tolist(), strict=True))):
            mine = (others == other) & (band == k)
            adjoint = bands[k] * operands[other, : bands.shape[1]]
            wanted: dict[int, list[int]] = {}
            for column, i in zip(columns[mine].tolist(), maps[mine].tolist(), strict=True):
                wanted.setdefault(i, []).append(column)
            for g in range(len(self._plan.groups)):
                self._add_group(g, adjoint, {i: c for i, c in wanted.items() if i in self._plan.groups[g].operands})

    def _add_group(self, g: int, adjoint: ComplexArray, wanted: dict[int, list[int]]) -> None:
        if not wanted:
            return
        group, shape, lattice = self._plan.groups[g], self._prepared.shapes[g], self._prepared.lattice
        space = workspace(shape)
        q = self._band_field(shape, adjoint)
        count = max(self._prepared.filters[f.wavelet].count for f in group.fields)
        places = lattice.places(shape, count)
        fields = self._fields[g]
        used = sorted({row + m for i in wanted for row in group.operands[i][:2] for m in range(group.operands[i][2])})
        spectra = np.empty((group.rows, count), dtype=complex)
        for row in used:
            np.multiply(q, fields[row], out=space.real.reshape(-1))
            space.forward()
            spectra[row] = space.flat[places]
        for moving, partner in ((0, 1), (1, 0)):
            self._project(group, wanted, spectra, moving, partner)

    def _band_field(self, shape: Shape, adjoint: ComplexArray) -> Array:
        """dE/dP(u) (n1 n2 n3,) from the adjoint of P^ on the half sphere in the band, dE = Re sum conj(Q) dP^."""
        lattice, space = self._prepared.lattice, workspace(shape)
        space.flat[:] = 0.0
        scale = (lattice.volume / space.points) / lattice.weights[: len(adjoint)]
        space.flat[lattice.places(shape, len(adjoint))] = scale * adjoint
        space.inverse()
        return space.real.reshape(-1).copy()

    def _project(
        self, group: GridGroup, wanted: dict[int, list[int]], spectra: ComplexArray, moving: int, partner: int
    ) -> None:
        """Rows of the atoms that make the moving field of each wanted map."""
        plan, lattice = self._plan, self._prepared.lattice
        by_species: dict[int, tuple[list[int], list[ComplexArray]]] = {}
        for i, columns in wanted.items():
            f = (plan.maps[i].first, plan.maps[i].second)[moving]
            kernel = self._prepared.filters[f.wavelet]
            row, components = group.operands[i][partner], group.operands[i][2]
            projected = np.zeros(spectra.shape[1], dtype=complex)
            _contract(
                spectra[row : row + components],
                kernel.value,
                kernel.harmonics,
                lattice.weights,
                np.conj(kernel.phase),
                projected,
            )
            known, rows = by_species.setdefault(plan.spec.species.index(f.number), ([], []))
            known += columns
            rows += [projected] * len(columns)
        for s, (known, rows) in by_species.items():
            self._add(np.array(known), s, np.array(rows))


@compiled(fastmath=True)
def _contract(spectra, value, harmonics, weights, back, out):  # type: ignore[no-untyped-def]
    """out = weights value sum_m harmonics[m] back spectra[m], within the wavelet's cutoff."""
    for m in range(spectra.shape[0]):
        for p in range(value.shape[0]):
            out[p] += (weights[p] * value[p] * harmonics[m, p]) * (back * spectra[m, p])
