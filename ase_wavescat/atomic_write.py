"""Files that are either complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, renamed onto it when the block ends without an error.

    On an error the temporary file is removed and `path` stays as it was.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _usual_permissions(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _usual_permissions(path: Path) -> None:
    """mkstemp makes files that only their owner can read; give what a plain open would."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
