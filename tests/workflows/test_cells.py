"""What of a cell relaxes: under pressure, at constant volume or shape, and the plane of slabs of any orientation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.units import GPa
from click.testing import CliRunner

from ase_wavescat import Model, WaveScatCalculator, save_model
from ase_wavescat.cli import main
from ase_wavescat.cli.options import CELLS
from ase_wavescat.system.errors import DataError, StructureError
from ase_wavescat.workflows import eos, relax
from ase_wavescat.workflows.cells import CELL_NAMES, cell_filter, stress_left

Make = Callable[..., Atoms]


def test_commands_and_functions_have_the_same_choices() -> None:
    assert {name: choice for choice, name in CELL_NAMES.items()} == CELLS


# ---------------------------------------------------------------- pressure


def triclinic_alloy() -> Atoms:
    atoms = bulk("Cu", a=3.7) * (2, 1, 2)
    atoms.numbers[1] = 79
    atoms.set_cell(atoms.cell.array @ [[1.02, 0.03, 0], [0, 0.99, 0.02], [0.01, 0, 1.03]], scale_atoms=True)
    atoms.rattle(0.05, seed=2)
    atoms.calc = EMT()
    return atoms


@pytest.mark.parametrize("pressure", [5.0, -2.0])
def test_a_free_cell_ends_at_the_stress_that_balances_the_pressure(pressure: float) -> None:
    result = relax(triclinic_alloy(), cell=True, pressure=pressure, fmax=1e-3, smax=0.01)
    assert result.converged and result.pressure == pressure
    stress = result.structure.get_stress() / GPa
    np.testing.assert_allclose(stress, [-pressure] * 3 + [0] * 3, atol=0.01)
    assert result.largest_stresses is not None and result.enthalpies is not None
    assert result.largest_stresses[-1] == pytest.approx(np.abs(stress + pressure * np.array([1, 1, 1, 0, 0, 0])).max())
    np.testing.assert_allclose(result.enthalpies, result.energies + pressure * GPa * result.volumes)
    assert result.enthalpies[-1] < result.enthalpies[0]
    free = relax(triclinic_alloy(), cell=True, fmax=1e-3, smax=0.01)
    assert free.enthalpies is None and (result.volumes[-1] - free.volumes[-1]) * pressure < 0
    assert result.energies[-1] > free.energies[-1]


def test_the_volume_under_pressure_is_that_of_the_equation_of_state() -> None:
    atoms = bulk("Cu", a=3.6)
    atoms.calc = EMT()
    volume = relax(atoms, cell="volume", pressure=5.0, smax=1e-4).volumes[-1]
    curve = eos(atoms, strains=np.linspace(-0.03, 0.03, 13)).birch_murnaghan
    assert curve is not None
    step = 1e-3 * volume
    low, high = curve.energy_at(np.array([volume - step, volume + step]))
    assert -(high - low) / (2 * step) / GPa == pytest.approx(5.0, abs=0.1)


def test_summary_and_picture_show_the_enthalpy(tmp_path: Path) -> None:
    result = relax(triclinic_alloy(), cell="volume", pressure=5.0)
    assert "at 5 GPa" in result.summary() and "enthalpy change -" in result.summary()
    assert "GPa beside the pressure" in result.summary()
    assert result.plot().axes[0].get_ylabel() == "enthalpy at 5 GPa above the last step (meV/atom)"
    result.write(tmp_path, "pressed")
    figures = json.loads((tmp_path / "pressed.json").read_text())
    assert figures["pressure"] == 5.0 and len(figures["enthalpies"]) == len(figures["energies"])


@pytest.mark.parametrize("cell", [False, "shape", "in-plane"])
def test_a_pressure_needs_a_volume_that_may_change(cell: Any) -> None:
    with pytest.raises(DataError, match=r"a pressure of 5.0 GPa acts where the volume may change"):
        relax(slab(), cell=cell, pressure=5.0)
    with pytest.raises(DataError, match="finite number of GPa, got nan"):
        relax(slab(), cell=cell, pressure=np.nan)


# ---------------------------------------------------------------- shape


def test_the_shape_relaxes_at_constant_volume() -> None:
    atoms = triclinic_alloy()
    result = relax(atoms, cell="shape", fmax=1e-3, smax=0.01)
    assert result.converged and result.cell == "shape"
    np.testing.assert_allclose(result.volumes, atoms.get_volume(), rtol=1e-6)
    stress = result.structure.get_stress() / GPa
    assert np.ptp(stress[:3]) < 0.02 and np.abs(stress[3:]).max() < 0.01 and abs(stress[0]) > 0.5
    assert relax(atoms, cell=True, fmax=1e-3, smax=0.01).energies[-1] < result.energies[-1] < result.energies[0]


# ---------------------------------------------------------------- slabs


def slab(*, order: tuple[int, int, int] = (0, 1, 2), skewed: bool = False, turned: bool = False) -> Atoms:
    """Three layers of copper, strained in their plane, the open direction anywhere."""
    atoms = fcc111("Cu", (1, 2, 3), a=3.6, vacuum=6.0)
    atoms.set_cell(atoms.cell.array @ [[1.03, 0.02, 0], [0.02, 0.98, 0], [0, 0, 1]], scale_atoms=True)
    atoms.rattle(0.03, seed=1)
    if skewed:
        atoms.cell[2] += [1.3, -0.7, 0]
    atoms.set_cell(atoms.cell.array[list(order)])
    atoms.pbc = np.array([True, True, False])[list(order)]
    if turned:
        atoms.rotate(47, (1, 2, 3), rotate_cell=True)
    atoms.calc = EMT()
    return atoms


def relaxed_slab(**kind: Any) -> Any:
    return relax(slab(**kind), cell="in-plane", fmax=1e-3, smax=0.01)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_the_plane_of_a_slab_relaxes_and_its_open_vector_stays(
    order: tuple[int, int, int], skewed: bool, turned: bool
) -> None:
    atoms = slab(order=order, skewed=skewed, turned=turned)
    result, usual = relaxed_slab(order=order, skewed=skewed, turned=turned), relaxed_slab()
    open_at = int(np.flatnonzero(~atoms.pbc)[0])
    assert result.converged and result.cell == "in-plane"
    for frame in result.path:
        np.testing.assert_array_equal(frame.cell.array[open_at], atoms.cell.array[open_at])
    assert result.energies[-1] == pytest.approx(usual.energies[-1], abs=1e-5)
    assert result.energies[-1] < result.energies[0] - 0.02
    # Both vectors stay in their plane, and become those of the slab whose open direction is the third
    plane, given = (np.delete(one.cell.array, open_at, axis=0) for one in (result.structure, atoms))
    normal = np.cross(*given) / np.linalg.norm(np.cross(*given))
    np.testing.assert_allclose(plane @ normal, 0, atol=1e-9)
    area = np.linalg.norm(np.cross(*usual.structure.cell.array[:2]))
    assert np.linalg.norm(np.cross(*plane)) == pytest.approx(area, rel=1e-3)
    # The stress that is left is that of the structure that is returned
    again = result.structure.copy()
    again.calc = EMT()
    assert again.get_potential_energy() == pytest.approx(result.energies[-1], abs=1e-9)
    assert stress_left(again, "in-plane", 0.0) == pytest.approx(result.largest_stresses[-1], abs=1e-6)
    assert result.largest_stresses[-1] <= 0.01 < result.largest_stresses[0]


def test_the_stress_left_on_a_slab_does_not_depend_on_the_vacuum() -> None:
    small, large = slab(), slab()
    large.cell[2, 2] *= 3
    assert large.get_stress()[0] == pytest.approx(small.get_stress()[0] / 3)
    assert stress_left(large, "in-plane", 0.0) == pytest.approx(stress_left(small, "in-plane", 0.0))
    thickness = np.ptp(small.positions[:, 2]) + 2 * 1.32
    plane = np.abs(small.get_stress()[[0, 1, 5]]).max() / GPa
    assert stress_left(small, "in-plane", 0.0) == pytest.approx(plane * small.cell[2, 2] / thickness)


@pytest.mark.parametrize(
    ("cell", "make", "pressure"),
    [(True, triclinic_alloy, 4.0), ("volume", triclinic_alloy, 4.0), ("shape", triclinic_alloy, 0.0),
     ("in-plane", slab, 0.0)],
)  # fmt: skip
def test_forces_on_atoms_and_cell_are_the_derivative_of_what_falls(
    cell: Any, make: Callable[[], Atoms], pressure: float
) -> None:
    """Along a random direction that the choice leaves, by central differences of energy or enthalpy."""
    moving = cell_filter(make(), cell, pressure)
    start, rng = moving.get_positions(), np.random.default_rng(6)
    for _ in range(2):  # the second time from a cell that is strained already
        forces = moving.get_forces()
        direction = 0.2 * rng.normal(size=forces.shape)
        direction[-3:] = forces[-3:]  # along itself: nowhere else may the cell go
        step = 1e-4 / np.abs(direction).max()
        ends = []
        for way in (step, -step):
            moving.set_positions(start + way * direction)
            ends.append(moving.get_potential_energy())
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(-np.sum(forces * direction), rel=2e-4)
        start = start + 20 * step * direction
        moving.set_positions(start)


def test_what_does_not_repeat_enough_is_refused_with_the_choice_that_fits() -> None:
    atoms = slab()
    for cell in (True, "volume", "shape"):
        with pytest.raises(StructureError, match=r"got pbc = \[True, True, False\]; choose the cell in-plane"):
            relax(atoms, cell=cell)
    crystal = triclinic_alloy()
    with pytest.raises(StructureError, match=r"in-plane is for slabs, .* got pbc = \[True, True, True\]"):
        relax(crystal, cell="in-plane")
    crystal.pbc = (False, False, True)
    with pytest.raises(StructureError, match="choose the cell fixed"):
        relax(crystal, cell=True)
    atoms.cell[2] = 0
    with pytest.raises(StructureError, match="needs a cell with a volume"):
        relax(atoms, cell="in-plane")


def test_a_slab_with_a_model_and_the_command(small_ensemble: Model, make_structure: Make, tmp_path: Path) -> None:
    atoms = make_structure()
    atoms.pbc = (True, False, True)
    atoms.calc = WaveScatCalculator(small_ensemble)
    result = relax(atoms, cell="in-plane", steps=2)
    np.testing.assert_array_equal(result.structure.cell.array[1], atoms.cell.array[1])
    assert result.steps == 0 or np.abs(result.structure.cell.array[0] - atoms.cell.array[0]).max() > 0
    save_model(tmp_path / "small.h5", small_ensemble)
    write(tmp_path / "slab.extxyz", atoms)
    arguments = ["relax", str(tmp_path / "slab.extxyz"), "--model", str(tmp_path / "small.h5"), "--steps", "2", "-o"]
    refused = CliRunner().invoke(main, [*arguments, str(tmp_path / "free"), "--cell", "free"])
    assert refused.exit_code != 0 and "choose the cell in-plane" in refused.output
    CliRunner().invoke(main, [*arguments, str(tmp_path / "plane"), "--cell", "in-plane"])
    found = read(tmp_path / "plane" / "slab.extxyz")
    assert isinstance(found, Atoms)
    np.testing.assert_allclose(found.cell.array[1], atoms.cell.array[1], atol=1e-7)
    pressed = CliRunner().invoke(main, [*arguments, str(tmp_path / "pressed"), "--pressure", "5"])
    assert pressed.exit_code != 0 and "choose the cell True (--cell free)" in pressed.output
