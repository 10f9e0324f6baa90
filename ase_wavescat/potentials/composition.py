"""The atoms' own energies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase.data import chemical_symbols

from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.arrays import frozen_array
from ase_wavescat.system.digest import digest_of

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer


@dataclass(frozen=True, eq=False)
class AtomEnergies:
    """E_member = sum_k e[member, Z_k]: what a potential says of atoms by themselves.

    Attributes:
        species: Atomic numbers, ascending.
        energies: (M, S), eV, columns in the order of `species`.

    Raises:
        ValueError: For energies of another shape, or none.
    """

    species: tuple[int, ...]
    energies: np.ndarray

    kind: ClassVar[str] = "atom-energies"
    reach: ClassVar[float] = 0.0
    neighbour_reach: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "species", tuple(int(z) for z in self.species))
        energies = frozen_array(self.energies, (None, len(self.species)), "the species energies")
        if len(energies) == 0:
            raise ValueError("a model needs at least one member, got none")
        object.__setattr__(self, "energies", energies)

    @property
    def members(self) -> int:
        return len(self.energies)

    @cached_property
    def digest(self) -> str:
        return digest_of({"kind": self.kind, "species": self.species, "energies": self.energies})

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> CompositionPrediction:
        """Species that it does not know count nothing: another term refuses them."""
        return CompositionPrediction(self.energies @ structure.count(self.species), len(structure))

    def card(self) -> list[str]:
        """Lines of the model card."""
        means = zip(self.species, self.energies.mean(axis=0), strict=True)
        return ["baseline    eV an atom: " + ", ".join(f"{chemical_symbols[z]} {e:.4f}" for z, e in means)]

    def store(self, writer: Writer) -> None:
        writer.numbers("species", np.array(self.species, dtype=float))
        writer.numbers("energies", self.energies)

    @classmethod
    def restore(cls, reader: Reader) -> AtomEnergies:
        reader.expect({"species", "energies"})
        return cls(reader.atomic_numbers("species"), reader.numbers("energies"))


@dataclass(frozen=True, eq=False)
class CompositionPrediction:
    """Energies that do not depend on where the atoms are."""

    member_energies: np.ndarray
    atoms: int

    @property
    def energy(self) -> float:
        return float(self.member_energies.mean())

    @property
    def gradient(self) -> np.ndarray:
        return np.zeros((self.atoms, 3))

    @property
    def strain_gradient(self) -> np.ndarray:
        return np.zeros((3, 3))

    @property
    def member_gradients(self) -> np.ndarray:
        return np.zeros((len(self.member_energies), self.atoms, 3))

    @property
    def member_strain_gradients(self) -> np.ndarray:
        return np.zeros((len(self.member_energies), 3, 3))

    @property
    def gradient_spread(self) -> np.ndarray:
        return np.zeros((self.atoms, 3))
