"""Settings of the whole process that several threads may ask for at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from ase_wavescat.system.forks import hold_at_fork


class ProcessSetting:
    """A setting that holds while any thread is inside: the first one in makes it, the last one out undoes it.

    make: a context manager that changes the setting and, at its end, puts back what was there. Were each thread to use
    it by itself, the one that leaves last could put back what another had set, and that would stay for ever.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._inside: Counter[int] = Counter()  # how many times by thread
        self._made = ExitStack()
        hold_at_fork(self._lock, self._forget_other_threads)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the setting holds."""
        thread = threading.get_ident()
        with self._lock:
            if not self._inside:
                self._made.enter_context(self._make())
            self._inside[thread] += 1
        try:
            yield
        finally:
            with self._lock:
                self._leave(thread, 1)

    def _leave(self, thread: int, times: int) -> None:
        self._inside[thread] -= times
        self._inside = +self._inside  # without those that are outside
        if not self._inside:
            self._made.close()

    def _forget_other_threads(self) -> None:
        """They do not exist in a forked child."""
        for thread, times in list(self._inside.items()):
            if thread != threading.get_ident():
                self._leave(thread, times)
