"""Options of `wavescat screen` that would do nothing beside others are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ase_wavescat.cli import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give files of structures, or --generate FORMULA"),
        (["a.extxyz", "--generate", "LiSi"], "one of them, not both"),
        (["a.extxyz", "--seed", "1"], "--seed is for generated cells"),
        (["a.extxyz", "--method", "melt"], "--method is for generated cells"),
        (["--generate", "LiSi", "--no-relax", "--fmax", "0.1"], "--fmax is of the relaxation"),
        (["--generate", "LiSi", "--no-relax", "--method", "melt"], "leave out --no-relax"),
        (["--generate", "LiSi", "--quench-time", "2"], "go with --method melt"),
        (["a.extxyz", "--workers", "2", "--dask", "tcp://localhost:1"], "give one of them"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["screen", *options, "-o", str(tmp_path / "out")])
    assert done.exit_code == 2 and message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
