"""Who does the jobs of a screening: this process, processes of this machine, or a Dask cluster; the loop is one."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from types import FrameType
from typing import Any, Protocol

from ase_wavescat.system.errors import CalculatorError, WaveScatError
from ase_wavescat.system.processes import end_with_parent, worker_pool
from ase_wavescat.workflows.screening.jobs import (
    CalculatorSource,
    Job,
    ScreenedStructure,
    ScreeningSettings,
    screen_structure,
)

_AHEAD = 2  # jobs handed over for each that runs: none waits for another, and a large pool is never handed over at once
_REFRESH = 10.0  # s after which a cluster is asked again how many threads it has
_TIMEOUT = 10.0  # s for the cluster's scheduler to answer
KILLED = "the process that computed it was killed, or ran out of memory, each time it was tried"


class Crew(Protocol):
    """Does jobs."""

    losses: tuple[type[BaseException], ...]
    """What a job's future raises when its process was lost."""
    falls_together: bool
    """Whether the loss of one process is the loss of all jobs handed over."""

    @property
    def width(self) -> int:
        """How many jobs to hand over at a time."""

    def submit(self, job: Job) -> Future[ScreenedStructure]: ...

    def recover(self, jobs: Sequence[Job]) -> Iterator[ScreenedStructure]:
        """What becomes of jobs that were lost: tried again, or marked."""


def screened_structures(jobs: Iterator[Job], crew: Crew) -> Iterator[ScreenedStructure]:
    """Of all jobs, as they are done; no more are taken from `jobs` than are handed over."""
    running: dict[Future[ScreenedStructure], Job] = {}
    while True:
        for job in islice(jobs, max(0, crew.width - len(running))):
            running[crew.submit(job)] = job
        if not running:
            return
        done = wait(running, return_when=FIRST_COMPLETED).done
        if crew.falls_together and any(isinstance(future.exception(), crew.losses) for future in done):
            done = wait(running).done
        finished = [(running.pop(future), future) for future in done]
        lost = [job for job, future in finished if isinstance(future.exception(), crew.losses)]
        yield from (future.result() for job, future in finished if job not in lost)
        yield from crew.recover(lost)


@contextmanager
def crew_of(settings: ScreeningSettings, source: CalculatorSource, workers: int, cluster: str | None) -> Iterator[Crew]:
    """A Dask cluster by the address of its scheduler; else so many processes, or this one where that is one.

    Raises:
        CalculatorError: For a model that cannot be sent to processes.
        WaveScatError: Where none can be started.
    """
    if cluster is None and workers == 1:
        yield _Here(settings, source)
        return
    check_travels(source)
    if cluster is None:
        with _Processes(settings, source, workers) as processes:
            yield processes
    else:
        with _Cluster(settings, source, cluster) as workers_of_cluster:
            yield workers_of_cluster


def check_travels(source: CalculatorSource) -> None:
    """Raise CalculatorError for what cannot be sent to other processes."""
    try:
        pickle.dumps(source)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise CalculatorError(
            f"the function that makes the calculator cannot be sent to other processes ({error}); use a function of a"
            " module or functools.partial of a class, or workers=1"
        ) from None


# ---------------------------------------------------------------- this process


class _Here:
    losses: tuple[type[BaseException], ...] = ()
    falls_together = False
    width = 1

    def __init__(self, settings: ScreeningSettings, source: CalculatorSource) -> None:
        self._settings, self._source = settings, source

    def submit(self, job: Job) -> Future[ScreenedStructure]:
        future: Future[ScreenedStructure] = Future()
        future.set_result(screen_structure(job, self._settings, self._source))
        return future

    def recover(self, jobs: Sequence[Job]) -> Iterator[ScreenedStructure]:
        return iter(())


# ---------------------------------------------------------------- processes of this machine


