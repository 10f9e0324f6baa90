"""Progress on the terminal: bars of tqdm, where somebody is looking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

_SHOWN: ContextVar[bool] = ContextVar("shown", default=False)


def hidden(progress: bool) -> bool | None:
    """What tqdm's `disable` is where progress was asked for, or was not: where it was, only terminals show a bar."""
    return None if progress else True


@contextmanager
def steps_shown(shown: bool) -> Iterator[None]:
    """Whether single steps in here, such as a relaxation or dynamics, show how far they are.

    Said by the command at the top, for what is many calls below it; threads and processes that are begun here say
    nothing.
    """
    token = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def step_bar(steps: Iterable[Any], description: str, total: int) -> tqdm:
    """Iterates over the steps of one long step, with a bar where `steps_shown`; it is gone at the end."""
    return tqdm(steps, desc=description, total=total, unit="step", leave=False, disable=hidden(_SHOWN.get()))
