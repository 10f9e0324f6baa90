"""The command wavescat: its model card, its demo, its errors."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from click.testing import CliRunner, Result

from ase_wavescat import WaveScatCalculator, __version__, save_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.card import model_card
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.representation.specification_file import read_spec, write_spec
from linear_models import changed, linear


def wavescat(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path, small_ensemble: Model, wide_domain: Domain) -> Path:
    save_model(tmp_path / "small.h5", dataclasses.replace(small_ensemble, domain=wide_domain))
    return tmp_path / "small.h5"


def test_help_and_version() -> None:
    listing = wavescat("--help")
    assert listing.exit_code == 0
    assert all(command in listing.output for command in ("info", "demo", "train"))
    assert __version__ in wavescat("--version").output
    for command in ("info", "demo", "train"):
        assert wavescat(command, "-h").exit_code == 0


def test_info_prints_the_model_card(model: Path, small_ensemble: Model) -> None:
    result = wavescat("info", model)
    assert result.exit_code == 0, result.output
    kept, of = len(linear(small_ensemble).keys), len(linear(small_ensemble).spec.keys)
    for text in (
        str(model), "species     Li, Si", f"features    {kept} of the {of} of its specification",
        "pair bands", "3-body at the atoms", "4-body, two maps in bands", "members     5", "energy spread x 1.500",
        "fractions: Li 0.000 to 1.000", "closest pairs (Å): Li-Li 0.100", "label_source: random numbers", "folds: 5",
    ):  # fmt: skip
        assert text in result.output


def test_the_card_shows_nested_provenance_and_missing_parts(small_ensemble: Model) -> None:
    provenance = {
        "data": [{"name": "a.extxyz", "sha256": "0f"}, {"name": "b.extxyz", "sha256": "1f"}],
        "settings": {"members": 5, "strengths": [0.1, 0.01]},
        "versions": {"numpy": "2.0"},
    }
    card = model_card(changed(small_ensemble, provenance=provenance, repulsion=None))
    assert "name: a.extxyz" in card and "sha256: 1f" in card
    assert "strengths: 0.1, 0.01" in card and "numpy: 2.0" in card
    assert "domain      none recorded" in card and "repulsion" not in card
    assert card.endswith("cross-validated errors\n    none recorded")


def test_the_card_shows_control_characters_and_does_not_send_them(small_ensemble: Model) -> None:
    card = model_card(dataclasses.replace(small_ensemble, provenance={"licence": "\x1b[2Jfree\r\n"}))
    assert "\\x1b[2Jfree\\r\\n" in card and all(letter.isprintable() for letter in card.replace("\n", ""))


@pytest.mark.parametrize("command", [("info",), ("demo", "--model")])
def test_a_missing_model_is_a_message_not_a_traceback(command: tuple[str, ...]) -> None:
    result = wavescat(*command, "nonesuch.h5")
    assert result.exit_code == 1
    assert "Error: no model 'nonesuch.h5'" in result.output and "Traceback" not in result.output


def test_a_broken_model_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no model")
    result = wavescat("info", tmp_path / "text.h5")
    assert result.exit_code == 1 and "not an HDF5 file" in result.output


def test_demo_prints_a_table_and_writes_one_picture(model: Path, tmp_path: Path, small_ensemble: Model) -> None:
    folder = tmp_path / "deep" / "out"
    result = wavescat("demo", "--model", model, "-o", folder)
    assert result.exit_code == 0, result.output
    for text in ("amorphous Li55Si18", "small.h5", "energy per atom (total)", "largest force", "GPa", "relaxation"):
        assert text in result.output
    assert {path.name for path in folder.iterdir()} == {"demo.png", "demo.json"}
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    again = wavescat("demo", "--model", model, "-o", folder)
    assert "demo: kept" in again.output and result.output.splitlines()[:9] == again.output.splitlines()[:9]
    save_model(model, small_ensemble)
    other = wavescat("demo", "--model", model, "-o", folder)
    assert other.exit_code == 1 and "other model" in other.output


def test_warnings_are_shown_as_messages(tmp_path: Path, small_ensemble: Model, wide_domain: Domain) -> None:
    domain = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.1)})
    save_model(tmp_path / "narrow.h5", dataclasses.replace(small_ensemble, domain=domain))
    result = wavescat("demo", "--model", tmp_path / "narrow.h5", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.count("warning: outside the training domain: the fraction of Li is 0.753") == 1
    assert "calculator.py" not in result.output


@pytest.fixture
def labelled(tmp_path: Path, small_ensemble: Model, make_structure: Callable[..., Atoms]) -> Path:
    """Six small cells in three groups, labelled by the small model, whose specification is beside them."""
    calculator = WaveScatCalculator(small_ensemble)
    frames = []
    for seed in range(6):
        atoms = make_structure(seed, atoms=3 + seed % 2, side=4.8)
        labels = {name: calculator.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.info["group"] = f"melt {seed % 3}"
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    write(tmp_path / "data.extxyz", frames)
    write_spec(linear(small_ensemble).spec, tmp_path / "spec.json")
    return tmp_path / "data.extxyz"


def test_train_writes_a_model_whose_card_shows_its_errors(labelled: Path, tmp_path: Path) -> None:
    model = tmp_path / "trained.h5"
    result = wavescat(
        "train", labelled, "-o", model, "--members", 3, "--folds", 3, "--workers", 1, "--quiet",
        "--label-source", "the small model", "--licence", "none", "--spec", tmp_path / "spec.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    card = wavescat("info", model).output
    for text in (
        "label_source: the small model",
        "licence: none",
        "groups: 3",
        "members     3",
        "held-out errors",
        "Li-Si",
    ):
        assert text in card


def test_a_model_that_other_settings_made_is_not_replaced(labelled: Path, tmp_path: Path) -> None:
    model = tmp_path / "trained.h5"
    command = (
        "train", labelled, "-o", model, "--members", 2, "--folds", 3, "--workers", 1, "--spec", tmp_path / "spec.json",
    )  # fmt: skip
    assert wavescat(*command, "--quiet").exit_code == 0
    made = model.read_bytes()
    again = wavescat(*command)
    assert again.exit_code == 0 and "of the same data and settings; it is kept" in again.output
    changes = {
        ("--members", 3): "members 2, now 3", ("--no-repulsion",): "other repulsion",
        ("--licence", "free"): "other licence", ("--group-key", "none"): "other sources",
    }  # fmt: skip
    for more, said in changes.items():
        other = wavescat(*command, *more, "--quiet")
        assert other.exit_code == 1 and said in " ".join(other.output.split()), other.output
        assert "--overwrite" in other.output
    assert model.read_bytes() == made
    (tmp_path / "run.toml").write_text(RUN_FILE)  # of another licence
    by_file = wavescat("train", tmp_path / "run.toml", "-o", model, "--quiet")
    assert by_file.exit_code == 1 and "other licence" in " ".join(by_file.output.split())
    assert wavescat(*command, "--members", 3, "--overwrite", "--quiet").exit_code == 0
    assert "members     3" in wavescat("info", model).output
    model.write_text("notes")
    notes = wavescat(*command, "--quiet")
    assert notes.exit_code == 1 and "is there, and is no model" in notes.output and model.read_text() == "notes"


def test_a_specification_of_other_data_is_not_replaced(labelled: Path, tmp_path: Path) -> None:
    path = tmp_path / "suggested.json"
    assert wavescat("suggest", labelled, "--json", path).exit_code == 0
    assert wavescat("suggest", labelled, "--json", path).exit_code == 0
    write_spec(read_spec(tmp_path / "spec.json"), path)
    other = wavescat("suggest", labelled, "--json", path)
    assert other.exit_code == 1 and "another specification" in other.output
    assert read_spec(path) == read_spec(tmp_path / "spec.json")
    assert wavescat("suggest", labelled, "--json", path, "--overwrite").exit_code == 0
    assert read_spec(path) != read_spec(tmp_path / "spec.json")


def test_python_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ase_wavescat", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and __version__ in done.stdout


def test_train_refuses_an_unknown_preset(labelled: Path, tmp_path: Path) -> None:
    result = wavescat("train", labelled, "-o", tmp_path / "out.h5", "--preset", "correlation", "--quiet")
    assert result.exit_code == 1 and "'correlations'" in result.output
    assert not (tmp_path / "out.h5").exists()


RUN_FILE = """
output = "trained.h5"
workers = 1
features = { spec = "spec.json" }
[[data]]
files = "*.extxyz"
[fit]
members = 2
folds = 3
[provenance]
licence = "none"
"""


def test_train_by_a_run_file(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_FILE)
    result = wavescat("train", tmp_path / "run.toml", "-o", tmp_path / "other.h5", "--quiet")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "trained.h5").exists()
    card = wavescat("info", tmp_path / "other.h5").output
    assert "members     2" in card and "licence: none" in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run.toml", "--members", "3", "--no-repulsion"), "--members, --repulsion would: put it into the file"),
        (("run.toml", "data.extxyz"), "a run file stands alone"),
        (("data.extxyz",), "--output (-o) is missing"),
        (("data.extxyz", "-o", "a.h5", "--reference", "Li:-1.9"), "'Li:-1.9' is not an element and its energy"),
        (("data.extxyz", "-o", "a.h5", "--size", "9"), "a size belongs to the methods sparse and greedy"),
        (("data.extxyz", "-o", "a.h5", "--directions", "-1"), "-1 is not in the range x>=0"),
        (("nothing*.xyz", "-o", "a.h5"), "no file matches 'nothing*.xyz'"),
    ],
)
def test_train_refuses(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "run.toml").write_text(RUN_FILE)
    monkeypatch.chdir(tmp_path)
    result = wavescat("train", *arguments)
    assert result.exit_code in (1, 2) and "Traceback" not in result.output
    assert message in " ".join(result.output.split()), result.output
    assert not list(tmp_path.glob("*.h5"))


def test_train_with_a_single_group_is_a_message(labelled: Path, tmp_path: Path) -> None:
    result = wavescat("train", labelled, "-o", tmp_path / "out.h5", "--group-key", "nothing", "--quiet")
    assert result.exit_code == 1 and result.output.startswith("Error: ")
