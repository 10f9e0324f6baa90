"""wavescat neb and wavescat hops: from structures to barriers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from click.testing import CliRunner

from ase_wavescat import save_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.model import Model


@pytest.fixture
def folder(tmp_path: Path, small_ensemble: Model) -> Path:
    save_model(tmp_path / "small.h5", small_ensemble)
    initial = bulk("Si", cubic=True, a=5.4) + Atoms("Li", [(2.7, 2.7, 2.7)])
    final = initial.copy()
    final.positions[-1] = (4.05, 4.05, 4.05)
    middle = initial.copy()
    middle.positions[-1] = (3.4, 3.3, 3.4)
    write(tmp_path / "a.extxyz", initial)
    write(tmp_path / "b.extxyz", final)
    write(tmp_path / "path.extxyz", [initial, middle, final])
    return tmp_path


def _run(folder: Path, *arguments: str) -> tuple[int, str]:
    names = {name: str(folder / name) for name in ("a.extxyz", "b.extxyz", "path.extxyz", "small.h5", "out")}
    result = CliRunner().invoke(main, [names.get(argument, argument) for argument in arguments])
    return result.exit_code, result.output


def test_wavescat_neb_writes_a_band_and_keeps_it(folder: Path) -> None:
    command = ("neb", "a.extxyz", "b.extxyz", "--model", "small.h5", "-o", "out", "--images", "3", "--steps", "1")
    code, output = _run(folder, *command, "--keep-ends")
    assert code == 3 and "barrier forward" in output and "not converged after 1 steps" in output, output
    assert "images that move: 1 of 3" in output
    assert "1 of 1 not complete: a-to-b (not converged after 1 steps)" in output
    figures = json.loads((folder / "out" / "a-to-b.json").read_text())
    assert figures["steps"] == 1 and figures["forward_spread"] > 0 and len(figures["energies"]) == 3
    assert len(read(folder / "out" / "a-to-b.extxyz", ":")) == 3 and (folder / "out" / "a-to-b.png").exists()
    code, output = _run(folder, *command, "--keep-ends")
    assert code == 3 and "a-to-b: kept" in output
    code, output = _run(folder, *command, "--keep-ends", "--no-climb")
    assert code == 1 and "climb true, now false" in " ".join(output.split())
    code, output = _run(folder, *command, "--keep-ends", "--no-climb", "--overwrite")
    assert code == 3 and "kept" not in output


def test_wavescat_neb_along_a_given_path(folder: Path) -> None:
    code, output = _run(folder, "neb", "path.extxyz", "--path", "--model", "small.h5", "-o", "out")
    assert code == 0 and "3 images over" in output, output
    images = read(folder / "out" / "path-0-to-path-2.extxyz", ":")
    assert np.array_equal(images[1].positions.round(6), read(folder / "path.extxyz", "1").positions.round(6))
    code, output = _run(folder, "neb", "a.extxyz", "b.extxyz", "--path", "--model", "small.h5", "-o", "out")
    assert code == 1 and "give at least three images" in output
    code, output = _run(folder, "neb", "a.extxyz", "--model", "small.h5", "-o", "out")
    assert code == 1 and "give the initial and the final structure" in output
    missing = _run(folder, "neb", "a.extxyz", "nowhere.extxyz", "--model", "small.h5", "-o", "out")
    assert missing[0] == 1 and "nowhere.extxyz" in missing[1] and "Traceback" not in missing[1]


def test_wavescat_hops_writes_a_table_and_goes_on_where_it_was(folder: Path) -> None:
    command = (
        "hops", "a.extxyz", "--model", "small.h5", "-o", "out", "--count", "2", "--images", "3", "--steps", "1",
        "--reach", "3.0", "--quiet",
    )  # fmt: skip
    code, output = _run(folder, *command)
    assert code == 3 and "a: 2 hops" in output, output
    assert "1 of 1 not complete: a (hop 0 not converged; hop 1 not converged)" in " ".join(output.split())
    table = json.loads((folder / "out" / "a-hops.json").read_text())["hops"]
    assert [row["name"] for row in table] == ["a-hop-0", "a-hop-1"] and all(row["atom"] == 8 for row in table)
    assert all("failed" in row or {"forward", "backward", "converged"} <= set(row) for row in table)
    code, output = _run(folder, *command)
    assert code == 3 and "a: kept" in output
    code, output = _run(folder, *command, "--room", "1.9")
    assert code == 1 and "room 2.0, now 1.9" in " ".join(output.split())
    # As if it had been killed before the last hop
    (folder / "out" / "a-hops.json").unlink()
    (folder / "out" / "a-hop-1.json").unlink()
    first = (folder / "out" / "a-hop-0.json").stat().st_mtime_ns
    assert _run(folder, *command)[0] == 3
    assert (folder / "out" / "a-hop-0.json").stat().st_mtime_ns == first
    again = json.loads((folder / "out" / "a-hops.json").read_text())["hops"]
    assert [row.get("forward") for row in again] == pytest.approx([row.get("forward") for row in table], abs=1e-9)


def test_wavescat_hops_names_what_fails(folder: Path) -> None:
    code, output = _run(
        folder, "hops", "a.extxyz", "--model", "small.h5", "-o", "out", "--species", "Na", "--steps", "0"
    )
    assert code == 1 and "has no Na that could hop" in output and "1 of 1 failed: a" in output
    code, output = _run(folder, "hops", "a.extxyz", "--model", "small.h5", "-o", "out", "--room", "9", "--steps", "0")
    assert code == 3 and "a: no hops; try a smaller --room" in output and "(relaxation: step limit)" in output
