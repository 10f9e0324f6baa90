"""The comparison with labels of strained glasses, hops and larger cells: what is put together, and what is fitted."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import GPa

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import WaveScatError
from ase_wavescat.workflows.checks import evaluated

STRAINS = np.array([-0.04, -0.02, 0.0, 0.02, 0.04])


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("dft_extrapolations")


@pytest.fixture
def pools() -> ModuleType:
    return importlib.import_module("extrapolation_pools")


def energies(modulus: float, strain: float, volume: float, cubic: float = 0.0) -> np.ndarray:
    """eV: of a cell with a bulk modulus (GPa) at its minimum, which is at a linear strain."""
    bend = 4.5 * volume * (1 + strain) * modulus * GPa
    return bend * ((STRAINS - strain) ** 2 + cubic * (STRAINS - strain) ** 3)


def test_moduli_of_labels_and_of_each_member_are_those_of_their_parabolas(benchmark: ModuleType) -> None:
    members = np.stack([energies(50, 0.005, 500), energies(60, 0.0, 500)], axis=1)
    fits = benchmark.Curve(STRAINS, energies(40, -0.01, 500), members, 500.0, 25).fits()
    assert fits is not None
    assert fits[0] == pytest.approx((40, 20 * 0.99**3))
    assert fits[1] == pytest.approx(np.array([(50, 20 * 1.005**3), (60, 20)]))


def test_both_are_fitted_through_the_points_near_the_lowest_label(benchmark: ModuleType) -> None:
    labels = energies(40, 0.02, 500, cubic=-3.0)
    assert STRAINS[np.argmin(labels)] == 0.02
    fits = benchmark.Curve(STRAINS, labels, energies(40, 0.02, 500, cubic=-3.0)[:, None], 500.0, 25).fits()
    assert fits is not None and fits[0] == pytest.approx(tuple(fits[1][0]))
    far = labels.copy()
    far[0] += 10  # the point at -4 % is six per cent from the lowest, and must not count
    assert benchmark.Curve(STRAINS, far, labels[:, None], 500.0, 25).fits()[0] == pytest.approx(fits[0])


def test_a_curve_without_a_minimum_has_no_modulus(benchmark: ModuleType) -> None:
    assert benchmark.Curve(STRAINS, energies(40, 0, 500), -energies(40, 0, 500)[:, None], 500.0, 25).fits() is None


def test_a_modulus_is_of_a_minimum_between_the_points(benchmark: ModuleType) -> None:
    inside, beyond = energies(40, 0.01, 500), energies(40, 0.06, 500)
    assert benchmark.Curve(STRAINS, beyond, inside[:, None], 500.0, 25).fits() is None
    fits = benchmark.Curve(STRAINS, inside, beyond[:, None], 500.0, 25).fits()
    assert fits is not None and fits[1][0, 0] == pytest.approx(40)  # an error of the model, which must count


def labelled(atoms: Atoms, calculator: WaveScatCalculator, shift: float) -> Atoms:
    """As a labeller gives it back that keeps nothing of what the pool says: energies shifted by so many eV/atom."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    bare.calc = calculator
    forces, stress = bare.get_forces(), bare.get_stress()
    energy = bare.get_potential_energy() + shift * len(bare)
    bare.calc = SinglePointCalculator(bare, energy=energy, forces=forces, stress=stress)
    result = evaluated(bare)
    result.info = {"kpts": "3x3x3"}
    return result


@pytest.mark.filterwarnings("ignore::ase_wavescat.system.errors.WaveScatWarning")
def test_labels_are_found_by_structure_and_compared(
    benchmark: ModuleType, pools: ModuleType, small_ensemble: Model, make_structure: Callable[..., Atoms],
    tmp_path: Path,
) -> None:  # fmt: skip
    relaxed = make_structure(atoms=6, side=9.0)
    relaxed.info["x"] = 0.5
    other = pools.named(make_structure(seed=1, atoms=6), relaxed, "larger")
    path = [pools.named(relaxed, relaxed, "hop-path", image=i, images=3) for i in (2, 1)]
    for image, frame in zip((2, 1), path, strict=True):
        frame.positions[0] += 0.3 * image
    frames = [*pools.curve(relaxed), *path, other]
    calculator = WaveScatCalculator(small_ensemble)
    (tmp_path / "pools").mkdir()
    write(tmp_path / "pools" / "all.extxyz.xz", frames, format="extxyz")
    write(tmp_path / "labels.extxyz", [labelled(atoms, calculator, 0.01) for atoms in frames[::-1]])
    benchmark.collect(tmp_path / "pools", [tmp_path / "labels.extxyz"], tmp_path / "data.extxyz.xz")
    found = structures_of(tmp_path / "data.extxyz.xz")
    assert [atoms.info["config_type"] for atoms in found] == [atoms.info["config_type"] for atoms in frames]
    result = benchmark.measure(found, small_ensemble)
    summary = result["summary"]
    assert summary["curves"] == pytest.approx(10) and summary["larger"] == pytest.approx(10)
    assert summary["barriers"] == pytest.approx(0, abs=1e-6) and summary["larger forces"] == pytest.approx(0, abs=1e-6)
    assert result["bands"][0]["images"] == 3
    text = benchmark.text({"small.h5": result})
    assert "energies along the strain | 10.0 meV/atom (5) |" in text and "| -10.0 |" in text
    few = [
        atoms for atoms in found if abs(atoms.info.get("linear_strain", 0)) < 0.03 and "larger" not in str(atoms.info)
    ]
    part = benchmark.measure(few, small_ensemble)
    assert part["numbers"]["curves"] == 3 and part["numbers"]["barriers"] == 2 and "larger" not in part["summary"]
    assert "| hop in |" in benchmark.text({"small.h5": part})
    benchmark.picture(part)
    benchmark.picture({"curves": [], "bands": []})


