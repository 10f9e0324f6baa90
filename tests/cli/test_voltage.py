"""wavescat voltage: a curve and a hull from files, relaxed when asked, kept when done."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from click.testing import CliRunner, Result

from ase_wavescat import WaveScatCalculator, save_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model

REFERENCES = ("--reference", "Li=-7.0", "--reference", "Si=-160")


def wavescat(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path, small_ensemble: Model, wide_domain: Domain) -> Path:
    save_model(tmp_path / "small.h5", dataclasses.replace(small_ensemble, domain=wide_domain))
    return tmp_path / "small.h5"


@pytest.fixture
def pool(tmp_path: Path, make_structure: Callable[..., Atoms]) -> Path:
    write(tmp_path / "pool.extxyz", [make_structure(seed, atoms) for seed, atoms in enumerate((2, 3, 6))])
    return tmp_path / "pool.extxyz"


def test_a_curve_and_a_hull(pool: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("voltage", pool, "--model", model, "-o", out, *REFERENCES, "--published", "1=0.3")
    result = wavescat(*command)
    assert result.exit_code == 0, result.output
    assert "Li_xSi: 3 structures, 2 compositions, x = 1.000 to 2.000" in result.output
    assert "on the hull" in result.output
    curve, hull = (json.loads((out / f"{name}.json").read_text()) for name in ("voltage", "hull"))
    assert curve["samples"] == [1, 2] and curve["published"] == [[1.0, 0.3]] and len(curve["voltages"]) == 1
    assert hull["references"]["sources"] == {"Li": "given", "Si": "given"} and len(hull["above_hull"]) == 3
    assert len(read(out / "voltage.extxyz", ":")) == 3
    assert "voltage: kept" in wavescat(*command).output
    other = (*command, "--per-composition", "lowest")
    refused = wavescat(*other)
    assert refused.exit_code == 1 and 'per_composition "mean", now "lowest"' in " ".join(refused.output.split())
    replaced = wavescat(*other, "--overwrite")
    assert replaced.exit_code == 0 and "voltage: kept" not in replaced.output


def test_cells_of_one_element_are_the_references(
    pool: Path, model: Path, tmp_path: Path, make_structure: Callable[..., Atoms]
) -> None:
    lithium, silicon = bulk("Li"), bulk("Si")
    write(tmp_path / "elements.extxyz", [lithium, silicon])
    result = wavescat("voltage", pool, tmp_path / "elements.extxyz", "--model", model, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "the cell of Li among the structures (Li)" in result.output
    hull = json.loads((tmp_path / "out" / "hull.json").read_text())
    lithium.calc = WaveScatCalculator(model)
    assert hull["references"]["energies"]["Li"] == pytest.approx(lithium.get_potential_energy())
    assert hull["references"]["sources"]["Si"] == "the cell of Si among the structures (Si2)"
    assert sorted(hull["formation"])[-2:] != [0.0, 0.0] and hull["formation"][-2:] == pytest.approx([0.0, 0.0])
    curve = json.loads((tmp_path / "out" / "voltage.json").read_text())
    assert curve["x"][0] == 0.0 and curve["samples"][0] == 1  # the silicon is a composition as well


def test_structures_are_relaxed_when_asked(pool: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("voltage", pool, "--model", model, "-o", out, *REFERENCES, "--relax", "--fmax", "3", "--quiet")
    result = wavescat(*command)
    assert result.exit_code in (0, 3), result.output
    reasons = [json.loads(path.read_text())["stop_reason"] for path in sorted((out / "relaxed").glob("*.json"))]
    assert len(reasons) == 3
    used = json.loads((out / "voltage.json").read_text())["samples"]
    assert sum(used) == sum(not reason.startswith("runaway") for reason in reasons)
    again = wavescat(*command)
    assert again.output.count("kept") == 4


def test_bad_input_is_a_message(pool: Path, model: Path, tmp_path: Path) -> None:
    common = ("voltage", pool, "--model", model, "-o", tmp_path / "out")
    missing = wavescat(*common, "--reference", "Li=-7")
    assert missing.exit_code == 1 and "no reference energy of Si" in missing.output
    assert "Traceback" not in missing.output
    assert "'Li' is not an element and its energy" in wavescat(*common, "--reference", "Li").output
    assert "'1:2' is not x and its voltage" in wavescat(*common, "--published", "1:2").output
    hostless = wavescat(*common, "--ion", "Na", *REFERENCES, "--reference", "Na=-1.3")
    assert hostless.exit_code == 1 and "several hosts" in hostless.output
