"""The feature store: right rows, whole or absent, one writer, never another spec's."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import h5py
import numpy as np
import pytest

from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training.data.frames import read_frames
from ase_wavescat.training.rows.store import (
    DiskSpaceError,
    Estimate,
    FeatureStore,
    _extrapolate,
    _in_a_window,
    _samples,
    random_directions,
)


@pytest.fixture
def frames(labelled):
    return read_frames(labelled[0])


def test_rows_are_the_jacobian(tmp_path, spec, frames):
    store = FeatureStore(tmp_path, spec)
    assert store.fill(frames[:1], workers=1, progress=False) == 1
    frame, rows = frames[0], store.load(frames[0])
    features, positions, strain = Transform(spec).jacobian(frame.structure)
    np.testing.assert_array_equal(rows.features, features)
    np.testing.assert_array_equal(rows.forces, -positions.reshape(len(features), -1).T)
    np.testing.assert_array_equal(rows.strain, strain.T)
    assert rows.directions is None


def test_random_directions_project_the_jacobian(tmp_path, spec, frames):
    whole, few = FeatureStore(tmp_path, spec), FeatureStore(tmp_path, spec, directions=3)
    for store in (whole, few):
        store.fill(frames[:1], workers=1, progress=False)
    rows = few.load(frames[0])
    np.testing.assert_allclose(np.linalg.norm(rows.directions, axis=1), 1.0)
    np.testing.assert_array_equal(rows.directions, random_directions(frames[0], 3))
    expected = whole.load(frames[0])
    np.testing.assert_allclose(
        rows.forces, rows.directions @ expected.forces, atol=1e-8 * np.abs(expected.forces).max()
    )
    np.testing.assert_allclose(rows.strain, expected.strain, atol=1e-8 * np.abs(expected.strain).max())


def test_families_without_a_jacobian_use_directions(tmp_path, moduli_spec, frames):
    store = FeatureStore(tmp_path, moduli_spec)
    store.fill(frames[:1], workers=1, progress=False)
    assert store.load(frames[0]).forces.shape == (16, len(moduli_spec.keys))


def test_energy_only_frames_have_no_derivatives(tmp_path, spec, frames):
    bare = dataclasses.replace(frames[0], forces=None, stress=None)
    store = FeatureStore(tmp_path, spec)
    store.fill([bare, frames[0]], workers=1, progress=False)
    assert store.load(bare).forces is None
    np.testing.assert_allclose(store.load(bare).features, store.load(frames[0]).features, rtol=1e-9)


def test_workers_give_the_same_rows_and_nothing_twice(tmp_path, spec, frames):
    one, many = FeatureStore(tmp_path / "one", spec), FeatureStore(tmp_path / "many", spec)
    one.fill(frames[:4], workers=1, progress=False)
    assert many.fill([*frames[:4], frames[0]], workers=2, progress=False) == 4
    assert many.fill(frames[:5], workers=1, progress=False) == 1
    for frame in frames[:4]:
        np.testing.assert_allclose(many.load(frame).forces, one.load(frame).forces, atol=1e-10)


@pytest.mark.parametrize("change", [{"beta": 1.0}, {"tolerance": 1e-2}, {"keys": 3}, {"directions": 2}])
def test_another_spec_never_uses_these_rows(tmp_path, spec, frames, change):
    FeatureStore(tmp_path, spec).fill(frames[:1], workers=1, progress=False)
    keys = spec.keys[: change["keys"]] if "keys" in change else None
    own = {name: value for name, value in change.items() if name in ("beta", "tolerance")}
    other = FeatureStore(tmp_path, dataclasses.replace(spec, **own), keys, change.get("directions"))
    with pytest.raises(DataError, match="no usable rows"):
        other.load(frames[0])
    assert other.fill(frames[:1], workers=1, progress=False) == 1


def changed(frame, **parts):
    return dataclasses.replace(frame, structure=dataclasses.replace(frame.structure, **parts))


def test_a_moved_atom_is_another_structure(tmp_path, spec, frames):
    store = FeatureStore(tmp_path, spec)
    store.fill(frames[:1], workers=1, progress=False)
    moved = changed(frames[0], positions=frames[0].positions + 1e-9)
    assert not store.path(moved).exists()


@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, False)])
def test_boundaries_are_part_of_a_structure(tmp_path, spec, moduli_spec, frames, pbc):
    opened = dataclasses.replace(changed(frames[0], pbc=pbc), stress=None)
    store = FeatureStore(tmp_path, spec)
    assert store.fill([opened, frames[0]], workers=1, progress=False) == 2
    rows, periodic = store.load(opened), store.load(frames[0])
    features, positions, _ = Transform(spec).jacobian(Structure(opened.cell, opened.positions, opened.numbers, pbc))
    np.testing.assert_array_equal(rows.features, features)
    np.testing.assert_array_equal(rows.forces, -positions.reshape(len(features), -1).T)
    assert np.abs(rows.features - periodic.features).max() > 0.01 * np.abs(features).max()
    projected = FeatureStore(tmp_path, spec, directions=2)
    projected.fill([opened], workers=1, progress=False)
    units = projected.load(opened).directions
    np.testing.assert_allclose(projected.load(opened).forces, units @ rows.forces, atol=1e-8)


def test_rows_of_another_version_of_the_code_are_refused(tmp_path, spec, frames):
    store = FeatureStore(tmp_path, spec)
    store.fill(frames[:1], workers=1, progress=False)
    with h5py.File(store.path(frames[0]), "r+") as file:
        file["forces"][0] *= 1.01
    with pytest.raises(DataError, match="not what this version computes; delete that folder"):
        store.fill(frames[:2], workers=1, progress=False)


def test_damaged_rows_are_named(tmp_path, spec, frames):
    store = FeatureStore(tmp_path, spec)
    store.fill(frames[:1], workers=1, progress=False)
    store.path(frames[0]).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"exact.extxyz.xz#0 .* delete that file"):
        store.load(frames[0])


def test_a_second_writer_waits(tmp_path, spec, frames):
    store = FeatureStore(tmp_path, spec)
    store.fill(frames[:1], workers=1, progress=False)
    other = sqlite3.connect(store.folder / "lock.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    assert store.fill(frames[:1], workers=1, progress=False) == 0  # reading needs no lock
    release = threading.Timer(0.3, other.close)
    release.start()
    with pytest.warns(WaveScatWarning, match="another process is writing to the feature store"):
        assert store.fill(frames[:2], workers=1, progress=False) == 1
    release.join()


def test_an_unknown_element_names_the_frame(tmp_path, spec, frames):
    strange = changed(frames[0], numbers=np.full_like(frames[0].numbers, 8))
    with pytest.raises(DataError, match=r"exact.extxyz.xz#0 cannot be transformed"):
        FeatureStore(tmp_path, spec).fill([strange], workers=1, progress=False)


def test_energies_only_on_request(tmp_path, spec, frames):
    store = FeatureStore(tmp_path, spec, directions=0)
    store.fill(frames[:2], workers=1, progress=False)
    rows, whole = store.load(frames[0]), Transform(spec)
    assert rows.forces is None and rows.strain is None and rows.directions is None
    structure = frames[0].cell, frames[0].positions, frames[0].numbers
    np.testing.assert_array_equal(rows.features, whole.evaluate(Structure(*structure)).features)
    bare = dataclasses.replace(frames[0], forces=None, stress=None)
    assert store.path(bare) == store.path(frames[0])


def test_a_full_disk_is_refused_before_any_work(tmp_path, spec, frames, monkeypatch):
    store = FeatureStore(tmp_path / "store", spec)
    rows = 8 * len(spec.keys) * sum(1 + 3 * len(frame) + 6 for frame in frames)
    assert rows < store.bytes_of(frames) < rows + 5000 * len(frames)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, rows))
    with pytest.raises(
        DiskSpaceError, match=r"rows of 12 frames with \d+ features need .*B, the disk of .* has .*B left"
    ):
        store.fill(frames, workers=1, progress=False)
    assert not list(store.folder.glob("*.h5"))
    monkeypatch.undo()
    store.fill(frames, workers=1, progress=False)
    written = sum(store.path(frame).stat().st_size for frame in frames)
    assert rows < written < 1.1 * store.bytes_of(frames)


def test_what_a_run_takes_is_said_first(tmp_path, spec, frames, capsys):
    more = [changed(frame, positions=frame.positions + 0.01) for frame in frames]
    store = FeatureStore(tmp_path, spec)
    assert store.fill(frames[:2], workers=1) == 2
    assert capsys.readouterr().out == ""  # over before it is estimated
    assert store.fill([*frames, *more], workers=1) == 22
    said = capsys.readouterr().out
    assert f"22 of 24 frames, {len(spec.keys)} features: " in said and said.endswith(" on 1 process\n")
    assert store.fill([*frames, *more], workers=1) == 0


def test_estimates_in_words():
    whole = Estimate(missing=8880, frames=8880, features=3740, bytes=270_000_000, seconds=700.0, workers=2)
    assert str(whole) == "8,880 frames, 3740 features: 0.27 GB, about 12 minutes on 2 processes"
    part = Estimate(missing=1, frames=3, features=9, bytes=900, seconds=0.1, workers=1)
    assert str(part) == "1 of 3 frames, 9 features: 0.9 kB, about 1 second on 1 process"
    long = dataclasses.replace(whole, bytes=12_300_000_000, seconds=10_000.0)
    assert "12 GB, about 2.8 hours" in str(long)


def test_times_are_extrapolated_by_size(frames, tmp_path):
    def jobs(*sizes):
        parts = [changed(frames[0], numbers=np.ones(size, dtype=int), positions=np.zeros((size, 3))) for size in sizes]
        return [(frame, tmp_path / str(index)) for index, frame in enumerate(parts)]

    kind = jobs(400, 100, 95, 50)
    assert _samples(kind) == [kind[2], kind[0]]
    assert _extrapolate(kind, {kind[2]: 0.95**2, kind[0]: 16.0}) == pytest.approx(16 + 1 + 0.95**2 + 0.25)
    equal = jobs(7, 7, 7)
    times = {equal[1]: 9.0, equal[2]: 2.0, equal[0]: 2.5}  # the first one also plans
    assert _samples(equal) == list(times)
    assert _extrapolate(equal, times) == pytest.approx(6.0)


def test_few_jobs_are_pending_at_a_time(frames, tmp_path):
    pending: list[Future] = []

    def submit(jobs):
        future = Future()
        pending.append(future)
        if len([f for f in pending if not f.done()]) == 3:  # full: let the oldest end
            next(f for f in pending if not f.done()).set_result([0.0])
        return future

    done = _in_a_window(submit, [(frames[0], tmp_path / str(index)) for index in range(20)], pending=3)
    for _ in range(18):
        next(done)
        assert sum(not future.done() for future in pending) <= 3
    for future in pending[-2:]:
        future.set_result([0.0])
    assert len(list(done)) == 2 and len(pending) == 20
    with pytest.raises(DataError, match="no good"):
        list(_in_a_window(_failing, [(frames[0], tmp_path)], pending=3))


def _failing(jobs):
    future = Future()
    future.set_exception(DataError("no good"))
    return future


KILLED_RUN = """
import json, sys, time
import ase_wavescat.training.rows.store as store
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.training.data.frames import read_frames

