"""Screenings: ranks, what is flagged or fails, and runs that are killed and go on."""

from __future__ import annotations

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.constraints import FixAtoms
from ase.io import write
from click.testing import CliRunner

import ase_wavescat.workflows.screening.crews as crews
from ase_wavescat import WaveScatCalculator, save_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import CalculatorError, DataError, WaveScatError
from ase_wavescat.workflows import read_screening, screen
from ase_wavescat.workflows.screening.jobs import ScreeningSettings, job_key
from screening_calculators import DEADLY, Deadly, Homebound, Slow

ELEMENTS = {"Cu": -0.007, "Au": -0.0001}


def alloy(formula: str = "Cu3Au", seed: int = 0, strain: float = 0.0) -> Atoms:
    """Four atoms near the sites of a face-centred cube."""
    atoms = bulk("Cu", cubic=True, a=3.8 * (1 + strain))
    atoms.symbols = Atoms(formula).symbols
    atoms.rattle(0.05, seed=seed)
    atoms.info["name"] = f"{formula} {seed} {strain:g}"
    return atoms


def alloys() -> list[Atoms]:
    return [alloy(formula, seed) for formula in ("Cu3Au", "Cu2Au2", "CuAu3", "Cu4") for seed in range(2)]


def quickly(pool: Any, folder: Path, **options: Any) -> Any:
    chosen = {"model": EMT, "output": folder, "steps": 3, "workers": 1, "references": ELEMENTS, "progress": False}
    return screen(pool, **{**chosen, **options})


# ---------------------------------------------------------------- ranks


def test_single_points_are_ranked_by_energy_above_the_hull_of_pool_and_elements(tmp_path: Path) -> None:
    pool = alloys()
    result = quickly(pool, tmp_path, relax=False)
    formation = {}
    for atoms in pool:
        atoms.calc = EMT()
        zero = sum(ELEMENTS[symbol] for symbol in atoms.get_chemical_symbols())
        formation[atoms.info["name"]] = (atoms.get_potential_energy() - zero) / 4
    assert {entry.name: entry.formation_energy for entry in result.table} == pytest.approx(formation, abs=1e-12)
    # Two elements: the hull by brute force over all pairs of entries on either side
    points = [(0.0, 0.0), (1.0, 0.0)]
    points += [(atoms.get_chemical_symbols().count("Au") / 4, formation[atoms.info["name"]]) for atoms in pool]
    for atoms in pool:
        x = atoms.get_chemical_symbols().count("Au") / 4
        lines = [
            a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0])
            for a in points
            for b in points
            if a[0] <= x <= b[0] != a[0]
        ]
        entry = next(entry for entry in result.table if entry.name == atoms.info["name"])
        assert entry.energy_above_hull == pytest.approx(formation[entry.name] - min(lines), abs=1e-12)
    above = [entry.energy_above_hull for entry in result.table]
    assert above == sorted(above)
    assert result.structures[0].get_potential_energy() / 4 == pytest.approx(result.table[0].energy, abs=1e-12)


def test_density_volume_and_shortest_distance(tmp_path: Path) -> None:
    (entry,) = quickly([bulk("Cu", cubic=True, a=3.6)], tmp_path, relax=False).table
    assert entry.volume == pytest.approx(3.6**3 / 4)
    assert entry.shortest == pytest.approx(3.6 / np.sqrt(2))
    assert entry.density == pytest.approx(4 * 63.546 / 6.02214076e23 / (3.6e-8) ** 3, rel=1e-6)
    assert entry.flags == ()


def test_relaxation_reaches_the_force_and_says_where_it_does_not(tmp_path: Path) -> None:
    result = quickly([alloy()], tmp_path / "long", steps=100, fmax=0.01)
    assert result.table[0].stop == "converged"
    assert result.table[0].flags == ()
    assert np.abs(result.best[0].get_forces()).max() <= 0.01
    short = quickly([alloy()], tmp_path / "short", steps=1, fmax=1e-4)
    assert short.table[0].flags == ("unconverged",)


