"""Runs that are killed, with all of their processes, at moments spread over their whole length, and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faults.works import Outcome, Work

_LIMIT = 3600.0  # s that any run may take
_STARTING = 0.2  # share of the kills that fall before a run has done anything
_LOOK = 0.02  # s between two looks at a run


@dataclass(frozen=True)
class Kill:
    """second: since the run's start.  parts: done by then.  remains: hidden temporary files that lay there."""

    second: float
    parts: int
    remains: int


@dataclass
class Resumption:
    """One folder: the kills it went through, and what came of it.

    seconds: of the last run.  different: parts that are not those of the undisturbed run, or the error of a run that
    failed.  leftovers: files that the undisturbed run does not leave.
    """

    kills: list[Kill] = field(default_factory=list)
    seconds: float = 0.0
    different: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """seconds: of the run.  outcome, files: what came of it."""

    seconds: float
    outcome: Outcome
    files: set[str]


@dataclass
class _Pace:
    """Seconds from the start of a run to its first part, and from there to its end."""

    starting: float = 0.0
    working: float = 0.0


class Ordeal:
    """A work of so many structures, run undisturbed, then killed and resumed.

    place: folder for all of it, which need not be kept.
    """

    def __init__(self, work: Work, structures: int, place: Path) -> None:
        self.work, self._structures, self._place = work, structures, place
        self._inputs = place / "inputs"
        self._inputs.mkdir()
        work.prepare(self._inputs, structures)
        folder, self._pace = self._fresh(), _Pace()
        error = self._run(folder, None, self._pace)
        if error:
            raise RuntimeError(f"the undisturbed run failed: {error}")
        seconds = self._pace.starting + self._pace.working
        self.undisturbed = Undisturbed(seconds, work.outcome(folder), _files(folder))

    def kill(self, count: int, seed: int = 0) -> Iterator[Resumption]:
        """So many kills, over as many finished runs as that takes.

        A fifth of them fall while a run starts, the others after its first part. The moments are drawn from equal parts
        of the time that an undisturbed run takes for each, in random order, so that all phases are met; a run that has
        ended before its moment leaves that to a run from the beginning.
        """
        rng = np.random.default_rng(seed)
        moments = list((rng.permutation(count) + rng.uniform(size=count)) / count)
        while moments:
            yield self._resumption(moments)

    def _resumption(self, moments: list[float]) -> Resumption:
        """From the beginning to the end; takes moments, from 0 to 1, from the end of the list."""
        folder, done = self._fresh(), Resumption()
        while True:
            pace = _Pace()
            error = self._run(folder, moments[-1] if moments else None, pace)
            done.seconds = pace.starting + pace.working
            if error is not None:
                break
            moments.pop()
            done.kills.append(Kill(done.seconds, self.work.parts(folder), len(_hidden(folder))))
        if not done.kills:
            self._pace = pace  # the machine is less busy than before
        if error:
            done.different = [error]
        else:
            outcome, wanted = self.work.outcome(folder), self.undisturbed.outcome
            done.different = sorted(name for name in {*outcome, *wanted} if outcome.get(name) != wanted.get(name))
        done.leftovers = sorted(_files(folder) - self.undisturbed.files)
        shutil.rmtree(folder)
        return done

    def _fresh(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self._place))
        shutil.copytree(self._inputs, folder, dirs_exist_ok=True)
        return folder

    def _run(self, folder: Path, moment: float | None, pace: _Pace) -> str | None:
        """None when it was killed, with all its processes, at its moment; else its error, "" for none."""
        before = self.work.parts(folder)
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.work.command, cwd=folder, stdout=said, stderr=said, preexec_fn=os.setpgrp, env=_environment()
            )
            start, begun = time.perf_counter(), 0.0
            try:
                while process.poll() is None:
                    now = time.perf_counter()
                    begun = begun or (now if self._has_begun(folder, before, now - start) else 0.0)
                    pace.starting, pace.working = (begun or now) - start, now - begun if begun else 0.0
                    if pace.starting + pace.working > _LIMIT:
                        raise RuntimeError(f"a run takes more than {_LIMIT} s")
                    if moment is not None and self._is_due(moment, pace):
                        return None
                    time.sleep(_LOOK)
            finally:
                kill_group(process)
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        return f"exit status {process.returncode}: {text[-500:]}" if process.returncode else ""

    def _has_begun(self, folder: Path, before: int, seconds: float) -> bool:
        """Whether a run has done a part; where none is left to do, whether it has had the time."""
        return seconds > self._pace.starting if before == self._structures else self.work.parts(folder) > before

    def _is_due(self, moment: float, pace: _Pace) -> bool:
        if moment < _STARTING:
            return pace.starting > moment / _STARTING * self._pace.starting
        return pace.working > (moment - _STARTING) / (1 - _STARTING) * self._pace.working


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a process that leads its group, and for all that it has started there."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for _ in range(500):  # until all are gone: what it had started is not ours to wait for
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)
    process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _hidden(folder: Path) -> list[Path]:
    """Temporary files, not locks."""
    return [path for path in folder.rglob(".*") if ".lock" not in path.name]
