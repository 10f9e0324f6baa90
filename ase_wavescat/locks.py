"""Locks between processes that end with the process, however that ends."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Whether the lock of this file, made when missing, is ours; False when another process has it.

    It is SQLite's own lock, which works on every platform and is released by the system when the process is killed.
    """
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        yield _begin(connection)
    finally:
        connection.close()


def _begin(connection: sqlite3.Connection) -> bool:
    try:
        # not EXCLUSIVE: of two that ask for that at once, each can be refused for the other's sake
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    return True
