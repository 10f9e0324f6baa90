"""`wavescat check`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ase_wavescat import WaveScatCalculator, save_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model


def check(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments), "--quiet"])


@pytest.fixture
def model(tmp_path: Path, small_ensemble: Model, wide_domain: Domain) -> Path:
    narrow = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.0)})
    save_model(tmp_path / "small.h5", dataclasses.replace(small_ensemble, domain=narrow))
    return tmp_path / "small.h5"


def test_a_table_and_figures(model: Path, tmp_path: Path) -> None:
    result = check(model, "--only", "permutation", "--only", "shared by threads", "--json", tmp_path / "check.json")
    assert result.exit_code == 0, result.output
    assert "WaveScatCalculator: 2 passes, 0 fails, 0 not applicable" in result.output
    assert "warning" not in result.output  # the kit's structures are not the user's
    content = json.loads((tmp_path / "check.json").read_text())
    assert content["passed"] and content["species"] == ["Li", "Si"]
    assert [one["check"] for one in content["checks"]] == ["permutation", "shared by threads"]


def test_checks_are_left_out_and_figures_of_others_are_not_replaced(model: Path, tmp_path: Path) -> None:
    figures = tmp_path / "check.json"
    chosen = ("--only", "wrapping", "--only", "inversion", "--skip", "inversion", "--json", figures)
    assert check(model, *chosen).exit_code == 0
    assert check(model, *chosen).exit_code == 0  # measured anew
    assert [one["check"] for one in json.loads(figures.read_text())["checks"]] == ["wrapping"]
    other = check(model, *chosen, "--seed", "1")
    assert other.exit_code == 1 and "seed 0, now 1" in " ".join(other.output.split())
    assert check(model, *chosen, "--seed", "1", "--overwrite").exit_code == 0
    nothing = check(model, "--only", "wrapping", "--skip", "wrapping")
    assert nothing.exit_code == 2 and "no check is left" in nothing.output


def test_the_exit_status_says_that_a_check_fails(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaveScatCalculator, "get_property", lambda self, name, atoms, **_: atoms.positions.sum())
    result = check(model, "--only", "translation", "--json", tmp_path / "check.json")
    assert result.exit_code == 1
    assert "fails 1 of 1 checks: translation" in result.output and "Traceback" not in result.output
    assert json.loads((tmp_path / "check.json").read_text())["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonesuch.h5",), "no model 'nonesuch.h5'"),
        (("small.h5", "--only", "rotations"), "there is no check 'rotations'; there are species, "),
        (("small.h5", "--calls", "10"), "10 is not in the range x>=100"),
    ],
)
def test_nonsense_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(model.parent)
    result = check(*arguments)
    assert result.exit_code in (1, 2) and "Traceback" not in result.output
    assert message in " ".join(result.output.split())
