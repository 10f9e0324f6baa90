"""What of a cell may relax: the choices, the filter of each, and the stress that is left."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.filters import FrechetCellFilter
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa

from ase_wavescat.system.errors import DataError, StructureError

CellChoice = bool | Literal["volume", "shape", "in-plane"]
"""False: nothing; True: all of it; "volume": the shape stays; "shape": the volume stays; "in-plane": of a slab the two
vectors that repeat, within their plane, while the open direction stays."""
CELL_NAMES: dict[CellChoice, str] = {
    False: "fixed", "volume": "volume", "shape": "shape", "in-plane": "in-plane", True: "free",
}  # fmt: skip


def check_cell(cell: CellChoice, pressure: float) -> None:
    """Raise DataError for a choice that there is not, and for a pressure where it could not act."""
    if cell not in CELL_NAMES:
        names = ", ".join(repr(name) for name in CELL_NAMES)
        raise DataError(f"cell must be one of {names}, got {cell!r}")
    if not np.isfinite(pressure):
        raise DataError(f"the pressure must be a finite number of GPa, got {pressure}")
    if pressure and cell not in (True, "volume"):
        raise DataError(
            f"a pressure of {pressure} GPa acts where the volume may change, and the cell is {CELL_NAMES[cell]}; choose"
            ' the cell True (--cell free) or "volume"'
        )


def check_directions(atoms: Atoms, cell: CellChoice) -> None:
    """Raise StructureError for a structure that repeats in too few directions for the choice, or in too many."""
    pbc = atoms.pbc.tolist()
    if cell == "in-plane":
        if sum(pbc) != 2:
            raise StructureError(f"in-plane is for slabs, which repeat in two directions, got pbc = {pbc}")
        if not _height(atoms) > 0:
            raise StructureError(
                "the stress of a slab needs a cell with a volume, got none along the open direction; add vacuum:"
                " atoms.center(vacuum=5, axis=...)"
            )
    elif cell and not all(pbc):
        choice = 'in-plane (cell="in-plane")' if sum(pbc) == 2 else "fixed"
        raise StructureError(
            f"a cell that is {CELL_NAMES[cell]} can relax where all directions repeat, got pbc = {pbc}; choose the cell"
            f" {choice}"
        )


def cell_filter(atoms: Atoms, cell: CellChoice, pressure: float) -> Any:
    """What an optimiser moves: the atoms, or ASE's FrechetCellFilter of atoms and cell.  pressure: GPa."""
    if not cell:
        return atoms
    kind = _InPlaneFilter if cell == "in-plane" else FrechetCellFilter
    # ASE's default, the number of atoms, leaves the cell far softer than the atoms: its curvature is that of a
    # bulk modulus times the volume, so with the square root both are alike for any size.
    return kind(
        atoms,
        hydrostatic_strain=cell == "volume",
        constant_volume=cell == "shape",
        scalar_pressure=pressure * GPa,
        exp_cell_factor=float(np.sqrt(len(atoms))),
    )


class _InPlaneFilter(FrechetCellFilter):
    """The cell of a slab, of which only the plane is strained; the open vector must be perpendicular to it."""

    def get_forces(self, **kwargs: Any) -> np.ndarray:
        """As of the parent: of the atoms, then of the logarithm of the deformation, which begins at zero and so
        never leaves the plane."""
        forces = super().get_forces(**kwargs)
        plane = _plane(self.atoms)
        forces[-3:] = plane @ forces[-3:] @ plane
        return forces


def stress_left(atoms: Atoms, cell: CellChoice, pressure: float) -> float:
    """GPa: the largest component of what the choice lets relax, of the stress above that of the external pressure.

    free: any component; volume: the mean of the diagonal; shape: any component of the stress less that mean; in-plane:
    any component in the plane, taken over the thickness of the slab in place of the cell's height, so that it does not
    depend on the vacuum. That thickness is from the outermost atoms, a covalent radius beyond their nuclei.
    """
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress()) / GPa + pressure * np.eye(3)
    mean = np.trace(stress) / 3
    if cell == "volume":
        return float(abs(mean))
    if cell == "shape":
        stress = stress - mean * np.eye(3)
    if cell == "in-plane":
        plane = _plane(atoms)
        stress = plane @ stress @ plane * _height(atoms) / _thickness(atoms)
    return float(np.abs(stress).max())


def open_direction(atoms: Atoms) -> int:
    """Index of a slab's cell vector that does not repeat."""
    return int(np.flatnonzero(~atoms.pbc)[0])


def straightened(atoms: Atoms) -> np.ndarray:
    """A slab's cell with its open vector made perpendicular to the plane, which changes neither height nor volume."""
    cell = atoms.cell.array.copy()
    cell[open_direction(atoms)] = _normal(atoms) * (_normal(atoms) @ cell[open_direction(atoms)])
    return cell


def _normal(atoms: Atoms) -> np.ndarray:
    """Unit vector across a slab."""
    normal = np.cross(*np.delete(atoms.cell.array, open_direction(atoms), axis=0))
    length = np.linalg.norm(normal)
    return normal / length if length else normal


def _plane(atoms: Atoms) -> np.ndarray:
    """(3, 3) projector on a slab's plane."""
    return np.eye(3) - np.outer(_normal(atoms), _normal(atoms))


def _height(atoms: Atoms) -> float:
    """A, of the cell across a slab."""
    return float(abs(_normal(atoms) @ atoms.cell.array[open_direction(atoms)]))


def _thickness(atoms: Atoms) -> float:
    """A, of a slab itself."""
    places, radii = atoms.positions @ _normal(atoms), covalent_radii[atoms.numbers]
    return float((places + radii).max() - (places - radii).min())
