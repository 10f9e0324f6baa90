"""The loop of active learning: explore, select, label, train, measure, until nothing falls any more."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ase_wavescat.active_learning.endurance import Watch
from ase_wavescat.active_learning.exploration import Plan
from ase_wavescat.active_learning.labelling import check_settings, label, plain_settings
from ase_wavescat.active_learning.rounds import Learning, Round, stop_reason
from ase_wavescat.active_learning.selection import Limits, Selection, select
from ase_wavescat.active_learning.trial import Trial, try_out
from ase_wavescat.evaluation.assessment import evaluate
from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.structures import Paths, check_structure, structure_bytes, structures_of
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.model import Model
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import DataError
from ase_wavescat.system.locks import held
from ase_wavescat.training.checks import check_places, group_numbers
from ase_wavescat.training.data.duplicates import Seen, fingerprints
from ase_wavescat.training.data.frames import Frame, group_of, read_frames
from ase_wavescat.training.data.sources import FORMATION, Source, read_sources

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from ase_wavescat.training.run_file import Run

SELECTED, LABELS, POOL, MODEL, RECORD, SETTINGS = (
    "selected.extxyz", "labels", "pool", "model.h5", "round.json", "loop.json",
)  # fmt: skip
WAITING = 5.0  # s between looks at labels that other processes make


@dataclass(frozen=True)
class Campaign:
    """What a loop does in each round, and when it ends.

    Attributes:
        limits: Spreads that are good enough: the aim, the same in all rounds.
        rounds: Of labels after the first model, at most.
        count: Structures to label in each.
        starts: Structures to explore from in each, taken in turn from a random order of all, those that round 0 labels
            last; with enough of them every round has its own, and the shares of uncertain states are those of
            structures that no label knows of.
        plan, watch: Of the exploration and of the dynamics that are followed until they leave what the model knows.
        tolerance: The loop ends after a round in which neither the held-out errors of energies and forces nor the share
            of uncertain states falls by more than this share below the lowest of the rounds before.
        seed: Of everything.
    """

    limits: Limits
    rounds: int = 5
    count: int = 40
    starts: int = 8
    plan: Plan = field(default_factory=Plan)
    watch: Watch = field(default_factory=Watch)
    tolerance: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rounds", 0), ("count", 1), ("starts", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise DataError(f"{name} of a campaign must be a whole number, at least {least}, got {value!r}")
        if not 0 <= self.tolerance < 1:
            raise DataError(f"the tolerance must be at least 0 and below 1, got {self.tolerance}")


def learn(
    starts: Iterable[Atoms],
    calculator: Callable[[Atoms], BaseCalculator] | None,
    settings: Mapping[str, Any],
    run: Run,
    folder: str | Path,
    campaign: Campaign,
    *,
    test: Paths | None = None,
    progress: bool = True,
) -> Learning:
    """Rounds of labels, chosen where the model of the round before is uncertain among the states that it leads to.

    Each round has its own folder FOLDER/round-00, ...: selected.extxyz, labels/ (see `label`), model.h5, pool/ (see
    `try_out`) and round.json. Where labels are known (`run.data`), round 0 is a model of these; else it labels the
    first `campaign.count` of the starts, which random packings are good for, and trains on them. A loop that was
    stopped goes on where it was when called again; the same seed gives the same rounds. Every labelled frame carries
    `round` and `group` (that of its start).

    Args:
        starts: Structures to explore from; what comes of one is one group, info["group"] or start-NNN.
        calculator, settings: As `label`. Other processes may label FOLDER/round-NN/selected.extxyz into its labels/ at
            the same time, in the same settings, each structure by the name selected-NNNN; None: all labels are theirs,
            and are waited for.
        run: How to train; `output` becomes the model of the last round, `store` (default: FOLDER/features) keeps the
            features, so that only new frames are computed. New labels are total energies, and belong to the first
            source of `run.data`: they have its name, weight and zero of energy.
        test: Labelled structures that are never trained on, for the held-out errors; without, these are
            cross-validated.

    Raises:
        DataError: Before any work for starts that cannot be evaluated, a test set that shares a group or a structure
            with what is trained on, elements and groups that the first model would not have, a run whose model could
            not judge states or not take new labels, and a folder of another loop or in use by another process; later
            where all labels of a round fail.
        WaveScatError: What `train` raises.
    """
    named, folder = _named(starts), Path(folder)
    frames = read_frames(test) if test is not None else []
    known = read_sources(run.data) if run.data else []
    begun = [_as_frame(name, atoms) for name, atoms in named.items()]
    _check_apart([*known, *begun], frames)
    _check_run(run, folder)
    first = [begun[index] for index in _order(len(begun), campaign)[: campaign.count]]
    _check_first_model(known or first, [*begun, *frames], run)
    description = _description(named, settings, run, campaign, frames)
    make_folder(folder)
    with held(folder / ".loop.lock") as ours:
        if not ours:
            raise DataError(f"another process runs the loop in {folder}; wait for it, or take another folder")
        _check_same_loop(folder / SETTINGS, description)
        loop = _Loop(named, calculator, settings, run, folder, campaign, known, frames, progress)
        return loop.run_all()


# ---------------------------------------------------------------- checks before any work


def _named(starts: Iterable[Atoms]) -> dict[str, Atoms]:
    """Bare starts by names fit for files, with their groups."""
    named = {}
    for number, atoms in enumerate(starts):
        name = f"start-{number:03d}"
        check_structure(atoms, name)
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.info = {"config_type": "start", "group": group_of(atoms.info.get("group", name))}
        named[name] = bare
    if not named:
        raise DataError("there are no structures to begin with; give at least one")
    return named


def _as_frame(name: str, start: Atoms) -> Frame:
    """A start as what is trained on, its labels still unknown."""
    return Frame(
        Structure.from_atoms(start), energy=math.nan, forces=None, stress=None, group=start.info["group"],
        config_type=start.info["config_type"], name=name,
    )  # fmt: skip


def _check_apart(trained: Sequence[Frame], test: Sequence[Frame]) -> None:
    """What is trained on or explored from has no group and no structure of the test set."""
    groups = sorted({frame.group for frame in trained} & {frame.group for frame in test})
    if groups:
        raise DataError(
            f"{len(groups)} groups of the test set are also trained on or explored, such as {groups[0]!r}: errors would"
            " look too good; leave them out of one of the two, or give them other names"
        )
    nearest = Seen(fingerprints(trained)).nearest(test)
    shared = [(frame, trained[row]) for frame, row in zip(test, nearest, strict=True) if row >= 0]
    if shared:
        raise DataError(
            f"{len(shared)} structures of the test set are also trained on or explored, under other groups, such as"
            f" {shared[0][0].name}, which is {shared[0][1].name}: errors would look too good; leave them out of"
            " one of the two"
        )


def _check_run(run: Run, folder: Path) -> None:
    """Its model can judge states, can be written, and can take new labels."""
    if run.fit.members < 2:
        raise DataError("a model of one member has no spread to select by; give the run several members")
    check_places(run.output, run.store or folder / "features", run.data)
    first = run.data[0] if run.data else None
    if first is not None and first.energies == FORMATION and not first.references:
        raise DataError(
            f"new labels are total energies, and belong to source {first.name!r}, whose formation energies have another"
            " zero; give it references, which turn them into total energies"
        )


def _check_first_model(trained: Sequence[Frame], others: Sequence[Frame], run: Run) -> None:
    """What round 0 trains on has groups enough, and all elements of the starts and of the test set."""
    group_numbers(trained, run.fit)
    elements = {z for frame in trained for z in frame.numbers.tolist()}
    for frame in others:
        unknown = sorted(set(frame.numbers.tolist()) - elements)
        if unknown:
            raise DataError(
                f"{frame.name} holds {', '.join(chemical_symbols[z] for z in unknown)}, which none of the"
                f" {len(trained)} structures does that the first model is trained on; label more of the starts (count),"
                " or leave it out"
            )


def _order(count: int, campaign: Campaign) -> list[int]:
    """Indices of the starts: the first are labelled in round 0, the last are explored from first."""
    return np.random.default_rng(campaign.seed).permutation(count).tolist()


def _description(
    starts: Mapping[str, Atoms], settings: Mapping[str, Any], run: Run, campaign: Campaign, test: Sequence[Frame]
) -> dict[str, Any]:
    """All that the rounds depend on; how many rounds, and when to end, may change from call to call."""
    free, spec = ("rounds", "tolerance"), run.features.spec
    plain = {part.name: str(getattr(campaign, part.name)) for part in dataclasses.fields(campaign)}
    return {
        **{name: value for name, value in plain.items() if name not in free},
        "starts given": _digest(structure_bytes(atoms) + atoms.info["group"].encode() for atoms in starts.values()),
        "settings": plain_settings(settings),
        "features": str(run.features) if spec is None else _digest([spec.read_bytes()]),
        "fit": str(run.fit),
        "repulsion": run.repulsion,
        "prior": "" if run.prior is None else _digest([run.prior.read_bytes()]),
        "data": [f"{replace(one, files=())}: {_digest(path.read_bytes() for path in one.paths())}" for one in run.data],
        "test": _digest(frame.positions.tobytes() + str(frame.energy).encode() for frame in test),
    }


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _check_same_loop(path: Path, wanted: dict[str, Any]) -> None:
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); take another folder") from error
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        raise DataError(
            f"{path.parent} holds a loop with other {', '.join(differing)}; call it with the same, or take another"
            " folder"
        )


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True, eq=False)
class _Loop:
    starts: Mapping[str, Atoms]
    calculator: Callable[[Atoms], BaseCalculator] | None
    settings: Mapping[str, Any]
    run: Run
    folder: Path
    campaign: Campaign
    known: Sequence[Frame]
    test: Sequence[Frame]
    progress: bool

    def run_all(self) -> Learning:
        rounds: list[Round] = []
        reason = None
        while reason is None:
            number = len(rounds)
            rounds.append(self._round(number))
            self._say(f"round {number}\n{Learning(tuple(rounds), '', []).table()}\n")
            reason = stop_reason(rounds, self.campaign.tolerance)
            if reason is None and not (self._place(number + 1) / SELECTED).exists():
                reason = "no uncertain structure is left to label"
            if reason is None and number == self.campaign.rounds:
                reason = f"all {self.campaign.rounds} rounds are done"
        with atomic_path(self.run.output) as temporary:
            shutil.copyfile(self._place(len(rounds) - 1) / MODEL, temporary)
        self._say(f"{reason}; model: {self.run.output}")
        return Learning(tuple(rounds), reason, self._labelled(len(rounds) - 1))

    def _round(self, number: int) -> Round:
        """Label what is selected, train, measure, and select for the next round; what is done is kept."""
        place = self._place(number)
        place.mkdir(exist_ok=True)
        record = place / RECORD
        if record.exists():
            return Round.read(record)
        if number == 0 and not self.known:
            self._begin(place)
        if (place / SELECTED).exists():
            self._label(place)
        model = self._train(number)
        trial = self._try_out(number, model)
        selection = self._select(number, model, trial.pool)
        done = self._measure(number, model, trial, selection)
        done.write(record)
        return done

    def _place(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}"

    def _say(self, text: str) -> None:
        if self.progress:
            print(text, flush=True)

    def _order(self) -> list[str]:
        names = list(self.starts)
        return [names[index] for index in _order(len(names), self.campaign)]

    # ------------------------------------------------------------ labels

    def _begin(self, place: Path) -> None:
        if not (place / SELECTED).exists():
            self._write_selected(place, [self.starts[name] for name in self._order()[: self.campaign.count]], 0)

    def _write_selected(self, place: Path, structures: Sequence[Atoms], number: int) -> None:
        place.mkdir(exist_ok=True)
        frames = [atoms.copy() for atoms in structures]
        for atoms in frames:
            atoms.info["round"] = number
        with atomic_path(place / SELECTED) as temporary:
            write_extended_xyz(temporary, frames)

    def _label(self, place: Path) -> None:
        """All of them labelled or failed, by this process or by others."""
        pool = {f"selected-{index:04d}": atoms for index, atoms in enumerate(structures_of(place / SELECTED))}
        labels = place / LABELS
        check_settings(labels, self.settings)  # before others come with theirs
        while _waiting(pool, labels):
            if self.calculator is not None:
                label(pool, labels, self.calculator, self.settings, report=self._say)
            left = _waiting(pool, labels)
            if left:
                self._say(f"waiting for {len(left)} labels in {labels}, such as {left[0]}")
                time.sleep(WAITING)
        failed = sorted(labels.glob("*.failed"))
        if len(failed) == len(pool):
            raise DataError(
                f"no structure of {place / SELECTED} could be labelled, {failed[0].stem}:"
                f" {failed[0].read_text(encoding='utf-8').strip()}; mend the calculator, and remove the files *.failed"
                f" in {labels}"
            )

    def _label_files(self, number: int) -> list[Path]:
        """Of all rounds up to this one."""
        places = [self._place(index) / LABELS for index in range(number + 1)]
        return [file for place in places for file in sorted(place.glob("selected-*.extxyz"))]

    def _labelled(self, number: int) -> list[Atoms]:
        return [atoms for file in self._label_files(number) for atoms in structures_of(file)]

    # ------------------------------------------------------------ models

    def _train(self, number: int) -> Model:
        model = self._place(number) / MODEL
        if not model.exists():
            store = self.run.store or self.folder / "features"
            data = (*self.run.data, *self._new_sources(number))
            replace(self.run, output=model, store=store, data=data).train(self.progress)
        return load_model(model)

    def _new_sources(self, number: int) -> list[Source]:
        files = self._label_files(number)
        if not files:
            return []
        if not self.run.data:
            return [Source(files)]
        first = self.run.data[0]
        return [Source(files, first.name, weight=first.weight, zero=first.zero)]

    def _try_out(self, number: int, model: Model) -> Trial:
        order, plan = self._order()[::-1], self.campaign  # what round 0 labels comes last
        taken = [order[index % len(order)] for index in range(number * plan.starts, (number + 1) * plan.starts)]
        chosen = {name: self.starts[name] for name in dict.fromkeys(taken)}
        return try_out(
            chosen, model, self._place(number) / POOL, plan.plan, plan.watch, plan.limits,
            seed=1000 * plan.seed + number, workers=self.run.workers, progress=self.progress,
        )  # fmt: skip

    def _select(self, number: int, model: Model, pool: Mapping[str, Atoms]) -> Selection:
        """Judge the pool, and write what the next round is to label, if anything."""
        known = [Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc) for frame in self.known]
        for index in range(number + 1):
            file = self._place(index) / SELECTED
            known += structures_of(file) if file.exists() else []
        selection = select(
            pool, self.campaign.count, model, self.campaign.limits, known=known, workers=self.run.workers,
            progress=self.progress,
        )  # fmt: skip
        if selection.chosen:
            self._write_selected(self._place(number + 1), selection.structures, number + 1)
        return selection

    def _measure(self, number: int, model: Model, trial: Trial, selection: Selection) -> Round:
        energy, forces = self._errors(model)
        labels = self._place(number) / LABELS
        trial.endurance.write(self._place(number), "endurance")
        return Round(
            number=number,
            labels=len(self.known) + len(self._label_files(number)),
            new=len(list(labels.glob("selected-*.extxyz"))),
            failed=len(list(labels.glob("*.failed"))),
            energy_error=energy,
            force_error=forces,
            **trial.figures(selection.candidates, self.campaign.limits),
        )

    def _errors(self, model: Model) -> tuple[float, float]:
        """Held out, mean absolute: eV/atom and eV/A; NaN where there are no labels of forces."""
        if self.test:
            errors = evaluate(model, self.test, workers=self.run.workers, progress=self.progress).errors()
            return (errors.energy.mae if errors.energy else math.nan, errors.forces.mae if errors.forces else math.nan)
        metrics = model.provenance["metrics"]
        return 1e-3 * metrics["energy_mae_mev_per_atom"], metrics.get("force_mae_ev_per_a", math.nan)


def _waiting(pool: Mapping[str, Atoms], labels: Path) -> list[str]:
    """Names of structures that are neither labelled nor failed."""
    return [name for name in pool if not any((labels / f"{name}{end}").exists() for end in (".extxyz", ".failed"))]