def test_references_are_crystals_relaxed_with_the_calculator_unless_given(tmp_path: Path) -> None:
    result = quickly([alloy("Cu4")], tmp_path, references=None)
    crystal = bulk("Cu", a=3.59)
    crystal.calc = EMT()
    assert result.references.energies == {"Cu": pytest.approx(crystal.get_potential_energy(), abs=1e-3)}
    assert "fcc Cu" in result.references.sources["Cu"]
    more = quickly([alloy("Cu3Au")], tmp_path, references=None)
    assert set(more.references.energies) == {"Au", "Cu"}
    assert more.references.energies["Cu"] == result.references.energies["Cu"]


def test_uncertainty_is_the_spread_over_the_members_own_hulls(
    tmp_path: Path, small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    pool = [make_structure(seed, atoms) for seed, atoms in enumerate((4, 5, 6, 7))]
    given = {"Li": -7.0, "Si": -160.0}
    result = quickly(pool, tmp_path, model=partial(WaveScatCalculator, small_ensemble), relax=False, references=given)
    calculator = WaveScatCalculator(small_ensemble)
    lithium = np.array([np.mean(atoms.numbers == 3) for atoms in pool])
    energies = np.array([calculator.get_member_energies(atoms) / len(atoms) for atoms in pool])
    formation = energies - (lithium * given["Li"] + (1 - lithium) * given["Si"])[:, None]
    above = np.zeros_like(formation)
    points = [(0.0, np.zeros(5)), (1.0, np.zeros(5)), *zip(lithium, formation, strict=True)]
    for index, x in enumerate(lithium):
        lines = [
            a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0])
            for a in points
            for b in points
            if a[0] <= x <= b[0] != a[0]
        ]
        above[index] = formation[index] - np.min([*lines, formation[index]], axis=0)
    for entry in result.table:
        index = int(entry.name.split()[-1])
        expected = 1.5 * above[index].std(ddof=1)
        assert entry.energy_above_hull_uncertainty == pytest.approx(expected, abs=1e-10)
        assert entry.uncertainty == pytest.approx(1.5 * energies[index].std(ddof=1), abs=1e-10)
    assert [one["model_digest"] for one in result.calculators] == [small_ensemble.digest]


# ---------------------------------------------------------------- what looks wrong


def test_what_lies_outside_the_training_domain_is_flagged_and_close_atoms_shape_no_hull(
    tmp_path: Path, small_ensemble: Model, wide_domain: Domain, make_structure: Callable[..., Atoms]
) -> None:
    domain = dataclasses.replace(wide_domain, closest={(3, 3): 1.5, (3, 14): 1.5, (14, 14): 1.5})
    ensemble = dataclasses.replace(small_ensemble, domain=domain)
    pool = [make_structure(seed) for seed in range(3)]
    close = make_structure(7)
    close.positions[1] = close.positions[0] + [1.45, 0, 0]
    result = quickly(
        [*pool, close], tmp_path, model=partial(WaveScatCalculator, ensemble), relax=False,
        references={"Li": 0.0, "Si": 0.0},
    )  # fmt: skip
    last = result.table[-1]
    assert (last.name, last.flags, last.energy_above_hull) == ("structure 3", ("distance",), None)
    assert all(entry.energy_above_hull is not None for entry in result.table[:-1])
    assert any(entry.energy_above_hull == 0 for entry in result.table[:-1])
    row = ase.db.connect(result.database).get(name="structure 3")
    assert "1.450 A apart" in row.data["outside"]["distance"]


def test_close_atoms_are_flagged_whatever_the_calculator(tmp_path: Path) -> None:
    close = alloy()
    close.positions[1] = close.positions[0] + [1.5, 0, 0]
    close.info["name"] = "close"
    result = quickly([alloy(), close], tmp_path, relax=False, model=LennardJones)
    assert result.table[-1].name == "close"
    assert "close" in result.table[-1].flags
    assert result.table[-1].energy_above_hull is None
    assert "not ranked" in result.summary()


class Nowhere(EMT):
    """Energies that are none."""

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        self.results["energy"] = np.nan


