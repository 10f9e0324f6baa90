"""Elastic constants against second derivatives of the energy, other axes, and a small model."""

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
from ase.calculators.emt import EMT
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.io import write
from ase.spacegroup import crystal
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_strain
from ase.units import GPa
from click.testing import CliRunner

from ase_wavescat import Model, WaveScatCalculator, save_model
from ase_wavescat.calculator import PropertyNotImplementedError
from ase_wavescat.cli import main
from ase_wavescat.system.errors import CalculatorError, DataError, StructureError, WaveScatWarning
from ase_wavescat.workflows import elastic, relax
from ase_wavescat.workflows.crystal_axes import turned
from ase_wavescat.workflows.elasticity import ElasticTensor, fit_tensor

Make = Callable[..., Atoms]
STRAINS = np.array([-0.01, -0.005, 0.005, 0.01])


@pytest.fixture(scope="module")
def copper() -> Atoms:
    """At EMT's own lattice constant."""
    atoms = bulk("Cu", a=3.59)
    atoms.calc = EMT()
    relaxed = relax(atoms, cell="volume", smax=1e-4).structure.copy()
    relaxed.calc = EMT()
    return relaxed


def strained(atoms: Atoms, voigt: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ voigt_6_to_full_3x3_strain(voigt), scale_atoms=True)
    copy.calc = atoms.calc
    return copy


def hessian(atoms: Atoms, step: float = 2e-3) -> np.ndarray:
    """(1/V) d2E / de_i de_j in GPa by central differences: the constants of a cell without stress."""
    unit = np.eye(6) * step

    def energy(voigt: np.ndarray) -> float:
        return float(strained(atoms, voigt).get_potential_energy())

    second = [
        [energy(a + b) - energy(a - b) - energy(b - a) + energy(-a - b) for b in unit] for a in unit
    ]  # fmt: skip
    return np.array(second) / (4 * step**2) / atoms.get_volume() / GPa


def test_copper_is_the_second_derivative_of_its_energy(copper: Atoms) -> None:
    before = copper.copy()
    result = elastic(copper, relax_ions=False)
    np.testing.assert_allclose(result.clamped.stiffness, hessian(copper), atol=0.3)
    assert result.relaxed is None and result.best is result.clamped and result.clamped_uncertainty is None
    assert result.clamped.residual < 0.05 and result.clamped.asymmetry < 0.05 and result.warnings == ()
    assert copper == before and np.abs(result.residual_stress).max() < 1e-3


def test_the_axes_of_engineering_shear(copper: Atoms) -> None:
    """C44 by hand: shear stress over 2 e_yz."""
    shear = strained(copper, np.array([0, 0, 0, 1e-3, 0, 0]))
    assert shear.cell.array == pytest.approx(copper.cell.array @ np.array([[1, 0, 0], [0, 1, 5e-4], [0, 5e-4, 1]]))
    tensor = elastic(copper, relax_ions=False).clamped.stiffness
    assert shear.get_stress()[3] / 1e-3 / GPa == pytest.approx(tensor[3, 3], rel=1e-3)
    turned = copper.copy()
    turned.rotate(45, "z", rotate_cell=True)
    turned.calc = EMT()
    other = elastic(turned, relax_ions=False).clamped.stiffness
    assert other[5, 5] == pytest.approx((tensor[0, 0] - tensor[0, 1]) / 2, rel=2e-3)
    assert other[0, 0] == pytest.approx((tensor[0, 0] + tensor[0, 1]) / 2 + tensor[5, 5], rel=2e-3)


def cubic(c11: float, c12: float, c44: float) -> np.ndarray:
    tensor = np.diag([c11 - c12] * 3 + [c44] * 3)
    tensor[:3, :3] += c12
    return tensor


def fitted(tensor: np.ndarray, extra: Callable[[np.ndarray], np.ndarray] | None = None) -> ElasticTensor:
    """From stresses linear in the strains, and `extra` of (6, S, 6) added."""
    stresses = tensor[:, None, :] * STRAINS[None, :, None]
    return fit_tensor(STRAINS, stresses if extra is None else stresses + extra(stresses))


