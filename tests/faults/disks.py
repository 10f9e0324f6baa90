"""Disks on which little can be written, or nothing: mounted where that is permitted, else by limits of the process."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NOBODY = 65534


class Disk(Protocol):
    """A folder, and how to leave little room in it."""

    folder: Path
    cause: str
    """What the system says when there is no room."""

    def room(self, size: int) -> Iterator[None]: ...


@dataclass
class SmallDisk:
    """A real one, in memory."""

    folder: Path
    cause = os.strerror(errno.ENOSPC)

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """So many bytes are free inside the block."""
        filler, state = self.folder / "filler", os.statvfs(self.folder)
        filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - size)))
        try:
            yield
        finally:
            filler.unlink()


@dataclass
class LimitedFiles:
    """No file may become larger, as if the disk ended there."""

    folder: Path
    cause = os.strerror(errno.EFBIG)

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error, not the end of the process
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk | None]:
    """A disk of so many bytes at the folder; None where nothing may be mounted."""
    if not _mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def nothing_written(folder: Path) -> Iterator[None]:
    """The folder is on a disk that can only be read; where nothing may be mounted, it is of the mode r-x for others."""
    if _mounted("--bind", folder, folder):
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    user, mode = os.geteuid(), folder.stat().st_mode
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(NOBODY)  # modes mean nothing to root
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


def _mounted(*arguments: str | Path) -> bool:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
    except OSError:  # there is no such command
        return False
