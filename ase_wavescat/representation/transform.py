"""The transform: features of a structure, their weighted gradient, tangents and Jacobian."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.atoms.plan import AtomPlan, AtomState
from ase_wavescat.representation.families.correlations.jacobian import PositionsJacobian
from ase_wavescat.representation.families.correlations.plan import CorrelationPlan, CorrelationState
from ase_wavescat.representation.families.moduli.plan import ModuliPlan
from ase_wavescat.representation.features import (
    AtomFeature,
    BandFeature,
    Feature,
    ModulusFeature,
    PairFeature,
    parse_key,
)
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import structure_phases
from ase_wavescat.representation.reach import reach
from ase_wavescat.representation.specification import Correlations, Moduli, ScatteringSpec
from ase_wavescat.structure.limits import check_reference
from ase_wavescat.structure.periodicity import check_size
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError
from ase_wavescat.system.forks import renew_in_child

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Transform:
    """Scattering features of structures for one spec and support.

    keys: the features wanted, in column order; all of the spec's when not given.
    cache_size: how many cells keep their lattice, grids and filters. execution: threads and precision.
    Features are sums over the cell. One instance may be called from several threads; its cache is locked.
    """

    def __init__(
        self,
        spec: ScatteringSpec,
        keys: Sequence[str] | None = None,
        cache_size: int = 8,
        execution: Execution = Execution(),
    ) -> None:
        self.spec, self.execution = spec, execution
        self.keys: tuple[str, ...] = tuple(spec.keys if keys is None else keys)
        self.cache_size = cache_size
        for key in self.keys:
            spec.index(key)
        features = [parse_key(key) for key in self.keys]
        self._atom_columns, self._atoms = self._plan_atoms(features)
        self._band_plans: list[tuple[IntArray, CorrelationPlan | ModuliPlan]] = self._plan_bands(features)
        self.cutoff = max((plan.cutoff for _, plan in self._band_plans), default=0.0)
        self._prepared: OrderedDict[bytes, tuple[ReciprocalLattice, list[Any]]] = OrderedDict()
        self._lock = threading.Lock()
        renew_in_child(self)

    def renew(self) -> None:
        """In a forked child, where no other thread is left to release the lock; the cache has complete entries only."""
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "keys": self.keys, "cache_size": self.cache_size, "execution": self.execution}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _plan_atoms(self, features: Sequence[Feature]) -> tuple[IntArray, AtomPlan | None]:
        columns = [i for i, f in enumerate(features) if isinstance(f, AtomFeature)]
        chosen = [f for f in features if isinstance(f, AtomFeature)]
        return np.array(columns, dtype=np.int64), AtomPlan(self.spec, chosen) if chosen else None

    def _plan_bands(self, features: Sequence[Feature]) -> list[tuple[IntArray, CorrelationPlan | ModuliPlan]]:
        plans: list[tuple[IntArray, CorrelationPlan | ModuliPlan]] = []
        for family in self.spec.families:
            if isinstance(family, Correlations):
                bands = [(i, f) for i, f in enumerate(features) if isinstance(f, PairFeature | BandFeature)]
                if bands:
                    plans.append(
                        (np.array([i for i, _ in bands]), CorrelationPlan(self.spec, family, [f for _, f in bands]))
                    )
            elif isinstance(family, Moduli):
                moduli = [(i, f) for i, f in enumerate(features) if isinstance(f, ModulusFeature)]
                if moduli:
                    plans.append(
                        (np.array([i for i, _ in moduli]), ModuliPlan(self.spec, family, [f for _, f in moduli]))
                    )
        return plans

    @property
    def has_jacobian(self) -> bool:
        """Whether all features have the Jacobian pass; moduli have tangents only."""
        return not any(isinstance(plan, ModuliPlan) for _, plan in self._band_plans)

    @cached_property
    def reach(self) -> float:
        """The vacuum (A) that is put along open directions."""
        return reach(self.spec)

    @property
    def neighbour_reach(self) -> float:
        """The distance (A) up to which features look for neighbours."""
        return self._atoms.reach if self._atoms is not None else 0.0

    def evaluate(self, structure: Structure, reference_cell: Array | None = None) -> Evaluation:
        """Features of a structure; along open directions its cell is replaced by its extent plus `reach`.

        reference_cell: take grids and reciprocal vectors of this cell, deformed; for energies along a strain. It must
            be a cell of the same structure, see `limits.check_reference`.
        Raises StructureError when the structure cannot be evaluated.
        """
        padded, species = structure.padded(self.reach), self._species(structure)
        if reference_cell is not None:
            check_reference(reference_cell, padded.cell, structure.pbc)
            reference_cell = np.where(np.array(structure.pbc)[:, None], reference_cell, padded.cell)
        evaluation = Evaluation(self, structure, padded.cell, species, reference_cell)
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
        """Features (F,), derivatives by positions (F, N, 3) and by strain (F, 6).

        Strain in Voigt order xx yy zz yz xz xy; a shear column is the derivative by a symmetric strain
        eps_ab = eps_ba = x / 2, so that ASE's stress is strain_jacobian.T @ weights / volume.
        Raises ValueError when the support has moduli: use `tangent`.
        """
        if not self.has_jacobian:
            raise ValueError("moduli have no Jacobian pass: use Transform.tangent with chosen directions")
        evaluation = self.evaluate(structure)
        return evaluation.features, *evaluation.jacobian()

    def prepared(self, cell: Array, reference_cell: Array | None) -> tuple[ReciprocalLattice, list[Any]]:
        """The lattice and the prepared plans of a cell, from the cache where it is known."""
        reference = b"" if reference_cell is None else np.ascontiguousarray(reference_cell, dtype=float).tobytes()
        key = cell.tobytes() + reference
        with self._lock:
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
        check_size(cell, self.cutoff)
        lattice = ReciprocalLattice(cell, self.cutoff, reference_cell)
        entry = lattice, [plan.prepare(lattice, self.execution) for _, plan in self._band_plans]
        with self._lock:
            self._prepared[key] = entry
            while len(self._prepared) > self.cache_size:
                self._prepared.popitem(last=False)
        return entry

    def _species(self, structure: Structure) -> IntArray:
        """(N,) index of each atom's species; StructureError for one that the spec does not have."""
        unknown = sorted(set(structure.numbers.tolist()) - set(self.spec.species))
        if unknown:
            known = ", ".join(chemical_symbols[z] for z in self.spec.species)
            names = ", ".join(chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z) for z in unknown)
            raise StructureError(f"the model knows {known}, not {names}; use a model trained with these elements")
        return np.searchsorted(self.spec.species, structure.numbers)


