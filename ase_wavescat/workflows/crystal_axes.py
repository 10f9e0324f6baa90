"""The conventional axes of a crystal, and a stiffness in them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from ase import Atoms

SYMMETRY_TOLERANCE = 0.01
"""A: atoms that are that near to symmetric places count as there, as relaxed ones are."""
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class CrystalConstants:
    """A stiffness in the conventional axes of a crystal.

    Attributes:
        space_group: International symbol and number.
        axes: (3, 3), rows: the conventional axes x, y, z in those of the structure.
        stiffness: (6, 6) GPa, order xx, yy, zz, yz, xz, xy with engineering shear strains.
    """

    space_group: str
    axes: np.ndarray
    stiffness: np.ndarray


def crystal_constants(atoms: Atoms, stiffness: np.ndarray) -> CrystalConstants | None:
    """The (6, 6) stiffness turned to the crystal's axes; None where symmetry gives none (triclinic crystals, glasses),
    and without spglib.

    Axes are those of spglib's standardised conventional cell: x along a, b in the plane of x and y. So cubic crystals
    have the edges of the cube along x, y, z; hexagonal, trigonal (in hexagonal setting) and tetragonal ones c along z;
    monoclinic ones the unique axis b along y.
    """
    if not has_symmetry_finder():
        return None
    import spglib

    # Strains and turns do not change the hand of a cell; spglib wants a right-handed one
    order = [0, 1, 2] if np.linalg.det(atoms.cell.array) > 0 else [1, 0, 2]
    lattice, fractions = atoms.cell.array[order], atoms.get_scaled_positions()[:, order]
    # Of errors that it is to raise in None's place; the filter stays, as in `relax`
    warnings.filterwarnings("ignore", message="Set OLD_ERROR_HANDLING", category=DeprecationWarning)
    try:
        found = spglib.get_symmetry_dataset((lattice, fractions, atoms.numbers), symprec=SYMMETRY_TOLERANCE)
    except Exception:
        return None
    if found is None or found.number <= 2:
        return None
    turn = np.array(found.std_rotation_matrix)
    return CrystalConstants(f"{found.international} ({found.number})", turn, turned(stiffness, turn))


def has_symmetry_finder() -> bool:
    """Whether spglib, an optional dependency, is there."""
    return find_spec("spglib") is not None


def turned(stiffness: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(6, 6) of the axes x' = turn @ x: C'_ijkl = t_ia t_jb t_kc t_ld C_abcd."""
    full = np.zeros((3, 3, 3, 3))
    for row, (i, j) in enumerate(_VOIGT):
        for column, (k, l) in enumerate(_VOIGT):
            full[i, j, k, l] = full[j, i, k, l] = full[i, j, l, k] = full[j, i, l, k] = stiffness[row, column]
    full = np.einsum("ia,jb,kc,ld,abcd->ijkl", turn, turn, turn, turn, full, optimize=True)
    return np.array([[full[i, j, k, l] for k, l in _VOIGT] for i, j in _VOIGT])
