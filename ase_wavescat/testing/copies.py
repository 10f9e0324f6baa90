"""Copies, other processes and threads."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.system.errors import listening, unheard
from ase_wavescat.system.process_setting import ProcessSetting
from ase_wavescat.system.processes import end_with_parent, worker_pool
from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import Answer, NotApplicable, Subject, ask

_THREADS = 4
_CYCLES = 4
_SWITCH = 1e-5
"""s after which the interpreter goes on with another thread; its default is 5 ms, longer than a calculation."""


def copies(subject: Subject) -> Findings:
    """A deep copy and a pickle of a calculator that has results answer as it does, and leave it alone."""
    if not subject.picklable:
        raise NotApplicable("the calculator is not said to be picklable")
    limits, findings, calculator, fresh = subject.tolerances, Findings(), subject.new(), subject.new()
    expected = [ask(fresh, atoms) for atoms in subject.structures]
    last = ask(calculator, subject.structures[-1])
    for twin in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        for atoms, answer in zip(subject.structures, expected, strict=True):
            findings.compare(answer, ask(twin, atoms), limits.energy, limits.forces, limits.stress)
        again = ask(calculator, subject.structures[-1])
        findings.compare(last, again, limits.energy, limits.forces, limits.stress)
    return findings


def spawned_process(subject: Subject) -> Findings:
    """A calculator that is made in a new process, and one that is sent there, answer as one does here."""
    try:
        pickle.dumps(subject.make)
    except Exception as error:  # pickle raises errors of many kinds
        raise NotApplicable(f"what makes the calculator cannot be sent to another process: {error}") from error
    limits, findings, calculator = subject.tolerances, Findings(), subject.new()
    expected = [ask(calculator, atoms) for atoms in subject.structures]
    with worker_pool(1, end_with_parent, ()) as pool:
        tasks = [pool.submit(_answers_of_new, subject.make, subject.structures)]
        if subject.picklable:
            tasks.append(pool.submit(_answers, calculator, subject.structures))
        else:
            findings.notes.append("none was sent there: the calculator is not said to be picklable")
        for task in tasks:
            for before, after in zip(expected, task.result(), strict=True):
                findings.compare(before, after, limits.energy, limits.forces, limits.stress)
    return findings


def _answers_of_new(make: Callable[[], BaseCalculator], structures: Sequence[Atoms]) -> list[Answer]:
    return _answers(make(), structures)


def _answers(calculator: BaseCalculator, structures: Sequence[Atoms]) -> list[Answer]:
    with listening(unheard):
        return [ask(calculator, atoms) for atoms in structures]


def threads(subject: Subject) -> Findings:
    """Four threads, a calculator each, go through all structures four times in an order of their own."""
    return _threaded(subject, [subject.new() for _ in range(_THREADS)])


def shared_by_threads(subject: Subject) -> Findings:
    """The same with one calculator for all threads."""
    if not subject.thread_safe:
        raise NotApplicable("threads are not said to be able to share a calculator")
    return _threaded(subject, [subject.new()] * _THREADS)


def _threaded(subject: Subject, calculators: Sequence[BaseCalculator]) -> Findings:
    limits, findings, rng, serial = subject.tolerances, Findings(), subject.rng(), subject.new()
    expected = [ask(serial, atoms) for atoms in subject.structures]
    orders = [rng.permutation(np.repeat(np.arange(len(expected)), _CYCLES)) for _ in calculators]
    together = threading.Barrier(len(calculators))

    def work(calculator: BaseCalculator, order: np.ndarray) -> list[Answer]:
        own = [atoms.copy() for atoms in subject.structures]
        together.wait()
        with listening(unheard):
            return [ask(calculator, own[k]) for k in order]

    with _FREQUENT_SWITCHES.held(), ThreadPoolExecutor(len(calculators)) as pool:
        found = list(pool.map(work, calculators, orders))
    for order, answers in zip(orders, found, strict=True):
        for k, answer in zip(order, answers, strict=True):
            findings.compare(expected[k], answer, limits.energy, limits.forces, limits.stress)
    return findings


@contextmanager
def _frequent_switches() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


_FREQUENT_SWITCHES = ProcessSetting(_frequent_switches)
