"""Each example runs, made small, and writes what it says."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    description = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert description is not None and description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::ase_wavescat.errors.WaveScatWarning")
@pytest.mark.parametrize(
    "name, small, files",
    [
        ("equation_of_state", {"points": 5, "fmax": 5.0}, ("fixed.json", "fixed.png", "relaxed.extxyz")),
        ("lithium_hop", {"count": 1, "room": 2.4, "images": 3, "steps": 1}, ("hop-0.json", "hop-0.extxyz")),
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
