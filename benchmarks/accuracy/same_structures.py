"""The same structure in two files: labelled by other settings, or labelled and in the pool that says what it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms

NEAR = 1e-4
"""A: positions and cell vectors of one structure, as files keep them."""


def partners(wanted: Sequence[Atoms], among: Iterable[Atoms]) -> list[Atoms | None]:
    """For each structure the first of `among` with the same atoms, in order, in the same cell and places."""
    by_atoms: dict[bytes, list[Atoms]] = {}
    for atoms in among:
        by_atoms.setdefault(atoms.numbers.tobytes(), []).append(atoms)
    found = []
    for atoms in wanted:
        alike = by_atoms.get(atoms.numbers.tobytes(), [])
        found.append(next((other for other in alike if _same(atoms, other)), None))
    return found


def _same(one: Atoms, other: Atoms) -> bool:
    return bool(
        np.abs(one.cell.array - other.cell.array).max() < NEAR and np.abs(one.positions - other.positions).max() < NEAR
    )
