"""Relaxation with ASE's calculators, whose answers are known, and with a small model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import read, write
from click.testing import CliRunner
from scipy.optimize import minimize_scalar

from ase_wavescat import Model, WaveScatCalculator, save_model
from ase_wavescat.cli import main
from ase_wavescat.system.errors import CalculatorError, DataError, StructureError
from ase_wavescat.workflows import relax

Make = Callable[..., Atoms]


def copper(side: float = 3.59, rattle: float = 0.05) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=side)
    atoms.rattle(rattle, seed=3)
    atoms.calc = EMT()
    return atoms


class Scripted(Calculator):
    """Energy, forces and stress that a test dictates, by the number of the call."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, script: Callable[[Atoms, int], tuple[float, np.ndarray, np.ndarray]]) -> None:
        super().__init__()
        self.script, self.calls = script, 0

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        energy, forces, stress = self.script(self.atoms, self.calls)
        self.calls += 1
        self.results = {"energy": energy, "forces": forces, "stress": stress}


# ---------------------------------------------------------------- known answers


def test_a_rattled_crystal_becomes_perfect_again_and_the_input_stays() -> None:
    atoms = copper()
    positions, calculator = atoms.positions.copy(), atoms.calc
    result = relax(atoms, fmax=1e-3)
    assert result.converged and result.stop_reason == "converged" and result.cell == "fixed"
    perfect = copper(rattle=0)
    assert result.structure.get_potential_energy() == pytest.approx(perfect.get_potential_energy(), abs=1e-5)
    assert np.array_equal(atoms.positions, positions) and atoms.calc is calculator
    assert result.largest_forces[-1] <= 1e-3 < result.largest_forces[0]
    assert result.energy_uncertainty is None and result.energy_change_uncertainty is None
    assert result.largest_stresses is None


@pytest.mark.parametrize("cell", [True, "volume"])
def test_the_cell_finds_the_volume_of_lowest_energy(cell: Any) -> None:
    def energy(side: float) -> float:
        return copper(side, rattle=0).get_potential_energy()

    best = minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-6}).x
    result = relax(copper(3.7), cell=cell, fmax=1e-3, smax=1e-3)
    assert result.converged and result.largest_stresses is not None
    assert result.structure.get_volume() == pytest.approx(best**3, rel=1e-5)
    assert result.volumes[0] == pytest.approx(3.7**3) and result.volumes[-1] == result.structure.get_volume()
    assert result.largest_stresses[-1] <= 1e-3 and np.abs(result.structure.get_stress()[:3]).max() < 1e-4


def test_the_volume_alone_keeps_the_shape_and_the_free_cell_loses_it() -> None:
    atoms = bulk("Cu", cubic=True, a=3.65)
    atoms.set_cell(atoms.cell.array * np.array([1.03, 1, 1])[:, None], scale_atoms=True)
    atoms.calc = EMT()
    volume = relax(atoms, cell="volume").structure.cell.lengths()
    free = relax(atoms, cell=True, fmax=0.005, smax=0.01).structure.cell.lengths()
    assert volume[0] / volume[1] == pytest.approx(1.03, rel=1e-9) and volume[1] < 3.6
    assert free[0] == pytest.approx(free[1], rel=1e-3)


def test_constraints_hold() -> None:
    atoms = copper(rattle=0.1)
    atoms.set_constraint(FixAtoms([0]))
    result = relax(atoms)
    np.testing.assert_array_equal(result.structure.positions[0], atoms.positions[0])
    assert result.converged and np.abs(result.structure.positions[1:] - atoms.positions[1:]).max() > 0.01


def test_molecules_relax_too() -> None:
    atoms = molecule("N2")
    atoms.calc = EMT()
    assert relax(atoms).converged
    with pytest.raises(StructureError, match=r"all directions repeat, got pbc = \[False, False, False\]"):
        relax(atoms, cell=True)


# ---------------------------------------------------------------- the record


def test_the_path_is_thinned_and_agrees_with_the_energies() -> None:
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    atoms = Atoms("Ar27", 1.3 * grid + rng.uniform(-0.1, 0.1, (27, 3)))
    atoms.calc = LennardJones(rc=5.0, smooth=True)
    result = relax(atoms, fmax=1e-4, steps=400)
    assert result.steps > 50 and 20 <= len(result.path) <= 51
    assert result.path_steps[0] == 0 and result.path_steps[-1] == result.steps
    assert len(result.energies) == len(result.largest_forces) == len(result.volumes) == result.steps + 1
    for step, frame in zip(result.path_steps, result.path, strict=True):
        assert frame.get_potential_energy() == result.energies[step]
        assert np.linalg.norm(frame.get_forces(), axis=1).max() == result.largest_forces[step]


