"""The same crystal in larger cells."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import make_supercell

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import Subject, ask
from ase_wavescat.testing.symmetries import turned

# Of a primitive face-centred cell, the cubic one; of any cell, one of four times the volume that shares no vector.
_CONVENTIONAL = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])

_DOUBLE = np.diag([1, 2, 1])
_TRIPLE = np.diag([3, 1, 1])
_LARGEST = 40
"""Atoms."""


def extensivity(subject: Subject) -> Findings:
    """Cells repeated twice and three times, twice and three times along all vectors where they are small, and
    conventional cells for primitive ones: energy per atom, forces and stress stay."""
    limits, findings, calculator = subject.tolerances, Findings(), subject.new()
    for atoms in subject.structures:
        before = ask(calculator, atoms)
        for matrix in (_DOUBLE, _TRIPLE, _CONVENTIONAL, 2 * np.eye(3, dtype=int), 3 * np.eye(3, dtype=int)):
            copies = round(abs(np.linalg.det(matrix)))
            if copies > 3 and copies * len(atoms) > _LARGEST:
                continue
            larger = _supercell(atoms, matrix)
            expected = turned(before, np.eye(3), np.tile(np.arange(len(atoms)), copies))
            findings.compare(expected, ask(calculator, larger), limits.energy, limits.forces, limits.stress)
    return findings


def _supercell(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    """Whole copies of the cell one after another."""
    return make_supercell(atoms, matrix, wrap=False)
