"""Work shared among processes: how many, with one thread each, never outliving the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ase_wavescat.system.errors import WaveScatError
from ase_wavescat.system.process_setting import ProcessSetting

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def single_threaded() -> AbstractContextManager[None]:
    """Processes started while any thread is inside use one thread each for linear algebra; this one is not touched."""
    return _SINGLE_THREADED.held()


@contextmanager
def _single_threaded() -> Iterator[None]:
    saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_SINGLE_THREADED = ProcessSetting(_single_threaded)


@contextmanager
def worker_pool(
    workers: int, start: Callable[..., None], arguments: tuple[Any, ...], kept: str = ""
) -> Iterator[ProcessPoolExecutor]:
    """Single-threaded processes by the spawn method, each begun by `start(*arguments)`; what waits at the end goes.

    kept: what is there already when a worker is killed, for the WaveScatError raised then.
    """
    context = multiprocessing.get_context("spawn")
    with single_threaded(), ProcessPoolExecutor(workers, context, start, arguments) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise WaveScatError(
                f"a worker process ended unexpectedly (killed, or out of memory); {kept}run again, with fewer workers"
                f" than {workers} if memory was short"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """To be called in a worker: without the watch, one whose parent was killed would wait for work for ever."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
