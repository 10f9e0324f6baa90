"""A network behind the commands: what they do with any model, they do with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from click.testing import CliRunner

from ase_wavescat import WaveScatCalculator, load_model
from ase_wavescat.cli import main
from ase_wavescat.structure.structure import Structure


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_info_tells_what_it_is(committee: Path) -> None:
    told = run("info", committee)
    assert "point scattering of order 2" in told and "2 members" in told and "method: network" in told
    assert "held-out errors" in told and len(told.splitlines()) < 100


def test_evaluate_writes_a_report(committee: Path, labels: Path, tmp_path: Path) -> None:
    told = run("evaluate", committee, labels, "-o", tmp_path / "report", "--workers", 1, "--quiet")
    assert "report: " in told
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "committee.h5: 2 members" in page


def test_check_finds_what_any_potential_keeps(committee: Path) -> None:
    """Sixteen frames say nothing of the short distances in the structures of the check, where forces are thousands of
    eV/A: what may fail by that is left out."""
    left_out = ("dimers", "holes", "forces", "stress", "energy drift", "memory")
    skipped = [word for name in left_out for word in ("--skip", name)]
    told = CliRunner().invoke(main, ["check", str(committee), *skipped]).output
    assert "extensivity" in told and "threads" in told
    assert [line for line in told.splitlines() if line.endswith("  fails")] == [], told


def test_select_screen_and_relax_go_on_with_it(committee: Path, labels: Path, tmp_path: Path) -> None:
    structures = read(labels, ":4")
    for atoms in structures:
        atoms.calc = None
    write(tmp_path / "pool.extxyz", structures)
    pool = tmp_path / "pool.extxyz"
    run("select", pool, "--model", committee, "-n", 2, "-o", tmp_path / "select", "--workers", 1, "--quiet",
        "--force-limit", 1e-6)  # fmt: skip
    assert len(read(tmp_path / "select" / "select.extxyz", ":")) == 2
    references = ("--reference", "Li=-1.9", "--reference", "Si=-5.4")  # of no crystal that so small a network knows
    run("screen", pool, "--model", committee, "--no-relax", "-o", tmp_path / "screen", "--workers", 1, "--quiet",
        *references)  # fmt: skip
    assert (tmp_path / "screen" / "screening.json").exists()
    write(tmp_path / "one.extxyz", structures[0])
    CliRunner().invoke(
        main, ["relax", str(tmp_path / "one.extxyz"), "--model", str(committee), "-o", str(tmp_path / "relax"),
               "--steps", "20", "--fmax", "0.2", "--quiet"],
    )  # fmt: skip
    (told,) = [json.loads(path.read_text()) for path in (tmp_path / "relax").glob("one*.json")]
    assert told
    relaxed = read(tmp_path / "relax" / "one.extxyz")
    relaxed.calc, structures[0].calc = WaveScatCalculator(committee), WaveScatCalculator(committee)
    assert relaxed.get_potential_energy() < structures[0].get_potential_energy()


def test_features_of_a_network_add_up(committee: Path, labels: Path) -> None:
    """Of two copies twice those of one, whatever the order of the atoms."""
    atoms, model = read(labels, "0"), load_model(committee)
    once = model.predict(Structure.from_atoms(atoms)).features
    twice = model.predict(Structure.from_atoms(atoms.repeat((2, 1, 1))[::-1])).features
    assert once is not None and twice is not None
    assert twice == pytest.approx(2 * once, rel=1e-9, abs=1e-9 * np.abs(once).max())
