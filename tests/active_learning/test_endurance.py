"""How long dynamics stay where the model knows what it does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from ase_wavescat import WaveScatCalculator
from ase_wavescat.active_learning import Endurance, Limits, Plan, Watch, endure
from ase_wavescat.active_learning.selection import Candidate
from ase_wavescat.active_learning.trial import sureness, try_out
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError
from linear_models import changed, wide_ranges

WIDE = Limits(1e6, 1e6)
SHORT = Watch(temperature=300.0, picoseconds=0.012, timestep=1.0, every=3)


@pytest.fixture
def ensemble(small_ensemble: Model, wide_domain: Domain) -> Model:
    return dataclasses.replace(small_ensemble, domain=wide_domain)


@pytest.fixture
def starts(make_structure: Callable[..., Atoms]) -> list[Atoms]:
    several = [make_structure(seed) for seed in range(3)]
    several[1].info["group"] = "melt-7"
    return several


def test_what_stays_inside_lasts_as_long_as_asked_for(ensemble: Model, starts: list[Atoms], tmp_path: Path) -> None:
    before = starts[0].positions.copy()
    lasting = endure(starts, ensemble, SHORT, WIDE, workers=1, progress=False)
    assert lasting.lasted == 3 and lasting.reasons == ("", "", "") and SHORT.looks == 4
    assert lasting.median == pytest.approx(0.012) and "> 0.012 ps, 3 lasted" in lasting.summary()
    assert lasting.ends[1].info == {"config_type": "lasted", "temperature": 300.0, "group": "melt-7"}
    assert np.abs(lasting.ends[0].positions - before).max() > 1e-3
    np.testing.assert_array_equal(starts[0].positions, before)
    path = lasting.write(tmp_path, "endurance")
    assert json.loads(path.read_text())["calculators"][0]["model_digest"] == ensemble.digest
    assert json.loads(path.read_text())["times"] == [0.012] * 3 and len(read(path.with_suffix(".extxyz"), ":")) == 3


def test_the_same_seed_gives_the_same_dynamics(ensemble: Model, starts: list[Atoms]) -> None:
    one, same, other = (
        endure(starts[:2], ensemble, SHORT, WIDE, seed=seed, workers=1, progress=False).ends for seed in (3, 3, 4)
    )
    for index in range(2):
        np.testing.assert_array_equal(one[index].positions, same[index].positions)
        assert np.abs(one[index].positions - other[index].positions).max() > 1e-4


def test_a_spread_above_its_limit_ends_a_run_at_once(ensemble: Model, starts: list[Atoms]) -> None:
    calculator = WaveScatCalculator(ensemble)
    energies = [calculator.get_energy_uncertainty(atoms) / len(atoms) for atoms in starts]
    forces = [float(np.sqrt(np.mean(calculator.get_forces_uncertainty(atoms) ** 2))) for atoms in starts]
    for limits, reason in (
        (Limits(0.9 * min(energies), 1e6), "uncertain: the energy by"),
        (Limits(1e6, 0.9 * min(forces)), "uncertain: the forces by"),
    ):
        ended = endure(starts, ensemble, SHORT, limits, workers=1, progress=False)
        assert ended.lasted == 0 and ended.median == 0 and all(one.startswith(reason) for one in ended.reasons)
        np.testing.assert_array_equal(ended.ends[2].positions, starts[2].positions)
    assert "median 0 ps, 0 lasted 0.012 ps; ended: 3 uncertain" in ended.summary()


def test_leaving_the_domain_on_the_way_ends_a_run_there(ensemble: Model, starts: list[Atoms]) -> None:
    lasting = endure(starts[:1], ensemble, SHORT, WIDE, workers=1, progress=False)
    calculator = WaveScatCalculator(ensemble)
    at_first = calculator.model.predict(
        Structure(starts[0].cell.array, starts[0].positions, starts[0].numbers)
    ).features / len(starts[0])
    margin = 1e-3 * np.abs(at_first)
    narrow = dataclasses.replace(wide_ranges(len(at_first)), minimum=at_first - margin, maximum=at_first + margin)
    ended = endure(
        starts[:1], changed(ensemble, ranges=narrow), SHORT, WIDE, workers=1, progress=False
    )  # the same dynamics
    assert ended.reasons[0].startswith("outside: ") and ended.times[0] < lasting.times[0]
    assert ended.ends[0].info["config_type"] == "exit"


def test_a_runaway_gives_the_state_before(ensemble: Model, starts: list[Atoms]) -> None:
    hot = Watch(temperature=3e7, picoseconds=0.5, timestep=5.0, every=2)
    ended = endure(starts, ensemble, hot, WIDE, workers=1, progress=False)
    assert ended.lasted == 0 and all(reason.startswith("runaway: ") for reason in ended.reasons)
    assert all(np.isfinite(end.positions).all() and end.info["config_type"] == "exit" for end in ended.ends)


def test_bad_input_is_refused(small_ensemble: Model, ensemble: Model, starts: list[Atoms], tmp_path: Path) -> None:
    for wrong in ({"temperature": 0.0}, {"picoseconds": -1.0}, {"timestep": float("nan")}, {"every": 0}):
        with pytest.raises(DataError):
            Watch(**wrong)
    with pytest.raises(DataError, match="no members or no training domain"):
        endure(starts, small_ensemble, SHORT, WIDE)
    with pytest.raises(DataError, match="no structures"):
        endure([], ensemble, SHORT, WIDE)
    with pytest.raises(DataError, match="structure 1 has no atoms"):
        endure([starts[0], Atoms()], ensemble, SHORT, WIDE)
    xenon = Atoms("Xe", cell=5 * np.eye(3), pbc=True)
    with pytest.raises(DataError, match="structure 1 holds Xe, which the model does not know"):
        endure([starts[0], xenon], ensemble, SHORT, WIDE, workers=1)
    with pytest.raises(DataError, match="noble holds Xe"):
        try_out({"first": starts[0], "noble": xenon}, ensemble, tmp_path / "pool", Plan(), SHORT, WIDE, workers=1)
    assert not (tmp_path / "pool").exists()


def test_the_median_is_a_bound_where_half_of_the_runs_lasted(starts: list[Atoms]) -> None:
    """Between a run that ended and one that did not: later than the middle of what was seen of both."""
    watch, reasons = Watch(600.0, 2.0), ("outside: far", "", "", "outside: far")
    half = Endurance(watch, WIDE, np.array([0.5, 2.0, 2.0, 0.5]), reasons, [])
    assert half.median_words() == "> 1.2" and "median > 1.2 ps, 2 lasted" in half.summary()
    fewer = Endurance(watch, WIDE, np.array([0.5, 2.0, 0.5]), ("outside: far", "", "outside: far"), [])
    assert fewer.median_words() == "0.5"


def test_dynamics_that_are_followed_are_none_of_the_pool(ensemble: Model, starts: list[Atoms], tmp_path: Path) -> None:
    plan = Plan(temperatures=(300.0, 300.0, 300.0), picoseconds=0.004, timestep=2.0, snapshots=1, strains=(), hops=0)
    watch = Watch(temperature=300.0, picoseconds=0.004, timestep=2.0, every=2)
    trial = try_out({"a": starts[0]}, ensemble, tmp_path, plan, watch, WIDE, workers=1, progress=False)
    runs = [atoms.positions for atoms in trial.pool.values() if atoms.info["config_type"] == "md"]
    runs.append(trial.endurance.ends[0].positions)
    assert len(runs) == 4
    for index, one in enumerate(runs):
        assert all(np.abs(one - other).max() > 1e-4 for other in runs[:index])


def test_a_trial_is_kept_start_by_start(ensemble: Model, starts: list[Atoms], tmp_path: Path) -> None:
    plan = Plan(temperatures=(300.0,), picoseconds=0.004, timestep=2.0, snapshots=1, strains=(0.02,), hops=0)
    named = {f"start-{index}": atoms for index, atoms in enumerate(starts)}
    tight = Limits(1e-9, 1e-9)

    def work(folder: Path, given: dict[str, Atoms]) -> tuple[int, list[str], np.ndarray]:
        trial = try_out(given, ensemble, folder, plan, SHORT, tight, seed=2, workers=1, progress=False)
        places = np.concatenate([atoms.positions for atoms in trial.pool.values()])
        return len(trial.pool), list(trial.endurance.reasons), places

    whole = work(tmp_path / "whole", named)
    assert whole[0] == 3 * 5 and all(reason.startswith("uncertain") for reason in whole[1])
    for path in (tmp_path / "whole").glob("start-0*"):
        path.unlink()  # as if it had not been done
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()}
    again = work(tmp_path / "whole", named)
    assert again[:2] == whole[:2] and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    np.testing.assert_array_equal(again[2], whole[2])


def test_states_at_which_dynamics_ended_do_not_count_as_the_models_own(starts: list[Atoms]) -> None:
    def candidate(index: int, spread: float, kind: str) -> Candidate:
        atoms = starts[index].copy()
        atoms.info["config_type"] = kind
        return Candidate(str(index), atoms, np.zeros(1), spread, 10 * spread, ())

    some = (candidate(0, 0.002, "md"), candidate(1, 0.006, "strain"), candidate(2, 0.5, "exit"))
    own = sureness(some, Limits(0.005, 1.0))
    assert (own.states, own.uncertain) == (2, 0.5)
    assert (own.energy_spread, own.force_spread) == pytest.approx((0.004, 0.04))
    with pytest.raises(DataError, match="no states to judge"):
        sureness(some[2:], Limits(0.005, 1.0))
