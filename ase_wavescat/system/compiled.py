"""Loops compiled by numba, kept on disk where a disk can be written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numba
from numba.core.compiler_lock import global_compiler_lock

from ase_wavescat.system.errors import warn
from ase_wavescat.system.forks import hold_at_fork

hold_at_fork(global_compiler_lock)  # a child that compiles would wait for ever for a thread that did

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(**settings: Any) -> Callable[[_Function], _Function]:
    """A decorator: `numba.njit` with these settings, whose machine code later processes find on disk.

    Numba keeps it in NUMBA_CACHE_DIR where that is set, else beside the module, else in the user's cache folder. Where
    none of these can be written (a package installed by someone else and no home folder, as in containers), numba gives
    up; here functions are then compiled anew in each process, and a WaveScatWarning says so once.
    """

    def decorate(function: _Function) -> _Function:
        try:
            return numba.njit(cache=True, **settings)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
        _say_that_nothing_is_kept()
        return numba.njit(**settings)(function)

    return decorate


@cache
def _say_that_nothing_is_kept() -> None:
    warn(
        "neither the installed package nor the user's cache folder can be written: each process compiles anew, which"
        " takes from some seconds to a minute; set NUMBA_CACHE_DIR to a folder that can be written",
        stacklevel=2,
    )