def test_averages_of_a_cubic_tensor_are_the_textbook_ones() -> None:
    tensor = fitted(cubic(160, 60, 80))
    shear, stiff = 50.0, 80.0
    voigt, reuss = (2 * shear + 3 * stiff) / 5, 5 * shear * stiff / (2 * stiff + 3 * shear)
    assert tensor.bulk_bounds == pytest.approx((280 / 3, 280 / 3)) and tensor.bulk_modulus == pytest.approx(280 / 3)
    assert tensor.shear_bounds == pytest.approx((reuss, voigt))
    assert tensor.shear_modulus == pytest.approx((reuss + voigt) / 2)
    bulk_modulus, g = tensor.bulk_modulus, tensor.shear_modulus
    assert tensor.youngs_modulus == pytest.approx(9 * bulk_modulus * g / (3 * bulk_modulus + g))
    assert tensor.poisson_ratio == pytest.approx(tensor.youngs_modulus / (2 * g) - 1)
    assert tensor.eigenvalues == pytest.approx([100, 100, 160, 160, 160, 280]) and tensor.stable


def test_stresses_of_second_order_and_constant_ones_drop_out_of_the_slopes() -> None:
    exact = cubic(160, 60, 80)
    tensor = fitted(exact, lambda stresses: 3.0 + 500.0 * np.ones((6, 1, 6)) * STRAINS[None, :, None] ** 2)
    np.testing.assert_allclose(tensor.stiffness, exact, atol=1e-9)
    assert tensor.residual < 1e-12 and tensor.asymmetry < 1e-9


def test_asymmetry_and_residual_are_reported() -> None:
    exact = cubic(160, 60, 80)
    uneven = exact.copy()
    uneven[0, 1] += 4
    tensor = fitted(uneven)
    assert tensor.asymmetry == pytest.approx(2) and tensor.stiffness[0, 1] == pytest.approx(62)
    assert fitted(exact, lambda stresses: 1e4 * STRAINS[None, :, None] ** 3 * np.ones((6, 1, 6))).residual > 1e-4


def test_a_tensor_that_is_not_positive_definite_has_no_hill_averages() -> None:
    tensor = fitted(cubic(160, 170, 80))
    assert not tensor.stable and tensor.eigenvalues[0] == pytest.approx(-10)
    assert np.isnan(tensor.shear_modulus) and tensor.bulk_bounds[1] == pytest.approx(500 / 3)


@pytest.fixture(scope="module")
def alloy() -> Atoms:
    """An alloy of Cu and Au at rest in a cell without stress."""
    atoms = bulk("Cu", cubic=True, a=3.8) * (2, 1, 1)
    atoms.numbers[[0, 3, 6]] = 79
    atoms.rattle(0.2, seed=1)
    atoms.calc = EMT()
    start = relax(atoms, cell=True, fmax=5e-4, smax=1e-3).structure.copy()
    start.calc = EMT()
    return start


def test_relaxed_ions_are_softer_and_follow_the_energies_of_relaxed_strained_cells(alloy: Atoms) -> None:
    result = elastic(alloy)
    assert result.relaxed is not None and result.best is result.relaxed and result.warnings == ()
    difference = result.clamped.stiffness - result.relaxed.stiffness
    assert np.linalg.eigvalsh(difference)[0] > -1e-9 and np.linalg.eigvalsh(difference)[-1] > 3
    assert result.ions is not None and result.ions.unbalanced < 0.01 and result.ions.loose == 0
    assert result.ions.softest is not None and result.ions.softest > 0.1
    assert result.residual_force is not None and result.residual_force < 1e-3
    np.testing.assert_allclose(result.structure.get_stress() / GPa, result.residual_stress, atol=1e-9)

    def energy(strain: float) -> float:
        return float(relax(strained(alloy, strain * np.eye(6)[1]), fmax=1e-4).structure.get_potential_energy())

    h = 8e-3
    expected = (energy(h) - 2 * energy(0) + energy(-h)) / h**2 / alloy.get_volume() / GPa
    assert result.relaxed.stiffness[1, 1] == pytest.approx(expected, rel=0.01)
    assert result.clamped.stiffness[1, 1] > 1.02 * expected