def test_a_curve_of_two_meshes_is_left_out(
    benchmark: ModuleType, pools: ModuleType, small_ensemble: Model, make_structure: Callable[..., Atoms],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    relaxed = make_structure(atoms=4, side=9.0)
    relaxed.info["x"] = 0.5
    calculator = WaveScatCalculator(small_ensemble)
    frames = pools.curve(relaxed)
    for frame, kpts in zip(frames, ("3x3x3",) * 4 + ("4x4x4",), strict=True):
        frame.calc = labelled(frame, calculator, 0.0).calc
        frame.info["kpts"] = kpts
    assert benchmark.strained(frames, calculator) == [] and "not all of one mesh" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::ase_wavescat.system.errors.WaveScatWarning")
def test_a_band_of_two_meshes_is_left_out(
    benchmark: ModuleType, pools: ModuleType, small_ensemble: Model, make_structure: Callable[..., Atoms],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    relaxed = make_structure(atoms=4, side=9.0)
    relaxed.info["x"] = 0.5
    calculator = WaveScatCalculator(small_ensemble)
    frames = [pools.curve(relaxed)[0], *(pools.named(relaxed, relaxed, "hop-path", image=i, images=3) for i in (1, 2))]
    for index, (frame, kpts) in enumerate(zip(frames, ("3x3x3", "3x3x3", "2x2x2"), strict=True)):
        frame.positions[0] += 0.2 * index
        frame.calc = labelled(frame, calculator, 0.0).calc
        frame.info["kpts"] = kpts
    assert benchmark.hops(frames, calculator) == [] and "not all of one mesh" in capsys.readouterr().out
    frames[2].info["kpts"] = "3x3x3"
    assert len(benchmark.hops(frames, calculator)) == 1


def test_errors_are_of_models_that_have_not_seen_the_frames(
    benchmark: ModuleType, small_ensemble: Model, make_structure: Callable[..., Atoms], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    atoms = labelled(make_structure(atoms=6), WaveScatCalculator(small_ensemble), 0.0)
    atoms.info |= {"config_type": "larger", "parent": "one", "group": "one", "x": 0.5}
    write(tmp_path / "data.extxyz", atoms)
    monkeypatch.setattr(importlib.import_module("held_out"), "trained_frames", lambda ensemble, frames: frames)
    for models, message in ((["lisi.h5"], "lisi.h5 was trained on 1 of these 1"), (["a/x.h5", "b/x.h5"], "2")):
        monkeypatch.setattr(sys, "argv", ["x", "--data", str(tmp_path / "data.extxyz"), "--models", *models])
        with pytest.raises(SystemExit, match=message):
            benchmark.main()
    assert "same file name" in capsys.readouterr().err


def test_glasses_of_one_model_are_not_taken_for_those_of_another(pools: ModuleType, tmp_path: Path) -> None:
    one, other, glasses = tmp_path / "one.h5", tmp_path / "other.h5", tmp_path / "pools" / "glasses"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    for _ in range(2):
        pools.claim(glasses, one)
        (glasses / "Li2.extxyz").touch()
    with pytest.raises(WaveScatError, match="glasses of another model"):
        pools.claim(glasses, other)
    (glasses / "model.sha256").unlink()
    with pytest.raises(WaveScatError, match="SHA-256 unknown"):
        pools.claim(glasses, one)


def test_a_glass_too_small_for_one_mesh_is_refused(pools: ModuleType, make_structure: Callable[..., Atoms]) -> None:
    small = make_structure(atoms=4, side=7.9)
    small.info["x"] = 0.5
    with pytest.raises(Exception, match="take more atoms"):
        pools.curve(small)


@pytest.mark.parametrize("fraction", [0.0, 0.38, 0.79, 1.0])
def test_compositions_fill_the_cell_with_few_atoms(pools: ModuleType, fraction: float) -> None:
    counts = pools.composition(fraction)
    atoms = sum(counts.values())
    assert 24 <= atoms <= 42 and abs(counts.get("Li", 0) / atoms - fraction) < 0.02
