"""How the ions of a structure answer a small strain of its cell: force constants, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import GPa
from tqdm import tqdm

from ase_wavescat.system.errors import DataError

STEP = 0.01
"""A, of the differences of forces: errors are of second order in it, some 1e-5 of the stiffest force constant."""
LOOSE = 1e-4
"""Share of the stiffest force constant below which one is taken for none: differences know it no better."""


@dataclass(frozen=True, eq=False)
class IonResponse:
    """What ions do beside following the cell, to first order in the strain.

    Attributes:
        displacements: (6, N, 3) A per unit of strain, by Voigt component (engineering shear strains).
        softening: (6, 6) GPa, symmetric: what the movement takes off the stiffness of clamped ions.
        softest: eV/A^2, lowest eigenvalue of the force constants among directions in which ions may move; below zero
            the ions are at no minimum. None where no ion may move.
        loose: How many of these directions have no force constant to speak of (`LOOSE`), and count in nothing else.
        unbalanced: GPa, largest component of d stress / d strain that the forces left on moved ions would still change.
    """

    displacements: np.ndarray
    softening: np.ndarray
    softest: float | None
    loose: int
    unbalanced: float


def ion_response(atoms: Atoms, force_slopes: np.ndarray, *, progress: bool = False) -> IonResponse:
    """Linear response of the ions at a minimum of the energy: with force constants K = -dF/dR, forces per unit of
    strain L (6, 3N) at fixed fractional positions, and the cell's volume V::

        K u_j = L_j,   softening_ij = L_i u_j / V.

    Directions that constraints take away stay; without constraints, the translation of the whole.

    Args:
        force_slopes: (6, N, 3) eV/A. K is taken by central differences, 6N evaluations, and the result is checked by
            twelve more: forces on ions that have moved by u must be gone.

    Raises:
        DataError: For constraints that are not a projection of forces.
    """
    allowed = _allowed(atoms)
    basis = _basis(allowed)
    slopes = force_slopes.reshape(6, -1) @ basis
    eigenvalues, modes = np.linalg.eigh(basis.T @ _force_constants(atoms, allowed, progress) @ basis)
    stiff = np.abs(eigenvalues) > LOOSE * np.abs(eigenvalues).max(initial=0.0)
    moved = (slopes @ modes[:, stiff] / eigenvalues[stiff]) @ modes[:, stiff].T
    displacements = moved @ basis.T
    left = slopes + np.array([_force_slope(atoms, along) for along in displacements]) @ basis
    volume = atoms.get_volume() * GPa
    return IonResponse(
        displacements=displacements.reshape(6, -1, 3),
        softening=slopes @ moved.T / volume,
        softest=float(eigenvalues[stiff][0]) if stiff.any() else None,
        loose=int(np.count_nonzero(~stiff)),
        unbalanced=float(np.abs(left @ moved.T).max() / volume),
    )


def _allowed(atoms: Atoms) -> np.ndarray:
    """(3N, 3N) projector on the directions in which ions may move."""
    size = 3 * len(atoms)
    if not atoms.constraints:
        return np.eye(size) - np.kron(np.full((len(atoms), len(atoms)), 1 / len(atoms)), np.eye(3))
    rows = np.eye(size).reshape(size, -1, 3)
    for forces in rows:
        for constraint in atoms.constraints:
            constraint.adjust_forces(atoms, forces)
    projector = rows.reshape(size, size)
    if not np.allclose(projector, projector.T, atol=1e-8) or not np.allclose(projector @ projector, projector):
        named = " and ".join(type(constraint).__name__ for constraint in atoms.constraints)
        raise DataError(
            f"{named} does more than hold ions along some directions, which elastic constants with relaxed ions"
            " cannot take into account; remove it: atoms.set_constraint()"
        )
    return projector


def _basis(projector: np.ndarray) -> np.ndarray:
    """(3N, M) orthonormal directions that a projector leaves as they are."""
    kept, directions = np.linalg.eigh(projector)
    return directions[:, kept > 0.5]


def _force_constants(atoms: Atoms, allowed: np.ndarray, progress: bool) -> np.ndarray:
    """(3N, 3N) eV/A^2, symmetric, on the directions that are allowed; zero along coordinates that are held."""
    moving = [at for at, row in enumerate(allowed) if row.any()]
    slopes = np.zeros_like(allowed)
    for at in tqdm(moving, desc="force constants", unit="coordinate", disable=not progress, leave=False):
        slopes[at] = _force_slope(atoms, np.eye(len(allowed))[at])
    return -(slopes + slopes.T) / 2


def _force_slope(atoms: Atoms, direction: np.ndarray) -> np.ndarray:
    """(3N,) dF/dt along R + t direction, from forces where the farthest atom is `STEP` away."""
    farthest = np.linalg.norm(direction.reshape(-1, 3), axis=1).max()
    if farthest == 0:
        return np.zeros_like(direction)
    step = STEP / farthest
    moved = atoms.copy()
    moved.calc = atoms.calc
    ends = []
    for way in (step, -step):
        moved.positions = atoms.positions + way * direction.reshape(-1, 3)
        ends.append(moved.get_forces(apply_constraint=False).ravel())
    return (ends[0] - ends[1]) / (2 * step)
