"""Forked children: each has only the thread that forked, and a lock that another thread held would stay held for ever.

Locks that are held for a moment only are taken before the fork, so that what they guard is whole in the child; those
that are held for the time of a calculation are replaced there, and what was half done is forgotten.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Protocol


class Lock(Protocol):
    """What `threading.Lock` and `threading.RLock` make."""

    def acquire(self) -> object: ...

    def release(self) -> object: ...


class Renewable(Protocol):
    """Has a lock of its own."""

    def renew(self) -> None:
        """Called in a forked child: replace the lock, and forget what another thread was half-way through."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_child(one: Renewable) -> None:
    """Call its `renew` in every forked child, as long as it lives."""
    _renewables.add(one)


def hold_at_fork(lock: Lock, in_child: Callable[[], None] = lambda: None) -> None:
    """Fork only while no other thread has this lock, which guards something for as long as the process lives.

    in_child: called in the child, with the lock held.
    """

    def after_in_child() -> None:
        in_child()
        lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=after_in_child)


def _renew_all() -> None:
    for one in list(_renewables):
        one.renew()


def _renew_cached_properties() -> None:
    """Before Python 3.12 each has a lock, held while a value is computed: a reverse pass of forces, say."""
    ours = [module for name, module in sys.modules.items() if name.partition(".")[0] == __name__.partition(".")[0]]
    for owner in {value for module in ours for value in vars(module).values() if isinstance(value, type)}:
        for value in vars(owner).values():
            if isinstance(value, cached_property):
                value.lock = threading.RLock()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
    if sys.version_info < (3, 12):
        os.register_at_fork(after_in_child=_renew_cached_properties)
