"""Rounds of labels: what is kept, what is measured, when it ends, how it goes on after an accident."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from ase_wavescat.active_learning import Campaign, Learning, Limits, Plan, Round, Watch, label, learn, loop
from ase_wavescat.active_learning.rounds import stop_reason
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.errors import DataError
from ase_wavescat.system.locks import held
from ase_wavescat.training.data.frames import read_frames
from ase_wavescat.training.data.sources import Source, read_sources
from ase_wavescat.training.run_file import Features, Run
from ase_wavescat.training.settings import Settings

SETTINGS = {"method": "effective-medium theory"}
CAMPAIGN = Campaign(
    Limits(1e-5, 1e-3),
    rounds=1,
    count=4,
    starts=2,
    plan=Plan(temperatures=(600.0,), picoseconds=0.008, timestep=2.0, snapshots=2, strains=(0.03,), hops=0),
    watch=Watch(temperature=300.0, picoseconds=0.008, timestep=2.0, every=2),
)
PAIR = Features(overrides={"four_body": False, "grid_maps": False, "atom_maps": False})


def crystals(count: int, seed: int = 0) -> list[Atoms]:
    several = []
    for index in range(count):
        atoms = bulk("Cu", cubic=True, a=3.55 + 0.03 * index)
        atoms.rattle(0.15, seed=seed + index)
        several.append(atoms)
    return several


def run_to(output: Path) -> Run:
    return Run(output, (), PAIR, Settings(members=4, folds=2), workers=1)


def go(folder: Path, calculator: Callable[[Atoms], EMT] | None = lambda atoms: EMT(), **given) -> Learning:
    campaign = given.pop("campaign", CAMPAIGN)
    run = given.pop("run", run_to(folder.parent / f"{folder.name}.h5"))
    return learn(crystals(6), calculator, SETTINGS, run, folder, campaign, progress=False, **given)


@pytest.fixture(scope="module")
def test_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("test")
    pool = {f"held-out-{index}": atoms for index, atoms in enumerate(crystals(4, seed=100))}
    for name, atoms in pool.items():
        atoms.info["group"] = name
    label(pool, folder, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, test_files: Path) -> tuple[Path, Learning]:
    folder = tmp_path_factory.mktemp("loop") / "whole"
    return folder, go(folder, test=test_files)


def records(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("round-*/round.json"))]


def test_each_round_labels_what_the_model_before_was_unsure_of(whole: tuple[Path, Learning]) -> None:
    folder, learning = whole
    assert [one.number for one in learning.rounds] == [0, 1]
    assert [one.labels for one in learning.rounds] == [4, 8] and learning.stop_reason
    frames = read_frames([folder / f"round-{number:02d}" / "labels" for number in range(2)])
    assert len(frames) == len(learning.structures) == 8
    assert [frame.info["round"] for frame in frames] == [0] * 4 + [1] * 4
    assert {frame.group for frame in frames} <= {f"start-{index:03d}" for index in range(6)}
    assert {frame.config_type for frame in frames[:4]} == {"start"}
    assert {frame.config_type for frame in frames[4:]} <= {"relaxation", "relaxed", "md", "strain", "exit"}
    for one, atoms in zip(frames, learning.structures, strict=True):
        assert one.energy == atoms.get_potential_energy()
    first, last = learning.rounds
    assert first.runs == 2 and first.states >= 6 and first.uncertain > 0
    assert 0 < last.energy_spread < first.energy_spread and first.energy_error > 0


def test_structures_to_explore_from_are_taken_in_turn(whole: tuple[Path, Learning]) -> None:
    taken = [{path.stem for path in (whole[0] / f"round-{n:02d}" / "pool").glob("*.json")} for n in range(2)]
    assert all(len(names) == 2 for names in taken) and len(set.union(*taken)) == 4


def test_the_model_of_the_last_round_is_the_output_and_features_are_kept(whole: tuple[Path, Learning]) -> None:
    folder, _ = whole
    output = folder.parent / "whole.h5"
    assert output.read_bytes() == (folder / "round-01" / "model.h5").read_bytes()
    assert len(list((folder / "features").glob("*/*.h5"))) == 8  # each frame once, in two rounds


def test_the_rounds_as_a_table_a_picture_and_numbers(whole: tuple[Path, Learning], tmp_path: Path) -> None:
    _, learning = whole
    path = learning.write(tmp_path, "learning")
    figures = json.loads(path.read_text())
    assert [one["labels"] for one in figures["rounds"]] == [4, 8]
    lines = path.with_suffix(".md").read_text().splitlines()
    assert len(lines) == 4 and lines[2].startswith("| 0 | 4 | ") and lines[3] in learning.summary()
    assert len(read(path.with_suffix(".extxyz"), ":")) == 8 and path.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize("where", ["label", "train", "select", "measure"])
def test_a_loop_that_was_stopped_goes_on_and_ends_the_same(
    where: str, whole: tuple[Path, Learning], test_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stopping(work: Callable) -> Callable:
        def wrapped(*arguments, **named):
            calls.append(work)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return work(*arguments, **named)

        return wrapped

    names = {"label": (loop, "label"), "train": (loop, "load_model"), "select": (loop, "select"),
             "measure": (Round, "write")}  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        home, name = names[where]
        patch.setattr(home, name, stopping(getattr(home, name)))
        go(tmp_path / "loop", test=test_files)
    assert len(records(tmp_path / "loop")) == 1
    learning = go(tmp_path / "loop", test=test_files)
    assert records(tmp_path / "loop") == records(whole[0]) and learning.table() == whole[1].table()


def test_more_rounds_may_be_asked_for_later_but_nothing_else(
    whole: tuple[Path, Learning], test_files: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "loop"
    short = replace(CAMPAIGN, rounds=0)
    assert len(go(folder, test=test_files, campaign=short).rounds) == 1
    with pytest.raises(DataError, match=r"a loop with other count; call it with the same"):
        go(folder, test=test_files, campaign=replace(short, count=5))
    with pytest.raises(DataError, match=r"a loop with other fit, test;"):
        go(folder, run=replace(run_to(tmp_path / "other.h5"), fit=Settings(members=5, folds=2)))
    go(folder, test=test_files)
    assert records(folder) == records(whole[0])


def test_other_processes_may_make_all_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "WAITING", 0.02)
    folder, done = tmp_path / "loop", threading.Event()

    def labeller() -> None:
        while not done.wait(0.02):
            for place in folder.glob("round-*"):
                if (place / "selected.extxyz").exists():
                    pool = {f"selected-{i:04d}": a for i, a in enumerate(structures_of(place / "selected.extxyz"))}
                    label(pool, place / "labels", lambda atoms: EMT(), SETTINGS, report=lambda line: None)

    thread = threading.Thread(target=labeller)
    thread.start()
    try:
        learning = go(folder, None, campaign=replace(CAMPAIGN, rounds=0))
    finally:
        done.set()
        thread.join()
    assert [one.labels for one in learning.rounds] == [4]
    assert learning.rounds[0].energy_error > 0  # cross-validated


def test_a_loop_begins_with_the_labels_that_are_there(test_files: Path, tmp_path: Path) -> None:
    run = replace(run_to(tmp_path / "model.h5"), data=(Source(test_files, "EMT"),))
    learning = go(tmp_path / "loop", run=run)
    assert [(one.labels, one.new) for one in learning.rounds] == [(4, 0), (8, 4)]
    assert not (tmp_path / "loop" / "round-00" / "labels").exists()


def test_labels_that_fail_are_counted_and_not_asked_for_again(tmp_path: Path) -> None:
    asked = []

    def calculator(atoms: Atoms) -> EMT:
        asked.append(atoms)
        if len(asked) == 2:
            raise ValueError("no convergence")
        return EMT()

    learning = go(tmp_path / "loop", calculator)
    assert [(one.new, one.failed) for one in learning.rounds] == [(3, 1), (4, 0)] and len(asked) == 8

    def never(atoms: Atoms) -> EMT:
        raise ValueError("no licence")

    with pytest.raises(DataError, match=r"could be labelled, selected-0000: ValueError: no licence; mend"):
        go(tmp_path / "other", never)


def test_what_cannot_be_is_refused_before_any_work(test_files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "loop"
    both = crystals(2)
    both[0].info["group"] = "held-out-1"
    run = run_to(tmp_path / "model.h5")
    with pytest.raises(DataError, match=r"1 groups of the test set .* such as 'held-out-1'"):
        learn(both, lambda atoms: EMT(), SETTINGS, run, folder, CAMPAIGN, test=test_files)
    with pytest.raises(DataError, match="no structures to begin with"):
        learn([], lambda atoms: EMT(), SETTINGS, run, folder, CAMPAIGN)
    with pytest.raises(DataError, match="start-000 has no atoms"):
        learn([Atoms()], lambda atoms: EMT(), SETTINGS, run, folder, CAMPAIGN)
    with pytest.raises(DataError, match="settings must be numbers"):
        learn(crystals(2), lambda atoms: EMT(), {"folder": folder}, run, folder, CAMPAIGN)
    assert not folder.exists()
    folder.mkdir()
    with held(folder / ".loop.lock"), pytest.raises(DataError, match="another process runs the loop"):
        go(folder)
    for wrong in ({"rounds": -1}, {"count": 0}, {"starts": 0}, {"tolerance": 1.0}, {"seed": 0.5}):
        with pytest.raises(DataError):
            Campaign(Limits(0.01, 0.1), **wrong)


def refused(message: str, folder: Path, starts: list[Atoms], run: Run | None = None, **given) -> None:
    """By `learn`, before it makes the folder."""
    run = run or run_to(folder.parent / "model.h5")
    with pytest.MonkeyPatch.context() as patch, pytest.raises((DataError, FileNotFoundError), match=message):
        patch.setattr(loop, "_Loop", None)  # what would go on to work fails
        learn(starts, lambda atoms: EMT(), SETTINGS, run, folder, given.pop("campaign", CAMPAIGN), **given)
    assert not folder.exists()


def test_groups_of_the_test_set_are_found_as_files_give_them_back(tmp_path: Path) -> None:
    held_out, starts = crystals(2, seed=100), crystals(3)
    for atoms, group in zip([*held_out, *starts], ("007", "8.5", "007", "7", "c"), strict=True):
        atoms.info["group"] = group
    label(dict(zip("ab", held_out, strict=True)), tmp_path / "test", lambda atoms: EMT(), SETTINGS, report=print)
    refused("1 groups of the test set .* such as '007'", tmp_path / "loop", starts, test=tmp_path / "test")


def test_structures_of_the_test_set_are_found_under_any_group(test_files: Path, tmp_path: Path) -> None:
    starts = [*crystals(3), crystals(4, seed=100)[2]]
    refused(r"1 structures of the test set .* is start-003", tmp_path / "loop", starts, test=test_files)
    (tmp_path / "data.extxyz").write_text((test_files / "held-out-1.extxyz").read_text())
    known = Source([tmp_path / "data.extxyz", test_files / "held-out-0.extxyz"], group_key="none")
    run = replace(run_to(tmp_path / "model.h5"), data=(known,))
    refused(r"2 structures of the test set", tmp_path / "loop", crystals(3), run, test=test_files)


def test_a_first_model_that_could_not_be_is_refused_before_any_label(test_files: Path, tmp_path: Path) -> None:
    folder, starts = tmp_path / "loop", crystals(3)
    refused("belong to 1 group", folder, starts, campaign=replace(CAMPAIGN, count=1))
    silver = crystals(3)
    for atoms in silver:
        atoms.info["group"] = "one"
    refused(r"belong to 1 group \('one'\)", folder, silver)
    silver[1].numbers[0] = 47
    for atoms in silver:
        del atoms.info["group"]
    first = next(seed for seed in range(9) if np.random.default_rng(seed).permutation(3)[2] == 1)
    refused("start-001 holds Ag", folder, silver, campaign=replace(CAMPAIGN, count=2, seed=first))
    refused("held-out-0.*holds Cu", folder, [atoms.copy() for atoms in map(to_silver, starts)], test=test_files)
    run = run_to(tmp_path / "model.h5")
    refused("one member has no spread", folder, starts, replace(run, fit=Settings(members=1)))
    refused("no folder", folder, starts, replace(run, output=tmp_path / "nowhere" / "model.h5"))
    formation = Source(test_files, "formation", energies="formation")
    refused("new labels are total energies", folder, starts, replace(run, data=(formation,)))


def to_silver(atoms: Atoms) -> Atoms:
    atoms.numbers[:] = 47
    return atoms


def test_new_labels_have_the_weight_and_the_zero_of_the_first_source(
    test_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[Source, ...]] = []
    monkeypatch.setattr(Run, "train", lambda self, progress: trained.append(self.data))
    monkeypatch.setattr(loop, "load_model", lambda path: None)
    cheap, fine = tmp_path / "cheap", tmp_path / "fine"
    for folder, seed in ((cheap, 300), (fine, 400)):
        pool = {f"{folder.name}-{index}": atoms for index, atoms in enumerate(crystals(2, seed))}
        for name, atoms in pool.items():
            atoms.info["group"] = name
        label(pool, folder, lambda atoms: EMT(), SETTINGS, report=print)
    data = (Source(cheap, "cheap", weight=0.3, zero="fine"), Source(fine, "fine"))
    run = replace(run_to(tmp_path / "model.h5"), data=data)
    work = loop._Loop({}, None, SETTINGS, run, tmp_path, CAMPAIGN, [], [], False)
    labels = tmp_path / "round-00" / "labels"
    labels.mkdir(parents=True)
    (labels / "selected-0000.extxyz").write_text((test_files / "held-out-0.extxyz").read_text())
    work._train(0)
    assert trained[0][:2] == data
    frames = read_sources(trained[0])
    assert [(frame.source, frame.weight, frame.zero) for frame in frames[-1:]] == [("cheap", 0.3, "fine")]


def test_a_loop_with_other_weights_or_zeros_is_another(test_files: Path, tmp_path: Path) -> None:
    data = (Source(test_files, "one"),)
    run = replace(run_to(tmp_path / "model.h5"), data=data)
    marks = [
        loop._description({}, SETTINGS, replace(run, data=(source,)), CAMPAIGN, [])["data"]
        for source in (data[0], replace(data[0], weight=0.5), replace(data[0], zero="other"), data[0])
    ]
    assert marks[0] == marks[3] and len(set(map(str, marks))) == 3
    for text in ("one", "two", "one"):
        (tmp_path / "spec.json").write_text(text)
        spec = replace(run, features=Features(spec=tmp_path / "spec.json"))
        marks.append(loop._description({}, SETTINGS, spec, CAMPAIGN, [])["features"])
    assert marks[4] == marks[6] != marks[5]


def test_labels_that_others_make_have_the_settings_of_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_settings(seconds: float) -> None:
        (selected,) = tmp_path.glob("loop/round-00/selected.extxyz")
        pool = {f"selected-{i:04d}": atoms for i, atoms in enumerate(structures_of(selected))}
        label(pool, selected.parent / "labels", lambda atoms: EMT(), {"method": "another"}, report=print)

    monkeypatch.setattr(loop.time, "sleep", other_settings)
    with pytest.raises(DataError, match="holds labels of other settings"):
        go(tmp_path / "loop", None)


# ---------------------------------------------------------------- when it ends

FIRST = Round(0, 10, 10, 0, 0.020, 0.20, 50, 0.8, 0.01, 0.1, 0.5, 0, 4, 2.0)


@pytest.mark.parametrize(
    "changes, ends",
    [
        ({"energy_error": 0.018}, False),
        ({"force_error": 0.18}, False),
        ({"uncertain": 0.7}, False),
        ({"energy_error": 0.0195, "force_error": 0.195, "uncertain": 0.77}, True),  # by less than 5 per cent
        ({"energy_error": 0.03, "uncertain": 0.9, "force_error": float("nan")}, True),
    ],
)
def test_a_loop_ends_when_nothing_falls(changes: dict[str, float], ends: bool) -> None:
    assert stop_reason([FIRST], 0.05) is None
    assert (stop_reason([FIRST, replace(FIRST, **changes)], 0.05) is not None) == ends


def test_falling_is_below_the_lowest_of_all_rounds_before() -> None:
    best, worse = replace(FIRST, uncertain=0.3), replace(FIRST, uncertain=0.6)
    assert "by more than 5 per cent" in str(stop_reason([FIRST, best, worse], 0.05))
    assert "no state" in str(stop_reason([replace(FIRST, uncertain=0.0)], 0.05))


def test_a_round_is_read_as_it_was_written(tmp_path: Path) -> None:
    without = replace(FIRST, force_error=float("nan"))
    without.write(tmp_path / "round.json")
    again = Round.read(tmp_path / "round.json")
    assert np.isnan(again.force_error) and replace(again, force_error=0.2) == FIRST
    assert FIRST.cells()[-1] == "0.5 (0 of 4)" and replace(FIRST, endurance=2.0, lasted=3).cells()[-1] == "> 2 (3 of 4)"
    assert replace(FIRST, endurance=1.25, lasted=2).cells()[-1] == "> 1.2 (2 of 4)"
