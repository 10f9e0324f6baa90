"""The rounds of labels of the Li-Si set: what a model of the labels up to each round was worth.

    python benchmarks/accuracy/rounds.py [RUN] [--test FILE] --store FOLDER [--starts N] [--workers N] [--json FILE]
        [--document FILE ...] [--picture FILE]

RUN is a run file; its settings hold for all rounds, its frames are taken up to each. rounds.toml has the frames of
the shipped model and fewer features, models/lisi-linear.toml its own, which takes hours. Errors are those on the test
set, of melts that no round has trained on. The structures to begin with are of the test set, too: each model relaxes
them, runs dynamics and strains them, and the states it leads to are judged by its own spreads, against the same
limits in all rounds. The spreads are scaled to the errors on the test set: a model's own scale is that of its
cross-validation, over other frames in every round. STORE keeps features, models and explorations by what they came
of: a second run goes on where the first was stopped, and computes only what changes when labels are added.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from ase_wavescat.active_learning import Learning, Limits, Plan, Round, Watch
from ase_wavescat.active_learning.rounds import HEADER
from ase_wavescat.active_learning.selection import assess
from ase_wavescat.active_learning.trial import try_out
from ase_wavescat.evaluation.assessment import evaluate
from ase_wavescat.io.structures import structures_of
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.plotting import save_figure
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.data.sources import Source
from ase_wavescat.training.run_file import Run, read_run

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

LIMITS = Limits(energy=0.010, forces=0.15)
PLAN = Plan(temperatures=(300.0, 600.0, 1000.0), picoseconds=0.4, timestep=2.0, snapshots=2, hops=0)
WATCH = Watch(temperature=600.0, picoseconds=2.0, timestep=2.0, every=20)
SEED = 0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path, default=Path("benchmarks/accuracy/rounds.toml"), help="run file")
    parser.add_argument("--test", type=Path, default=Path("models/lisi-dft/test.extxyz.xz"))
    parser.add_argument("--store", type=Path, required=True, help="folder for features, models and explorations")
    parser.add_argument("--starts", type=int, default=10, help="structures to explore from")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    parser.add_argument("--picture", type=Path, help="where the picture goes")
    standard_options(parser, "rounds")
    return parser.parse_args()


def frames_by_source(run: Run) -> list[list[Atoms]]:
    """The labelled structures of each source, with their `round` (int) in info."""
    given = [[atoms for path in source.paths() for atoms in structures_of(path)] for source in run.data]
    for atoms in (atoms for frames in given for atoms in frames):
        if "round" not in atoms.info:
            raise SystemExit(f"{atoms.get_chemical_formula()} of {run.data[0].files} has no key 'round'")
    return given


def up_to(number: int, run: Run, given: Sequence[Sequence[Atoms]], store: Path) -> tuple[Run, dict[str, int]]:
    """The run of all rounds up to this one, its frames in files of the store, and the frames of each source."""
    sources: list[Source] = []
    counts: dict[str, int] = {}
    folder = store / f"round-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for index, (source, frames) in enumerate(zip(run.data, given, strict=True)):
        taken = [atoms for atoms in frames if int(atoms.info["round"]) <= number]
        counts[source.name] = counts.get(source.name, 0) + len(taken)
        if taken:
            file = folder / f"{index}.extxyz"
            write(file, taken)
            kinds = {str(atoms.info.get("config_type")) for atoms in taken}
            weights = {kind: weight for kind, weight in source.config_type_weights.items() if kind in kinds}
            sources.append(replace(source, files=file, config_type_weights=weights))
    content = [str(run.features), str(run.fit), str(run.repulsion)]
    content += [] if run.prior is None else [_digest([run.prior.read_bytes()])]
    content += [str(replace(source, files=())) + _digest([Path(str(source.files)).read_bytes()]) for source in sources]
    own = folder / _digest([text.encode() for text in content])
    own.mkdir(exist_ok=True)
    return replace(run, output=own / "model.h5", data=tuple(sources), store=store / "features"), counts


def _digest(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:12]


def starts_of(test: Path, count: int) -> dict[str, Atoms]:
    """Amorphous structures of the test set, one of a melt, spread evenly over the compositions."""
    first: dict[str, Atoms] = {}
    for atoms in structures_of(test):
        if not str(atoms.info["config_type"]).startswith("crystal"):
            first.setdefault(str(atoms.info["group"]), atoms)
    ordered = sorted(first.values(), key=lambda atoms: (float(np.mean(atoms.numbers == 3)), atoms.info["group"]))
    chosen = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return {f"{ordered[i].info['group']}-{ordered[i].get_chemical_formula()}": ordered[i] for i in chosen}


def measure(
    number: int, ensemble: Model, labels: int, frames: Sequence[Frame], starts: dict[str, Atoms], folder: Path,
    workers: int | None,
) -> Round:  # fmt: skip
    """The round's record; the states that the model led to are kept beside it."""
    assessment = evaluate(ensemble, frames, workers=workers)
    ensemble, errors = assessment.calibrated(), assessment.errors()
    assert errors.energy is not None and errors.forces is not None
    mark = _digest([f"{PLAN} {WATCH} {LIMITS} {SEED} {list(starts)} {ensemble.calibration}".encode()])
    trial = try_out(starts, ensemble, folder / f"trial-{mark}", PLAN, WATCH, LIMITS, seed=SEED, workers=workers)
    print(trial.endurance.summary(), flush=True)
    return Round(
        number=number, labels=labels, new=0, failed=0, energy_error=errors.energy.mae, force_error=errors.forces.mae,
        **trial.figures(assess(trial.pool, ensemble, workers)[0], LIMITS),
    )  # fmt: skip


