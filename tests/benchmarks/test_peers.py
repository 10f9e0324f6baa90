"""The comparison with peers: a whole run with one whose errors are known, and what must not be trusted blindly."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_wavescat.potentials.file.model_file import save_model
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import DataError

pytest.importorskip("ase.calculators.fd", reason="this ASE has no finite differences that a benchmark needs")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHIFTS = {"Li": -2.0, "Si": -5.0}  # between the zeros of energy of the labels and of the peer, eV
PEER = """
from ase.calculators.lj import LennardJones

def default(name):
    assert name == "04153"
    return LennardJones(sigma=2.2, epsilon=0.3, rc=4.5, smooth=True)
"""


def potential() -> LennardJones:
    return LennardJones(sigma=2.2, epsilon=0.3, rc=4.5, smooth=True)


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.syspath_prepend(str(BENCHMARKS / "accuracy"))
        yield importlib.import_module
    for name in ("common", "held_out", "peers", "peer_report", "peer_calculators"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, benchmark: Callable[[str], ModuleType]) -> Path:
    """Six cells labelled by the peer, with other zeros of energy, and the references that belong to them."""
    folder = tmp_path_factory.mktemp("peers")
    glass = benchmark("common").glass
    frames = []
    for seed, lithium in enumerate((0.1, 0.3, 0.4, 0.6, 0.8, 0.9)):
        atoms = glass(20, lithium=lithium, seed=seed)
        atoms.info |= {"config_type": "md" if seed % 2 else "relaxed", "group": f"melt {seed}"}
        atoms.calc = potential()
        energy = atoms.get_potential_energy() + sum(SHIFTS[symbol] for symbol in atoms.symbols)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=atoms.get_forces(), stress=atoms.get_stress())
        frames.append(atoms)
    write(folder / "test.extxyz", frames)
    energies, volumes = benchmark("peers").own_elements(potential())
    crystals = {s: {"energy": energies[s] + SHIFTS[s], "V0": volumes[s]} for s in SHIFTS}
    (folder / "references.json").write_text(json.dumps(crystals))
    (folder / "annpot.py").write_text(PEER)
    return folder / "test.extxyz"


def run(benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments])
    benchmark("peers").main()


def test_a_peer_that_made_the_labels_has_no_errors_and_is_remade_from_what_was_kept(
    data: Path,
    benchmark: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = data.parent
    page = folder / "page.md"
    page.write_text("before\n<!-- peers: made by benchmarks/accuracy/peers.py -->\n<!-- end of peers -->\nafter\n")
    common = ("--data", str(data), "--keep", str(folder / "kept"), "--json", str(folder / "peers.json"))
    monkeypatch.setattr(benchmark("peers"), "WARM_UP", 1)
    monkeypatch.setattr(benchmark("peers"), "ROUNDS", 1)
    run(benchmark, monkeypatch, *common, "--network", str(folder), "--python", str(folder / "none"),
        "--document", str(page), "--picture", str(folder / "peers.png"))  # fmt: skip
    assert "CHGNet is left out" in capsys.readouterr().out
    figures = json.loads((folder / "peers.json").read_text())
    ours, peer = figures["models"]["lisi.h5"], figures["models"]["ANN potential"]
    assert list(figures["models"]) == ["lisi.h5", "ANN potential"]
    assert peer["formation_energy_mae_mev_per_atom"] < 0.1
    assert peer["fitted_energy_rmse_mev_per_atom"] < 0.1
    assert peer["total_energy_mean_error_mev_per_atom"] > 1000
    assert peer["force_mae_ev_per_a"] < 1e-5 and peer["stress_mae_gpa"] < 1e-3
    assert peer["force_slope"] == pytest.approx(1, abs=1e-4)
    assert ours["force_mae_ev_per_a"] > 0.1
    assert peer["seconds"] > 0 and ours["seconds"] > 0
    assert [row["frames"] for row in ours["parts"].values()] == [3, 3, 1, 2, 1, 2]
    assert figures["calibration"]["lisi.h5"]["forces"]["data"] == 6 * 60
    assert figures["differences_from_numerical_derivatives"]["lisi.h5"]["stress"] < 0.01
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "| ANN potential | - | 0.0 | 0.0 |" in text
    assert (folder / "peers.png").stat().st_size > 5000

    run(benchmark, monkeypatch, *common, "--network", str(folder / "nowhere"), "--peers", "ann")
    assert "ANN potential is taken from an earlier run" in capsys.readouterr().out
    again = json.loads((folder / "peers.json").read_text())["models"]["ANN potential"]
    assert not again["in_this_run"] and again["seconds"] == peer["seconds"]
    assert again["force_rmse_ev_per_a"] == peer["force_rmse_ev_per_a"] and again["parts"] == peer["parts"]


class Wrong(LennardJones):
    """Stresses in GPa."""

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        self.results["stress"] *= 160.2


def test_stresses_that_are_no_derivatives_are_refused(
    benchmark: Callable[[str], ModuleType], make_structure: Callable[..., Atoms]
) -> None:
    peers = benchmark("peers")
    atoms = make_structure(seed=1)
    right = peers.check_derivatives("right", potential(), atoms)
    assert max(right.values()) < 0.02
    with pytest.raises(benchmark("peer_calculators").PeerError, match="the stress of wrong are off"):
        peers.check_derivatives("wrong", Wrong(sigma=2.2, epsilon=0.3, rc=4.5, smooth=True), atoms)


def test_a_model_is_not_shown_on_cells_that_it_was_trained_on(
    data: Path, benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark("held_out"), "trained_frames", lambda ensemble, frames: frames[:2])
    with pytest.raises(SystemExit, match=r"trained on 2 of these 6 cells, such as test.extxyz#0"):
        run(benchmark, monkeypatch, "--data", str(data), "--peers")


def test_a_model_that_does_not_say_what_it_was_trained_on_is_refused(
    data: Path, benchmark: Callable[[str], ModuleType], small_ensemble: Model, tmp_path: Path
) -> None:
    save_model(tmp_path / "model.h5", small_ensemble)
    with pytest.raises(DataError, match="does not record the structures"):
        benchmark("held_out").check_held_out(str(tmp_path / "model.h5"), benchmark("peers").held_out_frames(data))


def test_derivatives_are_tried_where_they_are_not_zero_by_symmetry(
    data: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    peers = benchmark("peers")
    frames = peers.held_out_frames(data)
    assert peers.probe_of(frames) == 0  # all have twenty atoms
    first = frames[0].structure
    few = replace(first, numbers=first.numbers[:8], positions=first.positions[:8])
    small = replace(frames[0], structure=few)
    crystal = replace(small, forces=np.full((8, 3), 1e-6), stress=frames[0].stress)
    loose = replace(small, forces=frames[0].forces[:8], stress=np.full(6, 1e-6))
    assert peers.probe_of([crystal, loose, *frames]) == 2
    assert peers.probe_of([crystal, loose]) == 0  # better than nothing
    assert peers.probe_of([*frames, replace(small, forces=frames[0].forces[:8])]) == 6


class Remote(LennardJones):
    """In place of a potential in another process."""

    version, seconds, fails = "one", 0.0, False

    def __init__(self, *_: object, epsilon: float = 0.3) -> None:
        super().__init__(sigma=2.2, epsilon=epsilon, rc=4.5, smooth=True)

    def calculate(self, *arguments: Any, **options: Any) -> None:
        if self.fails:
            raise importlib.import_module("peer_calculators").PeerError("out of memory")
        super().calculate(*arguments, **options)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_what_another_version_of_a_peer_predicted_is_not_used_and_one_that_fails_is_left_out(
    data: Path,
    benchmark: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    peers = benchmark("peers")
    frames = peers.held_out_frames(data)
    predicted: list[str] = []

    def predict(label: str, calculator: Remote, _: object) -> Any:
        predicted.append(calculator.version)
        energies = np.array([calculator.get_potential_energy(peers.atoms_of(frame)) for frame in frames])
        forces, stresses = tuple(frame.forces for frame in frames), np.array([frame.stress for frame in frames])
        return peers.Predictions(label, False, calculator.version, energies, forces, stresses, {}, {})

    monkeypatch.setattr(peers, "RemoteCalculator", Remote)
    monkeypatch.setattr(peers, "their_predictions", predict)

    def add() -> dict[str, Any]:
        found = peers.Comparison()
        with ExitStack() as stack:
            chosen = Namespace(keep=tmp_path, python="", network=tmp_path)
            peers.add_peer("chgnet", chosen, frames, 0, found, stack)
        assert list(found.models) == list(found.running) == list(found.derivatives)
        return dict(found.models)

    assert add()["CHGNet"].version == "one" and add()["CHGNet"].version == "one" and predicted == ["one"]
    monkeypatch.setattr(Remote, "version", "two")
    assert add()["CHGNet"].version == "two" and predicted == ["one", "two"]
    assert "CHGNet is evaluated anew: what was kept is of one" in capsys.readouterr().out
    other = Remote(epsilon=0.31)
    assert not peers.is_of(peers.kept(tmp_path, "chgnet", frames), other, frames, 0)
    monkeypatch.setattr(Remote, "fails", True)
    assert add() == {} and "CHGNet is left out: out of memory" in capsys.readouterr().out


def test_a_process_that_fails_says_why(benchmark: Callable[[str], ModuleType], tmp_path: Path) -> None:
    (tmp_path / "annpot.py").write_text(
        "from ase.calculators.lj import LennardJones\n\n\nclass Bad(LennardJones):\n"
        "    def calculate(self, *arguments, **options):\n        raise ValueError('atoms too close')\n\n\n"
        "def default(name):\n    return Bad()\n"
    )
    calculators = benchmark("peer_calculators")
    with (
        calculators.RemoteCalculator("ann", str(tmp_path), sys.executable) as remote,
        pytest.raises(calculators.PeerError, match="ValueError: atoms too close"),
    ):
        remote.get_potential_energy(Atoms("Li2", [[0, 0, 0], [3, 0, 0]], cell=[6, 6, 6], pbc=True))


def test_zeros_of_energy_forgive_more_and_more(data: Path, benchmark: Callable[[str], ModuleType]) -> None:
    peers, report = benchmark("peers"), benchmark("peer_report")
    frames = peers.held_out_frames(data)
    share = report.fractions(frames)[:, 0]
    errors = 0.03 + 0.2 * share + 0.01 * np.array([1, -1, 1, -1, 1, -1])
    energies = np.array([frame.energy for frame in frames]) + report.sizes(frames) * errors
    forces = tuple(0.8 * frame.forces for frame in frames)
    elements = {"Li": 1.23, "Si": 4.5}
    model = report.Predictions("", False, "", energies, forces, np.array([f.stress for f in frames]), elements, {})
    found = report.energy_errors(model, frames, {"Li": 1.0, "Si": 4.5})
    assert found["total"] == pytest.approx(errors)
    assert found["formation"] == pytest.approx(errors - 0.23 * share)
    assert found["centred"] == pytest.approx(found["formation"] - found["formation"].mean())
    assert np.abs(found["fitted"]).max() < 0.02 and found["fitted"] @ share == pytest.approx(0, abs=1e-9)
    figures = report.figures_of(model, frames, elements)
    assert figures["force_slope"] == pytest.approx(0.8) and figures["force_factor"] == pytest.approx(1.25)
