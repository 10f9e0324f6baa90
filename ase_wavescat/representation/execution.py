"""How the work of one structure is done: number of threads and precision of fields."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")

_PRECISIONS: dict[str, tuple[type[np.floating[Any]], type[np.complexfloating[Any, Any]]]] = {
    "double": (np.float64, np.complex128),
    "single": (np.float32, np.complex64),
}


@dataclass(frozen=True)
class Execution:
    """threads: that share the work of one structure; the results do not depend on their number.
    precision: "double" or "single" (fields and FFTs in 32 bits, half the memory; sums stay in 64 bits).

    Raises ValueError for anything else.
    """

    threads: int = 1
    precision: str = "double"

    def __post_init__(self) -> None:
        if isinstance(self.threads, bool) or not isinstance(self.threads, Integral) or self.threads < 1:
            raise ValueError(f"threads must be a whole number of at least 1, got {self.threads!r}")
        if not isinstance(self.precision, str) or self.precision not in _PRECISIONS:
            raise ValueError(f"precision is 'double' or 'single', got {self.precision!r}")

    @property
    def real(self) -> type[np.floating[Any]]:
        """Type of fields on grids."""
        return _PRECISIONS[self.precision][0]

    @property
    def complex(self) -> type[np.complexfloating[Any, Any]]:
        """Type of their transforms."""
        return _PRECISIONS[self.precision][1]

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The function of each item, in order; several threads take items as they become free."""
        items = list(items)
        if self.threads == 1 or len(items) <= 1:
            return [function(item) for item in items]
        return list(_pool(self.threads).map(function, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads are kept, because each holds its own FFT plans."""
    return ThreadPoolExecutor(threads, thread_name_prefix="wavescat")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads
