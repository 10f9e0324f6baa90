"""Killed runs, and two at once: what comes of them is what an undisturbed run gives, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("resource")  # process groups and signals as Unix has them

from ase_wavescat.training.data.frames import read_frames
from ase_wavescat.training.rows.store import FeatureStore
from faults.killing import Ordeal, kill_group
from faults.works import DATA, SPEC, STORE, WORKS, Outcome, Work, compute_rows, training_inputs


@pytest.mark.parametrize(
    ("name", "structures", "kills"),
    [("labelling", 12, 2), *(pytest.param(name, WORKS[name].structures, 20, marks=pytest.mark.slow) for name in WORKS)],
)
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path, name: str, structures: int, kills: int) -> None:
    runs = list(Ordeal(WORKS[name], structures, tmp_path).kill(kills, seed=1))
    assert sum(len(run.kills) for run in runs) == kills
    assert [run.different for run in runs] == [[]] * len(runs)
    assert [run.leftovers for run in runs] == [[]] * len(runs)


def test_an_outcome_that_is_lost_by_a_kill_is_noticed(tmp_path: Path) -> None:
    """The check itself: a work that goes on from what it finds, whole or not."""
    script = "import time; file = open('result.txt', 'a'); file.write('x'); file.flush(); time.sleep(0.4)"
    work = Work(
        prepare=lambda folder, count: None,
        command=[sys.executable, "-c", script],
        outcome=lambda folder: {"result": (folder / "result.txt").read_text()},
        parts=lambda folder: int((folder / "result.txt").exists()),
        structures=1,
    )
    runs = list(Ordeal(work, 1, tmp_path).kill(3))
    assert any(run.different == ["result"] for run in runs)


def started(folder: Path, *frames_and_workers: int) -> subprocess.Popen[bytes]:
    command = compute_rows(*frames_and_workers)
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=os.setpgrp)


def undisturbed(folder: Path, count: int) -> Outcome:
    """Rows of the first frames, computed by this process alone."""
    (folder / "alone").mkdir()
    FeatureStore(folder / "alone" / STORE, SPEC).fill(read_frames(folder / DATA)[:count], 1, progress=False)
    return WORKS["featurisation"].outcome(folder / "alone")


def test_two_processes_on_one_store(tmp_path: Path) -> None:
    """Overlapping sets of frames, at once: nothing is computed twice, and all is as one process computes it."""
    training_inputs(tmp_path, 12)
    running = [started(tmp_path, 0, 8, 1), started(tmp_path, 4, 12, 1)]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum(int(out) for out, _ in said) == 12
    together = WORKS["featurisation"].outcome(tmp_path)
    assert together == undisturbed(tmp_path, 12) and len(together) == 3 * 12


def test_workers_end_with_the_process_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL for the parent alone, as the system does when memory is short; then the work goes on."""
    training_inputs(tmp_path, 60)
    process = started(tmp_path, 0, 60, 2)
    try:
        while WORKS["featurisation"].parts(tmp_path) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 60
        with pytest.raises(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(0.05)
    finally:
        kill_group(process)
    done = WORKS["featurisation"].parts(tmp_path)
    assert 3 <= done < 60
    subprocess.run(compute_rows(0, done + 1, 1), cwd=tmp_path, capture_output=True, check=True)
    expected = undisturbed(tmp_path, done + 1)
    found = WORKS["featurisation"].outcome(tmp_path)
    assert {name: found[name] for name in expected} == expected
    assert not list((tmp_path / STORE).glob("*/.*"))