def test_energies_that_are_not_finite_are_marked_and_drawn_nowhere(tmp_path: Path) -> None:
    result = quickly([alloy()], tmp_path, relax=False, model=Nowhere)
    assert result.table[0].flags == ("runaway",)
    assert result.table[0].energy is None
    result.write(tmp_path, "screening")
    assert json.loads((tmp_path / "screening.json").read_text())["table"][0]["energy_above_hull"] is None


def test_pictures_of_one_two_and_three_elements(tmp_path: Path) -> None:
    references = {**ELEMENTS, "Ag": -0.0004}
    pools = {"one": ["Cu4"], "two": ["Cu4", "Cu3Au"], "three": ["Cu4", "Cu2AuAg"]}
    for name, formulas in pools.items():
        pool = [alloy(formula) for formula in formulas]
        axes = quickly(pool, tmp_path / name, relax=False, references=references).plot().axes[0]
        assert axes.get_ylabel().startswith("formation" if name == "two" else "energy above hull")


def test_one_bad_structure_among_good_ones_does_not_end_the_run(tmp_path: Path) -> None:
    broken, flat, foreign = alloy(seed=5), alloy(seed=6), bulk("Si")
    broken.positions[0, 0] = np.nan
    flat.cell[2] = flat.cell[1]
    for atoms, name in ((broken, "broken"), (flat, "flat"), (foreign, "foreign")):
        atoms.info["name"] = name
    result = quickly([alloy(seed=1), broken, flat, foreign, Atoms(), alloy(seed=2)], tmp_path)
    assert {entry.name for entry in result.table} == {"Cu3Au 1 0", "Cu3Au 2 0"}
    errors = {entry.name: entry.error for entry in result.failed}
    assert set(errors) == {"broken", "flat", "foreign", "structure 4"}
    assert "not finite" in errors["broken"]
    assert "not" in errors["flat"] and "independent" in errors["flat"]
    assert "reference energy of Si" in errors["foreign"]
    assert "4 failed" in result.summary()
    database = ase.db.connect(result.database)
    assert database.count(failed=True) == 4
    assert database.count("energy_above_hull<10") == 2


def test_errors_of_a_calculator_are_kept_with_the_structure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all 1 failed, .*EMT-potential for Si"):
        quickly([bulk("Si")], tmp_path, references={"Si": 0.0})


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    pool = [alloy(), bulk("Si")]
    first = quickly(pool, tmp_path, references={**ELEMENTS, "Si": 0.0})
    again = quickly(pool, tmp_path, references={**ELEMENTS, "Si": 0.0})
    assert len(first.failed) == len(again.failed) == 1
    assert ase.db.connect(first.database).count() == 2


# ---------------------------------------------------------------- pools


def test_files_folders_and_databases_with_an_unreadable_file_among_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write(data / "a.extxyz", [alloy(seed=1), alloy(seed=2)])
    write(data / "b.xyz", alloy(seed=3), format="extxyz")
    (data / "c.xyz").write_text("4\nnot a structure\n")
    with ase.db.connect(tmp_path / "more.db") as database:
        database.write(alloy(seed=4))
    result = quickly([data, tmp_path / "more.db"], tmp_path / "out", relax=False)
    assert {entry.name for entry in result.table} == {"a.extxyz#0", "a.extxyz#1", "b.xyz", "more.db"}
    assert [entry.name for entry in result.failed] == ["c.xyz"]
    assert "cannot read" in result.failed[0].error


def test_duplicates_are_computed_once(tmp_path: Path) -> None:
    calls = []

    class Counting(EMT):
        def calculate(self, *arguments: Any, **options: Any) -> None:
            calls.append(arguments)
            super().calculate(*arguments, **options)

    copy = alloy()
    copy.info["name"] = "the same"
    result = quickly([alloy(), copy, alloy(seed=1)], tmp_path, relax=False, model=Counting)
    assert result.duplicates == 1
    assert len(result.table) == len(calls) == 2


def test_a_generator_is_taken_one_at_a_time(tmp_path: Path) -> None:
    database = tmp_path / "screening.db"
    seen = []

    def pool() -> Any:
        for seed in range(4):
            seen.append(ase.db.connect(database).count())
            yield alloy(seed=seed)

    quickly(pool(), tmp_path, relax=False)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("empty", [[], iter(())])
