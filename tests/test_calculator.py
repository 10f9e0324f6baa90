"""The calculator as ASE and its users see it."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import multiprocessing
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import read, write
from ase.optimize import LBFGS
from scipy.spatial.transform import Rotation

from ase_wavescat import WaveScatCalculator, __version__, save_model
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.representation.transform import Evaluation
from ase_wavescat.structure.periodicity import padded_cell
from ase_wavescat.system.errors import ModelNotFoundError, StructureError, WaveScatWarning
from linear_models import changed, linear, wide_ranges
from own_warnings import no_warnings

ASE_KEYS = {"energy", "free_energy", "forces", "stress"}
Make = Callable[..., Atoms]


@pytest.fixture
def calculator(small_ensemble: Model) -> WaveScatCalculator:
    return WaveScatCalculator(small_ensemble)


@pytest.fixture
def atoms(make_structure: Make, calculator: WaveScatCalculator) -> Atoms:
    atoms = make_structure()
    atoms.calc = calculator
    return atoms


def everything(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()


def assert_same(first: tuple[float, np.ndarray, np.ndarray], second: tuple[float, np.ndarray, np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- numbers


def test_analytic_derivatives_agree_with_finite_differences(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(small_ensemble)
    energy, forces, stress = everything(atoms)
    atoms.calc = WaveScatCalculator(small_ensemble, forces="finite-difference", step=3e-5)
    numerical = everything(atoms)
    assert numerical[0] == pytest.approx(energy, rel=1e-14)
    np.testing.assert_allclose(numerical[1], forces, atol=1e-6 * abs(forces).max())
    np.testing.assert_allclose(numerical[2], stress, atol=1e-6 * abs(stress).max())


def test_energy_is_the_mean_of_the_members_and_free_energy_the_same(atoms: Atoms) -> None:
    members = atoms.calc.get_member_energies(atoms)
    assert members.shape == (5,)
    assert atoms.get_potential_energy() == pytest.approx(members.mean(), rel=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_net_force_vanishes_and_wrapping_changes_nothing(atoms: Atoms) -> None:
    reference = everything(atoms)
    assert abs(reference[1].sum(axis=0)).max() < 1e-3 * abs(reference[1]).max()
    atoms.positions += np.array([2, -1, 1]) @ atoms.cell.array
    atoms.wrap()
    assert_same(everything(atoms), reference)


def test_reference_cell_keeps_the_grids(small_ensemble: Model, make_structure: Make) -> None:
    atoms = make_structure()
    plain = WaveScatCalculator(small_ensemble)
    fixed = WaveScatCalculator(small_ensemble, reference_cell=atoms.cell)
    assert fixed.get_potential_energy(atoms) == pytest.approx(plain.get_potential_energy(atoms), rel=1e-12)
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
    assert fixed.get_potential_energy(strained) == pytest.approx(plain.get_potential_energy(strained), rel=1e-3)


# ---------------------------------------------------------------- open directions


@pytest.fixture
def featured(small_ensemble: Model) -> Model:
    """The small model with features that matter beside the repulsion."""
    return changed(small_ensemble, weights=1000 * linear(small_ensemble).weights)


def boxed(atoms: Atoms, factor: float) -> Atoms:
    """The structure in a fully periodic box with `factor` times the vacuum that the small model reaches."""
    gap = factor * linear(atoms.calc.model).transform().reach
    cell = padded_cell(atoms.cell.array, atoms.pbc, atoms.positions, gap)
    calculator = WaveScatCalculator(atoms.calc.model)
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True, calculator=calculator)


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
def test_any_boundaries_equal_a_large_box_and_finite_differences(
    featured: Model, make_structure: Make, pbc: tuple[bool, ...]
) -> None:
    atoms = make_structure(atoms=4, side=4.5)
    atoms.pbc = pbc
    atoms.calc = WaveScatCalculator(featured)
    energy, forces, stress = everything(atoms)
    large = boxed(atoms, 1.5)
    assert large.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(large.get_forces(), forces, atol=1e-6)
    virial = large.get_stress() * large.get_volume()
    np.testing.assert_allclose(stress * atoms.get_volume(), virial, atol=1e-5)

    atoms.calc = WaveScatCalculator(featured, forces="finite-difference", step=3e-5)
    numerical = everything(atoms)
    assert numerical[0] == pytest.approx(energy, rel=1e-14)
    np.testing.assert_allclose(numerical[1], forces, atol=1e-6 * abs(forces).max())
    np.testing.assert_allclose(numerical[2], stress, atol=1e-6 * abs(stress).max())


def test_boundaries_matter(featured: Model, make_structure: Make) -> None:
    atoms = make_structure(atoms=4, side=4.5)
    atoms.calc = WaveScatCalculator(featured)
    energies = []
    for pbc in itertools.product([False, True], repeat=3):
        atoms.pbc = pbc  # and nothing else: the calculator must see it
        energies.append(atoms.get_potential_energy())
    assert np.diff(sorted(energies)).min() > 1e-6


def test_stress_needs_a_volume_and_nothing_else_does(featured: Model, make_structure: Make) -> None:
    atoms = make_structure(atoms=4, side=4.5)
    atoms.pbc = (True, True, False)
    atoms.calc = WaveScatCalculator(featured)
    energy, forces, stress = everything(atoms)
    volume = atoms.get_volume()
    for third in (np.zeros(3), atoms.cell[0] + 2 * atoms.cell[1]):
        atoms.cell[2] = third
        with pytest.raises(PropertyNotImplementedError, match=r"no stress without a volume.*three independent cell"):
            atoms.get_stress()
        assert atoms.get_potential_energy() == energy
        np.testing.assert_array_equal(atoms.get_forces(), forces)
        atoms.calc.calculate(atoms, ["energy", "forces", "stress"])
        assert "stress" not in atoms.calc.results
        with pytest.raises(PropertyNotImplementedError):
            WaveScatCalculator(featured).get_stress(atoms)
    atoms.cell[2] = [0.0, 0.0, 30.0]
    np.testing.assert_allclose(atoms.get_stress() * atoms.get_volume(), stress * volume, rtol=1e-12)


def test_open_rows_of_the_cell_reuse_the_last_result(
    featured: Model, make_structure: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = make_structure(atoms=4, side=4.5)
    atoms.pbc = (False, True, False)
    atoms.calc = WaveScatCalculator(featured)
    reference = atoms.get_potential_energy(), atoms.get_forces()
    monkeypatch.setattr(Model, "predict", None)
    atoms.cell[0] = 0.0
    assert atoms.get_potential_energy() == reference[0]
    np.testing.assert_array_equal(atoms.get_forces(), reference[1])
    atoms.cell[1] *= 1.01
    with pytest.raises(TypeError):
        atoms.get_potential_energy()


def test_wrapping_only_along_periodic_directions(featured: Model, make_structure: Make) -> None:
    atoms = make_structure(atoms=4, side=4.5)
    atoms.pbc = (True, False, True)
    atoms.calc = WaveScatCalculator(featured)
    reference = everything(atoms)
    atoms.positions[1] += 2 * atoms.cell[0] - atoms.cell[2]
    assert_same(everything(atoms), reference)
    atoms.positions[1] += atoms.cell[1]
    assert abs(atoms.get_potential_energy() - reference[0]) > 1e-4


def test_molecules_may_be_moved_turned_and_reordered(featured: Model, make_structure: Make) -> None:
    atoms = make_structure()
    molecule = Atoms(atoms.numbers, atoms.positions, calculator=WaveScatCalculator(featured))
    energy, forces = molecule.get_potential_energy(), molecule.get_forces()
    assert abs(forces).max() > 0.1 and abs(forces.sum(axis=0)).max() < 1e-6
    order = np.random.default_rng(1).permutation(len(molecule))
    turn = Rotation.from_rotvec([0.3, 1.2, -0.5]).as_matrix()
    moved = Atoms(molecule.numbers[order], molecule.positions[order] @ turn.T - 400.0, calculator=molecule.calc)
    assert moved.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(moved.get_forces(), forces[order] @ turn.T, atol=1e-6)


def test_molecules_far_apart_have_the_sum_of_their_energies(featured: Model) -> None:
    calculator = WaveScatCalculator(featured)
    first = Atoms("LiSi", [[0, 0, 0], [0, 0, 2.4]])
    second = Atoms("Li2", [[0, 0.3, 0], [1.0, 2.2, 0.4]])
    second.positions[:, 0] += 200.0
    alone = [calculator.get_potential_energy(part) for part in (first, second)]
    assert calculator.get_potential_energy(first + second) == pytest.approx(sum(alone), abs=1e-6)
    spread = [calculator.get_member_energies(part) for part in (first, second, first + second)]
    np.testing.assert_allclose(spread[2], spread[0] + spread[1], atol=1e-6)


def test_one_atom_feels_nothing(featured: Model) -> None:
    calculator = WaveScatCalculator(featured)
    energies = []
    for symbol in ("Li", "Si"):
        atom = Atoms(symbol, [[0.3, 0.2, 0.1]], calculator=calculator)
        energies.append(atom.get_potential_energy())
        assert abs(atom.get_forces()).max() < 1e-9
    assert energies[0] != energies[1]


def test_domain_checks_see_no_images_across_open_directions(
    small_ensemble: Model, wide_domain: Domain, make_structure: Make
) -> None:
    far = dataclasses.replace(wide_domain, closest={(3, 14): 40.0})
    calculator = WaveScatCalculator(dataclasses.replace(small_ensemble, domain=far))
    with no_warnings():
        calculator.get_potential_energy(Atoms("Li2", [[0, 0, 0], [3.0, 0, 0]]))
    with pytest.warns(WaveScatWarning, match=r"Li-Si\) are 3.000 A apart"):
        calculator.get_potential_energy(Atoms("LiSi", [[0, 0, 0], [3.0, 0, 0]]))


@pytest.mark.parametrize("reach", [0.0, 8.0])
def test_reference_cell_of_a_slab_needs_its_periodic_rows_only(
    featured: Model, make_structure: Make, reach: float
) -> None:
    atoms = make_structure()
    atoms.pbc = (True, True, False)
    atoms.calc = WaveScatCalculator(featured)
    energy = atoms.get_potential_energy()
    reference = atoms.cell.array.copy()
    reference[2] = [0.0, 0.0, reach]
    fixed = WaveScatCalculator(featured, reference_cell=reference)
    assert fixed.get_potential_energy(atoms) == pytest.approx(energy, abs=1e-9)
    numerical = WaveScatCalculator(featured, reference_cell=reference, forces="finite-difference")
    np.testing.assert_allclose(numerical.get_forces(atoms), fixed.get_forces(atoms), atol=1e-6)
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    assert fixed.get_potential_energy(strained) == pytest.approx(
        WaveScatCalculator(featured).get_potential_energy(strained), abs=1e-6
    )
    atoms.pbc = True
    if reach == 0.0:
        with pytest.raises(StructureError, match=r"no vector along a direction of pbc = \[True, True, True\]"):
            fixed.get_potential_energy(atoms)


def test_copies_keep_the_boundaries(featured: Model, make_structure: Make) -> None:
    atoms = make_structure(atoms=4, side=4.5)
    atoms.pbc = (False, False, True)
    atoms.calc = WaveScatCalculator(featured)
    reference = everything(atoms)
    twin = atoms.copy()
    twin.calc = pickle.loads(pickle.dumps(atoms.calc))
    assert_same(everything(twin), reference)
    twin.calc.reset()
    assert_same(everything(twin), reference)


@pytest.mark.parametrize("name", ["out.extxyz", "out.traj"])
def test_writers_keep_molecules(featured: Model, tmp_path: Path, name: str) -> None:
    molecule = Atoms("LiSiLi", [[0, 0, 0], [0, 0, 2.4], [2.1, 0, 3.4]], calculator=WaveScatCalculator(featured))
    LBFGS(molecule, logfile="/dev/null", trajectory=str(tmp_path / "path.traj")).run(fmax=1e-3, steps=3)
    write(tmp_path / name, molecule)
    back = read(tmp_path / name)
    assert back.get_potential_energy() == pytest.approx(molecule.get_potential_energy(), rel=1e-9)
    assert not back.pbc.any() and len(read(tmp_path / "path.traj", ":")) > 1


# ---------------------------------------------------------------- uncertainties


def test_uncertainties_have_their_shapes_and_stay_out_of_the_results(atoms: Atoms) -> None:
    atoms.get_forces()
    calculator = atoms.calc
    assert calculator.get_energy_uncertainty() > 0
    spread = calculator.get_forces_uncertainty()
    assert spread.shape == (len(atoms), 3) and (spread > 0).all()
    assert set(calculator.results) == ASE_KEYS
    members = calculator.get_member_energies(atoms)
    assert calculator.get_energy_uncertainty(atoms) == pytest.approx(1.5 * members.std(ddof=1))


def test_annotate_writes_what_extended_xyz_keeps(atoms: Atoms, tmp_path: Path) -> None:
    atoms.get_forces()
    atoms.calc.annotate(atoms)
    write(tmp_path / "out.extxyz", atoms)
    back = read(tmp_path / "out.extxyz")
    assert back.info["energy_uncertainty"] == pytest.approx(atoms.info["energy_uncertainty"])
    np.testing.assert_allclose(back.arrays["forces_uncertainty"], atoms.arrays["forces_uncertainty"], atol=1e-7)


def test_uncertainty_of_another_structure_does_not_disturb_the_results(atoms: Atoms, make_structure: Make) -> None:
    reference = everything(atoms)
    atoms.calc.get_forces_uncertainty(make_structure(3))
    assert_same(everything(atoms), reference)


# ---------------------------------------------------------------- work done and not done


def test_energy_alone_makes_no_backward_pass_and_forces_reuse_the_forward_pass(
    atoms: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"forward": 0, "backward": 0}
    forward, backward = Model.predict, Evaluation.gradient

    def count_forward(*arguments: Any) -> Any:
        calls["forward"] += 1
        return forward(*arguments)

    def count_backward(*arguments: Any) -> Any:
        calls["backward"] += 1
        return backward(*arguments)

    monkeypatch.setattr(Model, "predict", count_forward)
    monkeypatch.setattr(Evaluation, "gradient", count_backward)
    atoms.get_potential_energy()
    assert calls == {"forward": 1, "backward": 0}
    atoms.calc.get_energy_uncertainty(atoms)
    atoms.get_stress()
    atoms.get_forces()
    atoms.get_potential_energy()
    assert calls == {"forward": 1, "backward": 1}
    atoms.positions[0, 0] += 0.1
    atoms.get_potential_energy()
    assert calls == {"forward": 2, "backward": 1}


def test_results_are_copies(atoms: Atoms) -> None:
    forces = atoms.get_forces()
    kept = forces.copy()
    forces[:] = 0
    atoms.calc.get_forces_uncertainty(atoms)[:] = 0
    np.testing.assert_array_equal(atoms.get_forces(), kept)
    assert atoms.calc.get_forces_uncertainty(atoms).any()


def test_set_forgets_results_and_refuses_nonsense(atoms: Atoms, small_ensemble: Model) -> None:
    atoms.get_forces()
    atoms.calc.set(forces="finite-difference")
    assert atoms.calc.results == {}
    with pytest.raises(ValueError, match="'forces'"):
        atoms.calc.set(force="analytic")
    with pytest.raises(ValueError, match="'analytic', 'finite-difference'"):
        WaveScatCalculator(small_ensemble, forces="numeric")
    with pytest.raises(ValueError, match="step must lie"):
        WaveScatCalculator(small_ensemble, step=-1.0)
    with pytest.raises(ValueError, match="reference_cell must be three"):
        WaveScatCalculator(small_ensemble, reference_cell=np.ones((3, 3)))


# ---------------------------------------------------------------- bad structures


def _broken(atoms: Atoms, change: str) -> Atoms:
    if change == "nothing":
        return Atoms(cell=atoms.cell, pbc=True)
    if change == "endless":
        atoms.set_cell(np.zeros((3, 3)))
        atoms.pbc = (True, False, False)
    elif change == "drifted":
        atoms.pbc = (True, False, False)
        atoms.positions[3] += 1e6
    elif change == "NaN":
        atoms.positions[2, 1] = np.nan
    elif change == "flat":
        atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    elif change == "gold":
        atoms.numbers[1] = 79
    return atoms


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nothing", "no atoms"),
        ("endless", "cell vectors along periodic directions.*or set pbc = False"),
        ("drifted", "reciprocal vectors.*if atoms have drifted apart"),
        ("NaN", "position of atom 2"),
        ("flat", "no volume"),
        ("gold", "knows Li, Si, not Au"),
    ],
)
def test_structures_that_cannot_be_evaluated_are_named(
    atoms: Atoms, calculator: WaveScatCalculator, change: str, message: str
) -> None:
    reference = everything(atoms.copy() if atoms.calc is None else atoms)
    broken = _broken(atoms.copy(), change)
    broken.calc = calculator
    for ask in (broken.get_potential_energy, broken.get_forces, lambda: calculator.get_energy_uncertainty(broken)):
        with pytest.raises(StructureError, match=message):
            ask()
    assert_same(everything(atoms), reference)


def test_accessors_without_a_structure_say_so(calculator: WaveScatCalculator) -> None:
    with pytest.raises(StructureError, match="not seen a structure"):
        calculator.get_energy_uncertainty()


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelNotFoundError, match=r"no model 'nonesuch\.h5'"):
        WaveScatCalculator("nonesuch.h5")


# ---------------------------------------------------------------- domain


def test_warnings_come_once_for_each_kind(small_ensemble: Model, wide_domain: Domain, make_structure: Make) -> None:
    narrow = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.1)}, closest={(3, 3): 9.0})
    wide = wide_ranges(len(linear(small_ensemble).keys))
    atoms, low = make_structure(), dataclasses.replace(wide, maximum=wide.minimum)
    atoms.calc = WaveScatCalculator(changed(small_ensemble, domain=narrow, ranges=low))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            atoms.rattle(0.05, rng=np.random.default_rng(1))
            atoms.get_forces()
    messages = sorted(str(warning.message) for warning in caught if warning.category is WaveScatWarning)
    assert len(messages) == 3
    assert sum("apart" in message for message in messages) == 1
    assert all(message.startswith("outside the training domain: ") and "; " in message for message in messages)


def test_inside_the_domain_nothing_is_said(small_ensemble: Model, wide_domain: Domain, make_structure: Make) -> None:
    atoms = make_structure()
    atoms.calc = WaveScatCalculator(dataclasses.replace(small_ensemble, domain=wide_domain))
    with no_warnings():
        atoms.get_forces()


# ---------------------------------------------------------------- copies, threads, processes


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda calc: pickle.loads(pickle.dumps(calc))])
def test_copies_compute_the_same(atoms: Atoms, clone: Callable[[Any], Any]) -> None:
    reference = everything(atoms)
    twin = clone(atoms.calc)
    assert twin.name == "wavescat" and twin.results["energy"] == reference[0]
    moved = atoms.copy()
    moved.rattle(0.05, seed=2)
    moved.calc = twin
    other = everything(moved)
    assert_same(everything(atoms), reference)
    moved.calc = atoms.calc
    assert_same(everything(moved), other)


def test_pickles_do_not_carry_the_caches(atoms: Atoms) -> None:
    before = len(pickle.dumps(atoms.calc))
    atoms.calc.get_forces_uncertainty(atoms)
    atoms.get_potential_energy()
    assert len(pickle.dumps(atoms.calc)) < before + 20_000


def _energy_and_forces(calculator: WaveScatCalculator, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    atoms = atoms.copy()
    atoms.calc = calculator
    return everything(atoms)


def test_threads_sharing_one_calculator_agree_with_serial_use(
    calculator: WaveScatCalculator, small_ensemble: Model, make_structure: Make
) -> None:
    structures = [make_structure(seed) for seed in range(6)]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 4))
    serial = [_energy_and_forces(WaveScatCalculator(small_ensemble), atoms) for atoms in structures]
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda k: _energy_and_forces(calculator, structures[k]), order))
    for k, result in zip(order, shared, strict=True):
        assert_same(result, serial[k])


def test_spawned_processes_agree(calculator: WaveScatCalculator, make_structure: Make) -> None:
    structures = [make_structure(seed) for seed in range(2)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        far = [pool.submit(calculator.get_forces, atoms) for atoms in structures]
        results = [future.result(timeout=300) for future in far]
    for atoms, forces in zip(structures, results, strict=True):
        np.testing.assert_allclose(forces, calculator.get_forces(atoms), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- within ASE


def test_an_optimizer_lowers_energy_and_forces(atoms: Atoms) -> None:
    energy, forces, _ = everything(atoms)
    atoms.set_constraint(FixAtoms([0]))
    LBFGS(atoms, logfile="/dev/null").run(fmax=0.01, steps=20)
    assert atoms.get_potential_energy() < energy
    assert abs(atoms.get_forces()).max() < abs(forces).max()


@pytest.mark.parametrize("name", ["out.extxyz", "out.traj", "out.json"])
def test_writers_keep_the_results(atoms: Atoms, tmp_path: Path, name: str) -> None:
    reference = everything(atoms)
    write(tmp_path / name, atoms)
    back = read(tmp_path / name)
    assert back.get_potential_energy() == pytest.approx(reference[0], rel=1e-9)
    np.testing.assert_allclose(back.get_forces(), reference[1], atol=1e-7)
    np.testing.assert_allclose(back.get_stress(), reference[2], atol=1e-7)


def test_databases_keep_results_and_name(atoms: Atoms, tmp_path: Path, small_ensemble: Model) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    atoms.calc = WaveScatCalculator(tmp_path / "small.h5", reference_cell=atoms.cell)
    reference = everything(atoms)
    with connect(tmp_path / "out.db") as database:
        database.write(atoms)
    row = next(iter(connect(tmp_path / "out.db").select()))
    assert row.calculator == "wavescat"
    assert row.calculator_parameters["model"] == str(tmp_path / "small.h5")
    assert row.energy == pytest.approx(reference[0]) and row.free_energy == pytest.approx(reference[0])
    np.testing.assert_allclose(row.forces, reference[1])


def test_parameters_describe_the_calculator(calculator: WaveScatCalculator) -> None:
    assert calculator.todict() == {
        "model": "in memory", "model_digest": calculator.model.digest, "ase_wavescat": __version__,
    }  # fmt: skip
    assert calculator.name == "wavescat"
    assert set(calculator.implemented_properties) == ASE_KEYS


@pytest.mark.parametrize("name", ["model", "model_digest", "ase_wavescat"])
def test_nobody_changes_what_is_recorded_of_the_model(calculator: WaveScatCalculator, name: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown parameter '{name}'.*the model is fixed"):
        calculator.set(**{name: "other"})


def test_files_tell_two_models_of_one_name_apart(
    tmp_path: Path, small_ensemble: Model, make_structure: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = linear(small_ensemble).weights.copy()
    weights[0, 0] = np.nextafter(weights[0, 0], 1)
    recorded: dict[str, list[str]] = {"traj": [], "db": [], "json": []}
    for folder, ensemble in (("a", small_ensemble), ("b", changed(small_ensemble, weights=weights))):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        save_model("lisi.h5", ensemble)
        atoms = make_structure()
        atoms.calc = WaveScatCalculator("lisi.h5")
        atoms.get_forces()
        for kind in recorded:
            write(f"out.{kind}", atoms)
        recorded["traj"].append(read("out.traj").calc.parameters["model_digest"])
        for kind in ("db", "json"):
            row = connect(f"out.{kind}").get(1)
            assert row.calculator_parameters["model"] == "lisi.h5"
            recorded[kind].append(row.calculator_parameters["model_digest"])
        assert recorded["traj"][-1] == ensemble.digest
    assert all(found == recorded["traj"] for found in recorded.values())
    assert len(set(recorded["traj"])) == 2


def test_ase_lists_the_plugin() -> None:
    from ase_wavescat.ase_plugin import __ase_plugins__

    pytest.importorskip("ase._4.plugins.plugin")
    (plugin,) = __ase_plugins__
    assert plugin.name == "wavescat"
    assert plugin.implementation is WaveScatCalculator


def test_threads_change_nothing_and_single_precision_little(small_ensemble, make_structure):
    atoms = make_structure(seed=4)
    calculator = WaveScatCalculator(small_ensemble)
    atoms.calc = calculator
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    calculator.set(threads=2)
    assert atoms.get_potential_energy() == energy
    np.testing.assert_array_equal(atoms.get_forces(), forces)
    calculator.set(precision="single")
    assert atoms.get_potential_energy() != energy
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-4 * np.abs(stress).max())
    assert copy.deepcopy(calculator)._execution == calculator._execution
    assert calculator.parameters["precision"] == "single"


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"precision": "half"}])
def test_unusable_threads_and_precisions_are_refused(small_ensemble, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WaveScatCalculator(small_ensemble, **wrong)
    calculator = WaveScatCalculator(small_ensemble)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        calculator.set(**wrong)


# ---------------------------------------------------------------- twins and reference cells


def test_twins_share_the_grids_and_nothing_else(calculator: WaveScatCalculator, make_structure: Make) -> None:
    atoms = make_structure()
    forces = calculator.get_forces(atoms)
    twin = calculator.twin(reference_cell=1.05 * atoms.cell.array)
    assert twin.model is calculator.model
    assert twin.results == {} and twin.atoms is None
    assert calculator.parameters["reference_cell"] is None
    twin.get_potential_energy(moved := make_structure(1))
    np.testing.assert_array_equal(calculator.results["forces"], forces)
    twin.set(threads=2)
    assert calculator.parameters["threads"] == calculator._execution.threads == 1
    assert pickle.loads(pickle.dumps(twin)).get_potential_energy(moved) == twin.get_potential_energy(moved)
    with pytest.raises(ValueError, match="unknown parameter 'steps'"):
        calculator.twin(steps=1)


@pytest.mark.parametrize("kind", ["smaller", "larger", "sheared", "flat"])
@pytest.mark.parametrize("forces", ["analytic", "finite-difference"])
def test_reference_cells_of_other_structures_are_refused(
    small_ensemble: Model, make_structure: Make, kind: str, forces: str
) -> None:
    atoms = make_structure()
    others = {
        "smaller": atoms.cell.array / 1.15,
        "larger": atoms.cell.array / 0.49,
        "sheared": atoms.cell.array @ [[1, 0.3, 0], [0, 1, 0], [0, 0, 1]],
        "flat": atoms.cell.array * [[1], [1], [0.8]],
    }
    calculator = WaveScatCalculator(small_ensemble, reference_cell=others[kind], forces=forces)
    with pytest.raises(StructureError, match=r"belongs to another structure: .* the limits are 0\.5 and 1\.12"):
        calculator.get_forces(atoms)
    with pytest.raises(StructureError, match="another structure"):
        calculator.get_stress(atoms)
    calculator.set(reference_cell=None)
    assert np.isfinite(calculator.get_potential_energy(atoms))


@pytest.mark.parametrize("stretch", [0.5001, 0.7, 0.91, 1.1])
def test_reference_cells_of_moderate_strains_are_taken_however_they_are_turned(
    featured: Model, make_structure: Make, stretch: float
) -> None:
    """Those of larger cells lose nothing; of smaller ones, what the wavelets have beyond the sphere."""
    atoms = make_structure(side=7.0)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    fixed = WaveScatCalculator(featured, reference_cell=atoms.cell.array @ turn / stretch)
    own = WaveScatCalculator(featured).get_potential_energy(atoms)
    assert fixed.get_potential_energy(atoms) == pytest.approx(own, abs=1e-5 if stretch < 1 else 0.1)
    flat = atoms.copy()
    flat.pbc = (True, True, False)
    fixed.set(reference_cell=atoms.cell.array * [[1], [1], [30]])  # its row along the open direction does not matter
    assert np.isfinite(fixed.get_potential_energy(flat))
    alone = Atoms("Li2", [[0, 0, 0], [3.0, 0, 0]])
    assert np.isfinite(fixed.get_potential_energy(alone))  # nothing repeats, so that no reference has a meaning
