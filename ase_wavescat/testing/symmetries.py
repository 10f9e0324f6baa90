"""Changes of a periodic structure that change nothing; figures are the largest changes of energy, forces and stress."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import Answer, NotApplicable, Subject, ask

# a changed structure, the matrix that turns vectors, the original atom of each of its atoms
Change = tuple[Atoms, np.ndarray, np.ndarray]

_REPEATS = 2
"""Random changes of each structure."""
_OTHER_VECTORS = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])


def turned(answer: Answer, turn: np.ndarray, origins: np.ndarray) -> Answer:
    """What the changed structure must answer."""
    forces = None if answer.forces is None else answer.forces[origins] @ turn.T
    stress = None if answer.stress is None else turn @ answer.stress @ turn.T
    return Answer(answer.energy, forces, stress)


def compare_all(subject: Subject, change: Callable[[Atoms, np.random.Generator], Change]) -> Findings:
    """Ask about each structure before and after the change."""
    limits, findings, rng, calculator = subject.tolerances, Findings(), subject.rng(), subject.new()
    for atoms in subject.structures:
        before = ask(calculator, atoms)
        for _ in range(_REPEATS):
            moved, turn, origins = change(atoms, rng)
            expected = turned(before, turn, origins)
            findings.compare(expected, ask(calculator, moved), limits.energy, limits.forces, limits.stress)
    return findings


def permutation(subject: Subject) -> Findings:
    """Atoms in another order."""

    def change(atoms: Atoms, rng: np.random.Generator) -> Change:
        order = rng.permutation(len(atoms))
        return atoms[order], np.eye(3), order

    return compare_all(subject, change)


def wrapping(subject: Subject) -> Findings:
    """The structure moved by more than a cell, then all atoms wrapped into the cell."""
    calculator, limits, findings, rng = subject.new(), subject.tolerances, Findings(), subject.rng()
    for atoms in subject.structures:
        outside = atoms.copy()
        outside.positions += rng.uniform(-1.5, 1.5, size=3) @ atoms.cell.array
        inside = outside.copy()
        inside.wrap()
        expected = ask(calculator, outside)
        findings.compare(expected, ask(calculator, inside), limits.energy, limits.forces, limits.stress)
    return findings


def lattice_shifts(subject: Subject) -> Findings:
    """Each atom moved by a lattice vector of its own."""

    def change(atoms: Atoms, rng: np.random.Generator) -> Change:
        return shifted(atoms, rng), np.eye(3), np.arange(len(atoms))

    return compare_all(subject, change)


def shifted(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Each atom moved by whole cell vectors along the directions that repeat."""
    moved = atoms.copy()
    moved.positions += (atoms.pbc * rng.integers(-2, 3, size=(len(atoms), 3))) @ atoms.cell.array
    return moved


def lattice_vectors(subject: Subject) -> Findings:
    """The same lattice spanned by other, long and skewed vectors."""

    def change(atoms: Atoms, rng: np.random.Generator) -> Change:
        moved = atoms.copy()
        moved.set_cell(_OTHER_VECTORS[rng.permutation(3)] @ atoms.cell.array)
        return moved, np.eye(3), np.arange(len(atoms))

    return compare_all(subject, change)


def translation(subject: Subject) -> Findings:
    """The whole structure moved by 0.05 to 0.2 A along each axis: a fraction of the spacing of any grid."""

    def change(atoms: Atoms, rng: np.random.Generator) -> Change:
        moved = atoms.copy()
        moved.positions += rng.uniform(0.05, 0.2, size=3)
        return moved, np.eye(3), np.arange(len(atoms))

    return compare_all(subject, change)


def rotation(subject: Subject) -> Findings:
    """Atoms and cell turned about a random axis: forces turn as vectors, the stress as a tensor."""

    def change(atoms: Atoms, rng: np.random.Generator) -> Change:
        turn = random_rotation(rng)
        return _rotated(atoms, turn), turn, np.arange(len(atoms))

    return compare_all(subject, change)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3), each as likely as any other: four normal numbers are a quaternion of no preferred direction."""
    return np.asarray(Rotation.from_quat(rng.normal(size=4)).as_matrix())


def _rotated(atoms: Atoms, turn: np.ndarray) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)


def inversion(subject: Subject) -> Findings:
    """Positions turned into their negatives, in the same cell: forces change their sign, the stress stays."""

    def change(atoms: Atoms, rng: np.random.Generator) -> Change:
        moved = atoms.copy()
        moved.positions *= -1
        return moved, -np.eye(3), np.arange(len(atoms))

    return compare_all(subject, change)


def rotation_of_molecules(subject: Subject) -> Findings:
    """An open piece turned about a random axis; a method on grids computes it in another box then."""
    if refusal := subject.refusal((False, False, False)):
        raise NotApplicable(f"open structures are refused: {refusal}")
    limits, findings, rng, calculator = subject.tolerances, Findings(), subject.rng(), subject.new()
    molecule = subject.piece((False, False, False))
    before = ask(calculator, molecule)
    for _ in range(_REPEATS):
        turn = random_rotation(rng)
        expected = turned(before, turn, np.arange(len(molecule)))
        after = ask(calculator, _rotated(molecule, turn))
        findings.compare(expected, after, limits.vacuum_energy, limits.vacuum_forces)
    return findings
