"""Locks between processes that end with the process, however that ends."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ase_wavescat.system.atomic_write import database_error

_POLL = 0.5  # s between two looks at a lock that another process has


@contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Whether the lock of this file, made when missing, is ours; False when another process has it.

    It is SQLite's own lock, which works on every platform and is released by the system when the process is killed.
    Raises FileWriteError where no such file can be made.
    """
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise database_error(path, error) from error
    try:
        yield _begin(connection, path)
    finally:
        connection.close()


@contextmanager
def waited_for(path: str | os.PathLike[str], waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this file, as soon as no other process does; `waiting` is called once if there is one."""
    told = False
    while True:
        with held(path) as ours:
            if ours:
                yield
                return
        if not told:
            waiting()
            told = True
        time.sleep(_POLL)


def _begin(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = OFF")  # nothing is written; a journal would outlive a killed process
        # not EXCLUSIVE: of two that ask for that at once, each can be refused for the other's sake
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise database_error(path, error) from error
        return False
    return True