def test_an_empty_pool_is_named(tmp_path: Path, empty: Any) -> None:
    with pytest.raises(DataError, match="empty"):
        quickly(empty, tmp_path)


def test_refusals_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        quickly("missing.extxyz", tmp_path)
    with pytest.raises(DataError, match="workers"):
        quickly([alloy()], tmp_path, workers=0)
    with pytest.raises(CalculatorError, match="not an ASE calculator"):
        quickly([alloy()], tmp_path, model=dict)
    with pytest.raises(CalculatorError, match="cannot be sent"):
        quickly([alloy()], tmp_path, model=lambda: EMT(), workers=2)
    with pytest.raises(DataError, match="not that of an element"):
        quickly([alloy()], tmp_path, references={"Xx": 1.0})
    assert not list(tmp_path.glob("*.db")) or ase.db.connect(tmp_path / "screening.db").count() == 0


# ---------------------------------------------------------------- the database


def test_other_settings_models_references_and_databases_are_refused(tmp_path: Path) -> None:
    quickly([alloy()], tmp_path)
    with pytest.raises(DataError, match=r"another settings .*'steps': 3.*'steps': 4"):
        quickly([alloy()], tmp_path, steps=4)
    with pytest.raises(DataError, match="another model EMT"):
        quickly([alloy()], tmp_path, model=LennardJones)
    with pytest.raises(DataError, match="another given references"):
        quickly([alloy()], tmp_path, references={**ELEMENTS, "Cu": 0.0})
    replaced = quickly([alloy()], tmp_path, steps=4, overwrite=True)
    assert len(replaced.table) == 1 and replaced.settings["steps"] == 4
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    ase.db.connect(foreign / "screening.db").write(alloy())
    with pytest.raises(DataError, match="not of a screening"):
        quickly([alloy()], foreign)
    assert len(list(ase.db.connect(foreign / "screening.db").select())) == 1
    (foreign / "screening.db").write_text("no database at all, and longer than a few bytes" * 10)
    with pytest.raises(DataError, match="not an ASE database"):
        quickly([alloy()], foreign)


def test_two_writers_are_refused(tmp_path: Path) -> None:
    def pool() -> Any:
        yield alloy()
        with pytest.raises(DataError, match="another process is screening"):
            quickly([alloy(seed=1)], tmp_path)

    assert len(quickly(pool(), tmp_path).table) == 1


def test_more_structures_are_ranked_with_those_before_and_queries_see_the_ranks(tmp_path: Path) -> None:
    quickly(alloys()[:4], tmp_path / "parts")
    parts = quickly(alloys()[4:], tmp_path / "parts")
    whole = quickly(alloys(), tmp_path / "whole")
    assert parts.table == whole.table
    for row in ase.db.connect(parts.database).select():
        entry = next(entry for entry in whole.table if entry.name == row.name)
        assert row.energy_above_hull == entry.energy_above_hull
        assert row.flags == (" ".join(entry.flags) or "none")
        assert row.forces.shape == (4, 3)
    assert read_screening(parts.database).table == whole.table


def test_job_keys_see_structure_settings_and_model() -> None:
    settings = ScreeningSettings()
    moved = alloy()
    moved.positions[0, 0] += 1e-9
    marks = [
        job_key(alloy(), settings, "EMT"),
        job_key(moved, settings, "EMT"),
        job_key(alloy(), ScreeningSettings(fmax=0.02), "EMT"),
        job_key(alloy(), settings, "LennardJones"),
    ]
    assert len(set(marks)) == 4
    assert job_key(alloy(), settings, "EMT") == marks[0]


