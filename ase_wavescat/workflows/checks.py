"""What a workflow asks of a structure and its calculator, before any work is done."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.constraints import MirrorForce, MirrorTorque

from ase_wavescat.capabilities import TwinCalculator
from ase_wavescat.io.structures import check_structure, without_results
from ase_wavescat.system.errors import CalculatorError, DataError


def calculator_of(atoms: Atoms, *needed: str, stored: bool = False) -> BaseCalculator:
    """A calculator for the structure, which must give energies and what else is `needed` ("forces", "stress"): its own,
    or its twin where it can have one, so that the parameters and results of the one that was given stay as they are.

    Args:
        stored: Whether results read from a file will do, which are those of the structure as it is.

    Raises:
        DataError: For a structure that no code could evaluate and for constraints with energies or forces of their own.
        CalculatorError: Without a calculator that can.
    """
    check_structure(atoms, atoms.get_chemical_formula() or "the structure")
    check_constraints(atoms)
    if atoms.calc is None:
        raise CalculatorError(
            f"{atoms.get_chemical_formula()} has no calculator; set atoms.calc, for example to"
            ' WaveScatCalculator("lisi.h5")'
        )
    offered = _offered(atoms.calc)
    if not stored and not atoms.calc.implemented_properties:
        raise CalculatorError(
            f"{atoms.get_chemical_formula()} has stored results only ({', '.join(offered) or 'none'}), and here it"
            ' changes; set atoms.calc, for example to WaveScatCalculator("lisi.h5")'
        )
    missing = [name for name in ("energy", *needed) if name not in offered]
    if missing:
        raise CalculatorError(
            f"{type(atoms.calc).__name__} gives no {' and no '.join(missing)}, which this workflow needs; it gives"
            f" {', '.join(offered) or 'nothing'}"
        )
    return private(atoms.calc)


def private(calculator: BaseCalculator) -> BaseCalculator:
    """The twin of a calculator; those that have none are not known to share anything, and are themselves."""
    return calculator.twin() if isinstance(calculator, TwinCalculator) else calculator


def fresh(calculator: BaseCalculator) -> BaseCalculator:
    """One that has not seen a structure, so that no result depends, in its last digits, on those before: neighbour
    lists are kept, say."""
    return calculator.twin() if isinstance(calculator, TwinCalculator) else copy.deepcopy(calculator)


def on_grids_of(calculator: BaseCalculator, largest: np.ndarray) -> BaseCalculator:
    """A calculator whose energies along strains of a cell are comparable to the last digit: of one that has the
    parameter reference_cell the twin that keeps the grids of the `largest` of the strained cells, unless it is set."""
    parameters = getattr(calculator, "parameters", None) or {}
    if isinstance(calculator, TwinCalculator) and parameters.get("reference_cell", largest) is None:
        return calculator.twin(reference_cell=largest)
    return calculator


def check_constraints(atoms: Atoms) -> None:
    """Raise DataError for constraints that do more than hold atoms: springs and external forces, whose energy ASE adds
    to that of the structure, and mirrored forces, which lead to no minimum. Moduli, hulls and barriers would be theirs.
    """
    found = sorted(
        {
            type(one).__name__
            for one in atoms.constraints
            if hasattr(one, "adjust_potential_energy") or isinstance(one, (MirrorForce, MirrorTorque))
        }
    )
    if found:
        raise DataError(
            f"{' and '.join(found)} on {atoms.get_chemical_formula()} adds to energies or forces what is not the"
            " structure's own, and every result here follows from these; remove it: atoms.set_constraint()"
        )


def _offered(calculator: BaseCalculator) -> list[str]:
    """What the calculator gives; those that only store results implement nothing."""
    return list(calculator.implemented_properties or getattr(calculator, "results", {}))


def evaluated(atoms: Atoms) -> Atoms:
    """A copy with the results its calculator has for it, and a record of the calculator; it computes energy and forces
    where it has none."""
    copy = atoms.copy()
    if atoms.calc is not None:
        offered = _offered(atoms.calc)
        names = [name for name in ("energy", "free_energy", "forces", "stress") if name in offered]
        found = {name: atoms.calc.get_property(name, atoms, allow_calculation=False) for name in names}
        # Some calculators do not remember, and another thread may have asked for another structure meanwhile
        if found.get("energy") is None:
            found |= {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces") if name in names}
        store_results(copy, atoms.calc, **{name: value for name, value in found.items() if value is not None})
    return copy


def with_calculator(atoms: Atoms, calculator: BaseCalculator) -> Atoms:
    """A copy to be evaluated anew, without what is known of the structure as it was."""
    copy = without_results(atoms)
    copy.calc = calculator
    return copy


def with_energy(atoms: Atoms, energy: float) -> Atoms:
    """A copy that knows its energy (eV), and of the calculator that gave it no more than what it was."""
    copy = atoms.copy()
    store_results(copy, atoms.calc, energy=float(energy))
    return copy


def store_results(atoms: Atoms, calculator: BaseCalculator | None, **results: float | np.ndarray) -> None:
    """Give the structure these results, with the record of the calculator that they come from."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = SinglePointCalculator(atoms, **results)
    if calculator is not None:
        record = record_of(calculator)
        atoms.calc.name = record.pop("name")
        atoms.calc.parameters.update(record)


_RECORDED = ("model", "model_version", "model_digest", "ase_wavescat")


def record_of(calculator: BaseCalculator) -> dict[str, Any]:
    """What a result says of its calculator: the name, and of a model its own, its digest and versions."""
    parameters = getattr(calculator, "parameters", None) or {}
    name = getattr(calculator, "name", None) or type(calculator).__name__.lower()
    return {"name": str(name), **{key: parameters[key] for key in _RECORDED if key in parameters}}
