"""Children forked while other threads are at work: they compute, and do not wait for threads that they do not have."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat import Model, WaveScatCalculator
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.representation.lattice import fourier
from ase_wavescat.system.process_setting import ProcessSetting
from linear_models import linear

Make = Callable[..., Atoms]
PATIENCE = 60.0
"""s for a child that needs a second; one that hangs is killed then."""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def in_child(work: Callable[[], bool]) -> str:
    """What becomes of a forked child that does the work: right, wrong, or hangs."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:  # an error must not come back into the tests
            os._exit(2)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "right" if os.waitstatus_to_exitcode(status) == 0 else "wrong"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


@contextmanager
def meanwhile(step: Callable[[], object]) -> Iterator[None]:
    """Another thread takes the step again and again."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def busy(small_ensemble: Model, make_structure: Make) -> Iterator[tuple[WaveScatCalculator, Atoms, float]]:
    """A calculator that another thread keeps at work, a structure and its energy."""
    calculator, atoms, others = WaveScatCalculator(small_ensemble), make_structure(), make_structure(1)
    expected = WaveScatCalculator(small_ensemble).get_potential_energy(atoms)

    def step() -> None:
        others.rattle(0.001)
        others.set_cell(others.cell.array * 1.00001)  # so that grids are prepared as well
        calculator.get_forces(others)

    with meanwhile(step):
        yield calculator, atoms, expected


def test_children_compute_what_the_parent_does(busy: tuple[WaveScatCalculator, Atoms, float]) -> None:
    calculator, atoms, expected = busy

    def work() -> bool:
        alone = calculator.get_potential_energy(atoms) == expected
        forces = calculator.get_forces(atoms)
        calculator.set(threads=2)
        shared = calculator.get_potential_energy(atoms) == expected
        return alone and shared and bool(np.array_equal(forces, calculator.get_forces(atoms)))

    for number in range(6):
        time.sleep(0.003 * number)  # at another point of the other thread's calculation
        assert in_child(work) == "right"


def test_children_of_multiprocessing_do_as_well(busy: tuple[WaveScatCalculator, Atoms, float]) -> None:
    calculator, atoms, expected = busy

    def work() -> None:
        os._exit(0 if calculator.get_potential_energy(atoms) == expected else 1)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(PATIENCE)
    child.kill()
    assert child.exitcode == 0


def test_results_that_no_other_thread_touches_survive(small_ensemble: Model, make_structure: Make) -> None:
    calculator, atoms = WaveScatCalculator(small_ensemble), make_structure()
    energy = calculator.get_potential_energy(atoms)
    assert in_child(lambda: calculator.results["energy"] == energy) == "right"


def test_a_fork_waits_for_the_planner() -> None:
    held = threading.Event()

    def plan() -> None:
        with fourier._planner:
            held.set()
            time.sleep(0.1)

    with meanwhile(plan):
        held.wait()
        assert in_child(lambda: fourier.Workspace((4, 4, 4), None, np.float64).points == 64) == "right"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="cached properties have no locks any more")
def test_cached_properties_have_new_locks(small_ensemble: Model) -> None:
    descriptor = vars(LinearPotential)["mean_weights"]
    held, release = threading.Event(), threading.Event()

    def compute() -> None:
        with descriptor.lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=compute)
    thread.start()
    held.wait()
    own = linear(small_ensemble)
    other = LinearPotential(own.spec, own.keys, own.weights)
    outcome = in_child(lambda: len(other.mean_weights) == len(other.keys))
    release.set()
    thread.join()
    assert outcome == "right"


@pytest.mark.parametrize("own", [False, True])
def test_a_child_knows_which_threads_it_has(own: bool) -> None:
    """A setting that another thread had made is undone in the child, one that the forking thread is inside is not."""
    made: list[str] = []

    @contextmanager
    def make() -> Iterator[None]:
        made.append("made")
        yield
        made.append("undone")

    setting = ProcessSetting(make)
    inside, release = threading.Event(), threading.Event()

    def stay() -> None:
        with setting.held():
            inside.set()
            release.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait()
    if own:
        with setting.held():
            outcome = in_child(lambda: made == ["made"])
    else:
        outcome = in_child(lambda: made == ["made", "undone"])
    release.set()
    thread.join()
    assert outcome == "right" and made == ["made", "undone"]
