"""Repeated cells: exact copies change nothing, disturbed ones cost what harmonic theory says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.workflows import tiling


@pytest.fixture
def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    return atoms


def test_exact_copies_change_nothing(copper: Atoms) -> None:
    positions, calculator = copper.positions.copy(), copper.calc
    result = tiling(copper)
    assert result.atoms.tolist() == [4, 8, 32]
    assert np.abs(result.energy_change).max() < 1e-9
    assert result.force_change.max() < 1e-12
    assert result.stress_change is not None and result.stress_change.max() < 2e-11
    assert result.cost_spread is None and result.cost_error is None
    assert np.array_equal(copper.positions, positions) and copper.calc is calculator
    assert result.energies == pytest.approx(copper.get_potential_energy() / 4)
    assert "2x2x2     32 atoms" in result.summary()


def test_a_calculator_that_is_not_extensive_is_found_out(copper: Atoms) -> None:
    class Wrong(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: tuple[str, ...] = ("energy",),
            system_changes: list[str] = all_changes,
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            assert atoms is not None
            self.results = {"energy": 1e-3 * len(atoms) ** 2, "forces": np.full((len(atoms), 3), 0.01 * len(atoms))}

    copper.calc = Wrong()
    result = tiling(copper, repeats=[(1, 1, 1), (2, 1, 1)], amplitude=0.0)
    assert result.energy_change == pytest.approx([0, 4])
    assert result.force_change == pytest.approx([0, 0.04])
    assert result.stress_change is None


def test_the_cost_is_that_of_a_harmonic_crystal_and_independent_of_the_zero() -> None:
    """Springs k to each atom's place: moving every coordinate by sigma costs 3 k sigma^2 / 2 an atom."""

    class Springs(Calculator):
        implemented_properties = ("energy", "forces")

        def __init__(self, stiffness: float, zero: float) -> None:
            super().__init__()
            self.stiffness, self.zero = stiffness, zero

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: tuple[str, ...] = ("energy",),
            system_changes: list[str] = all_changes,
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            assert atoms is not None
            moved = atoms.positions - 3.0 * np.round(atoms.positions / 3.0)
            energy = self.zero * len(atoms) + 0.5 * self.stiffness * (moved**2).sum()
            self.results = {"energy": energy, "forces": -self.stiffness * moved}

    atoms = Atoms("Li", cell=[3, 3, 3], pbc=True)
    atoms.calc = Springs(2.0, -1.9)
    result = tiling(atoms, repeats=[(8, 8, 8)], amplitude=0.1, reference=Springs(1.0, -5.0))
    assert result.cost == pytest.approx([0.03], rel=0.1)
    assert result.cost_error == pytest.approx([500 * result.cost[0]])
    moved = result.perturbed[0].positions - result.exact[0].positions
    assert moved.std() == pytest.approx(0.1, rel=0.05)
    again = tiling(atoms, repeats=[(8, 8, 8)], amplitude=0.1)
    assert again.cost == pytest.approx(result.cost, abs=0)
    assert tiling(atoms, repeats=[(8, 8, 8)], seed=1).cost != result.cost
    assert tiling(atoms, repeats=[(2, 1, 1)], amplitude=0.0).cost == pytest.approx([0.0])


def test_a_model_with_members(small_ensemble: Model, make_structure: Callable[..., Atoms], tmp_path: Path) -> None:
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(small_ensemble)
    result = tiling(atoms, repeats=[(1, 1, 1), (2, 1, 1)], reference=WaveScatCalculator(small_ensemble))
    assert np.abs(result.energy_change).max() < 1e-6 and result.force_change.max() < 1e-8
    assert result.stress_change is not None and result.stress_change.max() < 1e-9
    assert result.cost_error == pytest.approx([0.0, 0.0], abs=1e-9)
    members = [atoms.calc.get_member_energies(state) for state in (result.exact[1], result.perturbed[1])]
    scale = small_ensemble.calibration.energy_scale
    assert result.cost_spread is not None
    assert result.cost_spread[1] == pytest.approx(scale * np.std(members[1] - members[0], ddof=1) / 12)
    path = result.write(tmp_path, "tiles")
    assert path.with_suffix(".png").stat().st_size > 5000 and '"cost_spread"' in path.read_text()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"repeats": []}, "no repeats"),
        ({"repeats": [(2, 2)]}, r"three positive whole numbers.*\(2, 2\)"),
        ({"repeats": [(2, 0, 1)]}, r"three positive whole numbers.*\(2, 0, 1\)"),
        ({"amplitude": -0.1}, "not negative, got -0.1"),
    ],
)
def test_bad_input_is_named(copper: Atoms, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tiling(copper, **change)  # type: ignore[arg-type]


def test_open_directions_and_missing_calculators_are_named(copper: Atoms) -> None:
    water = molecule("H2O")
    water.calc = EMT()
    with pytest.raises(DataError, match="repeats a direction that does not repeat"):
        tiling(water)
    assert tiling(water, repeats=[(1, 1, 1)]).stress_change is None
    copper.calc = None
    with pytest.raises(CalculatorError, match="has no calculator"):
        tiling(copper)


def test_constraints_and_fixed_grids(small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=0)
    copper.set_constraint(FixAtoms([0]))
    copper.calc = EMT()
    assert tiling(copper, repeats=((2, 1, 1),)).force_change[0] < 1e-10
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(small_ensemble, reference_cell=atoms.cell.array)
    with pytest.raises(CalculatorError, match="reference_cell fixes the grids of one cell"):
        tiling(atoms)
    atoms.calc = WaveScatCalculator(small_ensemble)
    for wrong in ({"seed": -1}, {"repeats": (2, 2, 2)}, {"repeats": ((1, 1, np.nan),)}):
        with pytest.raises(DataError):
            tiling(atoms, **wrong)


class PerCell(Calculator):
    """One eV whatever the number of atoms."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0, "forces": np.zeros((len(self.atoms), 3))}


def test_changes_are_relative_to_the_cell_as_given() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = PerCell()
    assert tiling(atoms, repeats=((2, 1, 1),)).energy_change == pytest.approx([1e3 * (1 / 8 - 1 / 4)])