class _Processes(AbstractContextManager["_Processes"]):
    """When one is killed the system takes all jobs that were handed over: each is then tried alone, so that the one to
    blame is known, and the others go on."""

    losses: tuple[type[BaseException], ...] = (BrokenProcessPool,)
    falls_together = True

    def __init__(self, settings: ScreeningSettings, source: CalculatorSource, workers: int) -> None:
        self._start = settings, source
        self._workers = workers
        self._held = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        self.width = _AHEAD * workers

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def submit(self, job: Job) -> Future[ScreenedStructure]:
        if self._pool is None:
            self._pool = self._held.enter_context(worker_pool(self._workers, _start_worker, self._start))
            check_start(self._pool)
        try:
            return self._pool.submit(_work, job)
        except BrokenProcessPool as error:  # just now: the job shares the fate of those before it
            lost: Future[ScreenedStructure] = Future()
            lost.set_exception(error)
            return lost

    def recover(self, jobs: Sequence[Job]) -> Iterator[ScreenedStructure]:
        if jobs:
            self._held.close()
            self._pool = None
        for job in jobs:
            with worker_pool(1, _start_worker, self._start) as alone:
                try:
                    screened = alone.submit(_work, job).result()
                except BrokenProcessPool:
                    screened = ScreenedStructure.failure(job, KILLED)
            yield screened


def check_start(pool: ProcessPoolExecutor) -> None:
    """Raise WaveScatError where processes end as soon as they start."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise WaveScatError(
            "processes end as soon as they start, their own message is above; a script needs the line `if __name__ =="
            " '__main__':` before what it runs, and a function that makes a calculator must stand in a module that can"
            " be imported; workers=1 needs neither"
        ) from None


_of_process: dict[str, Any] = {}


def _start_worker(settings: ScreeningSettings, source: CalculatorSource) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, _leave)
    _of_process["arguments"] = settings, source


def _leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C reaches all processes of a terminal; the parent's message is enough."""
    os._exit(1)


def _work(job: Job) -> ScreenedStructure:
    return screen_structure(job, *_of_process["arguments"])


# ---------------------------------------------------------------- a Dask cluster


class _Cluster(AbstractContextManager["_Cluster"]):
    """Dask itself tries jobs again whose worker was lost (`distributed.scheduler.allowed-failures`)."""

    falls_together = False

    def __init__(self, settings: ScreeningSettings, source: CalculatorSource, address: str) -> None:
        try:
            from distributed import Client, KilledWorker
        except ImportError:
            raise WaveScatError(
                "a Dask cluster needs the packages of the extra dask: pip install 'ase_wavescat[dask]'"
            ) from None
        self.losses: tuple[type[BaseException], ...] = (KilledWorker,)
        self._address, self._settings = address, settings
        try:
            self._client = Client(address, timeout=_TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:  # a timeout is an OSError
            raise WaveScatError(
                f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`, and workers with"
                " `dask worker ADDRESS`"
            ) from None
        self._check_start(source)
        # Sent once to each worker, and again by the cluster to those that come later
        self._source = self._client.submit(_itself, source, pure=False)
        self._executor = self._client.get_executor(pure=False)
        self._asked = -_REFRESH

    def _check_start(self, source: CalculatorSource) -> None:
        """Not by a job: what a worker cannot unpickle breaks its connection, again and again."""
        try:
            self._client.run(_ready, source)
        except Exception as error:
            self._client.close()
            raise WaveScatError(
                f"the workers of {self._address} cannot do the jobs ({type(error).__name__}: {error}); they need"
                " ase_wavescat and what the calculator needs, in the versions of this machine"
            ) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._client.close()
        if isinstance(error, CancelledError):
            raise WaveScatError(
                f"the Dask scheduler at {self._address} is gone; what is done is kept, run again to go on"
            ) from error

    @property
    def width(self) -> int:
        """Clusters grow and shrink."""
        if time.monotonic() - self._asked > _REFRESH:
            self._threads = sum(self._client.nthreads().values())
            self._asked = time.monotonic()
        return _AHEAD * max(self._threads, 1)

    def submit(self, job: Job) -> Future[ScreenedStructure]:
        return self._executor.submit(screen_structure, job, self._settings, self._source)

    def recover(self, jobs: Sequence[Job]) -> Iterator[ScreenedStructure]:
        return (ScreenedStructure.failure(job, KILLED) for job in jobs)


def _itself(source: CalculatorSource) -> CalculatorSource:
    return source


def _ready(source: CalculatorSource) -> str:
    return source.identity