def test_the_step_limit_is_said() -> None:
    result = relax(copper(), fmax=1e-6, steps=2)
    assert (result.stop_reason, result.steps, result.converged, result.runaway) == ("step limit", 2, False, False)
    force = result.largest_forces[-1]
    assert f"step limit after 2 steps, largest force {force:.4f} of 1e-06 eV/Å; cell fixed\n" in result.summary()
    free = relax(copper(3.7), cell=True, fmax=10, smax=1e-3, steps=1)
    assert free.largest_stresses is not None
    assert free.unmet() == [f"largest stress {free.largest_stresses[-1]:.3f} of 0.001 GPa"]
    assert relax(copper()).unmet() == []
    assert relax(copper(), steps=0).steps == 0


def test_the_result_is_written(tmp_path: Path) -> None:
    result = relax(copper(3.65), cell=True)
    result.write(tmp_path, "copper")
    figures = json.loads((tmp_path / "copper.json").read_text())
    assert figures["stop_reason"] == "converged" and len(figures["energies"]) == result.steps + 1
    assert len(read(tmp_path / "copper.traj", ":")) == len(result.path)
    (last,) = read(tmp_path / "copper.extxyz", ":")
    assert isinstance(last, Atoms) and last.get_potential_energy() == pytest.approx(result.energies[-1], abs=1e-6)
    assert (tmp_path / "copper.png").read_bytes().startswith(b"\x89PNG")


# ---------------------------------------------------------------- runaways


def pair(distance: float = 2.2) -> Atoms:
    return Atoms("Cu2", [[0, 0, 0], [distance, 0, 0]], cell=np.full(3, 8.0), pbc=True)


def uneven(call: int) -> tuple[np.ndarray, np.ndarray]:
    """Forces that change from call to call, so that optimisers see a curvature; no stress."""
    force = np.array([0.0, 0.1 / (1 + call), 0.05])
    return np.array([force, -force]), np.zeros(6)


def test_atoms_that_fuse_stop_the_run_before() -> None:
    def attraction(atoms: Atoms, call: int) -> tuple[float, np.ndarray, np.ndarray]:
        vector = atoms.positions[1] - atoms.positions[0]
        distance = np.linalg.norm(vector)
        pull = 5 * vector / distance / (distance + 0.5) ** 2
        return float(-5 / (distance + 0.5)), np.array([pull, -pull]), np.zeros(6)

    atoms = pair()
    atoms.calc = Scripted(attraction)
    result = relax(atoms)
    assert result.runaway and not result.converged and "fused" in result.stop_reason
    assert result.structure.get_distance(0, 1) > 0.3 * 2 * 1.32


def test_energies_that_are_not_finite_stop_the_run_at_the_last_good_state() -> None:
    def script(atoms: Atoms, call: int) -> tuple[float, np.ndarray, np.ndarray]:
        return (-float(call) if call < 4 else np.nan), *uneven(call)

    atoms = pair()
    atoms.calc = Scripted(script)
    result = relax(atoms)
    assert result.stop_reason == "runaway: energy or forces are not finite"
    assert result.steps == 3 and np.isfinite(result.energies).all()
    atoms.calc = Scripted(lambda atoms, call: (np.nan, np.zeros((2, 3)), np.zeros(6)))
    assert relax(atoms).runaway


def test_a_bottomless_energy_and_an_exploding_cell_are_runaways() -> None:
    atoms = pair()
    atoms.calc = Scripted(lambda atoms, call: (-30.0 * call, *uneven(call)))
    assert "the energy fell by" in relax(atoms).stop_reason
    atoms.calc = Scripted(lambda atoms, call: (0.0, np.zeros((2, 3)), np.array([-1.0, -1, -1, 0, 0, 0])))
    assert "times the volume it began with" in relax(atoms, cell=True).stop_reason


def test_a_calculator_that_gives_up_on_the_way_is_a_runaway_and_at_once_an_error() -> None:
    def script(atoms: Atoms, call: int) -> tuple[float, np.ndarray, np.ndarray]:
        if call >= limit:
            raise StructureError("the box is too large")
        return 0.0, *uneven(call)

    atoms, limit = pair(), 2
    atoms.calc = Scripted(script)
    result = relax(atoms)
    assert result.stop_reason == "runaway: no energy after step 1: the box is too large" and len(result.path) == 2
    limit = 0
    atoms.calc = Scripted(script)
    with pytest.raises(StructureError, match="too large"):
        relax(atoms)


def test_fused_atoms_that_part_are_no_runaway() -> None:
    atoms = copper(rattle=0)
    atoms.positions[1] = atoms.positions[0] + [0.5, 0.5, 0.0]
    atoms.calc = LennardJones(sigma=2.2, epsilon=0.4, rc=6.0, smooth=True)
    result = relax(atoms, steps=300)
    assert not result.runaway and result.energies[-1] < result.energies[0] - 20 * len(atoms)


# ---------------------------------------------------------------- members and errors


