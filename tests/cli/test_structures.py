"""What commands on structures share: names, results that are kept, failures that do not end a run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write
from click.testing import CliRunner

from ase_wavescat import load_model, save_model
from ase_wavescat.cli import main
from ase_wavescat.cli.structures import (
    Shortfalls,
    end,
    inputs_record,
    kept,
    read_structures,
    run_each,
    structure_arguments,
)
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import DataError, StructureError
from ase_wavescat.workflows.result import Result
from linear_models import changed, linear


@dataclasses.dataclass(frozen=True, eq=False)
class Size(Result):
    entry: Atoms
    volume: float

    @property
    def structures(self) -> list[Atoms]:
        return [self.entry]

    def summary(self) -> str:
        return f"volume {self.volume:.1f}"

    def plot(self) -> Any:
        from matplotlib.figure import Figure

        return Figure()


@pytest.fixture
def model(tmp_path: Path, small_ensemble: Model, wide_domain: Domain) -> Path:
    save_model(tmp_path / "small.h5", dataclasses.replace(small_ensemble, domain=wide_domain))
    return tmp_path / "small.h5"


@pytest.fixture
def structures(make_structure: Callable[..., Atoms]) -> dict[str, Atoms]:
    return {name: make_structure(seed) for seed, name in enumerate(("first", "second", "third"))}


def test_names_are_stems_with_frame_numbers(tmp_path: Path, make_structure: Callable[..., Atoms]) -> None:
    write(tmp_path / "one.extxyz", make_structure(0))
    write(tmp_path / "many.extxyz", [make_structure(seed) for seed in range(11)])
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "one.extxyz", make_structure(1))
    write(tmp_path / "two.parts.traj", make_structure(2))
    found = read_structures((str(tmp_path / "one.extxyz"), str(tmp_path / "many.extxyz"), str(tmp_path / "below"),
                             str(tmp_path / "two.parts.traj")))  # fmt: skip
    names = list(found)
    assert names[0].endswith("-one") and names[12] == "below-one" and names[13] == "two.parts"
    assert names[1:12] == [f"many-{index:02d}" for index in range(11)]
    assert np.allclose(found[names[12]].positions, make_structure(1).positions)
    for name in ("Li1.0Si.extxyz", "Li1.5Si.extxyz.gz", "both.extxyz", "both.traj"):
        write(tmp_path / name, make_structure(3))
    paths = tuple(str(tmp_path / name) for name in ("Li1.0Si.extxyz", "Li1.5Si.extxyz.gz", "both.extxyz", "both.traj"))
    assert list(read_structures(paths)) == ["Li1.0Si", "Li1.5Si", "both.extxyz", "both.traj"]
    with pytest.raises(DataError, match=r"both\.traj lies in .*give another folder"):
        read_structures((paths[3],), tmp_path)


def test_stored_energies_are_not_mistaken_for_results(tmp_path: Path, make_structure: Callable[..., Atoms]) -> None:
    atoms = make_structure(0)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    atoms.info |= {"REF_energy": -2.0, "REF_virials": np.eye(3), "energy_sigma0": -3.0, "kept": "yes"}
    write(tmp_path / "labelled.extxyz", atoms)
    read = read_structures((str(tmp_path / "labelled.extxyz"),))["labelled"]
    assert read.calc is None and read.info == {"kept": "yes"}


def test_structures_that_no_code_could_evaluate_are_named_at_once(
    tmp_path: Path, make_structure: Callable[..., Atoms]
) -> None:
    flat = make_structure(0)
    flat.set_cell(np.zeros((3, 3)))
    write(tmp_path / "bad.traj", [make_structure(0), flat])
    with pytest.raises(DataError, match=r"bad\.traj#1 is periodic"):
        read_structures((str(tmp_path / "bad.traj"),))
    with pytest.raises(DataError, match="there is no file"):
        read_structures((str(tmp_path / "missing.extxyz"),))


def test_results_are_kept_while_structure_model_and_settings_are_the_same(
    model: Path, structures: dict[str, Atoms], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    small_ensemble: Model,
) -> None:  # fmt: skip
    done: list[str] = []

    def work(atoms: Atoms) -> Size:
        assert atoms.calc is not None
        done.append(atoms.get_chemical_formula())
        return Size(atoms, atoms.get_volume())

    def run(settings: dict[str, Any], overwrite: bool = False) -> int:
        done.clear()
        run_each(structures, str(model), tmp_path / "out", settings, work, True, overwrite)
        return len(done)

    settings = {"fmax": 0.02, "strains": (0.1, 0.2)}
    assert run(settings) == 3
    assert {path.suffix for path in (tmp_path / "out").glob("first.*")} == {".json", ".png", ".extxyz"}
    assert json.loads((tmp_path / "out" / "first.json").read_text())["volume"] == structures["first"].get_volume()
    assert run(settings) == 0
    assert "second: kept, it is in" in capsys.readouterr().out
    (tmp_path / "out" / "second.json").unlink()
    assert run(settings) == 1
    (tmp_path / "out" / "third.json").write_text('{"volume": 1')  # as a disk that was full leaves it
    assert run(settings) == 1
    with pytest.raises(DataError, match=r"first\.json is there, of other inputs: fmax 0\.02, now 0\.01\. Give another"):
        run({**settings, "fmax": 0.01})
    assert run({**settings, "fmax": 0.01}, overwrite=True) == 3
    assert run({**settings, "fmax": 0.01}, overwrite=True) == 0  # of the same inputs: nothing to replace
    save_model(model, small_ensemble)  # of the same name, without a domain
    with pytest.raises(DataError, match="other model"):
        run({**settings, "fmax": 0.01})
    assert run({**settings, "fmax": 0.01}, overwrite=True) == 3
    inputs = json.loads((tmp_path / "out" / "first.json").read_text())["inputs"]
    assert inputs["settings"] == {"fmax": 0.01, "strains": [0.1, 0.2]}
    with pytest.raises(DataError, match=r"other workflow; .*or replace it by --overwrite"):
        run({**settings, "workflow": "other"})
    structures["third"].positions[0, 0] += 1e-9
    with pytest.raises(DataError, match=r"third\.json is there, of other inputs: other structures"):
        run({**settings, "fmax": 0.01})
    assert done == []  # nothing was begun
    (tmp_path / "out" / "third.json").write_text('{"volume": 1}')
    with pytest.raises(DataError, match="it does not say what made it"):
        run({**settings, "fmax": 0.01})


def test_a_failure_is_named_and_the_others_are_done(
    model: Path, structures: dict[str, Atoms], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = structures["second"].get_volume()

    def work(atoms: Atoms) -> Size:
        if atoms.get_volume() == bad:
            raise StructureError("this one cannot be done")
        return Size(atoms, atoms.get_volume())

    shortfalls = run_each(structures, str(model), tmp_path, {}, work, quiet=False)
    with pytest.raises(click.ClickException, match="1 of 3 failed: second") as caught:
        end(shortfalls, 3)
    assert caught.value.exit_code == 1
    end(Shortfalls(), 3)
    printed = capsys.readouterr()
    assert "second: this one cannot be done" in printed.err
    assert "first\nvolume" in printed.out and "third\nvolume" in printed.out
    assert (tmp_path / "third.json").exists() and not (tmp_path / "second.json").exists()


def test_what_did_not_converge_is_named_and_is_the_exit_status(
    model: Path, structures: dict[str, Atoms], tmp_path: Path
) -> None:
    @dataclasses.dataclass(frozen=True, eq=False)
    class Stopped(Size):
        @property
        def incomplete(self) -> str:
            return "step limit" if self.volume > 0 else ""

    def run() -> Shortfalls:
        return run_each(structures, str(model), tmp_path, {}, lambda atoms: Stopped(atoms, 1.0), quiet=True)

    for shortfalls in (run(), run()):  # the second time they are kept
        with pytest.raises(click.ClickException, match=r"3 of 3 not complete: first \(step limit\), second") as caught:
            end(shortfalls, 3)
        assert caught.value.exit_code == 3 and set(shortfalls.incomplete) == set(structures)
    many = Shortfalls({"a": "broken"}, {f"s{number}": "step limit" for number in range(12)})
    said = r"^1 of 20 failed: a; 12 of 20 not complete: .* and 2 more$"
    with pytest.raises(click.ClickException, match=said) as both:
        end(many, 20)
    assert both.value.exit_code == 1


def test_a_bug_is_not_swallowed(model: Path, structures: dict[str, Atoms], tmp_path: Path) -> None:
    def work(atoms: Atoms) -> Size:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        run_each(structures, str(model), tmp_path, {}, work, quiet=True)


def test_inputs_records_change_with_every_input(model: Path, structures: dict[str, Atoms], tmp_path: Path) -> None:
    first, second, _ = structures.values()
    ensemble = load_model(model)
    ours, other = (changed(ensemble, weights=k * linear(ensemble).weights) for k in (1, 2))
    open_cell, larger, renamed = first.copy(), first.copy(), first.copy()
    open_cell.pbc = (True, True, False)
    larger.set_cell(first.cell.array * 1.001)
    renamed.numbers[0] = 14 if first.numbers[0] == 3 else 3
    marks = [
        inputs_record(atoms, made_by, settings)
        for atoms, made_by, settings in (
            ([first], ours, {}), ([second], ours, {}), ([first, second], ours, {}), ([second, first], ours, {}),
            ([first], other, {}), ([first], ours, {"a": 1}), ([first], ours, {"a": 2}), ([open_cell], ours, {}),
            ([larger], ours, {}), ([renamed], ours, {}),
        )
    ]  # fmt: skip
    assert all(one != other for one, other in combinations(marks, 2))
    again = load_model(model)  # where the model comes from does not matter
    assert inputs_record([first], ours, {"a": 1, "b": 2}) == inputs_record([first.copy()], again, {"b": 2, "a": 1})
    assert not kept(tmp_path / "none.json", marks[0])


def test_arguments_of_commands() -> None:
    @click.command()
    @structure_arguments("somewhere")
    def with_model(files: tuple[str, ...], model: str, output: Path, quiet: bool, overwrite: bool) -> None:
        click.echo(f"{files} {model} {output} {quiet} {overwrite}")

    @click.command()
    @structure_arguments("elsewhere", model=False)
    def without(files: tuple[str, ...], output: Path, quiet: bool, overwrite: bool) -> None:
        click.echo(f"{files} {output} {quiet}")

    runner = CliRunner()
    assert runner.invoke(with_model, ["a", "b"]).output == "('a', 'b') lisi.h5 somewhere False False\n"
    assert runner.invoke(without, ["a", "-o", "x", "--quiet"]).output == "('a',) x True\n"
    assert runner.invoke(with_model, []).exit_code == 2
    assert runner.invoke(without, ["a", "--model", "x"]).exit_code == 2


def test_constraints_make_another_structure(model: Path, structures: dict[str, Atoms]) -> None:
    atoms, ensemble = next(iter(structures.values())), load_model(model)
    free = inputs_record([atoms], ensemble, {})
    atoms.set_constraint(FixAtoms([0]))
    assert inputs_record([atoms], ensemble, {}) != free
    atoms.set_constraint()
    assert inputs_record([atoms], ensemble, {}) == free


def test_a_place_that_is_a_file_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bulk("Cu").write(tmp_path / "cu.extxyz")
    done = CliRunner().invoke(main, ["rdf", str(tmp_path / "cu.extxyz"), "-o", str(tmp_path / "file" / "below")])
    assert done.exit_code == 1 and "Not a directory" in done.output and not isinstance(done.exception, OSError)


def test_names_take_as_many_folders_as_they_need(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"run-{number}").mkdir()
        bulk("Cu").write(tmp_path / f"run-{number}" / "POSCAR")
    assert list(read_structures((str(tmp_path / "*" / "POSCAR"),))) == ["run-1-poscar", "run-2-poscar", "run-10-poscar"]


def test_every_structure_has_its_own_warnings(
    small_ensemble: Model, wide_domain: Domain, structures: dict[str, Atoms], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    narrow = dataclasses.replace(wide_domain, closest={(3, 14): 4.0})
    save_model(tmp_path / "narrow.h5", dataclasses.replace(small_ensemble, domain=narrow))

    def work(atoms: Atoms) -> Size:
        return Size(atoms, atoms.get_potential_energy())

    run_each(structures, str(tmp_path / "narrow.h5"), tmp_path / "out", {}, work, quiet=True)
    said = capsys.readouterr().err
    for name in structures:
        assert said.count(f"{name}: warning: outside the training domain") == 1
        (message,) = json.loads((tmp_path / "out" / f"{name}.json").read_text())["warnings_shown"]
        assert "nothing closer than 4.000 A" in message


def test_an_overwrite_that_is_stopped_leaves_the_old_result_whole(structures: dict[str, Atoms], tmp_path: Path) -> None:
    atoms = structures["first"]
    Size(atoms, 1.0).write(tmp_path, "first")
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    @dataclasses.dataclass(frozen=True, eq=False)
    class Stopped(Size):
        def plot(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stopped(atoms, 2.0).write(tmp_path, "first")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_no_structure_is_lost_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    for name in ("x.extxyz", "a/x.extxyz", "y-0.extxyz"):
        bulk("Cu").write(tmp_path / name)
    write(tmp_path / "y.extxyz", [bulk("Cu"), bulk("Al")])
    monkeypatch.chdir(tmp_path / "a")
    found = read_structures(("../x.extxyz", "x.extxyz"))
    assert len(found) == 2 and "a-x" in found
    with pytest.raises(DataError, match="two structures would have the name y-0"):
        read_structures(("../y.extxyz", "../y-0.extxyz"))


def test_select_and_screen_do_not_replace_their_input(tmp_path: Path) -> None:
    for command, name in (("select", "select.extxyz"), ("screen", "screening.extxyz")):
        bulk("Si").write(tmp_path / name)
        done = CliRunner().invoke(main, [command, str(tmp_path / name), "-o", str(tmp_path)])
        assert done.exit_code == 1 and "where results could replace it" in done.output