def test_ions_that_answer_are_where_a_relaxation_takes_them(alloy: Atoms) -> None:
    """Forces of the strain are near 0.02 eV/A: a relaxation to usual forces would leave ions where they were."""
    strain = 4e-3
    result = elastic(alloy)
    assert result.relaxed is not None and result.ions is not None
    stresses, positions = [], []
    for way in (strain, -strain):
        frame = strained(alloy, way * np.eye(6)[1])
        assert np.abs(frame.get_forces()).max() < 0.05
        settled = relax(frame, fmax=1e-5, steps=2000)
        assert settled.converged
        positions.append(settled.structure.get_scaled_positions(wrap=False) @ alloy.cell.array)
        moved = settled.structure.copy()
        moved.calc = EMT()
        stresses.append(moved.get_stress() / GPa)
    np.testing.assert_allclose((stresses[0] - stresses[1]) / (2 * strain), result.relaxed.stiffness[1], atol=0.3)
    shift = (positions[0] - positions[1]) / (2 * strain)
    shift -= shift.mean(axis=0)
    np.testing.assert_allclose(result.ions.displacements[1], shift, atol=0.02)
    assert np.abs(shift).max() > 0.2


def test_lisi_has_the_constants_of_ions_at_rest_at_the_defaults() -> None:
    """Relaxations to 0.005 eV/A at each strain left ions where they were: G was 29.7 and C66 32.2 GPa."""
    atoms = crystal(
        ["Li", "Si"], [(0.57730, 0.63460, 0.18638), (0.60866, 0.70485, 0.72592)], spacegroup=88,
        cellpar=[9.4064, 9.4064, 5.6670, 90, 90, 90], primitive_cell=True,
    )  # fmt: skip
    atoms.info.clear()
    atoms.calc = WaveScatCalculator("lisi-linear.h5")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "outside the training domain", WaveScatWarning)
        result = elastic(atoms)
    assert result.relaxed is not None and result.warnings == ()
    # From relaxations to 0.0002 eV/A and less (docs/measurements/workflows.md); GPa
    assert result.relaxed.shear_modulus == pytest.approx(28.35, abs=0.1)
    assert result.relaxed.bulk_modulus == pytest.approx(55.72, abs=0.2)
    np.testing.assert_allclose(np.diag(result.relaxed.stiffness)[3:], [36.36, 36.36, 30.09], atol=0.1)


def test_the_constants_do_not_depend_on_the_force_tolerance(alloy: Atoms) -> None:
    tight, loose = (elastic(alloy, fmax=fmax).relaxed for fmax in (1e-4, 0.05))
    assert tight is not None and loose is not None
    np.testing.assert_allclose(loose.stiffness, tight.stiffness, atol=0.1)


def test_forces_left_on_the_unstrained_structure_drop_out(alloy: Atoms) -> None:
    """Without a relaxation of an atom that is 5 mA off, whose forces are larger than those of the strain."""
    moved = alloy.copy()
    moved.positions[0] += [0.005, 0, 0]
    moved.calc = EMT()
    with pytest.warns(WaveScatWarning, match="relaxation of the unstrained structure: step limit"):
        result = elastic(moved, steps=0)
    exact = elastic(alloy)
    assert result.relaxed is not None and exact.relaxed is not None and result.residual_force is not None
    assert result.residual_force > 0.02
    np.testing.assert_allclose(result.relaxed.stiffness, exact.relaxed.stiffness, atol=1.0)
    assert result.ions is not None and exact.ions is not None
    np.testing.assert_allclose(result.ions.displacements, exact.ions.displacements, atol=0.05)


def test_ions_that_symmetry_or_constraints_hold_do_not_move_and_that_is_said(copper: Atoms, alloy: Atoms) -> None:
    perfect = elastic(copper)
    assert perfect.ions is not None and np.abs(perfect.ions.displacements).max() < 1e-9
    assert perfect.relaxed is not None and perfect.warnings == ()
    np.testing.assert_allclose(perfect.relaxed.stiffness, perfect.clamped.stiffness, atol=1e-9)
    assert "no ion moves beside the cell" in perfect.summary()
    held = alloy.copy()
    held.calc = EMT()
    held.set_constraint(FixAtoms(range(len(held))))
    with pytest.warns(WaveScatWarning, match="constraints hold all ions"):
        result = elastic(held)
    assert result.ions is not None and result.ions.softest is None
    np.testing.assert_allclose(result.best.stiffness, result.clamped.stiffness)


