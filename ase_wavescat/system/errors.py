"""Errors and warnings with names; each message gives the value, the reason and the remedy."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_MOST_COMPARED = 20_000  # names, for a spelling that is close


class WaveScatError(Exception):
    """Base of the package's own errors."""


class StructureError(WaveScatError, ValueError):
    """A structure that cannot be evaluated: unknown element, no atoms, non-finite positions, a cell without volume
    along directions that repeat, a box too large to compute."""


class SpecError(WaveScatError, ValueError):
    """A specification that cannot be used; the message says which value and why."""


class ModelFileError(WaveScatError, ValueError):
    """A model file that is truncated, foreign, newer than this package or inconsistent."""


class ModelNotFoundError(WaveScatError, FileNotFoundError):
    """No model of that name; the message lists where it was looked for and what there is."""


class DataError(WaveScatError, ValueError):
    """Data or settings that cannot be used: labels missing or not finite, one group only, limits out of range."""


class PathError(WaveScatError, ValueError):
    """Structures that no path joins: other atoms, another order or cell, equal, or one minimum after relaxation."""


class WaveScatWarning(UserWarning):
    """A result outside what the model has seen."""


class WaveScatNote(WaveScatWarning):
    """What was read of a file where that is a choice; nothing is wrong."""


Listener = Callable[[WaveScatWarning], object]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def warn(text: str, stacklevel: int = 1, kind: type[WaveScatWarning] = WaveScatWarning) -> bool:
    """Issue a WaveScatWarning, or give it to the listener of this thread. Whether anybody was told.

    stacklevel: as of `warnings.warn`, from the caller.
    """
    listener = _listener.get()
    if listener is None:
        warnings.warn(text, kind, stacklevel=stacklevel + 1)
    else:
        listener(kind(text))
    return listener is not unheard


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Inside, WaveScatWarnings go to the listener and are not shown, in this thread alone.

    The filters of `warnings` are those of the whole process: where two threads change and restore them at the same
    time, the warnings of one are lost, or those of both from then on.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def unheard(warning: WaveScatWarning) -> None:
    """A listener where what is said is known already."""


class CalculatorError(WaveScatError):
    """A calculator that is missing, or gives too little for what was asked."""


def printable(text: str) -> str:
    """One line, safe to print: a text of someone's file may hold line ends and what a terminal takes for commands."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of an error message: the known name closest to an unknown one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1) if len(known) <= _MOST_COMPARED else []
    return f"; did you mean {close[0]!r}?" if close else ""
