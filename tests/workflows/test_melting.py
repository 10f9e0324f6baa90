"""Melts and quenches: the temperature follows its schedule, the seed decides, and what explodes is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_wavescat.system.errors import CalculatorError, DataError, StructureError
from ase_wavescat.workflows import MeltSchedule, melt_quench, screen

SHORT = MeltSchedule(temperature=2500.0, final=400.0, melting=0.15, quenching=0.25, timestep=5.0)


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.calc = EMT()
    return atoms


def test_schedule_holds_then_falls_in_a_straight_line() -> None:
    assert SHORT.steps == (30, 50)
    assert [SHORT.target(step) for step in (0, 30, 55, 80)] == pytest.approx([2500, 2500, 1450, 400])


@pytest.fixture(scope="module")
def quench() -> Any:
    return melt_quench(copper(), SHORT, seed=1, steps=200, fmax=0.05)


def test_atoms_are_as_hot_as_the_bath_wants_and_end_at_rest_relaxed(quench: Any) -> None:
    assert quench.stop_reason == "quenched"
    assert len(quench.times) == 81
    assert quench.times[-1] == pytest.approx(0.4)
    hot, cold = quench.temperatures[20:45].mean(), quench.temperatures[-10:].mean()
    assert 1200 < hot < 4000  # eight atoms: a wide distribution
    assert cold < 0.6 * hot
    assert quench.relaxation.converged
    assert np.abs(quench.structure.get_forces()).max() <= 0.05
    assert "momenta" not in quench.structure.arrays
    assert quench.structure.get_potential_energy() < quench.energies[30:].min()


def test_the_seed_decides_and_the_structure_given_stays(quench: Any) -> None:
    atoms = copper()
    before = atoms.positions.copy()
    again = melt_quench(atoms, SHORT, seed=1, steps=200, fmax=0.05)
    assert np.array_equal(again.energies, quench.energies)
    assert np.array_equal(atoms.positions, before)
    assert atoms.get_velocities().max() == 0
    other = melt_quench(atoms, SHORT, seed=2, steps=0)
    assert not np.allclose(other.energies[5:], quench.energies[5:])


def test_result_is_written(quench: Any, tmp_path: Path) -> None:
    quench.write(tmp_path, "glass")
    assert (tmp_path / "glass.png").exists()
    assert "quenched after 0.40 ps" in quench.summary()


class Exploding(EMT):
    """Falls without end once atoms have moved far."""

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        if abs(self.atoms.positions - bulk("Cu", cubic=True).repeat((2, 1, 1)).positions).max() > 0.6:
            self.results["energy"] -= 1000.0


def test_a_melt_that_explodes_is_stopped_and_marked_in_a_screening(tmp_path: Path) -> None:
    atoms = copper()
    atoms.calc = Exploding()
    quench = melt_quench(atoms, SHORT, seed=1)
    assert quench.stop_reason.startswith("runaway: the energy fell by")
    assert quench.relaxation is None
    assert quench.runaway
    assert np.isfinite(quench.energies).all()
    result = screen(
        [copper()], model=Exploding, output=tmp_path, melt=SHORT, steps=5, workers=1, progress=False,
        references={"Cu": 0.0},
    )  # fmt: skip
    assert result.table[0].flags == ("runaway",)
    assert result.table[0].energy_above_hull is None


def test_screened_melts_repeat(tmp_path: Path) -> None:
    schedule = MeltSchedule(melting=0.02, quenching=0.02, timestep=5.0)
    options = {"model": EMT, "melt": schedule, "steps": 3, "workers": 1, "progress": False, "references": {"Cu": 0.0}}
    first = screen([copper()], output=tmp_path / "a", **options)
    assert screen([copper()], output=tmp_path / "b", **options).table == first.table


def test_refusals() -> None:
    with pytest.raises(DataError, match="melting of a melt must be a positive number"):
        MeltSchedule(melting=0.0)
    with pytest.raises(DataError, match="cannot end at 3000"):
        MeltSchedule(temperature=2000.0, final=3000.0)
    with pytest.raises(CalculatorError, match="no calculator"):
        melt_quench(bulk("Cu"))


def test_the_record_begins_at_the_temperature_of_the_melt(quench: Any) -> None:
    assert quench.temperatures[0] > 0.3 * SHORT.temperature


def test_all_that_is_wrong_is_said_before_the_dynamics() -> None:
    class Counted(EMT):
        calls = 0

        def calculate(self, *arguments: Any, **named: Any) -> None:
            Counted.calls += 1
            super().calculate(*arguments, **named)

    atoms = copper()
    atoms.calc = Counted()
    for wrong in ({"fmax": -1.0}, {"cell": "area"}, {"seed": -1}, {"seed": 0.5}, {"steps": -1}):
        with pytest.raises(DataError):
            melt_quench(atoms, SHORT, **wrong)
    atoms.pbc = (True, True, False)
    with pytest.raises(StructureError):
        melt_quench(atoms, SHORT, cell=True)
    assert Counted.calls == 0