class Evaluation:
    """One structure taken through the transform; derivatives reuse its fields.

    features: (F,), sums over the cell.  cell: (3, 3), fully periodic, padded along open directions.
    """

    def __init__(
        self, transform: Transform, structure: Structure, cell: Array, species: IntArray, reference_cell: Array | None
    ) -> None:
        self._transform, self.cell, self._positions, self._species = transform, cell, structure.positions, species
        self.features: Array = np.zeros(len(transform.keys))
        self._atom_state: AtomState | None = None
        self._band_states: list[Any] = []
        if transform._atoms is not None:
            self._atom_state = transform._atoms.forward(structure, species, transform.execution)
            self.features[transform._atom_columns] = self._atom_state.features
        if transform._band_plans:
            self._forward_bands(reference_cell)

    def _forward_bands(self, reference_cell: Array | None) -> None:
        transform = self._transform
        self._lattice, plans = transform.prepared(self.cell, reference_cell)
        kinds = range(len(transform.spec.species))
        self._groups = [np.flatnonzero(self._species == s) for s in kinds]
        self._phases = [
            structure_phases(self._lattice, self._positions[atoms], transform.execution) for atoms in self._groups
        ]
        self._densities = np.array([phases.structure_factor() for phases in self._phases])
        self._counts = np.array([len(atoms) for atoms in self._groups])
        for (columns, _), prepared in zip(transform._band_plans, plans, strict=True):
            state = prepared.forward(self._densities, self._counts)
            self.features[columns] = state.features
            self._band_states.append(state)

    def gradient(self, weights: Array) -> tuple[Array, Array]:
        """dE/dR (N, 3) and dE/dstrain (3, 3), symmetric, of E = weights . features; stress = dE/dstrain / volume."""
        weights = np.asarray(weights, dtype=float)
        gradient, strain = np.zeros_like(self._positions), np.zeros((3, 3))
        if self._atom_state is not None:
            gradient, strain = self._atom_state.gradient(weights[self._transform._atom_columns])
        if self._band_states:
            adjoint = np.zeros_like(self._densities)
            for (columns, _), state in zip(self._transform._band_plans, self._band_states, strict=True):
                onto_densities, onto_strain = state.adjoint(weights[columns])
                adjoint += onto_densities
                strain = strain + onto_strain
            for atoms, phases, a in zip(self._groups, self._phases, adjoint, strict=True):
                gradient[atoms] += phases.gradient(a)
        return gradient, strain

    def tangent(self, displacements: Array, strains: Array) -> Array:
        """Derivatives (D, F) along displacements (D, N, 3) plus strains (D, 3, 3)."""
        derivatives = np.zeros((len(displacements), len(self.features)))
        if self._atom_state is not None:
            by_positions, by_strain = self._atom_state.jacobian()
            symmetric = (strains + np.swapaxes(strains, 1, 2)) / 2
            engineering = np.stack([symmetric[:, a, b] * (1 if a == b else 2) for a, b in _VOIGT], axis=1)
            derivatives[:, self._transform._atom_columns] = (
                np.einsum("fna,dna->df", by_positions, displacements, optimize=True) + engineering @ by_strain.T
            )
        if self._band_states:
            for row, displacement, strain in zip(derivatives, displacements, strains, strict=True):
                phases = zip(self._phases, self._groups, strict=True)
                change = np.array([mine.tangent(displacement[atoms]) for mine, atoms in phases])
                for (columns, _), state in zip(self._transform._band_plans, self._band_states, strict=True):
                    row[columns] = state.tangent(change, strain)
        return derivatives

    def jacobian(self) -> tuple[Array, Array]:
        """Derivatives by positions (F, N, 3) and by strain (F, 6), see `Transform.jacobian`."""
        count, atoms = len(self.features), len(self._positions)
        by_positions, by_strain = np.zeros((count, atoms, 3)), np.zeros((count, 6))
        if self._atom_state is not None:
            columns = self._transform._atom_columns
            by_positions[columns], by_strain[columns] = self._atom_state.jacobian()
        for (columns, _), state in zip(self._transform._band_plans, self._band_states, strict=True):
            assert isinstance(state, CorrelationState)
            by_positions[columns] = PositionsJacobian(state, self._phases_by_atom(), self._species).fill()
            still = np.zeros_like(self._densities)
            by_strain[columns] = np.stack([state.tangent(still, unit) for unit in unit_strains()], axis=1)
        return by_positions, by_strain

    def _phases_by_atom(self) -> NDArray[np.complex128]:
        phases = np.empty((len(self._positions), len(self._lattice)), dtype=complex)
        for atoms, mine in zip(self._groups, self._phases, strict=True):
            phases[atoms] = mine.by_atom()
        return phases


def unit_strains() -> Array:
    """The six symmetric strains, (6, 3, 3), along which derivatives are Voigt components of stress x volume."""
    strains = np.zeros((6, 3, 3))
    for row, (a, b) in zip(strains, _VOIGT, strict=True):
        row[a, b] += 0.5
        row[b, a] += 0.5
    return strains
