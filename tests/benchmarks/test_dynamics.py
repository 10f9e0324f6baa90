"""Dynamics at constant energy: stopped and gone on with, and what is said of a run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms, units

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import ModelNotFoundError
from ase_wavescat.workflows import rdf


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))
    module = importlib.import_module("dynamics")
    monkeypatch.setattr(module, "EQUILIBRATION", 5)
    monkeypatch.setattr(module, "SAVED", 10)
    return module


@pytest.fixture
def glass(make_structure: Callable[..., Atoms]) -> Atoms:
    atoms = make_structure(atoms=6, side=6.0)
    atoms.info["x"] = 4 / 6
    return atoms


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    benchmark: ModuleType, glass: Atoms, small_ensemble: Model, wide_domain: Domain, tmp_path: Path
) -> None:
    calculator = WaveScatCalculator(replace(small_ensemble, domain=wide_domain))
    whole = benchmark.constant_energy(glass, calculator, 300.0, 30, tmp_path / "whole.npz")
    benchmark.constant_energy(glass, calculator, 300.0, 20, tmp_path / "part.npz")
    part = benchmark.constant_energy(glass, calculator, 300.0, 30, tmp_path / "part.npz")
    assert part.steps == whole.steps == 30 and len(part.positions) == 4
    np.testing.assert_allclose(part.total, whole.total, atol=1e-10)
    np.testing.assert_allclose(part.positions, whole.positions, atol=1e-10)
    figures = benchmark.figures(glass, part)
    assert figures["picoseconds"] == pytest.approx(0.03) and figures["inside_the_domain"] == 1
    assert abs(figures["drift_mev_per_atom_ps"]) < 1 and figures["uncertainty_mev_per_atom"] > 0


def test_drift_fluctuation_temperature_and_the_closest_pair(benchmark: ModuleType, glass: Atoms) -> None:
    steps = np.arange(1001)
    run = benchmark.Run(
        total=list(6e-3 * (2e-3 * steps + np.where(steps % 2, 1.0, -1.0))),  # 2 meV/atom/ps, and 1 meV/atom up and down
        kinetic=[1.5 * 5 * units.kB * 600] * 1001,
        nearest=[np.array([2.5, 2.4, 2.3]), np.array([2.6, 2.2, 2.35])],
        uncertainty=[6e-3, 12e-3],
        outside=["", "distance"],
    )
    figures = benchmark.figures(glass, run)
    assert figures["drift_mev_per_atom_ps"] == pytest.approx(2, abs=0.02)
    assert figures["fluctuation_mev_per_atom"] == pytest.approx(1, rel=0.01)
    assert figures["temperature"] == pytest.approx(600)
    assert figures["closest"] == {"Li-Li": 2.5, "Li-Si": 2.2, "Si-Si": 2.3}
    assert figures["inside_the_domain"] == 0.5 and figures["uncertainty_mev_per_atom"] == pytest.approx(1.5)


def test_shortest_distances_by_pair(benchmark: ModuleType) -> None:
    atoms = Atoms("LiLiSi", [[0, 0, 0], [2.5, 0, 0], [0, 3.0, 0]], cell=[20, 20, 20], pbc=True)
    np.testing.assert_allclose(benchmark.nearest(atoms), [2.5, 3.0, 4.0])


def test_what_two_distributions_have_in_common(benchmark: ModuleType, make_structure: Callable[..., Atoms]) -> None:
    one, other = (rdf(make_structure(seed=seed, atoms=8, side=7.0), cutoff=6.0, bins=60) for seed in (0, 1))
    assert benchmark.overlap(one, one, "Li-Si") == pytest.approx(1)
    assert 0 < benchmark.overlap(one, other, "Li-Si") < 0.9


def test_sampled_frames_are_chosen_by_temperature_and_composition(
    benchmark: ModuleType, make_structure: Callable[..., Atoms], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ase.io import write

    frames = [make_structure(atoms=6) for _ in range(3)]
    for atoms, temperature in zip(frames, (0, 600, 2500), strict=True):
        atoms.info["temperature"] = temperature
    write(tmp_path / "frames.extxyz", frames)
    fraction = float(np.mean(frames[0].symbols == "Li"))
    given = f"{tmp_path / 'missing.extxyz'},{tmp_path / 'frames.extxyz'}"
    assert [atoms.info["temperature"] for atoms in benchmark.sampled_frames(given, fraction)] == [600]
    assert benchmark.sampled_frames(given, fraction + 0.1) == []
    assert "missing.extxyz" in capsys.readouterr().out


def test_a_model_to_be_timed_that_is_not_there_is_missed_before_the_dynamics(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "glass", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(sys, "argv", ["dynamics.py", str(tmp_path), "--timed", "no-such-model.h5"])
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        benchmark.main()
