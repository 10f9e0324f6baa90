"""Spreads over the members of an ensemble, of any quantity that follows from energies.

Errors that members share cancel in differences: the spread of a barrier is that of the members' barriers, not the sum
of the spreads of two energies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.capabilities import MemberCalculator, members_of
from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.checks import calculator_of


def member_energies(calculator: BaseCalculator, structures: Sequence[Atoms]) -> np.ndarray | None:
    """(structures, M) eV of the members; None for calculators that have none."""
    ours = members_of(calculator)
    return None if ours is None else np.array([ours.get_member_energies(atoms) for atoms in structures])


def energies_of(structures: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray | None]:
    """(structures,) eV by each structure's own calculator, and (structures, M) eV where all have one model's members.

    Raises DataError without structures and for energies that are not finite, CalculatorError without calculators.
    """
    if not structures:
        raise DataError("there are no structures; give at least one")
    calculators = [calculator_of(atoms, stored=True) for atoms in structures]
    first = calculators[0]
    if members_of(first) is not None and all(_same_model(calculator, first) for calculator in calculators):
        members = member_energies(first, structures)
        if members is not None:
            return members.mean(axis=1), members
    asked = zip(calculators, structures, strict=True)
    energies = np.array([calculator.get_property("energy", atoms) for calculator, atoms in asked])
    if not np.all(np.isfinite(energies)):
        at = int(np.argmin(np.isfinite(energies)))
        raise DataError(f"the energy of structure {at} ({structures[at].get_chemical_formula()}) is {energies[at]} eV")
    return energies, None


def _same_model(calculator: BaseCalculator, other: BaseCalculator) -> bool:
    """Whether two calculators, perhaps each loaded for itself, are of one model."""
    digests = [(getattr(one, "parameters", None) or {}).get("model_digest") for one in (calculator, other)]
    return calculator is other or (digests[0] is not None and digests[0] == digests[1])


def spread(calculator: BaseCalculator, member_values: np.ndarray) -> np.ndarray:
    """Calibrated standard deviation over the last axis, (..., M) values of the members that `calculator` has."""
    assert isinstance(calculator, MemberCalculator)
    return calculator.energy_scale * np.std(member_values, axis=-1, ddof=1)


def member_stresses(calculator: BaseCalculator, structures: Sequence[Atoms]) -> np.ndarray | None:
    """(structures, M, 6) eV/A^3 of the members; None for calculators that have none."""
    ours = members_of(calculator)
    return None if ours is None else np.array([ours.get_member_stresses(atoms) for atoms in structures])
