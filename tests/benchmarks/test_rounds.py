"""The table of rounds: which frames a round trains on, and when what is in the store may be used again."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_wavescat.io.structures import structures_of
from ase_wavescat.training.run_file import Run, read_run


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))
    return importlib.import_module("rounds")


@pytest.fixture
def run(tmp_path: Path, make_structure: Callable[..., Atoms]) -> Run:
    """Frames of rounds 0, 1, 1 on the converged mesh and 0, 1, 2, 2 on the cheap one, hops in round 2 only."""
    for name, rounds in (("converged", (0, 1, 1)), ("cheap", (0, 1, 2, 2))):
        frames = []
        for index, number in enumerate(rounds):
            atoms = make_structure(index)
            atoms.info = {"round": number, "config_type": "hop" if number == 2 else "md", "group": f"{name}-{index}"}
            atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * index)
            frames.append(atoms)
        write(tmp_path / f"{name}.extxyz", frames)
    (tmp_path / "run.toml").write_text(
        'output = "model.h5"\n[[data]]\nfiles = "converged.extxyz"\nname = "PBE"\n'
        '[[data]]\nfiles = "cheap.extxyz"\nname = "cheap"\nweight = 0.8\nconfig_type_weights = { hop = 0.5 }\n'
    )
    return read_run(tmp_path / "run.toml")


def test_a_round_trains_on_all_frames_up_to_it(benchmark: ModuleType, run: Run, tmp_path: Path) -> None:
    given = benchmark.frames_by_source(run)
    for number, counts, weights in ((0, (1, 1), {}), (1, (3, 2), {}), (2, (3, 4), {"hop": 0.5})):
        own, found = benchmark.up_to(number, run, given, tmp_path / "store")
        assert found == {"PBE": counts[0], "cheap": counts[1]} and own.store == tmp_path / "store" / "features"
        taken = [structures_of(source.paths()[0]) for source in own.data]
        assert tuple(map(len, taken)) == counts and own.data[1].config_type_weights == weights
        assert max(int(atoms.info["round"]) for frames in taken for atoms in frames) <= number
        assert own.data[1].weight == 0.8 and taken[0][0].get_potential_energy() == 0.0


def test_a_model_in_the_store_is_of_the_same_frames_and_settings(
    benchmark: ModuleType, run: Run, tmp_path: Path
) -> None:
    given = benchmark.frames_by_source(run)
    models = [benchmark.up_to(number, run, given, tmp_path)[0].output for number in (0, 0, 1)]
    assert models[0] == models[1] != models[2]
    more = [given[0], [*given[1], given[1][0]]]
    assert benchmark.up_to(0, run, more, tmp_path)[0].output != models[0]
    other = replace(run, fit=replace(run.fit, members=7))
    assert benchmark.up_to(0, other, given, tmp_path)[0].output != models[0]
    prior = tmp_path / "prior.h5"
    drawn = []
    for content in (b"one", b"another"):
        prior.write_bytes(content)
        drawn.append(benchmark.up_to(0, replace(run, prior=prior), given, tmp_path)[0].output)
    assert len({*drawn, models[0]}) == 3
    del given[0][0].info["round"]
    write(tmp_path / "converged.extxyz", given[0])
    with pytest.raises(SystemExit, match="has no key 'round'"):
        benchmark.frames_by_source(run)


def test_the_structures_to_begin_with_are_of_melts_of_all_compositions(
    benchmark: ModuleType, make_structure: Callable[..., Atoms], tmp_path: Path
) -> None:
    frames = []
    for index in range(10):
        atoms = make_structure(index)
        atoms.numbers[: index % 5] = 3
        kind = "crystal-Si" if index == 9 else "md"
        atoms.info = {"config_type": kind, "group": f"melt-{index - index % 2 if index < 2 else index}"}
        frames.append(atoms)
    write(tmp_path / "test.extxyz", frames)
    few, all_of_them = (benchmark.starts_of(tmp_path / "test.extxyz", count) for count in (3, 99))
    assert len(few) == 3 and len(all_of_them) == 8  # nine amorphous frames, two of one melt
    contents = [float((atoms.numbers == 3).mean()) for atoms in all_of_them.values()]
    assert contents == sorted(contents) and {*few} <= {*all_of_them}
    names = list(all_of_them)
    assert list(few) == [names[0], names[4], names[-1]]


def test_the_table_the_figures_and_the_picture_have_all_rounds(
    benchmark: ModuleType, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(number: int, ensemble: object, labels: int, *rest: object) -> object:
        return benchmark.Round(number, labels, 0, 0, 0.01 / (1 + number), 0.1, 12, 0.5, 0.01, 0.1, 2.0, 3, 4, 2.0)

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- rounds: made by benchmarks/accuracy/rounds.py -->\n<!-- end of rounds -->\nafter\n")
    given = [
        "rounds.py",
        str(tmp_path / "run.toml"),
        "--test",
        str(tmp_path / "cheap.extxyz"),
        "--store",
        str(tmp_path),
    ]
    given += [
        "--json",
        str(tmp_path / "rounds.json"),
        "--document",
        str(page),
        "--picture",
        str(tmp_path / "rounds.png"),
    ]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.setattr(Run, "train", lambda self: SimpleNamespace(term=lambda kind: SimpleNamespace(keys=range(7))))
    monkeypatch.setattr(benchmark, "measure", measure)
    benchmark.main()
    lines = page.read_text().splitlines()
    assert lines[2].startswith("7 features, 4 test frames, 4 structures to begin with, 12 states;")
    assert lines[6:9] == [
        "| 0 | 1 | 1 | 10.0 | 0.100 | 10.0 | 0.100 | 50 | > 2 (3 of 4) |",
        "| 1 | 3 | 2 | 5.0 | 0.100 | 10.0 | 0.100 | 50 | > 2 (3 of 4) |",
        "| 2 | 3 | 4 | 3.3 | 0.100 | 10.0 | 0.100 | 50 | > 2 (3 of 4) |",
    ]
    assert lines[-1] == "after"
    figures = json.loads((tmp_path / "rounds.json").read_text())
    assert [row["new"] for row in figures["rounds"]] == [2, 3, 2] and figures["limits"]["forces"] == 0.15
    assert (tmp_path / "rounds.png").stat().st_size > 5000
