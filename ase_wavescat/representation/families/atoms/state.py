"""Fields at the atoms of one structure, and the features made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.direct.pairs import Pairs, pair_parts
from ase_wavescat.representation.families.atoms.kernels import add_self, sum_fields, sum_gradient, sum_jacobian
from ase_wavescat.representation.protocol import State
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.strains import voigt_components

if TYPE_CHECKING:
    from ase_wavescat.representation.families.atoms.plan import AtomPlan

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class AtomState(State):
    """Fields at the atoms of one structure, its features and their derivatives."""

    def __init__(self, plan: AtomPlan, scene: Scene) -> None:
        self.scene, self._plan, self._species = scene, plan, scene.species
        self._pairs = scene.structure.neighbours(plan.neighbour_reach)
        self._parts = pair_parts(self._pairs, len(scene.structure))
        self.fields: Array = np.zeros((len(scene.structure), int(plan.offsets[-1])))
        at_zero = plan.table.coefficients[: plan.table.starts[1], 0]
        add_self(self.fields, self._species, len(plan.species), at_zero)
        table = plan.table.arguments

        def fill(pairs: Pairs) -> None:
            sum_fields(pairs, self._species, len(plan.species), plan.offsets, table, self.fields)

        self.scene.execution.map(fill, self._parts)
        self._map_values = self._five_body_maps()
        self.values = self._sums()

    def _atoms(self, centre: int) -> IntArray:
        return np.flatnonzero(self._species == centre)

    def _sums(self) -> Array:
        """The features: over all atoms at once they are entries of matrix products."""
        plan, values = self._plan, np.zeros(len(self._plan.features))
        for (centre, l), (columns, places) in plan.three.items():
            x = plan.matrix(self.fields[self._atoms(centre)], l)
            x = x.reshape(-1, x.shape[-1])
            values[columns] = (x.T @ x).reshape(-1)[places]
        for centre, (columns, first, second) in plan.five.items():
            maps = self._map_values[self._atoms(centre)]
            values[columns] = (maps.T @ maps)[first, second]
        return values

    def atom_values(self) -> Array:
        """(N, F): P_i(R_k) or P_i(R_k) P_j(R_k) at the atoms of the feature's centre, zero at others."""
        plan, values = self._plan, np.zeros((len(self.fields), len(self._plan.features)))
        for (centre, l), (columns, places) in plan.three.items():
            atoms = self._atoms(centre)
            x = plan.matrix(self.fields[atoms], l)
            first, second = np.divmod(places, x.shape[-1])
            values[np.ix_(atoms, columns)] = np.einsum("kmf,kmf->kf", x[:, :, first], x[:, :, second])
        for centre, (columns, first, second) in plan.five.items():
            atoms = self._atoms(centre)
            maps = self._map_values[atoms]
            values[np.ix_(atoms, columns)] = maps[:, first] * maps[:, second]
        return values

    def _five_body_maps(self) -> Array:
        """P_i(R_k) of the five-body maps, (N, maps)."""
        values = np.empty((len(self.fields), len(self._plan.maps)))
        for i, (l, first, second) in enumerate(self._plan.maps):
            x = self._plan.matrix(self.fields, l)
            values[:, i] = np.einsum("km,km->k", x[:, :, first], x[:, :, second])
        return values

    def pullback(self, weights: Array) -> tuple[Array, Array]:
        plan = self._plan
        adjoint = np.zeros_like(self.fields)
        for (centre, l), (columns, places) in plan.three.items():
            atoms = self._atoms(centre)
            x = plan.matrix(self.fields[atoms], l)
            coupling = _coupling(weights, atoms, columns, places, x.shape[-1])
            start, stop = plan.offsets[l : l + 2]
            adjoint[atoms, start:stop] += (x @ coupling).reshape(len(atoms), stop - start)
        if plan.five:
            self._add_five_adjoint(weights, adjoint)
        table = plan.table.arguments

        def contract(pairs: Pairs) -> tuple[Array, Array]:
            gradient, strain = np.zeros((len(self.fields), 3)), np.zeros((3, 3))
            sum_gradient(pairs, self._species, len(plan.species), plan.offsets, table, adjoint, gradient, strain)
            return gradient, strain

        gradients, strains = zip(*self.scene.execution.map(contract, self._parts), strict=True)
        strain = np.sum(strains, axis=0)
        return np.sum(gradients, axis=0), (strain + strain.T) / 2

    def _add_five_adjoint(self, weights: Array, adjoint: Array) -> None:
        plan, count = self._plan, len(self._plan.maps)
        slopes = np.zeros_like(self._map_values)
        for centre, (columns, first, second) in plan.five.items():
            atoms = self._atoms(centre)
            coupling = _coupling(weights, atoms, columns, first * count + second, count)
            maps = self._map_values[atoms]
            slopes[atoms] = maps @ coupling if weights.ndim == 1 else np.einsum("ki,kij->kj", maps, coupling)
        for i, (l, one, other) in enumerate(plan.maps):
            x, a = plan.matrix(self.fields, l), plan.matrix(adjoint, l)
            a[:, :, one] += slopes[:, i, None] * x[:, :, other]
            a[:, :, other] += slopes[:, i, None] * x[:, :, one]

    def pushforward(self, displacements: Array, strains: Array) -> Array:
        by_positions, by_strain = self.jacobian()
        moved = np.einsum("fna,dna->df", by_positions, displacements, optimize=True)
        return moved + voigt_components(strains) @ by_strain.T

    def jacobian(self) -> tuple[Array, Array]:
        """Derivatives of all features: (F, N, 3) by positions and (F, 6) by strain (Voigt, see `Evaluation.jacobian`).

        The gradients of the fields at all atoms by all atoms are formed once, (N, N, 3, columns / species); every
        feature's derivative is then a matrix product with the fields.
        """
        plan, atoms = self._plan, len(self.fields)
        species = len(plan.species)
        width = int(plan.offsets[-1]) // species
        by_atom = np.zeros((atoms, atoms, 3, width))
        by_centre = np.zeros((atoms, species, 9, width))
        sum_jacobian(self._pairs[:3], self._species, plan.offsets // species, plan.table.arguments, by_atom, by_centre)
        positions, strain = np.zeros((len(plan.features), atoms, 3)), np.zeros((len(plan.features), 6))
        for (centre, l), (columns, places) in plan.three.items():
            self._three_jacobian(centre, l, columns, places, by_atom, by_centre, positions, strain)
        if plan.five:
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
        maps_by_atom = np.zeros((len(plan.maps), count, count, 3))
        maps_by_centre = np.zeros((len(plan.maps), count, 9))
        for i, (l, first, second) in enumerate(plan.maps):
            x, size = plan.matrix(self.fields, l), plan.table.size(l)
            sources, centres = self._block(by_atom, l), self._block(by_centre, l)
            for one, other in ((first, second), (second, first)):
                owner, within = divmod(one, size)
                mine = self._species == owner
                maps_by_atom[i][:, mine] += np.einsum("kjam,km->kja", sources[..., within][:, mine], x[:, :, other])
                maps_by_centre[i] += np.einsum("kam,km->ka", centres[:, owner, ..., within], x[:, :, other])
        for atom in range(count):
            maps_by_atom[:, atom, atom] += maps_by_centre[:, atom, :3]
        for centre, (columns, left, right) in plan.five.items():
            atoms = self._atoms(centre)
            values = self._map_values[atoms]
            by_positions = np.einsum("ikja,kc->icja", maps_by_atom[:, atoms], values, optimize=True)
            by_strain = np.einsum("ikv,kc->icv", maps_by_centre[:, atoms, 3:], values, optimize=True)
            positions[columns] = by_positions[left, right] + by_positions[right, left]
            strain[columns] = by_strain[left, right] + by_strain[right, left]


def _coupling(weights: Array, atoms: IntArray, columns: IntArray, places: IntArray, width: int) -> Array:
    """C + C^T with the weights of the columns at their places in C, (width, width) or, of weights (N, F), a matrix an
    atom."""
    own = weights[columns] if weights.ndim == 1 else weights[np.ix_(atoms, columns)]
    coupling = np.zeros((*own.shape[:-1], width * width))
    coupling[..., places] = own
    coupling = coupling.reshape(*own.shape[:-1], width, width)
    return coupling + np.swapaxes(coupling, -1, -2)
