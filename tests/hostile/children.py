"""Cases tried in a child process with little memory and little time, so that nothing that happens there is lost."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from ase_wavescat import WaveScatCalculator
from ase_wavescat.system.errors import StructureError
from hostile import data_attacks, file_attacks, model_attacks, structure_attacks

Case = tuple[str, int | str]
"""What kind of attack, and which one: a seed or a name."""

MEMORY = 2**30
"""Bytes that a case may take beyond what the imported package takes (address space)."""
SECONDS = 20
"""Of processor time, a case."""


def hostile_part(name: int | str, folder: Path) -> str:
    good, content = _good(folder)
    return model_attacks.outcome_of(model_attacks.attacked(str(name), content, folder), good)


def damaged_bytes(seed: int | str, folder: Path) -> str:
    good, content = _good(folder)
    path = folder / "damaged.h5"
    path.write_bytes(model_attacks.damaged(content, int(seed)))
    return model_attacks.outcome_of(path, good)


def damaged_and_sealed(seed: int | str, folder: Path) -> str:
    good, content = _good(folder)
    bare = folder / "bare.h5"
    bare.write_bytes(content)
    path = folder / "sealed.h5"
    path.write_bytes(model_attacks.sealed(model_attacks.damaged(model_attacks.unsealed(bare), int(seed))))
    return model_attacks.outcome_of(path, good)


def broken_data(seed: int | str, folder: Path) -> str:
    path = folder / "broken.extxyz"
    path.write_text(data_attacks.broken(_text(folder), int(seed)))
    return data_attacks.outcome_of(path)


def dialect(seed: int | str, folder: Path) -> str:
    return file_attacks.dialect(int(seed), folder)


def handed_on(seed: int | str, folder: Path) -> str:
    return file_attacks.handed_on(int(seed), folder)


def copied(seed: int | str, folder: Path) -> str:
    return file_attacks.copied(int(seed), folder)


def odd_structure(name: int | str, folder: Path) -> str:
    plain = structure_attacks.plain_structure()
    structure_attacks.agree(_calculator(), plain, *structure_attacks.ODD[str(name)](plain))
    return "same"


def senseless_structure(name: int | str, folder: Path) -> str:
    atoms = structure_attacks.REFUSED[str(name)](structure_attacks.plain_structure())
    try:
        _calculator().get_forces(atoms)
    except StructureError:
        return "refused"
    return "different"


_good = cache(model_attacks.good_bytes)
_text = cache(data_attacks.good_text)


@cache
def _calculator() -> WaveScatCalculator:
    return WaveScatCalculator(model_attacks.good_model())


Attempt = Callable[[int | str, Path], str]
KINDS: dict[str, Attempt] = {
    "model files made with bad intent": hostile_part,
    "model files, damaged": damaged_bytes,
    "model files, damaged, with a checksum that fits": damaged_and_sealed,
    "labelled data, broken": broken_data,
    "labelled data, in dialects": dialect,
    "structures, from command to command": handed_on,
    "structures, written down in other ways": copied,
    "structures, odd": odd_structure,
    "structures, senseless": senseless_structure,
}
ALLOWED = {
    "model files made with bad intent": {"refused"},
    "model files, damaged": {"refused", "same"},
    "model files, damaged, with a checksum that fits": {"refused", "same", "different"},
    "labelled data, broken": {"refused", "read"},
    "labelled data, in dialects": {"same"},
    "structures, from command to command": {"same"},
    "structures, written down in other ways": {"same"},
    "structures, odd": {"same"},
    "structures, senseless": {"refused"},
}
"""The outcomes of each kind that are right."""


def outcomes(cases: Sequence[Case]) -> Iterator[str]:
    """What became of each case, in order, as soon as it is known.

    What its kind's function returns, "error: ..." for what it raises, "memory" (more than `MEMORY` was asked for),
    "hang" (more than `SECONDS` were taken), "crash: signal n". A child that died is followed by another.
    """
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        while done < len(cases):
            with _Child(cases[done:], Path(folder)) as child:
                for outcome in child:
                    done += 1
                    yield outcome


class _Child:
    """A process that tries cases; iterating ends after the last, or after one that it did not survive."""

    def __init__(self, cases: Sequence[Case], folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._left = len(cases)
        self._answers, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_try_all, args=(sender, list(cases), folder), daemon=True)
        self._process.start()
        sender.close()

    def __enter__(self) -> Iterator[str]:
        return self._outcomes()

    def _outcomes(self) -> Iterator[str]:
        while self._left:
            try:
                yield self._answers.recv()
            except EOFError:
                self._process.join()
                signals = -(self._process.exitcode or 0)
                yield "hang" if signals == signal.SIGPROF else f"crash: signal {signals}"
                return
            self._left -= 1

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._process.kill()
        self._process.join()


def _try_all(answers: Connection, cases: list[Case], folder: Path) -> None:
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process, also inside a library
    limit = _address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for kind, which in cases:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answers.send(_outcome(KINDS[kind], which, folder))


def _outcome(attempt: Attempt, which: int | str, folder: Path) -> str:
    try:
        return attempt(which, folder)
    except MemoryError:
        return "memory"
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"[:300]


def _address_space() -> int:
    """Bytes; what the imported libraries have mapped counts, used or not."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 2**33
