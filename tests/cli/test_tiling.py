"""wavescat tiling."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ase import Atoms
from ase.io import write
from click.testing import CliRunner

from ase_wavescat import save_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.model import Model


def test_tiles_of_each_structure(small_ensemble: Model, make_structure: Callable[..., Atoms], tmp_path: Path) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    write(tmp_path / "glass.extxyz", make_structure())
    command = ["tiling", str(tmp_path / "glass.extxyz"), "--model", str(tmp_path / "small.h5"), "-o",
               str(tmp_path / "out"), "--repeat", "1x1x1", "--repeat", "1x2x1", "--amplitude", "0.05"]  # fmt: skip
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "1x2x1     12 atoms" in result.output
    figures = json.loads((tmp_path / "out" / "glass.json").read_text())
    assert figures["repeats"] == [[1, 1, 1], [1, 2, 1]] and figures["amplitude"] == 0.05
    assert max(map(abs, figures["energy_change"])) < 1e-6
    assert "glass: kept" in CliRunner().invoke(main, command).output
    wrong = CliRunner().invoke(main, [*command, "--repeat", "2x2"])
    assert wrong.exit_code == 2 and "'2x2' is not three whole numbers" in wrong.output
    nothing = CliRunner().invoke(main, [*command, "--repeat", "0x1x1", "--overwrite"])
    assert nothing.exit_code == 1 and "glass: repeats are three positive whole numbers" in nothing.output