def as_table(rows: Sequence[Round], counts: Sequence[dict[str, int]]) -> str:
    """Markdown: a row for each round, labels by source."""
    names = list(counts[0])
    header = ["rounds up to", *(f"labels: {name}" for name in names), *HEADER[2:]]
    return table(header, [[row.number, *own.values(), *row.cells()[2:]] for row, own in zip(rows, counts, strict=True)])


def main() -> None:
    chosen = options()
    run, frames = read_run(chosen.run), read_frames(chosen.test)
    starts = starts_of(chosen.test, chosen.starts)
    given = frames_by_source(run)
    numbers = sorted({int(atoms.info["round"]) for source in given for atoms in source})
    rows: list[Round] = []
    counts: list[dict[str, int]] = []
    for number in numbers:
        own, count = up_to(number, run, given, chosen.store)
        own = replace(own, workers=chosen.workers)
        ensemble = load_model(own.output) if own.output.exists() else own.train()
        labels = sum(count.values())
        row = measure(number, ensemble, labels, frames, starts, own.output.parent, chosen.workers)
        rows.append(replace(row, new=labels - (rows[-1].labels if rows else 0)))
        counts.append(count)
        print(as_table(rows, counts), flush=True)
    size = len(ensemble.term(LinearPotential).keys)
    head = (
        f"{size} features, {len(frames)} test frames, {len(starts)} structures to begin with,"
        f" {rows[-1].states} states; spreads are small enough below {1e3 * LIMITS.energy:g} meV/atom and"
        f" {LIMITS.forces:g} eV/Å."
    )
    text = f"{head}\n\n{as_table(rows, counts)}"
    print(f"{machine()}\n\n{text}")
    figures: dict[str, Any] = {"rounds": [dataclasses.asdict(row) for row in rows], "labels": counts}
    write_json(chosen.json, {"limits": dataclasses.asdict(LIMITS), "starts": list(starts), **figures})
    update_documents(chosen.document, "rounds", text)
    if chosen.picture:
        save_figure(Learning(tuple(rows), "", []).plot(), chosen.picture)


if __name__ == "__main__":
    main()
