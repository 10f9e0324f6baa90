"""Searches: minima that are known, copies, what fails, runs that are stopped and go on, and the command."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from click.testing import CliRunner

from ase_wavescat import save_model
from ase_wavescat.cli import main
from ase_wavescat.io.structures import structures_of
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import CalculatorError, DataError, StructureError
from ase_wavescat.system.locks import held
from ase_wavescat.workflows import RandomCells, Search, basin_walk, relax, search
from ase_wavescat.workflows.structure_search import distinct

ELEMENTS = {"Cu": -0.007, "Au": -0.0001}
LOOSE = {"fmax": 1e3, "smax": 1e5}
"""Every state is relaxed as it is: what is tested is not the relaxation."""


def quickly(folder: Path, cells: RandomCells | None = None, **options: Any) -> Search:
    chosen: dict[str, Any] = {
        "model": EMT, "output": folder, "starts": 2, "moves": 1, "workers": 1, "references": ELEMENTS,
        "within": 100.0, "progress": False, **LOOSE,
    }  # fmt: skip
    return search(cells or RandomCells(["Cu", "Au"], atoms=(2, 3)), **{**chosen, **options})


def told(result: Search) -> list[tuple[str, float]]:
    return [(state.info["name"], state.get_potential_energy()) for state in result.states]


def test_the_known_lowest_lattice_is_found_and_is_one_state(tmp_path: Path) -> None:
    """Of all lattices of one atom a cell, Lennard-Jones atoms take the face-centred cubic one."""
    argon = partial(LennardJones, sigma=3.4, epsilon=0.0104, rc=8.5, smooth=True)
    limits: dict[str, Any] = {"fmax": 0.01, "smax": 0.01, "within": 0.05, "references": None}
    result = quickly(tmp_path, RandomCells(["Ar"], atoms=(1, 1)), model=argon, starts=3, moves=1, **limits)
    crystal = bulk("Ar")
    crystal.calc = argon()
    relaxation = relax(crystal, cell=True, fmax=1e-3, smax=1e-3)
    lowest = result.states[0]
    assert lowest.get_potential_energy() == pytest.approx(relaxation.energies[-1], abs=1e-5)
    assert lowest.get_volume() == pytest.approx(relaxation.volumes[-1], rel=0.01)
    assert result.times[0] > 1 and np.all(result.above_hull[1:] > 1e-3)
    assert result.relaxed + len(result.left_out) == 6 and result.above_hull_spread is None


def test_moves_go_on_from_the_lower_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[Atoms] = []

    def recorded(atoms: Atoms, generator: np.random.Generator) -> Atoms:
        moved.append(atoms.copy())
        return move(atoms, generator)

    move = basin_walk._moved
    monkeypatch.setattr(basin_walk, "_moved", recorded)
    quickly(tmp_path, RandomCells(["Cu", "Au"], atoms=(3, 3), seed=3), starts=1, moves=4)
    files = sorted((tmp_path / "states").glob("*.extxyz"))
    states = [structures_of(file)[0] for file in files]
    energies = [state.get_potential_energy() for state in states]
    lowest = [states[int(np.argmin(energies[:move]))] for move in range(1, 5)]
    assert len({float(state.cell.volume) for state in lowest}) > 1  # not only from the random cell
    for start, state in zip(moved, lowest, strict=True):
        assert np.allclose(start.cell, state.cell, rtol=0, atol=1e-9)
        assert np.allclose(start.get_scaled_positions(), state.get_scaled_positions(), rtol=0, atol=1e-9)


def test_states_that_differ_by_what_relaxation_leaves_are_one() -> None:
    def state(crystal: str, rattle: float, strain: float = 0.0, energy: float = 0.0) -> Atoms:
        atoms = bulk("Cu", crystal, a=2.55, c=4.16) if crystal == "hcp" else bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        atoms.rattle(rattle, seed=2)
        atoms.calc = LennardJones()  # the energy is set
        atoms.calc.calculate = lambda *arguments, **options: None
        atoms.calc.results, atoms.calc.atoms = {"energy": energy * len(atoms)}, atoms.copy()
        return atoms

    states = [state("fcc", 0), state("fcc", 0.002, 0.003, 1e-4), state("hcp", 0), state("fcc", 0, 0, 0.05)]
    larger = state("fcc", 0, 0.05)
    kept, times = distinct([*states, larger])
    assert [id(one) for one in kept] == [id(states[0]), id(states[2]), id(states[3]), id(larger)]
    assert times.tolist() == [2, 1, 1, 1]


def test_results_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    one, two = quickly(tmp_path / "one"), quickly(tmp_path / "two", workers=2)
    assert told(one) == told(two) and one.to_json() == two.to_json()
    assert told(one) != told(quickly(tmp_path / "seed", RandomCells(["Cu", "Au"], atoms=(2, 3), seed=1)))


class Stopping(EMT):
    """Ends the run, as Ctrl-C does, after so many evaluations; of three atoms it knows nothing."""

    left = 10**9

    def calculate(self, atoms: Any = None, *arguments: Any, **options: Any) -> None:
        if Stopping.left == 0:
            raise KeyboardInterrupt
        if len(atoms) == 3:
            raise ValueError("three is too many")
        Stopping.left -= 1
        super().calculate(atoms, *arguments, **options)


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = RandomCells(["Cu", "Au"], atoms=(2, 2))
    options: dict[str, Any] = {"model": Stopping, "starts": 2, "moves": 1, "fmax": 0.2, "smax": 5.0, "steps": 5}
    whole = quickly(tmp_path / "whole", cells, **options)
    monkeypatch.setattr(Stopping, "left", 10)
    with pytest.raises(KeyboardInterrupt):
        quickly(tmp_path / "part", cells, **options)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "part" / "states").glob("*.extxyz")}
    assert 0 < len(kept) < 4
    monkeypatch.setattr(Stopping, "left", 10**9)
    assert quickly(tmp_path / "part", cells, **options).to_json() == whole.to_json()
    assert kept == {file: file.stat().st_mtime_ns for file in kept}
    more = quickly(tmp_path / "part", cells, **{**options, "starts": 3})
    assert more.relaxed + len(more.left_out) == 6


def test_failures_are_told_and_end_nothing(tmp_path: Path) -> None:
    cells = RandomCells(["Cu", "Au"], atoms=(2, 3))
    result = quickly(tmp_path, cells, model=Stopping, starts=6, moves=1)
    assert result.left_out and all(why == "failed: three is too many" for why in result.left_out.values())
    assert all(name.endswith("-0") for name in result.left_out)  # their walks end there
    assert {len(state) for state in result.states} == {2}
    assert "left out: " in result.summary() and "three is too many" in result.summary()
    with pytest.raises(DataError, match=r"none of 1 states relaxed, .* for: failed: three"):
        quickly(tmp_path / "none", RandomCells(["Cu"], atoms=(3, 3)), model=Stopping, starts=1)


def test_states_that_do_not_relax_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 4 states relaxed, .*: step limit"):
        quickly(tmp_path, fmax=1e-9, smax=1e-9, steps=1)
    with pytest.raises(DataError, match=r"eV/atom above the hull, none is within 0.0; raise within"):
        quickly(tmp_path / "high", within=0.0, references={"Cu": -1.0, "Au": -1.0})


def test_other_searches_are_refused_unless_they_are_given_up(tmp_path: Path) -> None:
    first = quickly(tmp_path)
    with pytest.raises(DataError, match=r"another search \(other settings\); give another folder"):
        quickly(tmp_path, steps=7)
    other = RandomCells(["Cu", "Au"], atoms=(2, 3), seed=5)
    with pytest.raises(DataError, match="other cells"):
        quickly(tmp_path, other)
    with pytest.raises(DataError, match="other model"):
        quickly(tmp_path, model=Stopping)
    assert told(quickly(tmp_path)) == told(first)
    assert told(quickly(tmp_path, other, overwrite=True)) != told(first)
    with held(tmp_path / "states" / "lock"), pytest.raises(DataError, match="another search works in"):
        quickly(tmp_path, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": 0}, "starts must be at least 1"),
        ({"moves": -1}, "moves not negative"),
        ({"within": -0.1}, "not negative, got -0.1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"fmax": 0.0}, "fmax must be a positive number, got 0.0"),
        ({"references": {"Cu": 0.0}}, "no reference energy of Au"),
    ],
)
def test_bad_settings_are_refused_before_any_work(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        quickly(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_calculators_that_cannot_are_refused_before_any_work(tmp_path: Path, small_ensemble: Model) -> None:
    from ase_wavescat import WaveScatCalculator

    with pytest.raises(CalculatorError, match="makes a dict"):
        quickly(tmp_path / "out", model=dict)
    knows_no_copper = partial(WaveScatCalculator, small_ensemble)
    with pytest.raises(StructureError, match="knows Li, Si, not Au"):
        quickly(tmp_path / "out", model=knows_no_copper, references=None)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_ranks_with_spreads(tmp_path: Path, small_ensemble: Model) -> None:
    path = tmp_path / "small.h5"
    save_model(path, small_ensemble)
    command = [
        "search", "Li", "Si=2", "--model", str(path), "--atoms", "2", "4", "--starts", "3", "--moves", "1", "--fmax",
        "1e3", "--smax", "1e5", "--within", "1000", "--workers", "1", "--reference", "Li=-7", "--reference", "Si=-160",
        "-o", str(tmp_path / "out"), "--quiet",
    ]  # fmt: skip
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "distinct states" in done.output and "±" in done.output and "results: " in done.output
    record = json.loads((tmp_path / "out" / "search.json").read_text(encoding="utf-8"))
    assert len(record["above_hull"]) == len(record["above_hull_spread"]) == sum(record["times"]) == 6
    assert min(record["above_hull_spread"]) >= 0 and record["above_hull"] == sorted(record["above_hull"])
    assert record["calculators"][0]["model_digest"] == small_ensemble.digest
    assert (tmp_path / "out" / "search.png").stat().st_size > 5_000
    assert (tmp_path / "out" / "search.extxyz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give elements, or --composition FORMULA"),
        (["Li", "--composition", "LiSi"], "one of them, not both"),
        (["Li=many"], "'Li=many' is not a name, or a name and its weight"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["search", *options, "-o", str(tmp_path / "out")])
    assert done.exit_code == 2 and message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
