"""Each example runs, made small, and writes what it says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from ase_wavescat.training.data.frames import read_frames
from module_files import load_module

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    return load_module(EXAMPLES / f"{name}.py")


@pytest.mark.filterwarnings("ignore::ase_wavescat.system.errors.WaveScatWarning")
@pytest.mark.parametrize(
    "name, small, files",
    [
        (
            "active_learning",
            {"rounds": 1, "count": 3, "starts": 1, "size": 4, "picoseconds": 0.006, "workers": 1},
            ("learning.json", "learning.md", "learning.png", "cu-au.h5"),
        ),
        ("equation_of_state", {"points": 5, "fmax": 5.0}, ("fixed.json", "fixed.png", "relaxed.extxyz")),
        ("lithium_hop", {"atoms": 12, "count": 1, "images": 3, "steps": 3}, ("hop-0.json", "hop-0.extxyz")),
        ("molecular_dynamics", {"steps": 5}, ("md.csv", "md.traj", "md.png")),
        ("screen_glasses", {"cells": 1, "atoms": 4, "steps": 1, "workers": 1}, ("screening.db", "screening.csv")),
        ("voltage_curve", {"cells": 3, "steps": 2}, ("voltage.json", "voltage.png", "voltage.extxyz")),
    ],
)
def test_an_example_writes_what_it_says(
    name: str, small: dict[str, Any], files: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "new"
    load(name).main(output, **small)
    for file in files:
        assert (output / file).stat().st_size > 100, file


def test_dynamics_stop_where_the_uncertainty_is_too_large(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("molecular_dynamics").main(tmp_path, steps=5, limit=0.1)
    rows = list(csv.DictReader((tmp_path / "md.csv").open()))
    assert len(rows) == 1 and float(rows[0]["uncertainty_mev_per_atom"]) > 0.1
    assert "step 0: stopped, the uncertainty" in capsys.readouterr().out


def test_the_labels_of_the_data_set_carry_their_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("label_with_gpaw")
    asked = []

    def calculator(atoms: Atoms, length: float) -> EMT:
        asked.append((example.mesh(atoms, length), length))
        return EMT()

    monkeypatch.setattr(example, "calculator", calculator)  # GPAW itself is no package of the tests
    write(tmp_path / "pool.extxyz", [bulk("Cu", cubic=True) * (2, 1, 1), bulk("Al", cubic=True)])
    done = example.main(tmp_path / "pool.extxyz", tmp_path / "labels", 15.0)
    assert done.labelled == ("pool-0000", "pool-0001")
    assert asked[0] == ([3, 5, 5], 15.0)  # 15 / 7.22 and 15 / 3.61, rounded up
    first = read(tmp_path / "labels" / "pool-0000.extxyz")
    assert json.loads(first.info["settings"]) == example.settings(15.0) and first.info["kpts"] == "3x5x5"
    assert len(read_frames(tmp_path / "labels", "none")) == 2
