"""Linear algebra on one thread while a structure is worked on: its matrices are small.

Threads of a BLAS library wait for each other in busy loops: on matrices of this size they gain nothing, and on a busy
machine they made a call four to ten times slower.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

from ase_wavescat.system.process_setting import ProcessSetting


def one_blas_thread() -> AbstractContextManager[object]:
    """One thread for linear algebra in the whole process while any thread is inside; the first one takes 40 us."""
    return _ONE_THREAD.held()


@cache
def _controller() -> ThreadpoolController:
    """The libraries are looked for once: that takes 25 ms."""
    return ThreadpoolController()


_ONE_THREAD = ProcessSetting(lambda: _controller().limit(limits=1, user_api="blas"))
