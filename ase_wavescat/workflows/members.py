"""Spreads over the members of an ensemble, of any quantity that follows from energies.

Errors that members share cancel in differences: the spread of a barrier is that of the members' barriers, not the sum
of the spreads of two energies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.calculator import WaveScatCalculator


def member_energies(calculator: BaseCalculator, structures: Sequence[Atoms]) -> np.ndarray | None:
    """(structures, M) eV of the members of a WaveScatCalculator; None for other calculators, and for one member."""
    if not isinstance(calculator, WaveScatCalculator) or calculator.ensemble.members < 2:
        return None
    return np.array([calculator.get_member_energies(atoms) for atoms in structures])


def spread(calculator: BaseCalculator, member_values: np.ndarray) -> np.ndarray:
    """Calibrated standard deviation over the last axis, (..., M) values of the members that `calculator` has."""
    assert isinstance(calculator, WaveScatCalculator)
    return calculator.ensemble.calibration.energy_scale * np.std(member_values, axis=-1, ddof=1)
