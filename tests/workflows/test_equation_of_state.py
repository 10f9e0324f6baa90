"""Equations of state: known curves, known potentials, a small model, bad input."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.eos import birchmurnaghan
from ase.io import read, write
from ase.units import GPa
from click.testing import CliRunner

from ase_wavescat import Model, WaveScatCalculator, save_model
from ase_wavescat.cli import main
from ase_wavescat.system.errors import CalculatorError, DataError, StructureError, WaveScatWarning
from ase_wavescat.workflows import eos
from ase_wavescat.workflows.checks import on_grids_of
from ase_wavescat.workflows.equation_of_state import fit_birch_murnaghan, fit_parabola
from linear_models import changed, linear

Make = Callable[..., Atoms]


class ByVolume(Calculator):
    """An energy that depends on the volume alone."""

    implemented_properties = ["energy"]  # noqa: RUF012

    def __init__(self, energy: Callable[[float], float]) -> None:
        super().__init__()
        self.energy = energy

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": float(self.energy(self.atoms.get_volume()))}


def cube(energy: Callable[[float], float], side: float = 4.0) -> Atoms:
    atoms = Atoms("Cu2", [[0, 0, 0], [side / 2] * 3], cell=np.full(3, side), pbc=True)
    atoms.calc = ByVolume(energy)
    return atoms


def copper(side: float = 3.6) -> Atoms:
    atoms = bulk("Cu", a=side)
    atoms.calc = EMT()
    return atoms


def test_a_known_equation_is_found_again() -> None:
    result = eos(cube(lambda volume: birchmurnaghan(volume, -5.0, 80 * GPa, 4.2, 66.0)))
    curve = result.birch_murnaghan
    assert curve is not None and result.warnings == ()
    assert (curve.volume, curve.energy) == pytest.approx((66.0, -5.0), rel=1e-6)
    assert curve.bulk_modulus == pytest.approx(80, rel=1e-5) and curve.slope == pytest.approx(4.2, rel=1e-4)
    assert curve.residual < 1e-3
    np.testing.assert_allclose(curve.energy_at(result.volumes), result.energies, atol=1e-6)
    assert result.relative_uncertainties is None and result.bulk_modulus_uncertainty is None


def test_strains_are_linear_and_the_parabola_has_the_bulk_modulus_at_its_minimum() -> None:
    """E = a (e - e0)^2 in the strain of the side: V d2E/dV2 at e0 follows by hand."""
    bend, minimum, unstrained = 30.0, 0.013, 64.0

    def energy(volume: float) -> float:
        return bend * ((volume / unstrained) ** (1 / 3) - 1 - minimum) ** 2

    result = eos(cube(energy))
    np.testing.assert_allclose(result.volumes, unstrained * (1 + result.linear_strains) ** 3, rtol=1e-12)
    assert result.volumes[[0, -1]] == pytest.approx([64 * 0.91**3, 64 * 1.09**3])
    for frame, strain in zip(result.points, result.linear_strains, strict=True):
        assert frame.cell.lengths() == pytest.approx([4 * (1 + strain)] * 3)
    fit = result.parabola
    assert fit is not None and fit.strain == pytest.approx(minimum, abs=1e-9)
    volume = unstrained * (1 + minimum) ** 3
    step = 1e-3 * volume
    curvature = (energy(volume + step) - 2 * energy(volume) + energy(volume - step)) / step**2
    assert fit.volume == pytest.approx(volume) and fit.energy == pytest.approx(0, abs=1e-9)
    assert fit.bulk_modulus == pytest.approx(volume * curvature / GPa, rel=1e-5)


def test_the_parabola_takes_the_points_within_four_percent_of_the_lowest() -> None:
    strains = np.array([-0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06])
    energies = strains**2 + np.where(np.abs(strains) > 0.05, 7.0, 0.0)
    fit = fit_parabola(strains, energies, 10.0, 1)
    assert fit is not None and fit.points == 5 and fit.residual < 1e-9
    assert fit_parabola(np.array([-0.1, -0.05, 0, 0.05, 0.1]), np.array([2.0, 1, 0, 1, 2]), 10.0, 1) is None
    assert fit_parabola(strains, -(strains**2), 10.0, 1) is None
    noisy = fit_parabola(strains[1:6], strains[1:6] ** 2 + 1e-3 * np.array([1, -1, 0, -1, 1]), 10.0, 2)
    assert noisy is not None and 0.1 < noisy.residual < 1.0  # meV/atom of two atoms
    assert fit_birch_murnaghan(np.linspace(9, 11, 7), np.linspace(0, 1, 7), 1) is None


def test_copper_agrees_with_differences_of_the_stress() -> None:
    result = eos(copper(3.59), strains=np.linspace(-0.02, 0.02, 9))
    curve, parabola = result.birch_murnaghan, result.parabola
    assert curve is not None and parabola is not None
    side = (4 * curve.volume) ** (1 / 3)
    pressures = [-copper(side * (1 + strain)).get_stress()[:3].mean() for strain in (-1e-3, 0, 1e-3)]
    assert pressures[1] / GPa == pytest.approx(0, abs=0.01)
    modulus = (pressures[0] - pressures[2]) / ((1 + 1e-3) ** 3 - (1 - 1e-3) ** 3) / GPa
    assert curve.bulk_modulus == pytest.approx(modulus, rel=2e-3)
    assert parabola.bulk_modulus == pytest.approx(modulus, rel=0.02)
    assert parabola.volume == pytest.approx(curve.volume, rel=2e-3)  # the curve is steeper in compression


def test_the_structure_stays_and_fractional_positions_too() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=2)
    atoms.calc = EMT()
    before = atoms.copy()
    result = eos(atoms, strains=np.linspace(-0.03, 0.04, 8))
    assert atoms == before and isinstance(atoms.calc, EMT) and len(result.points) == 8
    for frame in result.points:
        np.testing.assert_allclose(frame.get_scaled_positions(), before.get_scaled_positions(), atol=1e-12)


def test_relaxed_ions_lie_below_and_have_no_forces() -> None:
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.rattle(0.05, seed=2)
    atoms.calc = EMT()
    strains = np.linspace(-0.03, 0.03, 5)
    clamped, relaxed = eos(atoms, strains=strains), eos(atoms, strains=strains, relax_ions=True, fmax=0.005)
    assert np.all(relaxed.energies < clamped.energies) and relaxed.relaxed_ions
    assert all(np.linalg.norm(frame.get_forces(), axis=1).max() <= 0.005 for frame in relaxed.points)
    perfect = [copper(3.6 * (1 + strain)).get_potential_energy() for strain in strains]
    np.testing.assert_allclose(relaxed.energies / 4, perfect, atol=1e-4)


def test_a_relaxation_that_does_not_end_leaves_its_point_out() -> None:
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.rattle(0.05, seed=2)
    atoms.calc = EMT()
    with pytest.raises(DataError, match=r"0 of 9 strains are left.*relaxation of ions: step limit"):
        eos(atoms, relax_ions=True, steps=1)
    with pytest.raises(DataError, match=r"fmax must be a positive number, got -1"):
        eos(atoms, relax_ions=True, fmax=-1)


def test_members_have_their_own_curves(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    atoms.calc = calculator = WaveScatCalculator(small_ensemble)
    strains = np.linspace(-0.04, 0.04, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)  # random weights may have no minimum
        result = eos(atoms, strains=strains)
    assert calculator.parameters["reference_cell"] is None and calculator.results == {}
    same = on_grids_of(calculator, 1.04 * atoms.cell.array)
    members = np.array([same.get_member_energies(frame) for frame in result.points])
    np.testing.assert_allclose(members.mean(axis=1), result.energies, rtol=1e-12)
    lowest = members[np.argmin(result.energies)]
    assert result.relative_uncertainties == pytest.approx(1.5 * np.std(members - lowest, axis=1, ddof=1))


def test_spreads_of_volume_and_modulus_are_those_of_the_members_fits(
    small_ensemble: Model, make_structure: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members whose curves are known parabolas, through the real calculator."""
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(small_ensemble)
    unstrained = atoms.get_volume()
    bends, minima = np.linspace(100, 140, 5), np.linspace(-0.004, 0.004, 5)

    def energies(atoms: Atoms) -> np.ndarray:
        return bends * ((atoms.get_volume() / unstrained) ** (1 / 3) - 1 - minima) ** 2

    def calculate(calculator: WaveScatCalculator, atoms: Atoms, *_: Any) -> None:
        calculator.atoms = atoms.copy()
        calculator.results = {"energy": float(energies(atoms).mean())}

    monkeypatch.setattr(WaveScatCalculator, "get_member_energies", lambda calculator, atoms: energies(atoms))
    monkeypatch.setattr(WaveScatCalculator, "calculate", calculate)
    result = eos(atoms, strains=np.linspace(-0.04, 0.04, 9))
    moduli = 2 * bends / (9 * unstrained * (1 + minima)) / GPa
    assert result.bulk_modulus_uncertainty == pytest.approx(1.5 * np.std(moduli, ddof=1), rel=1e-6)
    assert result.volume_uncertainty == pytest.approx(1.5 * np.std(unstrained * (1 + minima) ** 3, ddof=1), rel=1e-6)
    assert "±" in result.summary()


