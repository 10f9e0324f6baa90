"""Spreads over the members of an ensemble, of any quantity that follows from energies.

Errors that members share cancel in differences: the spread of a barrier is that of the members' barriers, not the sum
of the spreads of two energies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.checks import calculator_of


def has_members(calculator: BaseCalculator) -> TypeGuard[WaveScatCalculator]:
    """Whether it is a WaveScatCalculator whose model has a spread."""
    return isinstance(calculator, WaveScatCalculator) and calculator.ensemble.members > 1


def member_energies(calculator: BaseCalculator, structures: Sequence[Atoms]) -> np.ndarray | None:
    """(structures, M) eV of the members of a WaveScatCalculator; None for other calculators, and for one member."""
    if not has_members(calculator):
        return None
    return np.array([calculator.get_member_energies(atoms) for atoms in structures])


def energies_of(structures: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray | None]:
    """(structures,) eV by each structure's own calculator, and (structures, M) eV where all have one model's members.

    Raises:
        DataError: Without structures and for energies that are not finite.
        CalculatorError: Without calculators.
    """
    if not structures:
        raise DataError("there are no structures; give at least one")
    calculators = [calculator_of(atoms, stored=True) for atoms in structures]
    first = calculators[0]
    if isinstance(first, WaveScatCalculator) and all(_same_model(calculator, first) for calculator in calculators):
        members = member_energies(first, structures)
        if members is not None:
            return members.mean(axis=1), members
    asked = zip(calculators, structures, strict=True)
    energies = np.array([calculator.get_property("energy", atoms) for calculator, atoms in asked])
    if not np.all(np.isfinite(energies)):
        at = int(np.argmin(np.isfinite(energies)))
        raise DataError(f"the energy of structure {at} ({structures[at].get_chemical_formula()}) is {energies[at]} eV")
    return energies, None


def _same_model(calculator: BaseCalculator, other: WaveScatCalculator) -> bool:
    """Whether two calculators, perhaps each loaded for itself, are of one model."""
    return isinstance(calculator, WaveScatCalculator) and calculator.ensemble.digest == other.ensemble.digest


def spread(calculator: BaseCalculator, member_values: np.ndarray) -> np.ndarray:
    """Calibrated standard deviation over the last axis, (..., M) values of the members that `calculator` has."""
    assert isinstance(calculator, WaveScatCalculator)
    return calculator.ensemble.calibration.energy_scale * np.std(member_values, axis=-1, ddof=1)


def member_stresses(calculator: BaseCalculator, structures: Sequence[Atoms]) -> np.ndarray | None:
    """(structures, M, 6) eV/A^3 of the members of a WaveScatCalculator; None for others, and for one member."""
    if not has_members(calculator):
        return None
    return np.array([calculator.get_member_stresses(atoms) for atoms in structures])
