"""Files of a feature store that a disk, a killed process or someone else has spoilt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.rows.store import FeatureStore
from faults.works import DATA, SPEC, training_inputs


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    folder = tmp_path_factory.mktemp("inputs")
    training_inputs(folder, 3)
    return read_frames(folder / DATA)


@pytest.fixture
def store(tmp_path: Path, frames: list[Frame]) -> FeatureStore:
    store = FeatureStore(tmp_path, SPEC)
    store.fill(frames, 1, progress=False)
    return store


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_at_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def of_another_program(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def another_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["positions"] = np.zeros(path.stat().st_size)


def of_another_frame(path: Path) -> None:
    """No checksum, as old files: the shapes tell."""
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros(len(SPEC.keys))
        file["forces"] = np.zeros((3, len(SPEC.keys)))
        file["strain"] = np.zeros((6, len(SPEC.keys)))
        file["filler"] = np.zeros(0)


@pytest.mark.parametrize("spoil", [flipped, cut_at_the_end, of_another_program, another_file, of_another_frame])
def test_spoilt_rows_are_refused_by_name(
    store: FeatureStore, frames: list[Frame], spoil: Callable[[Path], None]
) -> None:
    path = store.path(frames[1])
    spoil(path)
    with pytest.raises(DataError, match=rf"rows of {frames[1].name} at .*{path.name} .*delete that file"):
        store.load(frames[1])
    path.unlink()
    assert store.fill(frames, 1, progress=False) == 1
    store.load(frames[1])


def test_rows_cut_short_are_computed_again(store: FeatureStore, frames: list[Frame]) -> None:
    """As after a loss of power, when a file may be there and its content not."""
    before = [store.load(frame) for frame in frames]
    for frame, size in zip(frames, (0, 1000), strict=False):
        path = store.path(frame)
        path.write_bytes(path.read_bytes()[:size])
    assert store.fill(frames, 1, progress=False) == 2
    for frame, rows in zip(frames, before, strict=True):
        for name, array in vars(rows).items():
            np.testing.assert_array_equal(getattr(store.load(frame), name), array)


def test_rows_without_a_checksum_are_read(store: FeatureStore, frames: list[Frame]) -> None:
    """As they were written before there were any."""
    expected, path = store.load(frames[0]), store.path(frames[0])
    with h5py.File(path, "r+") as file:  # HDF5 cuts off what follows its own end
        file["features"][...] = file["features"][...]
    assert b"sha256" not in path.read_bytes()
    np.testing.assert_array_equal(store.load(frames[0]).forces, expected.forces)