def test_ions_move_along_what_constraints_leave_them(alloy: Atoms) -> None:
    held = alloy.copy()
    held.calc = EMT()
    held.set_constraint([FixAtoms([0, 1]), FixCartesian([2], mask=(True, False, False))])
    result, free = elastic(held), elastic(alloy)
    assert result.ions is not None and result.relaxed is not None and free.relaxed is not None
    moved = result.ions.displacements
    assert not moved[:, :2].any() and not moved[:, 2, 0].any() and np.abs(moved[:, 2, 1:]).max() > 0.01
    between = [np.trace(tensor.stiffness) for tensor in (free.relaxed, result.relaxed, result.clamped)]
    assert between[0] < between[1] < between[2]
    held.set_constraint(Halving())
    with pytest.raises(DataError, match="Halving does more than hold ions along some directions"):
        elastic(held, steps=0)


class Halving:
    """A constraint that changes forces otherwise than by taking directions away."""

    def adjust_positions(self, atoms: Atoms, new: Any) -> None: ...

    def adjust_forces(self, atoms: Atoms, forces: Any) -> None:
        forces /= 2

    def copy(self) -> Halving:
        return Halving()


def test_ions_at_no_minimum_are_said_to_be() -> None:
    """Simple cubic copper doubled along x: neither the lattice nor its second atom lasts."""
    atoms = bulk("Cu", "sc", a=2.4) * (2, 1, 1)
    atoms.calc = EMT()
    with pytest.warns(WaveScatWarning) as said:
        result = elastic(atoms)
    assert any("ions are at no minimum of the energy" in str(one.message) for one in said)
    assert result.ions is not None and result.ions.softest is not None and result.ions.softest < 0


def test_atoms_that_feel_nothing_are_said_to_be_loose() -> None:
    atoms = bulk("Cu", cubic=True, a=3.59)
    atoms += Atoms("Cu", [[1.8, 1.8, 1.8]])
    atoms.calc = BlindTo(4)
    with pytest.warns(WaveScatWarning, match="directions of ions have no force constant"):
        result = elastic(atoms)
    assert result.ions is not None and result.ions.loose == 3 and result.relaxed is not None
    without = bulk("Cu", cubic=True, a=3.59)
    without.calc = EMT()
    np.testing.assert_allclose(result.relaxed.stiffness, elastic(without).best.stiffness, atol=1e-6)


