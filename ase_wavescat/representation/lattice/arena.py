"""Large work arrays that are used again: fresh pages cost as much as the transforms that fill them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SPARES = 4
_SPARE_VALUES = 1 << 27  # of all spares together, 1 GB; what is beyond goes back to the system

_spares: list[Array] = []


def take(user: object, size: int, dtype: type[np.generic] = np.float64) -> NDArray[Any]:
    """An array of `size` values, not cleared, that is kept for a next user when this one is gone."""
    arena = _fitting(_room(size, dtype))
    if size > 0:
        weakref.finalize(user, _give_back, arena).atexit = False
    return _part(arena, size, dtype)


@contextmanager
def borrowed(shape: tuple[int, ...], dtype: type[np.generic]) -> Iterator[NDArray[Any]]:
    """An array, not cleared, for the time of a `with` block."""
    count = math.prod(shape)
    arena = _fitting(_room(count, dtype))
    try:
        yield _part(arena, count, dtype).reshape(shape)
    finally:
        _give_back(arena)


def _room(count: int, dtype: type[np.generic]) -> int:
    """Values of a spare that hold so many of a type."""
    return -(-count * np.dtype(dtype).itemsize // 8)


def _part(arena: Array, count: int, dtype: type[np.generic]) -> NDArray[Any]:
    return arena[: _room(count, dtype)].view(dtype)[:count]


def _fitting(size: int) -> Array:
    """A spare that is large enough, or a new array. Only single list operations: threads and finalizers may cut in."""
    for _ in range(len(_spares)):
        try:
            arena = _spares.pop(0)
        except IndexError:
            break
        if len(arena) >= size > 0:
            return arena
        _spares.append(arena)
    return np.empty(size)


def _give_back(arena: Array) -> None:
    if 0 < len(arena) <= _SPARE_VALUES:
        _spares.append(arena)
        del _spares[:-_SPARES]
        while sum(map(len, tuple(_spares))) > _SPARE_VALUES:
            del _spares[:1]
