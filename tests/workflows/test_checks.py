"""What workflows ask before any work is done."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.workflows.checks import calculator_of, evaluated, with_energy


class EnergyAndForces(Calculator):
    """Neither stress nor free energy."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        self.results = {"energy": -1.0, "forces": np.zeros((len(atoms), 3))}


def test_the_calculator_is_handed_on() -> None:
    copper = bulk("Cu")
    copper.calc = EMT()
    assert calculator_of(copper, "forces", "stress") is copper.calc


def test_what_is_missing_is_named() -> None:
    copper = bulk("Cu")
    with pytest.raises(CalculatorError, match=r"Cu has no calculator; set atoms\.calc"):
        calculator_of(copper)
    copper.calc = EnergyAndForces()
    assert calculator_of(copper, "forces") is copper.calc
    with pytest.raises(CalculatorError, match=r"EnergyAndForces gives no stress.*it gives energy, forces"):
        calculator_of(copper, "forces", "stress")
    copper.calc = SinglePointCalculator(copper, energy=-3.5)
    assert calculator_of(copper, stored=True) is copper.calc
    with pytest.raises(CalculatorError, match=r"gives no forces.*it gives energy"):
        calculator_of(copper, "forces", stored=True)
    with pytest.raises(CalculatorError, match=r"Cu has stored results only \(energy\), and here it changes"):
        calculator_of(copper)


@pytest.mark.parametrize(
    "atoms, message",
    [
        (Atoms(), "has no atoms"),
        (Atoms("Li", [[np.nan, 0, 0]]), "not finite"),
        (Atoms("Li", pbc=True), "not\n? independent"),
    ],
)
def test_structures_that_no_code_could_evaluate(atoms: Atoms, message: str) -> None:
    atoms.calc = EMT()
    with pytest.raises(DataError, match=message):
        calculator_of(atoms)


@pytest.mark.parametrize("calculator", [EMT(), EnergyAndForces()])
def test_evaluated_copies_keep_what_is_known(calculator: Calculator) -> None:
    copper = bulk("Cu")
    copper.calc = calculator
    energy, forces = copper.get_potential_energy(), copper.get_forces()
    copy = evaluated(copper)
    copper.positions += 1.0
    assert copy.calc is not calculator and copy.get_potential_energy() == energy
    assert np.array_equal(copy.get_forces(), forces)


def test_evaluated_computes_what_is_not_known() -> None:
    water = molecule("H2O")
    water.calc = EMT()
    known = evaluated(water)
    assert known.get_potential_energy() == water.get_potential_energy() and "stress" not in known.calc.results
    water.calc = None
    assert evaluated(water).calc is None


def test_with_energy_is_a_copy() -> None:
    copper = bulk("Cu")
    copper.calc = EMT()
    copy = with_energy(copper, -3.0)
    assert copy is not copper and copy.get_potential_energy() == -3.0 and not copper.calc.results


def test_calculators_that_do_not_remember_are_asked_again() -> None:
    class Forgetful(EMT):
        def get_property(self, name, atoms=None, allow_calculation=True):
            return super().get_property(name, atoms) if allow_calculation else None

    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=0)
    copper.calc = Forgetful()
    known = evaluated(copper)
    assert known.get_potential_energy() == copper.get_potential_energy()
    np.testing.assert_array_equal(known.get_forces(), copper.get_forces())
