"""Files are complete or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ase_wavescat.system import atomic_write
from ase_wavescat.system.atomic_write import FileWriteError, atomic_path, make_folder


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".png" and temporary != target
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


WRITING = """
import sys, time
from pathlib import Path
from ase_wavescat.system.atomic_write import atomic_path
with atomic_path(Path(sys.argv[1]) / "data.h5") as temporary:
    temporary.write_text("half")
    temporary.with_name(temporary.name + "-journal").write_text("SQLite's")
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are asked for by a signal")
def test_what_killed_processes_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", WRITING, tmp_path], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        killed, living = processes
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (mine,) = tmp_path.glob(f".data-*.{living.pid}.*.h5")
        others = [mine, mine.with_name(mine.name + "-journal")]
        (remains,) = tmp_path.glob(f".data-*.{killed.pid}.*.h5")
        machine = atomic_write._machine()
        for name in (remains.name.replace(machine, "0" * 8), ".data.h5", ".hidden-1.h5", f"data-{machine}.1.abcdefgh"):
            others.append(tmp_path / name)
            others[-1].touch()
        monkeypatch.setattr(atomic_write, "_cleared", set())
        with atomic_path(tmp_path / "other.txt") as temporary:
            temporary.write_text("whole")
        assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "other.txt"])
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def test_errors_of_other_files_stay_what_they_are(tmp_path: Path) -> None:
    """A source that may not be read is no reason to choose another place to write to."""
    error = PermissionError(13, "Permission denied", "/elsewhere/source.txt")
    with pytest.raises(PermissionError) as caught, atomic_path(tmp_path / "table.txt"):
        raise error
    assert caught.value is error and not isinstance(caught.value, FileWriteError)
    message = r"table.txt could not be written \(No space left on device\); make room"
    with pytest.raises(FileWriteError, match=message), atomic_path(tmp_path / "table.txt"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    message = r"there is no folder .*missing to write table\.txt to; make it"
    with pytest.raises(FileNotFoundError, match=message), atomic_path(tmp_path / "missing" / "table.txt"):
        pass
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="permissions of other systems are other things")
def test_permissions_are_those_of_a_plain_file_and_the_process_keeps_its_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two threads that change the mask and put it back at the same time, one would put back that of the other."""
    plain = tmp_path / "plain"
    plain.write_text("")

    def refused(mask: int) -> int:
        raise AssertionError("the mask is the whole process's")

    monkeypatch.setattr(os, "umask", refused)
    with atomic_path(tmp_path / "own") as temporary:
        temporary.write_text("")
    assert (tmp_path / "own").stat().st_mode == plain.stat().st_mode
