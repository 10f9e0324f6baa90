"""Labelled structures as a network learns them: less the other terms of the potential and the atoms' own energies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from ase_wavescat.potentials.protocol import WholePrediction
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.frames import Frame

Array = NDArray[np.float64]
_NEGLIGIBLE = 1e-10


@dataclass(frozen=True, eq=False)
class Example:
    """One structure with what the network should say of it.

    Attributes:
        structure: the structure.
        energy: eV, of the whole cell.
        forces: (N, 3) eV/A, or None.
        stress: (3, 3) eV/A^3, or None.
        group: examples that a split keeps together.
        zero: name of the zero of energy.
        weight: of the squared errors.
    """

    structure: Structure
    energy: float
    forces: Array | None = None
    stress: Array | None = None
    group: str = ""
    zero: str = "labels"
    weight: float = 1.0

    @classmethod
    def of(cls, frame: Frame, baseline: WholePrediction | None = None) -> Example:
        """The labels of a frame less the baseline."""
        energy, forces, stress = frame.energy, frame.forces, None
        if frame.stress is not None:
            stress = voigt_6_to_full_3x3_stress(frame.stress)
        if baseline is not None:
            energy = energy - baseline.energy
            forces = None if forces is None else forces + baseline.gradient
            stress = None if stress is None else stress - baseline.strain_gradient / frame.volume
        return cls(frame.structure, energy, forces, stress, frame.group, frame.zero, frame.weight)


def atom_energies(examples: Sequence[Example], species: Sequence[int]) -> dict[str, Array]:
    """Energies (S,) of the species alone, eV, for each zero of energy, by weighted least squares.

    What the compositions leave undetermined is the mean energy an atom.
    """
    by_zero: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_zero[example.zero].append(example)
    found = {}
    for zero, same in by_zero.items():
        atoms = np.array([len(example.structure) for example in same], dtype=float)
        fractions = np.array([example.structure.count(species) for example in same]) / atoms[:, None]
        energies = np.array([example.energy for example in same]) / atoms
        root = np.sqrt([example.weight for example in same])
        mean = float(np.average(energies, weights=root**2))
        solved = np.linalg.lstsq(root[:, None] * fractions, root * (energies - mean), _NEGLIGIBLE)[0]
        found[zero] = np.asarray(mean + solved, dtype=float)
    return found


def less_atoms(examples: Sequence[Example], energies: Mapping[str, Array], species: Sequence[int]) -> list[Example]:
    """The same, with energies less those of the species in their own zero of energy."""
    return [
        replace(example, energy=example.energy - float(example.structure.count(species) @ energies[example.zero]))
        for example in examples
    ]
