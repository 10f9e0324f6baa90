"""What a calculator may offer beyond ASE's properties. Workflows, screening and active learning ask for these, and for
no class: a calculator of any package that has the methods is treated as one of ours."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator


@runtime_checkable
class MemberCalculator(Protocol):
    """Calculators of several members, whose disagreement says how far to trust their mean.

    Attributes:
        members: How many.
        energy_scale: What the standard deviation of energies, or of what follows from them, is times to be an expected
            error.
    """

    members: int
    energy_scale: float

    def get_member_energies(self, atoms: Atoms | None = None) -> np.ndarray:
        """(M,) eV, whole cell."""

    def get_member_stresses(self, atoms: Atoms | None = None) -> np.ndarray:
        """(M, 6) eV/A^3 in ASE's order."""

    def get_energy_uncertainty(self, atoms: Atoms | None = None) -> float:
        """Expected error, eV, whole cell."""

    def get_forces_uncertainty(self, atoms: Atoms | None = None) -> np.ndarray:
        """(N, 3) expected errors, eV/A."""

    def annotate(self, atoms: Atoms) -> None:
        """Write the uncertainties into atoms.info and atoms.arrays."""


@runtime_checkable
class DomainCalculator(Protocol):
    """Calculators that know what their model has seen.

    Attributes:
        has_grades: Whether single atoms are judged.
    """

    has_grades: bool

    def get_domain_messages(self, atoms: Atoms | None = None) -> dict[str, str]:
        """What lies outside, a sentence by kind; empty inside."""

    def get_extrapolation_grades(self, atoms: Atoms | None = None) -> np.ndarray:
        """(N,); beyond 1, an environment unlike any seen."""


@runtime_checkable
class TwinCalculator(Protocol):
    """Calculators that can be had twice at next to no cost."""

    def twin(self, **parameters: Any) -> BaseCalculator:
        """Another of the same model, with these parameters changed and results of its own."""


def members_of(calculator: object) -> MemberCalculator | None:
    """The calculator itself where there is a spread, else None."""
    return calculator if isinstance(calculator, MemberCalculator) and calculator.members > 1 else None