class BlindTo(EMT):
    """EMT of all atoms but one."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = None) -> None:
        seen = atoms.copy()
        del seen[self.index]
        seen.calc = EMT()
        self.atoms = atoms.copy()
        forces = np.insert(seen.get_forces(), self.index, 0.0, axis=0)
        energy = seen.get_potential_energy()
        self.results = {"energy": energy, "free_energy": energy, "forces": forces, "stress": seen.get_stress()}


# ---------------------------------------------------------------- axes of the crystal


def test_a_turned_primitive_cell_has_the_constants_of_the_cube() -> None:
    pytest.importorskip("spglib")
    cube = bulk("Si", "diamond", a=5.46, cubic=True)
    cube.calc = calculator = WaveScatCalculator("lisi-linear.h5")
    turned_cell = bulk("Si", "diamond", a=5.46)
    turned_cell.rotate(37, (1, 2, 3), rotate_cell=True)
    turned_cell.calc = calculator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)  # of the stress that is left
        standard, result = elastic(cube), elastic(turned_cell)
    assert standard.crystal is not None and result.crystal is not None
    assert standard.crystal.space_group == result.crystal.space_group == "Fd-3m (227)"
    np.testing.assert_allclose(standard.crystal.stiffness, standard.best.stiffness, atol=1e-6)
    tensor = result.crystal.stiffness
    c11, c12, c44 = tensor[0, 0], tensor[0, 1], tensor[3, 3]
    # The model's grids turn with the cell: a few thousandths (docs/measurements/workflows.md, Numerics)
    np.testing.assert_allclose(tensor, cubic(c11, c12, c44), atol=0.005 * c11)
    np.testing.assert_allclose(tensor, standard.best.stiffness, atol=0.01 * c11)
    assert np.abs(result.best.stiffness - tensor).max() > 0.05 * c11
    assert "conventional axes of the crystal, Fd-3m (227):" in result.summary()
    assert "the axes are the conventional ones of the crystal" in standard.summary()


def test_hexagonal_crystals_have_c_along_z_and_left_handed_cells_do_not_matter() -> None:
    pytest.importorskip("spglib")
    atoms = bulk("Ti", "hcp", a=2.9, c=4.6)
    atoms.numbers[:] = 29
    atoms.calc = EMT()
    relaxed = relax(atoms, cell=True, fmax=1e-3, smax=1e-2).structure.copy()
    relaxed.calc = EMT()
    straight = elastic(relaxed)
    turned_cell = relaxed.copy()
    turned_cell.rotate(70, (3, 1, 1), rotate_cell=True)
    turned_cell.set_cell(turned_cell.cell.array[[1, 0, 2]])
    turned_cell.calc = EMT()
    result = elastic(turned_cell)
    assert np.linalg.det(turned_cell.cell.array) < 0 and result.crystal is not None
    tensor = result.crystal.stiffness
    np.testing.assert_allclose(tensor, straight.best.stiffness, atol=0.5)  # finite strains along other axes
    assert tensor[5, 5] == pytest.approx((tensor[0, 0] - tensor[0, 1]) / 2, abs=0.2)
    assert tensor[3, 3] == pytest.approx(tensor[4, 4], abs=0.1) and abs(tensor[3, 3] - tensor[5, 5]) > 1
    np.testing.assert_allclose(turned(result.best.stiffness, result.crystal.axes), tensor)


def test_without_symmetry_there_are_no_axes(alloy: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    rattled = alloy.copy()
    rattled.rattle(0.03, seed=2)
    rattled.calc = EMT()
    assert elastic(rattled, relax_ions=False).crystal is None
    monkeypatch.setattr("ase_wavescat.workflows.crystal_axes.has_symmetry_finder", lambda: False)
    monkeypatch.setattr("ase_wavescat.workflows.elasticity.has_symmetry_finder", lambda: False)
    assert "need spglib" in elastic(alloy, relax_ions=False).summary()


def test_turned_stiffness_gives_the_energy_of_turned_strains() -> None:
    """e C e does not depend on the axes."""
    rng = np.random.default_rng(4)
    stiffness = rng.normal(size=(6, 6))
    stiffness += stiffness.T
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    strain = rng.normal(size=(3, 3))
    strain += strain.T
    engineering = np.array([1, 1, 1, 2, 2, 2])
    before, after = (
        full_3x3_to_voigt_6_stress(one) * engineering for one in (strain, turn @ strain @ turn.T)
    )  # fmt: skip
    assert after @ turned(stiffness, turn) @ after == pytest.approx(before @ stiffness @ before)


def test_a_stressed_or_unstable_cell_is_said_to_be(copper: Atoms, tmp_path: Path) -> None:
    atoms = bulk("Cu", a=3.4)
    atoms.calc = EMT()
    with pytest.warns(WaveScatWarning, match="the unstrained cell has a stress of"):
        result = elastic(atoms, relax_ions=False)
    assert len(result.warnings) == 1 and "relax the cell first" in result.summary()
    stretched = bulk("Cu", a=4.6)
    stretched.calc = EMT()
    with pytest.warns(WaveScatWarning, match="not positive definite"):
        unstable = elastic(stretched, relax_ions=False)
    unstable.write(tmp_path, "unstable")
    figures = json.loads((tmp_path / "unstable.json").read_text())
    assert figures["clamped"]["shear_modulus"] is None and len(figures["clamped"]["stiffness"]) == 6


# ---------------------------------------------------------------- members


def test_member_stresses_are_differences_of_member_energies(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    calculator = WaveScatCalculator(small_ensemble, reference_cell=atoms.cell.array)
    stresses = calculator.get_member_stresses(atoms)
    assert stresses.shape == (5, 6)
    atoms.calc = calculator
    np.testing.assert_allclose(stresses.mean(axis=0), atoms.get_stress(), rtol=1e-9, atol=1e-12)
    step = 1e-4
    for component in range(6):
        voigt = step * np.eye(6)[component]
        ends = [calculator.get_member_energies(strained(atoms, sign * voigt)) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
        np.testing.assert_allclose(stresses[:, component], slope, rtol=1e-5, atol=1e-7)
    flat = Atoms("Li2", [[0, 0, 0], [0, 0, 2.7]])
    with pytest.raises(PropertyNotImplementedError, match="no stress without a volume"):
        calculator.get_member_stresses(flat)
    with pytest.raises(StructureError, match="not seen a structure yet"):
        WaveScatCalculator(small_ensemble).get_member_stresses()


def test_the_spread_is_that_of_the_members_tensors(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    atoms.calc = calculator = WaveScatCalculator(small_ensemble)
    strains = (-0.01, 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)  # random weights make no stable solid
        result = elastic(atoms, strains=strains, relax_ions=False)
    assert calculator.parameters["reference_cell"] is None
    calculator.set(reference_cell=1.01 * atoms.cell.array)
    ends = [calculator.get_member_stresses(strained(atoms, strain * np.eye(6)[0]))[:, 0] for strain in strains]
    c11 = (ends[1] - ends[0]) / 0.02 / GPa
    assert result.clamped.stiffness[0, 0] == pytest.approx(c11.mean())
    assert result.clamped_uncertainty is not None
    assert result.clamped_uncertainty.stiffness[0, 0] == pytest.approx(1.5 * np.std(c11, ddof=1))


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("strains", "message"),
    [
        ([0.01], "pairs of strains"),
        ([0.005, 0.01], "one-sided strains have errors of second order"),
        ([-0.01, 0.0, 0.01], "none zero"),
        ([-0.01, -0.01, 0.01, 0.01], "different sizes"),
        ([-0.2, 0.2], "at most 0.1, got 0.2"),
        ([-np.inf, np.inf], "pairs of strains"),
    ],
)
def test_strains_must_be_small_pairs(copper: Atoms, strains: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        elastic(copper, strains=strains)


def test_a_calculator_without_stress_and_open_structures_are_refused_with_a_remedy(copper: Atoms) -> None:
    class NoStress(EMT):
        implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    atoms = copper.copy()
    atoms.calc = NoStress()
    with pytest.raises(CalculatorError, match=r"NoStress gives no stress.*FiniteDifferenceCalculator"):
        elastic(atoms)
    atoms.calc = FiniteDifferenceCalculator(NoStress())
    remedied = elastic(atoms, strains=(-0.01, 0.01), relax_ions=False)
    assert remedied.clamped.bulk_modulus == pytest.approx(
        elastic(copper, relax_ions=False).clamped.bulk_modulus, rel=0.01
    )
    atoms.pbc = False
    atoms.calc = EMT()
    with pytest.raises(StructureError, match="three directions that repeat"):
        elastic(atoms)


def test_the_command(small_ensemble: Model, make_structure: Make, tmp_path: Path) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    write(tmp_path / "glass.extxyz", make_structure())
    glass, model, folder = (str(tmp_path / name) for name in ("glass.extxyz", "small.h5", "out"))
    arguments: list[Any] = ["elastic", glass, "--model", model, "-o", folder, "--clamped-ions"]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0 and "clamped ions: K" in ran.output and "relaxed ions" not in ran.output
    figures = json.loads((tmp_path / "out" / "glass.json").read_text())
    assert figures["strains"] == [-0.01, -0.005, 0.005, 0.01] and figures["relaxed"] is None
    assert (tmp_path / "out" / "glass.png").exists()
    assert "kept" in CliRunner().invoke(main, arguments).output


class Shapely:
    """A constraint that lets the cell change its size alone, as FixSymmetry does in cubic crystals."""

    def adjust_positions(self, atoms: Atoms, new: Any) -> None: ...

    def adjust_forces(self, atoms: Atoms, forces: Any) -> None: ...

    def adjust_cell(self, atoms: Atoms, cell: Any) -> None:
        cell[:] = atoms.cell.array * np.cbrt(np.linalg.det(cell) / np.linalg.det(atoms.cell.array))

    def copy(self) -> Shapely:
        return Shapely()


def test_constraints_that_change_cells_are_refused() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.set_constraint(Shapely())
    with pytest.raises(DataError, match=r"Shapely would change the strains.*set_constraint\(\)"):
        elastic(atoms)
