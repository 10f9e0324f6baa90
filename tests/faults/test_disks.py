"""Full disks and folders that can only be read: a named error, the old files as they were, nothing left beside them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("resource")  # limits of a process

from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from click.testing import CliRunner

from ase_wavescat import evaluate, save_model
from ase_wavescat.active_learning.labelling import label
from ase_wavescat.cli import main
from ase_wavescat.evaluation.report import Report, make_report
from ase_wavescat.evaluation.run import write_report
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.atomic_write import FileWriteError
from ase_wavescat.system.errors import WaveScatError
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.rows.store import FeatureStore
from ase_wavescat.workflows import read_screening, relax, screen
from faults.disks import Disk, LimitedFiles, SmallDisk, nothing_written, small_disk
from faults.works import SPEC, glass, training_inputs
from hostile.model_attacks import good_model
from linear_models import changed, linear

Writing = Callable[[Path], Any]
"""Writes into a folder."""
PAGE = 4096


def copper(version: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=version)
    return atoms


def model(version: int) -> Model:
    good = good_model()
    assert good.domain is not None
    domain = dataclasses.replace(good.domain, closest=dict.fromkeys(good.domain.closest, 2.0))
    return changed(good, weights=linear(good).weights * version, domain=domain)


def writing_a_model(version: int) -> Writing:
    return lambda folder: save_model(folder / "model.h5", model(version))


def frames(version: int, count: int) -> list[Frame]:
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            atoms = glass(version + number, 8)
            atoms.calc = SinglePointCalculator(atoms, energy=-version, forces=np.full((8, 3), 0.1 * version))
            write(Path(place) / "data.extxyz", atoms, append=True)
        return read_frames(Path(place) / "data.extxyz")


def writing_rows(version: int) -> Writing:
    """New files beside the old ones, not in their place."""
    wanted = frames(version, 1)
    return lambda folder: FeatureStore(folder / "rows", SPEC).fill(wanted, 1, progress=False)


def writing_a_label(version: int) -> Writing:
    pool = {f"copper-{version}": copper(version)}
    return lambda folder: label(pool, folder, lambda atoms: EMT(), {}, report=lambda line: None)


def writing_a_result(version: int) -> Writing:
    atoms = copper(version)
    atoms.calc = EMT()
    relaxation = relax(atoms, steps=3)
    return lambda folder: relaxation.write(folder, "relaxation")


@cache
def report() -> Report:
    return make_report(evaluate(model(1), frames(1, 2), workers=1, progress=False))


def writing_a_report(version: int) -> Writing:
    """With a page that needs no pictures drawn."""

    def write_it(folder: Path) -> None:
        with patch("ase_wavescat.evaluation.run.page", return_value=20_000 * f"page {version}"):
            write_report(report(), folder)

    return write_it


def writing_a_screening(version: int) -> Writing:
    """The database, which every structure is added to."""
    pool = [copper(number) for number in range(version)]
    options: dict[str, Any] = {"references": {"Cu": 0.0}, "steps": 2, "workers": 1, "progress": False}
    return lambda folder: screen(pool, model=EMT, output=folder, **options)


WRITINGS: dict[str, Callable[[int], Writing]] = {
    "model": writing_a_model, "rows": writing_rows, "label": writing_a_label, "result": writing_a_result,
    "report": writing_a_report, "screening": writing_a_screening,
}  # fmt: skip
"""Another number makes other content under the same names."""


@pytest.fixture(params=["small disk", "limited files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limited files":
        yield LimitedFiles(tmp_path)
        return
    with small_disk(tmp_path, 4 * 2**20) as found:
        if found is None:
            pytest.skip("nothing may be mounted here")
        yield found


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files, without the databases' locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "filler" and "lock" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def sizes(disk: Disk, fine: bool) -> list[int]:
    """Of the room that is left: one page after the other, or twice as many each time."""
    step = PAGE if isinstance(disk, SmallDisk) else PAGE // 4
    more = [step * 2**power for power in range(0, 12, 1 if fine else 2)]
    return [0, *range(step, 6 * step, step), *more[3:]] if fine else [0, *more]


@pytest.mark.parametrize("name", [name for name in WRITINGS if name != "screening"])
def test_a_full_disk_leaves_the_old_files(disk: Disk, name: str) -> None:
    """Wherever the room ends, HDF5's last bytes included."""
    WRITINGS[name](1)(disk.folder)
    old, failures, write_again = contents(disk.folder), 0, WRITINGS[name](2)
    for size in sizes(disk, fine=name in ("model", "rows")):
        try:
            with disk.room(size):
                write_again(disk.folder)
        except WaveScatError as error:
            failures += 1
            check_message(str(error), disk)
            found = contents(disk.folder)
            assert {path: found.get(path) for path in old} == old
            assert not [path for path in found if Path(path).name.startswith(".")]
        else:
            assert contents(disk.folder) != old
            break
    else:
        pytest.fail("there was never enough room")
    assert failures


