"""Differences between labels of two meshes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))
    return importlib.import_module("k_points")


def labelled(atoms: Atoms, energy: float, force: float, kpts: str, kind: str) -> Atoms:
    copy = atoms.copy()
    copy.info = {"kpts": kpts, "config_type": kind}
    forces = np.zeros((len(atoms), 3))
    forces[0, 0] = force
    copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces, stress=np.zeros(6))
    return copy


def test_differences_of_the_cells_that_both_have(benchmark: ModuleType, make_structure: Callable[..., Atoms]) -> None:
    one, two, three, four = (make_structure(seed=seed, atoms=5) for seed in range(4))
    coarse = [
        labelled(one, 1.01, 0.3, "2x2x2", "md"), labelled(two, 2.03, 0.0, "2x2x2", "md"),
        labelled(three, 9.0, 0.0, "3x3x3", "md"), labelled(four, 4.0, 0.0, "2x2x2", "md"),
    ]  # fmt: skip
    dense = [
        labelled(three, 3.0, 0.0, "3x3x3", "md"),  # the same mesh says nothing
        labelled(two, 2.0, 0.0, "3x3x3", "relaxed"), labelled(one, 1.0, 0.0, "3x3x3", "md"),
    ]  # fmt: skip
    rows = benchmark.differences(coarse, dense)
    assert [row["energy"] for row in rows] == pytest.approx([6.0, 2.0])
    assert rows[1]["force_mae"] == pytest.approx(0.3 / 15) and rows[1]["force_max"] == pytest.approx(0.3)
    lines = benchmark.by_kind(rows)
    assert [line[:3] for line in lines] == [["md", "1", "+2.0"], ["relaxed", "1", "+6.0"], ["all", "2", "+4.0"]]
    assert lines[-1][3] == f"{np.std([6, 2], ddof=1):.1f}" and lines[-1][4] == "6.0"


def test_a_structure_is_found_among_others_by_its_atoms_cell_and_places(
    benchmark: ModuleType, make_structure: Callable[..., Atoms]
) -> None:
    partners = importlib.import_module("same_structures").partners
    atoms = make_structure(atoms=5)
    moved, strained, renamed, written = (atoms.copy() for _ in range(4))
    moved.positions[2, 1] += 0.01
    strained.set_cell(atoms.cell.array * 1.001)
    renamed.numbers[[0, 1]] = renamed.numbers[[1, 0]]
    written.positions += 1e-8
    assert partners([atoms], [moved, strained, renamed]) == [None]
    assert partners([atoms], [moved, strained, renamed, written])[0] is written