def test_all_points_have_the_grids_of_the_largest_cell(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    largest = 1.09 * atoms.cell.array
    given, foreign = WaveScatCalculator(small_ensemble), EMT()
    twin = on_grids_of(given, largest)
    assert np.array_equal(twin.parameters["reference_cell"], largest) and given.parameters["reference_cell"] is None
    given.set(reference_cell=atoms.cell)
    assert on_grids_of(given, largest) is given and on_grids_of(foreign, largest) is foreign


def test_no_energy_is_lost_in_the_largest_cell(small_ensemble: Model, make_structure: Make) -> None:
    """On the grids of the unstrained cell, wavelets would be cut off there."""
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(changed(small_ensemble, weights=1000 * linear(small_ensemble).weights))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)
        result = eos(atoms)
    own = [atoms.calc.get_potential_energy(point) for point in result.points]
    np.testing.assert_allclose(result.energies, own, atol=1e-5)


# ---------------------------------------------------------------- what goes wrong


def test_a_minimum_at_the_end_gives_no_modulus_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(WaveScatWarning, match=r"at the end of the strains \(\+9.00%\): no bulk modulus"):
        result = eos(cube(lambda volume: -volume))
    assert result.parabola is None and result.birch_murnaghan is None and len(result.warnings) == 1
    assert "no bulk modulus" in result.summary()
    result.write(tmp_path, "slope")
    assert json.loads((tmp_path / "slope.json").read_text())["parabola"] is None


