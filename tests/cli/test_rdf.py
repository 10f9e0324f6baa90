"""wavescat rdf."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from ase_wavescat.cli import main


def test_all_frames_of_all_files_are_averaged(tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", [bulk("Si"), bulk("Si", cubic=True)])
    write(tmp_path / "b.cif", bulk("Si", cubic=True))
    files = [str(tmp_path / "a.extxyz"), str(tmp_path / "b.cif")]
    result = CliRunner().invoke(main, ["rdf", *files, "-o", str(tmp_path / "out"), "--cutoff", "6", "--bins", "60"])
    assert result.exit_code == 0, result.output
    assert "3 frames, 60 bins up to 6 Å" in result.output and "4.00 Si around Si" in result.output
    figures = json.loads((tmp_path / "out" / "rdf.json").read_text())
    assert figures["shells"]["Si-Si"]["number"] == pytest.approx(4)
    assert (tmp_path / "out" / "rdf.png").stat().st_size > 5000


def test_bad_input_is_a_message(tmp_path: Path) -> None:
    write(tmp_path / "a.extxyz", bulk("Si"))
    result = CliRunner().invoke(
        main, ["rdf", str(tmp_path / "a.extxyz"), "-o", str(tmp_path / "out"), "--cutoff", "-1"]
    )
    assert result.exit_code == 1 and "cutoff must be a positive length in A, got -1" in result.output