def check_message(message: str, disk: Disk) -> None:
    """The file, the cause, the remedy."""
    assert str(disk.folder) in message
    assert any(cause in message for cause in (disk.cause, "disk is full", "disk I/O error", "B left"))
    assert any(remedy in message for remedy in ("choose another", "choose a place", "put the store on another disk"))


def test_a_full_disk_leaves_what_is_screened(disk: Disk) -> None:
    writing_a_screening(1)(disk.folder)
    screen_more = writing_a_screening(3)
    database, failures = disk.folder / "screening.db", 0
    old = {(entry.name, entry.energy) for entry in read_screening(database).table}
    for size in sizes(disk, fine=False):
        try:
            with disk.room(size):
                screen_more(disk.folder)
        except WaveScatError as error:
            failures += 1
            check_message(str(error), disk)
            assert {(entry.name, entry.energy) for entry in read_screening(database).table} >= old
        else:
            break
    assert failures and len(read_screening(database).table) == 3


def test_a_command_ends_with_the_message(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> None:
    training_inputs(inputs := tmp_path_factory.mktemp("inputs"), 6)
    arguments = ["train", inputs / "data.extxyz", "--spec", inputs / "spec.json", "--store", inputs / "rows", "-o"]
    arguments += [disk.folder / "model.h5", "--members", "2", "--folds", "2", "--workers", "1", "--quiet"]
    with disk.room(PAGE):
        done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    last = done.output.splitlines()[-1]
    assert last.startswith("Error: ") and disk.cause in last
    assert str(disk.folder / "model.h5") in last or isinstance(disk, LimitedFiles)  # which counts for the rows as well
    assert contents(disk.folder) == {}


def test_a_full_disk_of_the_calculator_ends_the_labelling(tmp_path: Path) -> None:
    """No structure could be computed on it: none is marked as failed."""

    def calculator(atoms: Atoms) -> EMT:
        raise OSError(28, "No space left on device", "/scratch/wavefunctions")

    with pytest.raises(OSError, match="No space left on device: '/scratch/wavefunctions'"):
        label({"copper": copper(1)}, tmp_path, calculator, {}, report=lambda line: None)
    assert set(contents(tmp_path)) == {"settings.json"}


@pytest.mark.parametrize("name", list(WRITINGS))
def test_nothing_is_written_where_nothing_may_be(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "folder"
        os.chmod(place, 0o755)  # for others, as whom root looks where it may not mount
        folder.mkdir()
        WRITINGS[name](1)(folder)
        old, write_again = contents(folder), WRITINGS[name](2)
        with nothing_written(folder):
            for target in (folder, folder / "new") if name != "model" else (folder,):
                with pytest.raises(FileWriteError, match=r"folder.* could not be written \(.*choose a"):
                    write_again(target)
        assert contents(folder) == old
