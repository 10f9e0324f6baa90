"""One structure on one reciprocal lattice, as the families of features see it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import NonuniformPhases, Phases, structure_phases
from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]


class Scene:
    """Atoms by species, and the densities of the species on the lattice, which families share.

    S_z(G) = sum of exp(-iG.R_k) over the atoms k of species z, computed when it is first asked for.

    Attributes:
        structure: the atoms, whose open directions may have no vacuum; the lattice is that of the padded cell.
        species: (N,) of each atom the index of its species.
        counts: (S,) atoms of each species.
    """

    def __init__(
        self,
        structure: Structure,
        numbers: Sequence[int],
        lattice: ReciprocalLattice,
        execution: Execution = Execution(),
    ) -> None:
        """numbers: (S,) atomic numbers of the species, ascending."""
        self.structure, self.lattice, self.execution = structure, lattice, execution
        self.species: IntArray = np.searchsorted(numbers, structure.numbers)
        self._groups = [np.flatnonzero(structure.numbers == z) for z in numbers]
        self.counts: IntArray = np.array([len(atoms) for atoms in self._groups])

    @cached_property
    def _phases(self) -> list[Phases | NonuniformPhases]:
        positions = self.structure.positions
        return [structure_phases(self.lattice, positions[atoms], self.execution) for atoms in self._groups]

    @cached_property
    def densities(self) -> ComplexArray:
        """S_z(G), (S, P)."""
        return np.array([phases.structure_factor() for phases in self._phases])

    def pullback(self, adjoint: ComplexArray) -> Array:
        """dE/dR (N, 3) at a fixed cell from the adjoint A (S, P) of the densities, dE = Re sum conj(A) dS."""
        gradient = np.zeros_like(self.structure.positions)
        for atoms, phases, row in zip(self._groups, self._phases, adjoint, strict=True):
            gradient[atoms] += phases.gradient(row)
        return gradient

    def pushforward(self, displacements: Array) -> ComplexArray:
        """dS (S, P) along displacements (N, 3) at a fixed cell."""
        pairs = zip(self._phases, self._groups, strict=True)
        return np.array([phases.tangent(displacements[atoms]) for phases, atoms in pairs])

    def phases_by_atom(self) -> ComplexArray:
        """exp(-iG.R_k), (N, P)."""
        phases = np.empty((len(self.structure), len(self.lattice)), dtype=complex)
        for atoms, mine in zip(self._groups, self._phases, strict=True):
            phases[atoms] = mine.by_atom()
        return phases
