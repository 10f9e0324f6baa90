"""The validation report: what it holds, that it stands alone, the command that writes it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

from ase_wavescat import WaveScatCalculator, evaluate, load_model, save_model
from ase_wavescat.cli import main
from ase_wavescat.evaluation import figures
from ase_wavescat.evaluation.page import page
from ase_wavescat.evaluation.report import Report, make_report, representative_frames, summary
from ase_wavescat.evaluation.run import run_report, write_report
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.linear import FeatureRanges
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.representation import Bands, Correlations, ScatteringSpec
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame
from linear_models import linear

CURVE = [
    {"frames": n, "groups": n // 3, "energy_mae_mev_per_atom": 60 / n, "force_mae_ev_per_a": 5 / n} for n in (20, 90)
]
SIZES = [{"features": n, "milliseconds": n / 20, "energy_mae_mev_per_atom": 900 / n} for n in (50, 400)]
GREEDY = {"m_star": [3, 4, 4], "validation_rmse_mev_per_atom": [20.0, 12.0, 9.0, 8.5, None]}


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects texts and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[bytes] = []
        self.headings: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            source = dict(attributes)["src"] or ""
            assert source.startswith("data:image/png;base64,")
            self.pictures.append(base64.b64decode(source.split(",")[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


@pytest.fixture(scope="module")
def model() -> Model:
    """Pairs only: quick."""
    pairs = Correlations(pair=Bands(count=6, spacing=0.8))
    spec = ScatteringSpec(("Li", "Si"), ((2, 0),), (0.0,), beta=0.9, families=(pairs,), tolerance=1e-3)
    rng = np.random.default_rng(4)
    count = len(spec.keys)
    weights = 1e-3 * rng.normal(size=count) + 3e-4 * rng.normal(size=(6, count))
    domain = Domain({3: (0.0, 1.0), 14: (0.0, 1.0)}, {(3, 3): 2.0, (3, 14): 1.9, (14, 14): 1.8})
    ranges = FeatureRanges(np.full(count, -1e9), np.full(count, 1e9), np.zeros(count), np.ones(count))
    provenance = {"label_source": "rolled <dice> & more", "frames": 7, "groups": 3}
    return linear_model(
        spec,
        spec.keys,
        weights,
        np.array([[-7.0, -150.0]] * 6),
        ranges=ranges,
        domain=domain,
        provenance=provenance,
    )


def cell(rng: np.random.Generator) -> Atoms:
    """Four to six atoms on a jittered lattice, Li or Si at random, Si first."""
    count = rng.integers(4, 7)
    sites = 2.4 * rng.permutation(np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3))[:count]
    numbers = np.append(14, rng.choice([3, 14], count - 1))
    positions = sites + rng.uniform(-0.08, 0.08, (count, 3))
    return Atoms(numbers, positions, cell=4.8 * np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)), pbc=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Path:
    """A folder with twelve labelled cells in six groups; the labels are the model's with noise."""
    calculator, rng, frames = WaveScatCalculator(model), np.random.default_rng(0), []
    for index in range(12):
        atoms = cell(rng)
        labels = {name: calculator.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        labels["energy"] += 0.01 * rng.normal() * len(atoms)
        labels["forces"] = labels["forces"] + 0.05 * rng.normal(size=labels["forces"].shape)
        atoms.info |= {"group": f"melt {index % 6}", "config_type": "a<b" if index % 2 else "relaxed"}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    folder = tmp_path_factory.mktemp("data")
    write(folder / "cells.extxyz", frames)
    return folder


@pytest.fixture(scope="module")
def report(model: Model, data: Path) -> Report:
    return make_report(evaluate(model, data, workers=1, progress=False))


@pytest.fixture
def plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, but not rendered, which takes most of the time of a page."""

    def unrendered(figure: Figure) -> bytes:
        assert figure.axes
        return b"\x89PNG"

    monkeypatch.setattr(figures, "png", unrendered)


def with_provenance(report: Report, **changes: Any) -> Report:
    ensemble = report.assessment.model
    provenance = {**ensemble.provenance, **changes}
    changed = dataclasses.replace(report.assessment, model=dataclasses.replace(ensemble, provenance=provenance))
    return dataclasses.replace(report, assessment=changed)


def wavescat(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("plain_pictures")
def test_both_files_are_written_and_agree(report: Report, tmp_path: Path) -> None:
    written = write_report(report, tmp_path / "deep" / "out")
    assert sorted(file.name for file in written.parent.iterdir()) == ["report.html", "report.json"]
    figures = json.loads((written.parent / "report.json").read_text())
    errors = report.assessment.errors()
    row = figures["errors"]["all"]
    assert row["energy_mae_mev_per_atom"] == 1e3 * errors.energy.mae
    assert row["force_rmse_ev_per_a"] == errors.forces.rmse
    assert row["shifted_energy_rmse_mev_per_atom"] == 1e3 * errors.shifted.rmse
    assert set(figures["errors"]["by_config_type"]) == {"a<b", "relaxed"}
    scale = figures["uncertainty"]["forces_ev_per_a"]
    assert scale["scale"] == report.assessment.force_reliability.scale and set(scale["coverage"]) == {"0.68", "0.95"}
    assert figures["data"]["frames"] == 12 and figures["data"]["groups"] == 6
    assert [dimer["name"] for dimer in figures["short_range"]["dimers"]] == ["Li-Li", "Li-Si", "Si-Si"]
    assert len(figures["worst"]["energy"]) == 10 and figures["worst"]["energy"][0]["name"].startswith("cells.extxyz#")
    html = Page(written.read_text(encoding="utf-8"))
    assert f"{row['energy_mae_mev_per_atom']:.1f}" in html.text and f"{row['force_mae_ev_per_a']:.3f}" in html.text


def test_the_page_stands_alone_and_is_sound(report: Report) -> None:
    text = page(report, report.figures())
    html = Page(text)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    assert all(picture.startswith(b"\x89PNG") for picture in html.pictures)
    assert len(html.pictures) == 6  # parity, uncertainties, features, dimers, compressed structures, crystals
    assert html.headings == ["Errors", "Uncertainties", "Features", "Short range", "Speed", "Model card"]
    assert "rolled <dice> & more" in html.text and "config_type a<b" in html.text
    for words in ("Energies, meV/atom", "stress: MAE, GPa", "2.00 Å", "Li bcc", "LiSi rocksalt", "± "):
        assert words in html.text


@pytest.mark.usefixtures("plain_pictures")
def test_learning_curves_are_shown_when_they_are_there(report: Report) -> None:
    metrics = {"learning_curve": CURVE, "size_curve": SIZES, "greedy": GREEDY}
    trained = with_provenance(report, metrics=metrics)
    assert trained.figures()["training"] == metrics
    html = Page(page(trained, trained.figures()))
    assert "Learning curves" in html.headings and len(html.pictures) == 8
    for name in metrics:
        part = with_provenance(report, metrics={name: metrics[name], "folds": 5})
        assert len(Page(page(part, part.figures())).pictures) == 7


@pytest.mark.usefixtures("plain_pictures")
def test_training_data_are_called_training_data(model: Model, report: Report, data: Path) -> None:
    assert "training errors" not in page(report, report.figures())
    digest = hashlib.sha256((data / "cells.extxyz").read_bytes()).hexdigest()
    known = dataclasses.replace(model, provenance={"data": [{"name": "cells", "sha256": digest}]})
    trained = dataclasses.replace(report, assessment=evaluate(known, data, workers=1, progress=False))
    assert "These are training errors" in page(trained, trained.figures())
    assert trained.figures()["data"]["files"][0]["trained_on"] is True


@pytest.mark.usefixtures("plain_pictures")
def test_labels_of_another_zero_are_named(report: Report) -> None:
    assessment = report.assessment
    moved = [dataclasses.replace(frame, energy=frame.energy - 2.0 * len(frame)) for frame in assessment.frames]
    changed = dataclasses.replace(report, assessment=dataclasses.replace(assessment, frames=tuple(moved)))
    figures = changed.figures()
    assert figures["labels_have_another_zero"] and figures["errors"]["all"]["energy_mae_mev_per_atom"] > 1900
    assert abs(figures["worst"]["energy"][0]["energy_error_mev_per_atom"]) < 100
    assert "another zero of energy" in page(changed, figures)


@pytest.mark.usefixtures("plain_pictures")
def test_a_model_of_one_species_and_one_member_has_a_report(model: Model) -> None:
    spec = dataclasses.replace(linear(model).spec, species=("Si",))
    single = linear_model(spec, spec.keys, 1e-3 * np.ones((1, len(spec.keys))), np.array([[-5.0]]))
    rng = np.random.default_rng(1)
    frames = []
    for index in range(3):
        atoms = cell(rng)
        structure = Structure(atoms.cell.array, atoms.positions, np.full(len(atoms), 14))
        frames.append(Frame(structure, -20.0, None, None, str(index), "x", f"f#{index}"))
    report = make_report(evaluate(single, frames, workers=1, progress=False))
    figures = report.figures()
    assert figures["errors"]["by_composition"] == {} and figures["uncertainty"]["energy_ev_per_atom"] is None
    html = Page(page(report, figures))
    assert len(html.pictures) == 5 and "None: the model has one member" in html.text
    assert "Forces and stresses" not in html.text
    assert "forces (eV/A)       -" in summary(figures)


def test_representative_frames_are_the_lowest_of_each_composition(report: Report) -> None:
    assessment = report.assessment
    chosen = representative_frames(assessment)
    labels = assessment.labelled_energies
    relative = labels - assessment.fractions @ np.linalg.lstsq(assessment.fractions, labels, rcond=None)[0]
    bins = np.floor(5 * assessment.fractions[:, 0] + 1e-9)
    assert len(chosen) == len(set(bins))
    for index in chosen:
        assert relative[index] == relative[bins == bins[index]].min()


@pytest.mark.usefixtures("plain_pictures")
def test_the_command_writes_a_report_and_stores_a_calibration(model: Model, data: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "m.h5", model)
    options = ("-o", tmp_path / "out", "--workers", 1, "--quiet")
    result = wavescat("evaluate", tmp_path / "m.h5", data / "*.extxyz", "--calibrate", *options)
    assert result.exit_code == 0, result.output
    everything = json.loads((tmp_path / "out" / "report.json").read_text())
    mae = everything["errors"]["all"]["energy_mae_mev_per_atom"]
    for words in ("12 frames in 6 groups", f"MAE {mae:.2f}", "scales that these data ask for are now in", "report: "):
        assert words in result.output
    assert len(everything["model"]["digest"]) == 16
    assert everything["model"]["name"] == "m.h5" and "training errors" not in result.output
    figures = everything["uncertainty"]
    calibrated = load_model(tmp_path / "m.h5")
    assert calibrated.calibration.energy_scale == figures["energy_ev_per_atom"]["scale"]
    assert calibrated.calibration.force_scale == figures["forces_ev_per_a"]["scale"]
    record = calibrated.provenance["calibration"]
    assert record["data"][0]["name"] == "cells.extxyz" and record["groups"] == 6
    np.testing.assert_array_equal(linear(calibrated).weights, linear(model).weights)
    again = make_report(evaluate(calibrated, data, workers=1, progress=False))
    assert "stored scales were found on some of these data" in page(again, again.figures())


@pytest.mark.usefixtures("plain_pictures")
def test_a_calibration_is_refused_before_any_work(model: Model, data: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((data / "cells.extxyz").read_bytes()).hexdigest()
    save_model(tmp_path / "m.h5", dataclasses.replace(model, provenance={"data": [{"name": "x", "sha256": digest}]}))
    before = (tmp_path / "m.h5").read_bytes()
    with pytest.raises(DataError, match=r"trained on cells\.extxyz"):
        run_report(tmp_path / "m.h5", data, tmp_path / "out", workers=1, calibrate=True, progress=False)
    assert not (tmp_path / "out").exists() and (tmp_path / "m.h5").read_bytes() == before
    with pytest.raises(DataError, match=r"lisi\.h5 was found by its name at .*: copy it"):
        run_report("lisi.h5", data, tmp_path / "out", workers=1, calibrate=True, progress=False)
    warned = wavescat("evaluate", tmp_path / "m.h5", data, "-o", tmp_path / "out", "--workers", 1, "--quiet")
    assert warned.exit_code == 0 and "these are training errors" in warned.output
    assert (tmp_path / "m.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonesuch.h5", "DATA"), "no model 'nonesuch.h5'"),
        (("MODEL", "nothing.xyz"), "there is no file"),
        (("MODEL", "DATA", "--group-key", "path_id"), "no key 'path_id'"),
    ],
)
def test_what_is_wrong_is_a_message(
    arguments: tuple[str, ...], words: str, model: Model, data: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "m.h5", model)
    given = [{"DATA": data, "MODEL": tmp_path / "m.h5"}.get(name, name) for name in arguments]
    result = wavescat("evaluate", *given, "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 1 and words in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def without(folder: Path, data: Path, *keys: str) -> Path:
    """The labelled cells, every second without entries of these names."""
    frames = read(data / "cells.extxyz", ":")
    for atoms in frames[::2]:
        for key in keys:
            del atoms.info[key]
    write(folder / "plain.extxyz", frames)
    return folder / "plain.extxyz"


@pytest.mark.usefixtures("plain_pictures")
def test_frames_without_group_or_config_type(model: Model, data: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "m.h5", model)
    command = ("evaluate", tmp_path / "m.h5", without(tmp_path, data, "group", "config_type"), "-o", tmp_path / "out",
               "--workers", 1, "--quiet")  # fmt: skip
    result = wavescat(*command)
    assert result.exit_code == 0, result.output
    assert result.output.count("not all frames have a 'group'") == 1 and "12 frames in 12 groups" in result.output
    errors = json.loads((tmp_path / "out" / "report.json").read_text())["errors"]
    assert set(errors["by_config_type"]) == {"a<b", "no config_type"}
    shown = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "no config_type" in shown and "config_type no config_type" not in shown
    for more in (("--calibrate",), ("--group-key", "melt")):  # a calibration and a key that is named need what they say
        refused = wavescat(*command[:-1], *more, "--overwrite")
        assert refused.exit_code == 1 and "has no key" in refused.output


@pytest.mark.usefixtures("plain_pictures")
def test_a_report_of_the_same_is_kept_and_one_of_others_is_not_replaced(
    model: Model, data: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "m.h5", model)
    command = ("evaluate", tmp_path / "m.h5", data, "-o", tmp_path / "out", "--workers", 1, "--quiet")
    first = wavescat(*command)
    written = (tmp_path / "out" / "report.json").read_bytes()
    again = wavescat(*command)
    assert again.exit_code == 0 and "report: kept" in again.output
    assert first.output.splitlines()[:-1] == again.output.splitlines()[:-1]
    other = wavescat(*command, "--group-key", "config_type")
    assert other.exit_code == 1 and 'group_key "group", now "config_type"' in " ".join(other.output.split())
    assert (tmp_path / "out" / "report.json").read_bytes() == written
    assert wavescat(*command, "--group-key", "config_type", "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "report.json").read_bytes() != written
