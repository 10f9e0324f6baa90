"""Labels by any calculator: what is written, what is tried again, processes side by side."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read

from ase_wavescat.active_learning import labelling
from ase_wavescat.active_learning.labelling import label
from ase_wavescat.system.errors import DataError
from ase_wavescat.system.locks import held
from ase_wavescat.training.data.frames import read_frames

SETTINGS = {"method": "effective medium theory", "cutoff": 5.0}


class SlowEMT(EMT):
    """Says that it has begun, and takes its time."""

    def calculate(self, *arguments, **named) -> None:
        time.sleep(0.3)
        super().calculate(*arguments, **named)


def make_pool(count: int = 3) -> dict[str, Atoms]:
    pool = {}
    for index in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=index)
        atoms.info["group"] = f"crystal-{index}"
        pool[f"copper-{index}"] = atoms
    return pool


def test_labels_are_those_of_the_calculator_and_can_be_trained_on(tmp_path: Path) -> None:
    pool, lines = make_pool(), []
    done = label(pool, tmp_path / "labels", lambda atoms: EMT(), SETTINGS, report=lines.append)
    assert done.labelled == tuple(pool) and not done.failed and not done.left
    assert len(lines) == 3 and "3 labelled" in done.summary()
    for frame, atoms in zip(read_frames(tmp_path / "labels"), pool.values(), strict=True):
        atoms.calc = EMT()
        assert frame.energy == pytest.approx(atoms.get_potential_energy(force_consistent=True), abs=1e-7)
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(frame.stress, atoms.get_stress(), atol=1e-7)
        assert frame.group == atoms.info["group"]
    assert json.loads(read(tmp_path / "labels" / "copper-0.extxyz").info["settings"]) == SETTINGS
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        "copper-0.extxyz", "copper-1.extxyz", "copper-2.extxyz", "settings.json",
    ]  # fmt: skip


def test_what_is_done_is_left_and_what_failed_is_not_tried_again(tmp_path: Path) -> None:
    pool = make_pool(2)
    pool["xenon"] = Atoms("Xe", cell=4 * np.eye(3), pbc=True)
    calls = []

    def calculator(atoms: Atoms) -> EMT:
        calls.append(atoms)
        return EMT()

    first = label(pool, tmp_path, calculator, SETTINGS, report=lambda line: None)
    assert first.labelled == ("copper-0", "copper-1") and "No EMT-potential for Xe" in first.failed["xenon"]
    assert "No EMT-potential" in (tmp_path / "xenon.failed").read_text()
    second = label(pool, tmp_path, calculator, SETTINGS, report=lambda line: None)
    assert second.left == tuple(pool) and len(calls) == 3
    (tmp_path / "xenon.failed").unlink()
    (tmp_path / "copper-1.extxyz").unlink()
    third = label(pool, tmp_path, calculator, SETTINGS, report=lambda line: None)
    assert third.labelled == ("copper-1",) and list(third.failed) == ["xenon"] and third.left == ("copper-0",)


def test_labels_that_are_not_finite_are_failures(tmp_path: Path) -> None:
    class Broken(EMT):
        def calculate(self, *arguments, **named) -> None:
            super().calculate(*arguments, **named)
            self.results["forces"] = self.results["forces"] * np.nan

    done = label(make_pool(1), tmp_path, lambda atoms: Broken(), SETTINGS, report=lambda line: None)
    assert "the forces is" in done.failed["copper-0"] and not (tmp_path / "copper-0.extxyz").exists()


def test_other_settings_and_bad_structures_are_refused_before_any_work(tmp_path: Path) -> None:
    label(make_pool(1), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    with pytest.raises(DataError, match=r"cutoff differ.*another folder"):
        label(make_pool(2), tmp_path, lambda atoms: EMT(), {**SETTINGS, "cutoff": 6.0})
    bad = make_pool(1) | {"void": Atoms(cell=np.eye(3), pbc=True)}
    with pytest.raises(DataError, match="void has no atoms"):
        label(bad, tmp_path / "new", lambda atoms: EMT(), SETTINGS)
    assert not (tmp_path / "new").exists()


def test_a_structure_that_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    label({}, tmp_path, lambda atoms: EMT(), SETTINGS)
    (tmp_path / ".copper-1-cut.extxyz").write_text("4\n")
    with held(tmp_path / ".copper-0.lock") as ours:
        assert ours
        done = label(make_pool(2), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert done.left == ("copper-0",) and done.labelled == ("copper-1",)
    assert not list(tmp_path.glob(".copper-1*")) and len(read_frames(tmp_path)) == 1


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    """The names of structures may begin alike: copper-0 and copper-0-1."""
    others, remains = (tmp_path / f".copper-0{more}-ab_3xy9z.extxyz" for more in ("-1", ""))
    for path in (others, remains):
        path.write_text("4\n")
    label(make_pool(1), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert others.exists() and not remains.exists()


def test_the_lock_of_a_process_killed_after_its_label_goes(tmp_path: Path) -> None:
    label(make_pool(1), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    (tmp_path / ".copper-0.lock").touch()
    done = label(make_pool(1), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert done.left == ("copper-0",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copper-0.extxyz", "settings.json"]


def test_a_code_that_is_not_there_is_no_failure_of_the_structure(tmp_path: Path) -> None:
    def calculator(atoms: Atoms) -> EMT:
        raise ModuleNotFoundError("No module named 'gpaw'")

    with pytest.raises(ModuleNotFoundError):
        label(make_pool(2), tmp_path, calculator, SETTINGS, report=lambda line: None)
    assert not list(tmp_path.glob("*.failed"))


def test_a_full_disk_is_no_failure_of_the_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments, **named) -> None:
        raise OSError(28, "No space left on device")

    label({}, tmp_path, lambda atoms: EMT(), SETTINGS)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(labelling, "atomic_path", full)
        label(make_pool(1), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert sorted(path.name for path in tmp_path.glob("copper*")) == []
    again = label(make_pool(1), tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert again.labelled == ("copper-0",)


def test_texts_of_several_lines_do_not_spoil_a_label(tmp_path: Path) -> None:
    pool = make_pool(1)
    pool["copper-0"].info["comment"] = "found in\nsome paper"
    label(pool, tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    (frame,) = read_frames(tmp_path)
    assert frame.info["comment"] == "found in\nsome paper"


def _run(folder: str, slow: bool) -> None:
    label(make_pool(6), folder, lambda atoms: SlowEMT() if slow else EMT(), SETTINGS, report=lambda line: None)


def _process(target: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_loses_one_structure_and_the_rest_is_done_by_others(tmp_path: Path) -> None:
    process = _process(_run, str(tmp_path), True)
    while not (tmp_path / "copper-0.extxyz").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not list(tmp_path.glob("copper-5*"))
    others = [_process(_run, str(tmp_path), False) for _ in range(2)]
    for other in others:
        other.join()
        assert other.exitcode == 0
    energies = [frame.energy for frame in read_frames(tmp_path)]
    label(make_pool(6), tmp_path / "again", lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert energies == [frame.energy for frame in read_frames(tmp_path / "again")]
    assert json.loads((tmp_path / "settings.json").read_text()) == SETTINGS


def test_labels_of_another_method_are_not_taken_along(tmp_path: Path) -> None:
    pool = make_pool(1)
    atoms = pool["copper-0"]
    atoms.info |= {"REF_energy": -999.0, "energy": -998.0, "REF_stress": np.ones(6), "energy_uncertainty": 3.0}
    atoms.arrays["REF_forces"] = np.full((4, 3), 9.0)
    done = label(pool, tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    assert done.labelled == ("copper-0",)
    (frame,) = read_frames(tmp_path)
    assert abs(frame.energy) < 1 and np.abs(frame.forces).max() < 5 and np.abs(frame.stress).max() < 0.5


def test_names_and_folders_that_do_not_fit(tmp_path: Path) -> None:
    atoms = make_pool(1)["copper-0"]
    for name in ("a/b", "../a", "", ".hidden", "x" * 300):
        with pytest.raises(DataError, match="no name for a file"):
            label({name: atoms}, tmp_path / "new", lambda atoms: EMT(), SETTINGS)
    with pytest.raises(DataError, match="settings must be numbers"):
        label({"a": atoms}, tmp_path / "new", lambda atoms: EMT(), {"path": Path()})
    assert not (tmp_path / "new").exists()
    label({"a": atoms}, tmp_path, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    with pytest.raises(DataError, match="label of another structure"):
        label({"a": make_pool(2)["copper-1"]}, tmp_path, lambda atoms: EMT(), SETTINGS)
    label_file = tmp_path / "a.extxyz"
    label_file.write_text(2 * label_file.read_text())
    with pytest.raises(DataError, match="holds 2 structures"):
        label({"a": atoms}, tmp_path, lambda atoms: EMT(), SETTINGS)
    (tmp_path / "a.extxyz").unlink()
    (tmp_path / "settings.json").write_text('{"method": ')
    with pytest.raises(DataError, match="cannot be read"):
        label({"a": atoms}, tmp_path, lambda atoms: EMT(), SETTINGS)


class Smeared(Calculator):
    """Forces are the derivative of the free energy."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -3.0, "free_energy": -3.5, "forces": np.zeros((len(self.atoms), 3))}


def test_the_free_energy_is_the_label(tmp_path: Path) -> None:
    label(make_pool(1), tmp_path, lambda atoms: Smeared(), SETTINGS, report=lambda line: None)
    (frame,) = read_frames(tmp_path)
    assert frame.energy == -3.5 and frame.info["energy_sigma0"] == -3.0
    plain = make_pool(1)["copper-0"]
    plain.info["energy_sigma0"] = -2.0  # of another method
    label({"plain": plain}, tmp_path / "plain", lambda atoms: EMT(), SETTINGS, report=print)
    assert "energy_sigma0" not in read_frames(tmp_path / "plain")[0].info
