"""When a structure has left the range in which any potential means something."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

FUSED = 0.3
"""Of the sum of two covalent radii: atoms in solids and molecules never come that close."""
ENERGY_FALL = 20.0
"""eV/atom below the first calm state: more than twice the largest cohesive energy of an element."""
CALM = 10.0
"""eV/A: largest force of a calm state; from one with violent contacts the energy may fall by any amount."""
VOLUME_RATIO = 3.0


def fused_pairs(atoms: Atoms) -> int:
    """Pairs of atoms, images counted, closer than `FUSED` of the sum of their covalent radii."""
    return len(neighbor_list("d", atoms, FUSED * covalent_radii[atoms.numbers])) // 2


class RunawayWatch:
    """Compares states of one structure with the first of them."""

    def __init__(self, atoms: Atoms) -> None:
        self._fused = fused_pairs(atoms)
        self._calm: float | None = None
        self._volume = _volume(atoms)

    def reason(self, atoms: Atoms, energy: float, forces: np.ndarray) -> str | None:
        """What has gone wrong with this state (energy in eV, forces in eV/A), in words; None: nothing."""
        if not np.all(np.isfinite(atoms.positions)) or not np.all(np.isfinite(atoms.cell.array)):
            return "positions or cell are not finite"
        if not (np.isfinite(energy) and np.all(np.isfinite(forces))):
            return "energy or forces are not finite"
        if self._volume > 0 and not 1 / VOLUME_RATIO < _volume(atoms) / self._volume < VOLUME_RATIO:
            return f"the cell has {_volume(atoms) / self._volume:.2g} times the volume it began with"
        if fused_pairs(atoms) > self._fused:
            return f"atoms have fused: a distance is below {FUSED} of the sum of two covalent radii"
        if self._calm is None and np.linalg.norm(forces, axis=1).max() < CALM:
            self._calm = energy
        if self._calm is not None and self._calm - energy > ENERGY_FALL * len(atoms):
            return f"the energy fell by {(self._calm - energy) / len(atoms):.1f} eV/atom"
        return None


def _volume(atoms: Atoms) -> float:
    """A^3; zero for structures without a cell along open directions."""
    return float(abs(np.linalg.det(atoms.cell.array)))
