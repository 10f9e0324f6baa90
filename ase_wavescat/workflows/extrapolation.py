"""What lies outside the training set of the model that a calculator has, for calculators of all kinds."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.capabilities import DomainCalculator


def outside_of(calculator: BaseCalculator, atoms: Atoms) -> dict[str, str]:
    """What lies outside the training domain, a sentence by kind; empty for calculators that know of none."""
    return calculator.get_domain_messages(atoms) if isinstance(calculator, DomainCalculator) else {}


def grades_of(calculator: BaseCalculator, atoms: Atoms) -> np.ndarray | None:
    """(N,) extrapolation grades of the atoms, None for calculators and models that know of none."""
    if not (isinstance(calculator, DomainCalculator) and calculator.has_grades):
        return None
    return calculator.get_extrapolation_grades(atoms)
