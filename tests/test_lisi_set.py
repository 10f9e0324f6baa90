"""The data set beside the model: its split, what the model was made of, its errors where it was not trained."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_wavescat import load_model
from ase_wavescat.evaluation.assessment import evaluate
from ase_wavescat.io.structures import structures_of
from ase_wavescat.training.data.duplicates import digest
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.run_file import read_run

MODELS = Path(__file__).parent.parent / "models"
SET = MODELS / "lisi-dft"


def frames(name: str) -> list[Frame]:
    return read_frames(SET / f"{name}.extxyz.xz")


def test_no_group_is_on_both_sides_of_the_split() -> None:
    trained = {frame.group for name in ("converged", "cheap") for frame in frames(name)}
    held_out = {frame.group for name in ("test", "test-cheap") for frame in frames(name)}
    assert len(trained) > 200 and len(held_out) > 30
    assert not trained & held_out


def test_every_frame_has_all_labels_and_keys() -> None:
    for name in ("converged", "cheap", "test", "test-cheap", "denser"):
        for atoms in structures_of(SET / f"{name}.extxyz.xz"):
            assert {"energy", "forces", "stress"} <= set(atoms.calc.results)
            assert isinstance(atoms.info["round"], np.integer)
            assert {"config_type", "group", "x", "temperature", "kpts", "energy_sigma0"} <= set(atoms.info)
            assert atoms.info["x"] == pytest.approx(np.mean(atoms.numbers == 3), abs=1e-4)
            assert 0 < atoms.info["energy_sigma0"] - atoms.get_potential_energy() < 0.01 * len(atoms)


def test_the_denser_mesh_is_of_structures_on_the_converged_one() -> None:
    groups = {digest(frame): frame.group for name in ("converged", "test") for frame in frames(name)}
    assert len(frames("denser")) == 10
    assert all(groups[digest(frame)] == frame.group for frame in frames("denser"))


def test_references_are_below_all_glasses_of_the_elements() -> None:
    references = json.loads((SET / "references.json").read_text())
    for symbol, number in (("Li", 3), ("Si", 14)):
        pure = [f for name in ("converged", "cheap", "test") for f in frames(name) if (f.numbers == number).all()]
        assert len(pure) > 3
        assert min(frame.energy / len(frame) for frame in pure) > references[symbol]["energy"] - 0.005


@pytest.mark.parametrize("name", ["lisi", "lisi-fast", "lisi-linear"])
def test_the_models_were_made_of_these_files(name: str) -> None:
    if name != "lisi-linear":
        pytest.importorskip("torch")
    recorded = {entry["name"]: entry["sha256"] for entry in load_model(MODELS / f"{name}.h5").provenance["data"]}
    files = [path for source in read_run(MODELS / f"{name}.toml").data for path in source.paths()]
    assert recorded == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("name", "energy", "forces"), [("lisi", 0.0057, 0.076), ("lisi-fast", 0.0062, 0.082), ("lisi-linear", 0.007, 0.089)]
)
def test_errors_on_held_out_groups(name: str, energy: float, forces: float) -> None:
    """Bounds a little above what docs/measurements/accuracy.md and the README say."""
    errors = evaluate(load_model(MODELS / f"{name}.h5"), frames("test"), workers=1, progress=False).errors()
    assert 0.003 < errors.energy.mae < energy
    assert 0.05 < errors.forces.mae < forces


def test_labels_join_the_side_of_their_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SET)
    add_labels = importlib.import_module("add_labels")
    for name in ("test", "test-cheap", "cheap"):
        few = structures_of(SET / f"{name}.extxyz.xz")[:3]
        add_labels.write_file(tmp_path / f"{name}.extxyz.xz", few)
    held_out, new, known = structures_of(tmp_path / "test.extxyz.xz")[0], few[0].copy(), few[1]
    for atoms, calculator in ((held_out, held_out.calc), (new, few[0].calc)):
        atoms.positions += 0.01
        atoms.calc = SinglePointCalculator(atoms, **calculator.results)
        atoms.info["kpts"] = "2x2x2"
    new.info["group"] = "a new melt"
    write(tmp_path / "labels.extxyz", [held_out, new, known], format="extxyz")
    for _ in range(2):  # the second time all are there
        add_labels.main([tmp_path / "labels.extxyz"], "cheap", tmp_path)
        counts = [len(structures_of(tmp_path / f"{name}.extxyz.xz")) for name in ("test", "test-cheap", "cheap")]
        assert counts == [3, 4, 4]
    del new.info["x"], new.info["temperature"]  # of what is no dynamics, say
    completed = add_labels.entry(new, "labels", "cheap").info
    assert completed["x"] == pytest.approx(np.mean(new.numbers == 3)) and completed["temperature"] == 0
    del new.info["kpts"]
    write(tmp_path / "labels.extxyz", new, format="extxyz")
    with pytest.raises(SystemExit, match="lacks kpts"):
        add_labels.main([tmp_path / "labels.extxyz"], "converged", tmp_path)


def test_labels_that_would_spoil_the_set_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SET)
    add_labels = importlib.import_module("add_labels")

    def refused(message: str, mesh: str, change: Callable[[Atoms], None]) -> None:
        atoms = few[0].copy()
        atoms.positions += 0.02
        atoms.calc = SinglePointCalculator(atoms, **few[0].calc.results)
        atoms.info["kpts"] = "2x2x2"
        change(atoms)
        write(tmp_path / "labels.extxyz", atoms, format="extxyz")
        with pytest.raises(SystemExit, match=message):
            add_labels.main([tmp_path / "labels.extxyz"], mesh, tmp_path)

    few = structures_of(SET / "cheap.extxyz.xz")[:2]
    refused("no test structures", "cheap", lambda atoms: None)
    held_out = structures_of(SET / "test-cheap.extxyz.xz")[:2]
    add_labels.write_file(tmp_path / "test-cheap.extxyz.xz", held_out)
    refused("2x2x2 .* is not the converged mesh", "converged", lambda atoms: None)
    refused("4x4x4 .* is not the cheap mesh", "cheap", lambda atoms: atoms.info.update(kpts="4x4x4"))
    nothing = np.full((len(few[0]), 3), np.nan)
    refused("forces .* not finite", "cheap", lambda atoms: atoms.calc.results.update(forces=nothing))

    def leak(atoms: Atoms) -> None:
        atoms.set_cell(held_out[1].cell)
        del atoms[:]
        atoms.extend(held_out[1])
        atoms.calc = SinglePointCalculator(atoms, **held_out[1].calc.results)

    refused("is a structure of the other side", "cheap", leak)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.extxyz", "test-cheap.extxyz.xz"]


@pytest.mark.slow
def test_the_run_file_makes_the_model(tmp_path: Path) -> None:
    """To 1e-6 of its predictions; half an hour and 3 GB."""
    run = replace(read_run(MODELS / "lisi-linear.toml"), output=tmp_path / "lisi.h5", store=tmp_path / "features")
    again, shipped = run.train(progress=False), load_model(MODELS / "lisi-linear.h5")
    for frame in frames("test")[::8]:
        one, other = (model.predict(frame.structure) for model in (again, shipped))
        assert one.energy == pytest.approx(other.energy, rel=1e-6)
        scale = np.abs(other.gradient).max()
        np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-6 * scale)


def test_the_code_of_its_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (SET / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(MODELS.parent)
    names: dict[str, object] = {}
    exec(block, names)
    assert isinstance(names["atoms"], Atoms) and names["atoms"].info["group"]