@pytest.mark.parametrize(
    ("strains", "message"),
    [
        ([0.0, 0.0, 0.0], r"needs 5 strains or more, got \[0.0, 0.0, 0.0\]"),
        ([-0.02, 0.0, 0.0, 0.01, 0.02], "must ascend, each only once"),
        ([0.02, 0.01, 0.0, -0.01, -0.02], "must ascend, each only once"),
        ([0.01, 0.02, 0.03, 0.04, 0.05], "must have zero among or between them"),
        ([-1.0, -0.5, 0.0, 0.5, 1.0], "finite and above -1"),
        ([-0.1, -0.05, np.nan, 0.5, 1.0], "finite and above -1"),
    ],
)
def test_strains_that_make_no_curve_are_refused(strains: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        eos(copper(), strains=strains)


def test_points_that_explode_are_left_out_and_named() -> None:
    def energy(volume: float) -> float:
        return 0.01 * (volume - 64) ** 2 - (1e4 if volume < 55 else 0) + (np.nan if volume > 80 else 0)

    with pytest.warns(WaveScatWarning, match="left out"):
        result = eos(cube(energy), strains=np.linspace(-0.09, 0.09, 13))
    assert len(result.points) == 9 and len(result.warnings) == 4
    assert any("+9.00 %: the energy is nan eV" in text for text in result.warnings)
    assert any("-9.00 %: the energy changes by -4998." in text for text in result.warnings)
    assert result.parabola is not None


def test_a_range_that_explodes_altogether_is_an_error() -> None:
    atoms = cube(lambda volume: 0.0) * (3, 3, 3)
    atoms.calc = EMT()
    with pytest.raises(DataError, match=r"of 9 strains are left, 5 are needed: .*0.3 of the sum of two covalent radii"):
        eos(atoms, strains=[-0.82, -0.81, -0.8, -0.79, -0.78, 0.0, 0.01, 0.02, 0.03])


def test_molecules_and_missing_calculators_are_refused() -> None:
    atoms = copper()
    atoms.pbc = [True, True, False]
    with pytest.raises(StructureError, match=r"needs three directions that repeat, got pbc = \[True, True, False\]"):
        eos(atoms)
    with pytest.raises(CalculatorError, match="no calculator"):
        eos(bulk("Cu"))
    with pytest.raises(CalculatorError, match="gives no forces"):
        eos(cube(lambda volume: volume), relax_ions=True)


def test_the_command(small_ensemble: Model, make_structure: Make, tmp_path: Path) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    write(tmp_path / "glass.extxyz", make_structure())
    glass, model, folder = (str(tmp_path / name) for name in ("glass.extxyz", "small.h5", "out"))
    arguments = ["eos", glass, "--model", model, "-o", folder]
    ran = CliRunner().invoke(main, [*arguments, "--range", "0.03", "--points", "5"])
    assert ran.exit_code == 3 and "5 linear strains from -3.0 % to +3.0 %" in ran.output
    assert "1 of 1 not complete: glass (the lowest energy is at the end of the strains" in ran.output
    assert len(read(tmp_path / "out" / "glass.extxyz", ":")) == 5
    figures = json.loads((tmp_path / "out" / "glass.json").read_text())
    assert figures["linear_strains"] == pytest.approx([-0.03, -0.015, 0, 0.015, 0.03])
    assert "kept" in CliRunner().invoke(main, [*arguments, "--range", "0.03", "--points", "5"]).output


def test_points_know_nothing_of_another_state() -> None:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    atoms.info["energy_uncertainty"] = 1.0
    assert all("energy_uncertainty" not in point.info for point in eos(atoms).points)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((1, 3)))
    with pytest.raises(CalculatorError, match="stored results only"):
        eos(atoms)
