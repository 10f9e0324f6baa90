"""Run files: what they say is what is run, and every mistake in them is named."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.representation import Bands, ScatteringSpec
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.specification_file import write_spec
from ase_wavescat.system.errors import SpecError
from ase_wavescat.training.data.sources import Source
from ase_wavescat.training.fitting import train
from ase_wavescat.training.run_file import Features, Run, RunFileError, read_run
from ase_wavescat.training.settings import Settings
from linear_models import linear

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "training.md"


def write(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    run = read_run(
        write(
            tmp_path,
            """
            output = "models/lisi.h5"
            store = "features"
            workers = 3
            repulsion = false
            prior = "cheap.h5"
            [features]
            preset = "polynomial"
            beta = 0.5
            [[data]]
            files = ["dft/*.xyz", "more.xyz"]
            name = "PBE"
            group_key = "path_id"
            weight = 2
            config_type_weights = { liquid = 0.3, relaxed = 1 }
            [[data]]
            files = "/elsewhere"
            energies = "formation"
            references = { Li = -1.9 }
            [fit]
            members = 7
            energy_weight = 100
            directions = 0
            strengths = [1e-3, 1]
            [provenance]
            label_source = "PBE"
            year = 2024
            """,
        )
    )
    first = Source(
        (tmp_path / "dft/*.xyz", tmp_path / "more.xyz"), "PBE", "path_id", 2.0, {"liquid": 0.3, "relaxed": 1.0}
    )
    second = Source((Path("/elsewhere"),), energies="formation", references={"Li": -1.9})
    assert run == Run(
        output=tmp_path / "models/lisi.h5",
        data=(first, second),
        features=Features("polynomial", overrides={"beta": 0.5}),
        fit=Settings(members=7, energy_weight=100.0, directions=0, strengths=(1e-3, 1.0)),
        store=tmp_path / "features",
        workers=3,
        repulsion=False,
        prior=tmp_path / "cheap.h5",
        provenance={"label_source": "PBE", "year": 2024},
    )


def test_the_least_a_file_must_say(tmp_path: Path) -> None:
    run = read_run(write(tmp_path, 'output = "a.h5"\n[[data]]\nfiles = "a.xyz"'))
    assert run == Run(tmp_path / "a.h5", (Source((tmp_path / "a.xyz",)),))


def test_the_examples_in_the_docs_are_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toml,), (python,) = (
        re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
        for language in ("toml", "python")
    )
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("ase_wavescat.training.train", lambda *given, **named: calls.append((given, named)))
    exec(python, {})
    (((data, output, spec), named),) = calls
    run = read_run(write(tmp_path, toml))
    assert run.features.specification(["Li", "Si"]) == spec
    assert run.output == tmp_path / output and run.store == tmp_path / named.pop("store")
    assert (run.workers, run.provenance) == (named.pop("workers"), named.pop("provenance"))
    assert run.fit == Settings(**named)
    for ours, theirs in zip(run.data, data, strict=True):
        assert dataclasses.replace(ours, files="") == dataclasses.replace(theirs, files="")
        files = [theirs.files] if isinstance(theirs.files, str) else theirs.files
        assert list(ours.files) == [tmp_path / file for file in files]


def test_a_folder_whose_name_looks_like_a_glob(tmp_path: Path, labelled: tuple[Path, np.ndarray]) -> None:
    folder = tmp_path / "runs [1]"
    folder.mkdir()
    (folder / "exact.extxyz.xz").write_bytes(labelled[0].read_bytes())
    for files in ("*.xz", "exact.extxyz.xz", "."):
        run = read_run(write(folder, f'output = "a.h5"\n[[data]]\nfiles = "{files}"'))
        assert [path.name for path in run.data[0].paths()] == ["exact.extxyz.xz"]


GOOD: dict[str, str] = {
    "top": 'output = "a.h5"',
    "data": '[[data]]\nfiles = "a.xyz"',
    "features": "",
    "fit": "",
    "provenance": "",
}


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("top", "", r"run.toml lacks output"),
        ("data", "", r"run.toml lacks data"),
        ("top", 'ouput = "a.h5"', r"run.toml: unknown key 'ouput'; did you mean 'output'\?; known are output, data,"),
        ("top", 'output = "a.h5"\nmembers = 3', r"unknown key 'members'; it belongs into \[fit\]"),
        ("top", "output = 3", r"run.toml: output must be a path, got 3"),
        ("top", 'output = "a.h5"\nworkers = 1.5', r"workers must be a whole number, got 1.5"),
        ("top", 'output = "a.h5"\nrepulsion = 1', r"repulsion must be true or false, got 1"),
        ("top", "output = ", r"run.toml is not a TOML file: .*line 1"),
        ("data", "[data]\nfiles = 'a.xyz'", r"data must be one or more sections \[\[data\]\]"),
        ("data", "data = 3", r"data must be one or more sections"),
        ("data", "[[data]]\nname = 'PBE'", r"run.toml \[\[data\]\] 1 lacks files"),
        ("data", "[[data]]\nfiles = [3]", r"files must be a text or a path or a list of a text or a path, got \[3\]"),
        ("data", "[[data]]\nfile = 'a'", r"\[\[data\]\] 1: unknown key 'file'; did you mean 'files'"),
        ("data", "[[data]]\nfiles = 'a'\nweight = '2'", r"\[\[data\]\] 1: weight must be a number, got '2'"),
        (
            "data",
            "[[data]]\nfiles = 'a'\nweight = -2",
            r"\[\[data\]\] 1: the weight of source 'labels' must be above 0",
        ),
        (
            "data",
            "[[data]]\nfiles = 'a'\nconfig_type_weights = { liquid = 'no' }",
            r"config_type_weights must be a table of a number by name",
        ),
        ("features", "[features]\npreset = 'sinz2021'", r"\[features\]: no preset 'sinz2021'; did you mean 'sinz2020'"),
        ("features", "[features]\nbetta = 0.5", r"\[features\]: unknown key 'betta'; did you mean 'beta'"),
        ("features", "[features]\npowers = [2]", r"\[features\]: unknown key 'powers'"),
        ("features", "[features]\nbeta = 'wide'", r"\[features\]: no features with beta = 'wide': "),
        ("features", "[features]\nbeta = -1", r"\[features\]: no features with beta = -1: "),
        ("features", "[features]\npair = 3", r"\[features\]: no features with pair = 3: "),
        ("features", "[features]\nscales = 0.5", r"\[features\]: no features with scales = 0.5: "),
        ("features", "[features]\npair = { counts = 3 }", r"\[features\]: no features with pair = .*counts"),
        ("features", "[features]\nspecies = ['Li']", r"\[features\]: unknown key 'species'"),
        ("features", "[features]\nspec = 'a.json'\nbeta = 0.5", r"spec says all about the features; remove beta"),
        ("features", "features = 'polynomial'", r"\[features\] must be a section of keys, got 'polynomial'"),
        ("fit", "[fit]\nmember = 3", r"\[fit\]: unknown key 'member'; did you mean 'members'"),
        ("fit", "[fit]\ngroup_key = 'path_id'", r"\[fit\]: unknown key 'group_key'; it belongs into \[\[data\]\]"),
        ("fit", "[fit]\nmembers = true", r"\[fit\]: members must be a whole number, got True"),
        ("fit", "[fit]\nstrengths = 1e-3", r"\[fit\]: strengths must be a list of a number, got 0.001"),
        ("fit", "[fit]\nfolds = 1", r"\[fit\]: cross-validation needs at least two folds"),
        ("fit", "fit = 3", r"\[fit\] must be a section of keys, got 3"),
        ("provenance", "[provenance]\nday = 2024-05-01", r"\[provenance\]: .* put dates and times in quotes"),
        ("provenance", "provenance = 'PBE'", r"provenance must be a table"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, part: str, text: str, message: str) -> None:
    parts = {**GOOD, part: text}
    if "[" not in text[:1]:  # plain keys come before the sections
        parts = {part: text, **{name: own for name, own in parts.items() if name != part}}
        parts = {"top": parts.pop("top"), **parts} if part != "top" else parts
    with pytest.raises(RunFileError, match=message):
        read_run(write(tmp_path, "\n".join(parts.values())))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "run.toml")


def test_fields_of_a_preset_and_of_its_family_are_replaced() -> None:
    features = Features(
        overrides={"beta": 0.7, "pair": {"count": 4, "spacing": 0.5}, "grid_maps": False, "four_body": False}
    )
    spec = features.specification(["Li", "Si"])
    assert spec == preset("correlations", ["Li", "Si"], beta=0.7, pair=Bands(4, 0.5), grid_maps=None, four_body=None)
    assert Features("sinz2020", overrides={"powers": ["1", "4/3"]}).specification(["Si"]) == preset(
        "sinz2020", ["Si"], powers=("1", "4/3")
    )
    with pytest.raises(SpecError):
        Features(overrides={"pair": {"counts": 4}}).specification(["Li"])


def test_a_run_is_the_same_from_a_file_and_from_python(
    tmp_path: Path, labelled: tuple[Path, np.ndarray], spec: ScatteringSpec
) -> None:
    (tmp_path / "exact.extxyz.xz").write_bytes(labelled[0].read_bytes())
    write_spec(spec, tmp_path / "spec.json")
    text = """
    output = "model.h5"
    workers = 1
    features = { spec = "spec.json" }
    fit = { members = 2, folds = 3, strengths = [1e-6] }
    [[data]]
    files = "*.xz"
    """
    read_run(write(tmp_path, text)).train(progress=False)
    settings: dict[str, Any] = {"members": 2, "folds": 3, "strengths": (1e-6,)}
    other = train(labelled[0], tmp_path / "other.h5", spec, workers=1, progress=False, **settings)
    np.testing.assert_array_equal(linear(load_model(tmp_path / "model.h5")).weights, linear(other).weights)
