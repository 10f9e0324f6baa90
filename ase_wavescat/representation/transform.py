"""The transform: features of a structure, their weighted gradient, tangents and Jacobian."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.protocol import Plan, Prepared, State
from ase_wavescat.representation.reach import reach
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.limits import check_reference
from ase_wavescat.structure.periodicity import check_size
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError
from ase_wavescat.system.forks import renew_in_child

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Transform:
    """Features of structures for one spec and support: plans of its families, prepared for the last cells seen.

    Features are sums over the cell. One instance may be called from several threads; its cache is locked.

    Attributes:
        keys: the features, in column order.
        plans: what computes them, with their columns.
        cutoff: the largest |G| that any of them needs (1/A).
    """

    def __init__(
        self,
        spec: ScatteringSpec,
        keys: Sequence[str] | None = None,
        cache_size: int = 8,
        execution: Execution = Execution(),
    ) -> None:
        """
        Args:
            spec: the specification.
            keys: the features wanted; all of the spec's when not given.
            cache_size: how many cells keep their lattice, grids and filters.
            execution: threads and precision.

        Raises:
            SpecError: for a key that the spec does not have.
        """
        self.spec, self.execution = spec, execution
        self.keys: tuple[str, ...] = tuple(spec.keys if keys is None else keys)
        self.cache_size = cache_size
        self.plans: list[tuple[IntArray, Plan]] = spec.plans(self.keys)
        self.cutoff = max((plan.cutoff for _, plan in self.plans), default=0.0)
        self._prepared: OrderedDict[bytes, tuple[ReciprocalLattice, list[Prepared]]] = OrderedDict()
        self._lock = threading.Lock()
        renew_in_child(self)

    def renew(self) -> None:
        """In a forked child, where no other thread is left to release the lock; the cache has complete entries only."""
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "keys": self.keys, "cache_size": self.cache_size, "execution": self.execution}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def has_jacobian(self) -> bool:
        """Whether all features have a Jacobian pass; of others `jacobian` takes a tangent along each direction."""
        return all(plan.has_jacobian for _, plan in self.plans)

    @property
    def atom_columns(self) -> IntArray:
        """(A,) columns of the features that are sums of values per atom, see `Evaluation.atom_values`."""
        return np.array([i for columns, plan in self.plans if plan.has_atom_values for i in columns], dtype=np.int64)

    @cached_property
    def reach(self) -> float:
        """The vacuum (A) that is put along open directions."""
        return reach(self.spec)

    @property
    def neighbour_reach(self) -> float:
        """The distance (A) up to which features look for neighbours."""
        return max((plan.neighbour_reach for _, plan in self.plans), default=0.0)

    def evaluate(self, structure: Structure, reference_cell: Array | None = None) -> Evaluation:
        """Features of a structure; along open directions its cell is replaced by its extent plus `reach`.

        Args:
            structure: atoms of the spec's species.
            reference_cell: take grids and reciprocal vectors of this cell, deformed; for energies along a strain. It
                must be a cell of the same structure, see `limits.check_reference`.

        Raises:
            StructureError: when the structure cannot be evaluated.
        """
        self._check_species(structure)
        padded = structure.padded(self.reach)
        if reference_cell is not None:
            check_reference(reference_cell, padded.cell, structure.pbc)
            reference_cell = np.where(np.array(structure.pbc)[:, None], reference_cell, padded.cell)
        lattice, prepared = self.prepared(padded.cell, reference_cell)
        scene = Scene(structure, self.spec.species, lattice, self.execution)
        evaluation = Evaluation(self, padded.cell, [one.forward(scene) for one in prepared], len(structure))
        wrong = np.flatnonzero(~np.isfinite(evaluation.features))
        if len(wrong):
            raise StructureError(
                f"the feature {self.keys[wrong[0]]!r} of this structure is {evaluation.features[wrong[0]]}, beyond the "
                "range of numbers; are the spec's powers, channels and bands sensible, and the atoms apart?"
            )
        return evaluation

    def tangent(
        self, structure: Structure, displacements: Array, strains: Array, reference_cell: Array | None = None
    ) -> tuple[Array, Array]:
        """Features (F,) and derivatives (D, F) along displacements (D, N, 3) plus strains (D, 3, 3)."""
        evaluation = self.evaluate(structure, reference_cell)
        return evaluation.features, evaluation.tangent(np.asarray(displacements), np.asarray(strains))

    def jacobian(self, structure: Structure) -> tuple[Array, Array, Array]:
        """Features (F,), derivatives by positions (F, N, 3) and by strain (F, 6), see `Evaluation.jacobian`."""
        evaluation = self.evaluate(structure)
        return evaluation.features, *evaluation.jacobian()

    def prepared(self, cell: Array, reference_cell: Array | None) -> tuple[ReciprocalLattice, list[Prepared]]:
        """The lattice and the prepared plans of a cell, from the cache where it is known."""
        reference = b"" if reference_cell is None else np.ascontiguousarray(reference_cell, dtype=float).tobytes()
        key = cell.tobytes() + reference
        with self._lock:
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
        check_size(cell, self.cutoff)
        lattice = ReciprocalLattice(cell, self.cutoff, reference_cell)
        entry = lattice, [plan.prepare(lattice, self.execution) for _, plan in self.plans]
        with self._lock:
            self._prepared[key] = entry
            while len(self._prepared) > self.cache_size:
                self._prepared.popitem(last=False)
        return entry

    def _check_species(self, structure: Structure) -> None:
        """StructureError for an atom that the spec does not have."""
        unknown = sorted(set(structure.numbers.tolist()) - set(self.spec.species))
        if unknown:
            known = ", ".join(chemical_symbols[z] for z in self.spec.species)
            names = ", ".join(chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z) for z in unknown)
            raise StructureError(f"the model knows {known}, not {names}; use a model trained with these elements")


class Evaluation:
    """One structure taken through the transform; derivatives reuse its fields.

    Attributes:
        features: (F,), sums over the cell.
        cell: (3, 3), fully periodic, padded along open directions.
    """

    def __init__(self, transform: Transform, cell: Array, states: Sequence[State], atoms: int) -> None:
        self.cell, self._transform, self._states, self._atoms = cell, transform, states, atoms
        self.features: Array = np.zeros(len(transform.keys))
        for columns, state in self._parts():
            self.features[columns] = state.values

    def _parts(self) -> Iterator[tuple[IntArray, State]]:
        """The states with their columns."""
        for (columns, _), state in zip(self._transform.plans, self._states, strict=True):
            yield columns, state

    def atom_values(self) -> Array:
        """Values per atom (N, A) of the features `Transform.atom_columns`, whose sum over the atoms these are."""
        pairs = zip(self._transform.plans, self._states, strict=True)
        values = [state.atom_values() for (_, plan), state in pairs if plan.has_atom_values]
        return np.concatenate([np.empty((self._atoms, 0)), *values], axis=1)

    def gradient(self, weights: Array, atom_weights: Array | None = None) -> tuple[Array, Array]:
        """dE/dR (N, 3) and dE/dstrain (3, 3), symmetric, of E = weights . features; stress = dE/dstrain / volume.

        Args:
            weights: (F,).
            atom_weights: (N, A), adds the sum of atom_weights * atom_values() to E: the slopes of what is not linear
                in values per atom.
        """
        weights = np.asarray(weights, dtype=float)
        if atom_weights is not None:
            weights = np.tile(weights, (self._atoms, 1))
            weights[:, self._transform.atom_columns] += atom_weights
        gradient, strain = np.zeros((self._atoms, 3)), np.zeros((3, 3))
        for (columns, plan), state in zip(self._transform.plans, self._states, strict=True):
            own = weights[..., columns]
            by_positions, by_strain = state.pullback(own if plan.has_atom_values or own.ndim == 1 else own[0])
            gradient += by_positions
            strain += by_strain
        return gradient, strain

    def tangent(self, displacements: Array, strains: Array) -> Array:
        """Derivatives (D, F) along displacements (D, N, 3) plus strains (D, 3, 3)."""
        derivatives = np.zeros((len(displacements), len(self.features)))
        for columns, state in self._parts():
            derivatives[:, columns] = state.pushforward(displacements, strains)
        return derivatives

    def jacobian(self) -> tuple[Array, Array]:
        """Derivatives by positions (F, N, 3) and by strain (F, 6).

        Strain in Voigt order xx yy zz yz xz xy; a shear column is the derivative by a symmetric strain
        eps_ab = eps_ba = x / 2, so that ASE's stress is strain_jacobian.T @ weights / volume. Features without a
        Jacobian pass (`Transform.has_jacobian`) take 3N + 6 tangents.
        """
        by_positions, by_strain = np.zeros((len(self.features), self._atoms, 3)), np.zeros((len(self.features), 6))
        for columns, state in self._parts():
            by_positions[columns], by_strain[columns] = state.jacobian()
        return by_positions, by_strain
