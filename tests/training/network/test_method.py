"""Training by `wavescat train`: from a run file to a model, killed and gone on with, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ase_wavescat.cli import main
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.system.errors import DataError, WaveScatError
from ase_wavescat.training.data.frames import read_frames
from ase_wavescat.training.fitting import train
from ase_wavescat.training.methods import trainer
from ase_wavescat.training.network.plan import NetworkPlan, StagePlan
from ase_wavescat.training.network.settings import NetworkSettings
from ase_wavescat.training.run_file import RunFileError, read_run

from ..conftest import write_frames
from .conftest import SMALL, labelled_structures


def run_file(folder: Path, labels: Path, fit: str = "", network: str = "epochs = 2", data: str = "") -> Path:
    text = f'output = "network.h5"\n[[data]]\nfiles = "{labels}"\nname = "LJ"\n{data}[fit]\nmethod = "network"\n{fit}'
    (folder / "run.toml").write_text(f"{text}\n[network]\n{SMALL}{network}\n")
    return folder / "run.toml"


def test_a_committee_is_a_model_like_others(committee: Path, labels: Path) -> None:
    model = load_model(committee)
    metrics, frames = model.provenance["metrics"], read_frames(labels)
    network = model.term(NetworkPotential)
    assert network is not None and model.term(PairRepulsion) is not None
    assert model.members == network.members == 2
    assert metrics["folds"] == 4 and metrics["frames"] == 4  # a fold of 8 groups of two frames
    assert len(metrics["epochs"]) == 2
    assert metrics["epochs"][0][-1]["held_out_loss"] < 0.7 * metrics["epochs"][0][0]["held_out_loss"]
    assert model.calibration.energy_scale > 0 and model.calibration.force_scale > 0
    assert model.domain is not None and model.domain.typical_spread is not None
    assert model.domain.environments is not None and model.domain.closest
    prediction = model.predict(frames[0].structure)
    assert prediction.member_energies.mean() == pytest.approx(prediction.energy, rel=1e-12)
    assert prediction.energy_uncertainty > 0 and prediction.forces_uncertainty.max() > 0
    assert prediction.domain_messages == {}
    assert model.provenance["settings"]["method"] == "network"
    assert "strengths" not in model.provenance["settings"]
    assert model.provenance["network"]["specification"]["channels"] == [3, 2]


def test_held_out_errors_are_those_of_the_model_on_groups_that_no_member_saw(committee: Path, labels: Path) -> None:
    """Four of sixteen frames, in two groups, whose errors add up to the ones told."""
    model, frames = load_model(committee), read_frames(labels)
    errors = {f.group: [] for f in frames}
    for frame in frames:
        errors[frame.group].append(1e3 * abs(model.predict(frame.structure).energy - frame.energy) / len(frame))
    told, pairs = model.provenance["metrics"]["energy_mae_mev_per_atom"], list(errors.values())
    means = [np.mean(one + other) for i, one in enumerate(pairs) for other in pairs[i + 1 :]]
    assert min(abs(mean - told) for mean in means) < 1e-9 * told


def test_a_killed_run_goes_on_and_ends_in_the_same_bits(
    committee: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from ase_wavescat.training.network import trainer as training

    class Killed(Exception):
        pass

    path, whole = run_file(tmp_path, labels, "members = 2\nfolds = 4", "epochs = 15"), load_model(committee)
    write, written = training.Checkpoint.write, []

    def killing(checkpoint: training.Checkpoint, at: Path) -> None:
        write(checkpoint, at)
        written.append(at)
        if len(written) == 19:  # in the fourth epoch of the second member
            raise Killed

    monkeypatch.setattr(training.Checkpoint, "write", killing)
    with pytest.raises(Killed):
        read_run(path).train(progress=False)
    assert sorted(p.name for p in (tmp_path / "network.checkpoints").iterdir()) == ["member-0.npz", "member-1.npz"]
    again = read_run(path).train(progress=False)
    assert len(written) == 30
    assert again.digest == whole.digest
    assert not (tmp_path / "network.checkpoints").exists()


def test_the_command_tells_the_epochs_and_keeps_what_is_there(labels: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = run_file(tmp_path, labels)
    result = CliRunner().invoke(main, ["train", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "training, epoch 2: loss " in result.output and "meV/atom, forces " in result.output
    model = load_model(tmp_path / "network.h5")
    network = model.term(NetworkPotential)
    assert network is not None and model.members == 8  # heads on one trunk
    assert any("8 members, heads on one trunk" in line for line in network.card())
    assert model.domain is not None and model.domain.typical_spread is not None
    again = CliRunner().invoke(main, ["train", str(path)], catch_exceptions=False)
    assert "it is kept" in again.output
    run_file(tmp_path, labels, network="epochs = 3")
    other = CliRunner().invoke(main, ["train", str(path)])
    assert other.exit_code != 0 and "made otherwise (other network)" in other.output


def test_a_network_without_heads_is_alone(labels: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = read_run(run_file(tmp_path, labels, network="epochs = 1\nheads = 1")).train(progress=False)
    assert model.members == 1 and model.domain is not None and model.domain.typical_spread is None
    with pytest.raises(RunFileError, match="heads must be a whole number of at least 1, got 0"):
        read_run(run_file(tmp_path, labels, network="heads = 0"))


def test_stages_learn_from_sources_of_their_own(labels: Path, tmp_path: Path) -> None:
    """The cheap source has another zero of energy; the model is in that of the first."""
    pytest.importorskip("torch")
    cheap = write_frames(tmp_path / "cheap.extxyz.xz", labelled_structures(6, seed=1, shift=3.0))
    stages = """
    [[network.stages]]
    sources = { cheap = 0.5 }
    epochs = 4
    [[network.stages]]
    sources = { LJ = 1.0 }
    epochs = 2
    learning_rate = 1e-3
    """
    data = f'[[data]]\nfiles = "{cheap}"\nname = "cheap"\n'
    model = read_run(run_file(tmp_path, labels, network=stages, data=data)).train(progress=False)
    (epochs,) = model.provenance["metrics"]["epochs"]
    assert [(epoch["stage"], epoch["epoch"]) for epoch in epochs] == [
        *(("stage 1", n) for n in range(1, 5)), ("stage 2", 1), ("stage 2", 2)
    ]  # fmt: skip
    frame = read_frames(labels)[0]
    assert abs(model.predict(frame.structure).energy - frame.energy) / len(frame) < 1.0  # not three eV a lithium off


@pytest.mark.parametrize(
    ("fit", "network", "message"),
    [
        ("size = 5", "", r"\[fit\]: the method network has no use for size; leave that out"),
        ("energy_weight = 50", "", r"has no use for energy_weight; .*a section of its own, \[network\]"),
        ("", "epoch = 3", "unknown key 'epoch'; did you mean 'epochs'"),
        ("", "epochs = 0", "at least one epoch, got 0"),
        ("", "learning_rate = -1", "learning rate of a stage must be positive, got -1"),
        ("", "l_max = 9", "l_max is a whole number from 0 to 6, got 9"),
        ("", "patience = 0", "patience must be a whole number of at least 1, got 0"),
        ("", 'precision = "half"', "precision is 'single' or 'double', got 'half'"),
        ("", "epochs = 1\n[[network.stages]]\nepochs = 3", r"epochs stand in \[\[network.stages\]\]"),
        ("", "[[network.stages]]\nsource = 3", "unknown key 'source'; did you mean 'sources'"),
    ],
)
def test_run_files_that_make_no_sense(fit: str, network: str, message: str, labels: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(RunFileError, match=message):
        read_run(run_file(tmp_path, labels, fit, network))


def test_requests_that_make_no_sense(labels: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    output, quiet = tmp_path / "model.h5", {"progress": False}
    with pytest.raises(DataError, match="a network has no features; leave out preset, spec and keys"):
        train(labels, output, "correlations", method="network", **quiet)
    with pytest.raises(ValueError, match="the method network has no use for strengths"):
        train(labels, output, method="network", strengths=(1.0,), **quiet)
    with pytest.raises(DataError, match="takes no prior model"):
        train(labels, output, method="network", prior=tmp_path / "other.h5", **quiet)
    with pytest.raises(DataError, match="the method ridge trains no network"):
        train(labels, output, network=NetworkPlan(), **quiet)
    plan = NetworkPlan(stages=(StagePlan({"label": 1.0}),))
    with pytest.raises(DataError, match="wants the source 'label', which is not among the data; did you mean 'labels'"):
        train(labels, output, method="network", network=plan, **quiet)


def test_plans_that_make_no_sense() -> None:
    with pytest.raises(DataError, match="one stage at least"):
        NetworkPlan(stages=())
    with pytest.raises(DataError, match="factor of source 'a' must be positive, got 0"):
        StagePlan({"a": 0.0})
    assert NetworkPlan().to_dict()["settings"] == NetworkSettings().to_dict()


def test_without_torch_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "ase_wavescat.training.network.method", raising=False)
    with pytest.raises(WaveScatError, match=r'pip install "ase_wavescat\[learn\]"'):
        trainer("network")
