"""Bars inside single long steps: on terminals, where they were asked for, and nowhere else."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_wavescat.system.progress import hidden, step_bar, steps_shown
from ase_wavescat.workflows import relax
from ase_wavescat.workflows.dynamics import run_langevin


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work() -> None:
    """Thirty steps of a relaxation and ten of dynamics."""
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.1, seed=0)
    atoms.calc = EMT()
    relax(atoms, fmax=1e-6, steps=30)
    run_langevin(atoms, lambda step: 300.0, 10, 1.0, np.random.default_rng(0), lambda step: None)


def test_a_relaxation_and_dynamics_say_how_far_they_are() -> None:
    with redirect_stderr(Terminal()) as terminal, steps_shown(True):
        work()
    said = terminal.getvalue()
    assert "relaxation:" in said and "eV/Å" in said and "dynamics:" in said and "/10" in said


def test_nothing_is_said_unless_it_is_asked_for() -> None:
    with redirect_stderr(Terminal()) as terminal:
        work()
        with steps_shown(True), steps_shown(False):
            work()
        with steps_shown(True), ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()
    assert terminal.getvalue() == ""


def test_nothing_is_said_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with steps_shown(True):
        work()
    assert capsys.readouterr().err == ""
    assert hidden(True) is None and hidden(False) is True


def test_a_bar_that_is_left_early_is_closed() -> None:
    with redirect_stderr(Terminal()) as terminal, steps_shown(True):
        for step in step_bar(range(100), "steps", 100):
            if step == 3:
                break
    assert terminal.getvalue().endswith("\r")  # gone, the cursor at the beginning of its line