def test_the_spread_of_the_energy_change_is_that_of_the_members_changes(
    small_ensemble: Model, make_structure: Make
) -> None:
    atoms = make_structure()
    atoms.calc = calculator = WaveScatCalculator(small_ensemble)
    result = relax(atoms, steps=3)
    assert result.energy_uncertainty == pytest.approx(calculator.get_energy_uncertainty(result.structure))
    assert result.structure.info["energy_uncertainty"] == pytest.approx(result.energy_uncertainty)
    assert result.structure.arrays["forces_uncertainty"].shape == (6, 3)
    ends = [calculator.get_member_energies(frame) for frame in (result.structure, atoms)]
    assert result.energy_change_uncertainty == pytest.approx(1.5 * np.std(ends[0] - ends[1], ddof=1))
    assert "forces_uncertainty" not in atoms.arrays
    # Each ± beside what it belongs to
    of_energy, of_change = result.energy_uncertainty, result.energy_change_uncertainty
    assert of_energy is not None and of_change is not None
    lines = result.summary().splitlines()
    assert lines[1] == (
        f"energy          {result.energies[-1]:.4f} ± {of_energy:.4f} eV,"
        f" {result.energies[-1] / 6:.4f} ± {of_energy / 6:.4f} eV/atom"
    )
    change = 1000 * (result.energies[-1] - result.energies[0]) / 6
    expected = f"energy change   {change:+.2f} ± {1000 * of_change / 6:.2f} meV/atom from the first step to the last"
    assert lines[2] == expected


def test_a_relaxation_without_a_step_still_has_the_energys_own_spread(
    small_ensemble: Model, make_structure: Make
) -> None:
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(small_ensemble)
    summary = relax(atoms, steps=0).summary()
    spread = atoms.calc.get_energy_uncertainty(atoms)
    assert f" ± {spread:.4f} eV, " in summary and spread > 1e-3
    assert "energy change   +0.00 ± 0.00 meV/atom from the first step to the last" in summary


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fmax": 0.0}, "fmax must be a positive number, got 0.0"),
        ({"cell": True, "smax": np.nan}, "smax must be a positive number, got nan"),
        ({"steps": -1}, "steps must not be negative, got -1"),
        ({"cell": "area"}, "cell must be one of False, 'volume', 'shape', 'in-plane', True, got 'area'"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        relax(copper(), **wrong)


def test_a_calculator_must_be_there_and_give_what_is_needed() -> None:
    atoms = copper()
    atoms.calc = None
    with pytest.raises(CalculatorError, match="has no calculator"):
        relax(atoms)
    atoms.calc = Scripted(lambda atoms, call: (0.0, np.zeros((4, 3)), np.zeros(6)))
    atoms.calc.implemented_properties = ["energy", "forces"]
    assert relax(atoms).converged
    with pytest.raises(CalculatorError, match="gives no stress"):
        relax(atoms, cell=True)


def test_the_command_writes_and_keeps(small_ensemble: Model, make_structure: Make, tmp_path: Path) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    write(tmp_path / "two.extxyz", [make_structure(0), make_structure(1)])
    folder = tmp_path / "out"
    arguments = ["relax", str(tmp_path / "two.extxyz"), "--model", str(tmp_path / "small.h5"), "-o", str(folder)]
    first = CliRunner().invoke(main, [*arguments, "--steps", "2", "--cell", "volume"])
    assert first.exit_code == 3, first.output
    assert "step limit after 2 steps, largest force" in first.output and "; cell volume" in first.output
    assert "two-1 (step limit)" in first.output
    kinds = ("json", "extxyz", "png", "traj")
    assert {path.name for path in folder.iterdir()} == {f"two-{index}.{kind}" for index in "01" for kind in kinds}
    again = CliRunner().invoke(main, [*arguments, "--steps", "2", "--cell", "volume"])
    assert again.output.count("kept") == 2 and again.exit_code == 3
    other = [*arguments, "--steps", "1"]
    refused = CliRunner().invoke(main, other)
    assert refused.exit_code == 1 and "steps 2, now 1" in " ".join(refused.output.split())
    replaced = CliRunner().invoke(main, [*other, "--overwrite"])
    assert "kept" not in replaced.output and replaced.exit_code == 3
    assert CliRunner().invoke(main, [*arguments, "--fmax", "-1"]).exit_code == 1


def test_what_was_known_of_another_state_is_forgotten(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(small_ensemble)
    atoms.info |= {"energy_uncertainty": 123.0, "REF_energy": 7.0, "group": "melt-3"}
    atoms.arrays["REF_forces"] = np.ones((len(atoms), 3))
    result = relax(atoms, steps=3)
    for frame in result.path:
        assert frame.info["group"] == "melt-3" and "REF_energy" not in frame.info
        assert frame.info.get("energy_uncertainty") != 123.0 and "REF_forces" not in frame.arrays
    assert atoms.info["REF_energy"] == 7.0


def test_a_relaxing_cell_makes_no_noise() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    atoms.calc = EMT()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        relax(atoms, cell=True, fmax=1e-3, smax=1e-2)
    assert not [warning for warning in caught if "logm" in str(warning.message)]


def test_a_violent_start_may_fall_by_any_amount() -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 1.0]])
    atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=9.0, smooth=True)
    first = atoms.get_potential_energy()
    result = relax(atoms, fmax=0.01)
    assert result.converged, result.stop_reason
    assert first - result.energies[-1] > 20 * len(atoms)