real = store._rows
def slow(*arguments):
    time.sleep(0.05)
    return real(*arguments)
store._rows = slow
spec = ScatteringSpec.from_dict(json.loads(sys.argv[3]))
if __name__ == "__main__":  # worker processes import this file
    store.FeatureStore(sys.argv[2], spec).fill(read_frames(sys.argv[1]), workers=int(sys.argv[4]), progress=False)
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_resumes(tmp_path, spec, labelled, frames, workers):
    """SIGKILL at no special moment: what is there is whole, the rest is computed, the result is the undisturbed one."""
    folder, script = tmp_path / "killed", tmp_path / "run.py"
    script.write_text(KILLED_RUN)
    arguments = [sys.executable, script, labelled[0], folder, json.dumps(spec.to_dict()), str(workers)]
    process = subprocess.Popen(arguments)
    store = FeatureStore(folder, spec)
    while sum(store.path(frame).exists() for frame in frames) < 4 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    if workers > 1:
        time.sleep(1.0)  # the workers see it and end
    done = [frame for frame in frames if store.path(frame).exists()]
    assert 4 <= len(done) < len(frames)
    (store.folder / f".{store.path(frames[-1]).stem}-cut.h5").write_bytes(b"cut short")

    undisturbed = FeatureStore(tmp_path / "undisturbed", spec)
    undisturbed.fill(frames, workers=1, progress=False)
    assert store.fill(frames, workers=1, progress=False) == len(frames) - len(done)
    assert not list(store.folder.glob(".*.h5"))
    for frame in frames:
        for name in ("features", "forces", "strain"):
            np.testing.assert_array_equal(getattr(store.load(frame), name), getattr(undisturbed.load(frame), name))
