"""Locks between processes: always one holder, and no structure that nobody gets."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from ase_wavescat.system.locks import held

ROUNDS = 300


def _contend(folder: Path, barrier: Barrier, won: Any) -> None:
    for number in range(ROUNDS):
        barrier.wait(60)
        with held(folder / f"{number}.lock") as ours:
            won[number] = ours
            barrier.wait(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_of_two_that_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    results = [context.Array("i", ROUNDS) for _ in range(2)]
    processes = [context.Process(target=_contend, args=(tmp_path, barrier, won)) for won in results]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [sum(both) for both in zip(*results, strict=True)] == [1] * ROUNDS


def test_a_lock_that_is_given_back_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "lock") as ours, held(tmp_path / "lock") as again:
            assert ours and not again


def test_a_lock_is_one_file(tmp_path: Path) -> None:
    """So that a process killed with it leaves nothing more than the lock itself."""
    with held(tmp_path / "lock") as ours:
        assert ours and [path.name for path in tmp_path.iterdir()] == ["lock"]
