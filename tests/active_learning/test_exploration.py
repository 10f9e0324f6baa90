"""States that a calculator leads to."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read
from click.testing import CliRunner

from ase_wavescat import Model, save_model
from ase_wavescat.active_learning.exploration import Plan, dynamics, explore
from ase_wavescat.cli import main
from ase_wavescat.system.errors import CalculatorError, DataError

SHORT = Plan(temperatures=(300.0, 900.0), picoseconds=0.03, snapshots=2, strains=(0.02,), hops=1, species="Cu")


@pytest.fixture
def vacancy() -> Atoms:
    atoms = bulk("Cu", cubic=True) * 2
    del atoms[0]
    atoms.rattle(0.05, seed=1)
    atoms.info["group"] = "crystal-7"
    atoms.calc = EMT()
    return atoms


def test_every_kind_of_state(vacancy: Atoms, tmp_path: Path) -> None:
    before = vacancy.positions.copy()
    exploration = explore(vacancy, SHORT)
    assert exploration.incomplete == ""
    states = exploration.states
    kinds = Counter(atoms.info["config_type"] for atoms in states)
    assert kinds == {"relaxed": 1, "relaxation": 2, "md": 4, "strain": 1, "hop": 3}
    assert {atoms.info["group"] for atoms in states} == {"crystal-7"} and all(atoms.calc is None for atoms in states)
    assert {atoms.info["temperature"] for atoms in states if "temperature" in atoms.info} == {300.0, 900.0}
    np.testing.assert_array_equal(vacancy.positions, before)
    assert exploration.spreads is None and exploration.energies[0] < exploration.energies[1:].mean()
    assert "md" in exploration.summary() and "spread" not in exploration.summary()
    # An energy's own spread does not stand behind a change as its error
    spread = dataclasses.replace(exploration, spreads=np.full(len(states), 0.02)).summary()
    assert "meV/atom above the relaxed state, spread of the energies 20.0" in spread and "±" not in spread
    path = exploration.write(tmp_path, "vacancy")
    assert len(read(path.with_suffix(".extxyz"), ":")) == len(states)
    assert json.loads(path.read_text())["kinds"].count("hop") == 3

    def of(kind: str) -> list[Atoms]:
        return [atoms for atoms in states if atoms.info["config_type"] == kind]

    relaxed, strained = of("relaxed")[0], of("strain")[0]
    for atoms in (relaxed, strained):
        atoms.calc = EMT()
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.1
    assert strained.get_volume() / relaxed.get_volume() == pytest.approx(1.02**3)
    moved = strained.get_scaled_positions() - relaxed.get_scaled_positions()
    assert np.abs(moved - np.round(moved)).max() < 0.02
    energies = []
    for atoms in of("hop"):
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy() - relaxed.get_potential_energy())
    assert energies[1] == max(energies) and 0.3 < energies[1] < 1.2  # EMT's barrier of this hop is 0.6 eV
    hotter = [np.ptp([np.linalg.norm(a.positions - relaxed.positions) for a in of("md")[i : i + 2]]) for i in (0, 2)]
    assert all(spread > 0 for spread in hotter)


def test_the_same_seed_gives_the_same_states(vacancy: Atoms) -> None:
    plan = Plan(temperatures=(600.0,), picoseconds=0.01, snapshots=1, strains=(), hops=0)
    one, same, other = (explore(vacancy, plan, seed=seed).states[-1].positions for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


class Collapsing(Calculator):
    """Pulls all atoms to one place, harder and harder."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        inward = self.atoms.positions - self.atoms.positions.mean(axis=0)
        self.results = {"energy": 25 * float((inward**2).sum()), "forces": -50 * inward}


def test_dynamics_that_run_away_give_the_states_before(vacancy: Atoms) -> None:
    vacancy.calc = Collapsing()
    plan = Plan(picoseconds=1.0, snapshots=4)
    frames, failure = dynamics(vacancy, 300.0, plan, np.random.default_rng(0))
    assert failure is not None
    vacancy.calc = Collapsing()
    ended = explore(vacancy, plan)
    assert ended.incomplete.startswith("relaxation: runaway: ") and "ended before: " in ended.summary()
    assert 1 <= len(frames) < 4 and np.isfinite(frames[-1].positions).all()


def test_bad_plans(vacancy: Atoms) -> None:
    for wrong in ({"temperatures": (0.0,)}, {"picoseconds": -1.0}, {"snapshots": 0}, {"strains": (0.5,)}):
        with pytest.raises(DataError):
            Plan(**wrong)
    vacancy.calc = None
    with pytest.raises(CalculatorError, match="no calculator"):
        explore(vacancy, SHORT)


def test_slabs_have_no_voids_to_hop_into(vacancy: Atoms) -> None:
    vacancy.pbc = (True, True, False)
    plan = Plan(temperatures=(), strains=(), hops=2, species="Cu")
    assert {atoms.info["config_type"] for atoms in explore(vacancy, plan).states} == {"relaxed", "relaxation"}


def test_the_command_makes_a_pool_with_groups(
    small_ensemble: Model, make_structure: Callable[..., Atoms], tmp_path: Path
) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    make_structure(0).write(tmp_path / "glass.extxyz")
    arguments = ["--model", str(tmp_path / "small.h5"), "-o", str(tmp_path / "pool"), "--picoseconds", "0.002"]
    arguments += ["--snapshots", "1", "--temperature", "300", "--hops", "0"]
    done = CliRunner().invoke(main, ["explore", str(tmp_path / "glass.extxyz"), *arguments])
    assert done.exit_code == 0, done.output
    states = read(tmp_path / "pool" / "glass.extxyz", ":")
    assert {atoms.info["group"] for atoms in states} == {"glass"}
    assert [atoms.info["config_type"] for atoms in states].count("md") == 1
    again = CliRunner().invoke(main, ["explore", str(tmp_path / "glass.extxyz"), *arguments])
    assert "glass: kept" in again.output