def test_written_files(tmp_path: Path) -> None:
    result = quickly(alloys(), tmp_path)
    result.write(tmp_path, "screening")
    assert {path.suffix for path in tmp_path.glob("screening.*")} == {
        ".db",
        ".csv",
        ".json",
        ".png",
        ".extxyz",
        ".lock",
    }
    with (tmp_path / "screening.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["energy_above_hull"]) for row in rows] == [entry.energy_above_hull for entry in result.table]
    assert json.loads((tmp_path / "screening.json").read_text())["table"][0]["name"] == result.table[0].name


class Unwritable(FixAtoms):
    """A constraint of which no database knows how to keep it."""

    todict = property()  # hasattr: no


def test_what_cannot_be_kept_or_has_no_reference_fails_alone(tmp_path: Path) -> None:
    odd, foreign, again = alloy(seed=5), alloy("Cu3Fe"), alloy("CuFe3")
    odd.set_constraint(Unwritable([0]))
    odd.info["name"] = "odd"
    result = quickly([alloy(), odd, foreign, again], tmp_path, references=None, relax=False)
    assert len(result.table) == 1
    errors = {entry.name: entry.error for entry in result.failed}
    assert errors["odd"] == "the constraint Unwritable cannot be stored; remove it"
    assert all(errors[f"{formula} 0 0"].startswith("no reference energy of Fe: ") for formula in ("Cu3Fe", "CuFe3"))


# ---------------------------------------------------------------- processes


def test_a_killed_run_goes_on_and_may_be_read_meanwhile(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
        "from test_screening import alloys, quickly\n"
        "from screening_calculators import Slow\n"
        "if __name__ == '__main__':\n"
        "    quickly(alloys(), sys.argv[1], model=Slow, workers=2, steps=4)\n"
    )
    database = tmp_path / "killed" / "screening.db"
    process = subprocess.Popen([sys.executable, script, tmp_path / "killed"])
    rows = 0
    try:
        for _ in range(600):
            rows = ase.db.connect(database).count() if database.exists() else 0
            if rows >= 2:
                break
            time.sleep(0.05)
        assert read_screening(database).table  # while it runs
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 2 <= rows < 8
    resumed = quickly(alloys(), tmp_path / "killed", model=Slow, steps=4)
    whole = quickly(alloys(), tmp_path / "whole", steps=4)
    assert resumed.table == whole.table
    assert len(whole.table) == 8
    for one, other in zip(resumed.best, whole.best, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert np.array_equal(one.get_forces(), other.get_forces())


def test_a_structure_that_kills_its_process_is_marked_and_the_others_are_done(tmp_path: Path) -> None:
    deadly = alloy("Cu4", seed=9)
    del deadly[DEADLY:]
    deadly.info["name"] = "deadly"
    pool = [alloy(seed=1), deadly, alloy(seed=2)]
    result = quickly(pool, tmp_path, model=Deadly, workers=2, relax=False)
    assert [(entry.name, entry.error) for entry in result.failed] == [("deadly", crews.KILLED)]
    assert result.table == quickly(pool[:1] + pool[2:], tmp_path / "alone", model=Deadly, relax=False).table


def test_a_cluster_gives_the_same_table(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        result = quickly(alloys(), tmp_path / "cluster", dask=cluster.scheduler_address, workers=None)
    assert result.table == quickly(alloys(), tmp_path / "here").table


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(crews, "_TIMEOUT", 0.5)
    with pytest.raises(WaveScatError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        quickly([alloy()], tmp_path, dask="tcp://127.0.0.1:9")


def test_without_dask_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WaveScatError, match=r"pip install 'ase_wavescat\[dask\]'"):
        quickly([alloy()], tmp_path, dask="tcp://127.0.0.1:9")


def test_workers_that_the_calculator_cannot_reach_are_named(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(WaveScatError, match=r"the workers of .* cannot do the jobs \(.*only where it was made"):
            quickly([alloy()], tmp_path, dask=address, workers=None, model=Homebound())


def test_a_script_without_the_line_for_processes_says_so(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "from ase.build import bulk\n"
        "from ase.calculators.emt import EMT\n"
        "from ase_wavescat.workflows import screen\n"
        "screen([bulk('Cu')], model=EMT, output='out', workers=2, references={'Cu': 0.0}, progress=False)\n"
    )
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "a script needs the line `if __name__ == '__main__':` before what it runs" in ended.stderr.splitlines()[-1]


# ---------------------------------------------------------------- the command


def test_command(tmp_path: Path, small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    write(tmp_path / "pool.extxyz", [make_structure(seed) for seed in range(2)])
    arguments = [
        "screen", str(tmp_path / "pool.extxyz"), "--model", str(tmp_path / "small.h5"), "--workers", "1", "--no-relax",
        "--reference", "Li=-7", "--reference", "Si=-160", "-o", str(tmp_path / "out"), "--quiet",
    ]  # fmt: skip
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "pool.extxyz#0" in done.output
    assert (tmp_path / "out" / "screening.csv").exists()
    again = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert again.output == done.output
    relaxed = [argument for argument in arguments if argument != "--no-relax"] + ["--steps", "1", "--fmax", "1e-9"]
    refused = CliRunner().invoke(main, relaxed)
    assert refused.exit_code == 1 and "--overwrite" in refused.output
    stopped = CliRunner().invoke(main, [*relaxed, "--overwrite"])
    assert stopped.exit_code == 3 and "2 of 2 not complete: " in stopped.output
    assert "pool.extxyz#0 (step limit)" in stopped.output
    (tmp_path / "pool.extxyz").write_text((tmp_path / "pool.extxyz").read_text().replace("Si", "Ge"))
    failed = CliRunner().invoke(main, [*arguments, "--overwrite"])
    assert failed.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give files"),
        (["a.xyz", "--generate", "Cu"], "not both"),
        (["a.xyz", "--method", "melt"], "--generate"),
        (["--generate", "Cu", "--quench-time", "3"], "--method melt"),
        (["missing.xyz"], "there is no file"),
    ],
)
def test_command_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["screen", *arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert message in done.output


def test_command_generates(tmp_path: Path, small_ensemble: Model) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    arguments = [
        "screen", "--generate", "LiSi", "--cells", "2", "--atoms", "4", "--model", str(tmp_path / "small.h5"),
        "--workers", "1", "--no-relax", "--reference", "Li=-7", "--reference", "Si=-160", "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "LiSi-4-seed0-001" in done.output


def test_two_calculators_of_one_class_are_two_models(tmp_path: Path) -> None:
    energies = []
    for epsilon in (1.0, 2.0):
        make = partial(SumCalculator, [LennardJones(sigma=2.3, epsilon=epsilon, rc=6.0)])
        done = screen([alloy()], model=make, output=tmp_path / str(epsilon), relax=False, workers=1, progress=False,
                      references=ELEMENTS)  # fmt: skip
        energies.append(done.table[0].energy)
    assert energies[1] == pytest.approx(2 * energies[0])
    with pytest.raises(DataError, match="another model"):
        screen([alloy()], model=make, output=tmp_path / "1.0", relax=False, workers=1, progress=False,
               references=ELEMENTS)  # fmt: skip


def test_moments_make_another_structure(tmp_path: Path) -> None:
    magnetic = alloy()
    magnetic.set_initial_magnetic_moments([1, 0, 0, 0])
    done = screen([alloy(), magnetic], model=EMT, output=tmp_path, relax=False, workers=1, progress=False,
                  references=ELEMENTS)  # fmt: skip
    assert len(done.table) == 2 and done.duplicates == 0


@pytest.mark.parametrize("wrong", [{"fmax": -1.0}, {"smax": np.nan}, {"steps": -1}, {"cell": "x"}, {"best": 0}])
def test_nonsense_leaves_no_database(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        screen([alloy()], model=EMT, output=tmp_path / "new", workers=1, progress=False, **wrong)
    assert not (tmp_path / "new").exists()


def test_bad_places_and_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder"):
        screen([alloy()], model=EMT, output=tmp_path / "file", workers=1, progress=False, references=ELEMENTS)
    with pytest.raises(CalculatorError, match="a function that makes a calculator, got 3"):
        screen([alloy()], model=3, output=tmp_path / "new", workers=1, progress=False)


def test_a_crystal_file_that_is_none_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "bad.cif").write_text("this is no crystal")
    (tmp_path / "empty.traj").touch()
    write(tmp_path / "good.extxyz", alloy())
    files = [tmp_path / name for name in ("bad.cif", "empty.traj", "good.extxyz")]
    done = screen(files, model=EMT, output=tmp_path / "out", relax=False, workers=1, progress=False,
                  references=ELEMENTS)  # fmt: skip
    assert [entry.name for entry in done.table] == ["good.extxyz"] and len(done.failed) == 2
