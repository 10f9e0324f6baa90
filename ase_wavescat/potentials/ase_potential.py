"""Any ASE calculator as a potential: a member of a committee, a term of a sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress

from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of


class ASEPotential:
    """What an ASE calculator says of a structure.

    Args:
        calculator: Asked for energy, forces and stress, one after the other: not for several threads at once.
        species: Atomic numbers that it knows; by default all.
    """

    reach: ClassVar[float] = 0.0
    neighbour_reach: ClassVar[float] = 0.0

    def __init__(self, calculator: BaseCalculator, species: Sequence[int] | None = None) -> None:
        self.calculator = calculator
        self.species = tuple(range(1, len(chemical_symbols)) if species is None else sorted(species))

    @cached_property
    def digest(self) -> str:
        """Of the calculator's class and parameters, as they are written."""
        kind = type(self.calculator)
        parameters = getattr(self.calculator, "parameters", None) or {}
        return digest_of(
            {"kind": f"{kind.__module__}.{kind.__qualname__}", "parameters": repr(sorted(parameters.items()))}
        )

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> CalculatorPrediction:
        atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
        return CalculatorPrediction(self.calculator, atoms, float(self.calculator.get_property("energy", atoms)))


@dataclass(frozen=True, eq=False)
class CalculatorPrediction:
    """Raises PropertyNotImplementedError for derivatives that the calculator does not give."""

    calculator: BaseCalculator
    atoms: Atoms
    energy: float

    @cached_property
    def gradient(self) -> np.ndarray:
        return -np.asarray(self.calculator.get_property("forces", self.atoms))

    @cached_property
    def strain_gradient(self) -> np.ndarray:
        stress = voigt_6_to_full_3x3_stress(self.calculator.get_property("stress", self.atoms))
        return self.atoms.get_volume() * stress
