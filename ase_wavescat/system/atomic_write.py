"""Files that are either complete or not there, whatever becomes of the process, and errors that say why there is none.

A file is written beside its place under a hidden name and renamed when it is complete. The hidden name holds the
machine and the number of the process: what a killed process leaves is removed by the next one that writes to the
folder, and what belongs to a living process, or to one of another machine, is not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ase_wavescat.system.errors import WaveScatError

_NOT_ALLOWED = "choose another place, or ask for the right to write there"
_REMEDIES = {
    errno.ENOSPC: "make room on that disk, or choose another",
    errno.EDQUOT: "your share of that disk is used up: make room, or choose another",
    errno.EFBIG: "files may not be that large there: choose another disk, or raise the limit (ulimit -f)",
    errno.EROFS: _NOT_ALLOWED,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EIO: "the disk does not work: choose another",
}
_cleared: set[str] = set()


class FileWriteError(WaveScatError, OSError):
    """A file or folder that could not be written, and is as it was: no room, not allowed, a disk that fails."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, renamed onto it when the block ends without an error.

    On an error the temporary file is removed and `path` stays as it was.
    Raises FileNotFoundError for a missing folder; FileWriteError where the disk is full, or nothing may be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} to; make it")
    with write_errors(target):
        _remove_remains(os.path.abspath(target.parent))
        temporary = target.parent / f".{target.stem}-{_machine()}.{os.getpid()}.{secrets.token_hex(4)}{target.suffix}"
        # With the permissions of a plain open: to ask for the mask means to change it for all threads
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made with those above it where it is missing.  Raises FileWriteError."""
    folder = Path(path)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Errors of the system, inside the block, as a FileWriteError that names the file, the cause and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None or _is_elsewhere(error.filename, target):
            raise
        raise FileWriteError(
            f"{target} could not be written ({os.strerror(error.errno or 0)}); {remedy}; what was there is as it was"
        ) from error


def database_error(path: str | os.PathLike[str], error: sqlite3.OperationalError) -> FileWriteError:
    """What SQLite raised when it was to write to a file, which is as it was."""
    held = "locked" in str(error)
    remedy = "close the program that holds it" if held else "make room on that disk, or choose a place to write to"
    return FileWriteError(f"{os.fspath(path)} could not be written ({error}); {remedy}; what was there is as it was")


def _is_elsewhere(name: object, target: Path) -> bool:
    """Whether an error names another file than the target, one beside it, or a folder above it."""
    if not isinstance(name, str):
        return False
    place, folder = os.path.abspath(name), os.path.abspath(target.parent)
    return os.path.dirname(place) != folder and not Path(folder).is_relative_to(place)


def _remove_remains(folder: str) -> None:
    """What killed processes of this machine left in a folder; looked for once by each process."""
    if folder in _cleared:
        return
    _cleared.add(folder)
    pattern = re.compile(rf"\..+-{_machine()}\.(\d+)\.[a-z0-9_]{{8}}(\..*)?")
    for name in os.listdir(folder):
        found = pattern.fullmatch(name)
        if found and not _is_alive(int(found[1])):
            with suppress(OSError):  # another's, in a folder that all share
                os.unlink(os.path.join(folder, name))


@cache
def _machine() -> str:
    """Where the number of a process means what it means here: hexadecimal digits of the machine and, on Linux, of the
    numbering, which containers have for themselves."""
    numbering = "/proc/self/ns/pid"
    where = platform.node() + (os.readlink(numbering) if os.path.exists(numbering) else "")
    return hashlib.sha256(where.encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # signals of other systems are no questions
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
