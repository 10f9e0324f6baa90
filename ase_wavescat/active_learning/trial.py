"""A model tried out from many structures: where it leads, how sure it is there, how long its dynamics last."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from tqdm import tqdm

from ase_wavescat.active_learning.endurance import Endurance, Watch, check_starts, follow
from ase_wavescat.active_learning.exploration import Plan, explore
from ase_wavescat.active_learning.selection import Candidate, Limits
from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.structures import structures_of
from ase_wavescat.potentials.each import for_each
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import DataError, listening, unheard
from ase_wavescat.system.processes import cores
from ase_wavescat.system.progress import hidden
from ase_wavescat.workflows.checks import with_calculator

if TYPE_CHECKING:
    pass

_Item = tuple[str, Atoms, Path, Plan, Watch, Limits, int]


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of it.

    pool: states of the explorations by name, and, with `config_type` exit, those at which dynamics ended.
    endurance: of the dynamics from the relaxed structures.
    """

    pool: dict[str, Atoms]
    endurance: Endurance

    def figures(self, candidates: tuple[Candidate, ...], limits: Limits) -> dict[str, Any]:
        """What a `Round` says of it: the `sureness` of the pool, given as candidates, and the endurance."""
        return {
            **dataclasses.asdict(sureness(candidates, limits)),
            "endurance": self.endurance.median,
            "lasted": self.endurance.lasted,
            "runs": len(self.endurance.times),
            "longest": self.endurance.watch.longest,
        }


@dataclass(frozen=True)
class Sureness:
    """Of states that a model leads to: how many, the share that is uncertain (a spread above its limit), and the mean
    spreads of energies (eV/atom) and forces (eV/A, root mean square over components)."""

    states: int
    uncertain: float
    energy_spread: float
    force_spread: float


def try_out(
    starts: Mapping[str, Atoms],
    model: Model,
    folder: str | Path,
    plan: Plan,
    watch: Watch,
    limits: Limits,
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Trial:
    """Explore from each structure, and follow dynamics from what it relaxes to until the model leaves what it knows.

    starts: by names fit for files.
    folder: NAME.extxyz (states), NAME-exit.extxyz (end of the dynamics) and NAME.json of each structure; what is there
        is kept, so that a run that was stopped goes on. It must be of this model and settings.
    seed: the same gives the same states, whatever the number of workers (processes; default: all cores).

    Raises DataError, before any work, without structures, for structures that cannot be evaluated, and for a model
    without members or domain.
    """
    check_starts(starts, model)
    folder = Path(folder)
    make_folder(folder)
    seeds = np.random.SeedSequence(seed).generate_state(len(starts)).tolist()
    items: list[_Item] = [
        (name, atoms, folder, plan, watch, limits, own)
        for (name, atoms), own in zip(starts.items(), seeds, strict=True)
        if not (folder / f"{name}.json").exists()
    ]
    done = for_each(model, _try_one, items, min(workers or cores(), len(items)))
    bar = tqdm(done, total=len(starts), initial=len(starts) - len(items), unit="start", desc="explored",
               disable=hidden(progress))  # fmt: skip
    for _ in bar:
        pass
    return _read(list(starts), folder, watch, limits)


def _try_one(model: Model, item: _Item) -> None:
    name, atoms, folder, plan, watch, limits, seed = item
    calculator = WaveScatCalculator(model)
    with listening(unheard):  # that states lie outside the domain: that is what is counted
        exploration = explore(with_calculator(atoms, calculator), plan, seed=seed)
    relaxed = with_calculator(exploration.states[0], calculator)
    own = np.random.default_rng([seed, len(plan.temperatures)])  # the others are those of the exploration's dynamics
    time, reason, end = follow(relaxed, watch, limits, own)
    for file, structures in ((f"{name}.extxyz", exploration.states), (f"{name}-exit.extxyz", [end])):
        with atomic_path(folder / file) as temporary:
            write_extended_xyz(temporary, structures)
    figures = {**exploration.figures(), "endurance": {"picoseconds": time, "reason": reason}}
    with atomic_path(folder / f"{name}.json") as temporary:  # the last: it stands for all
        temporary.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _read(names: list[str], folder: Path, watch: Watch, limits: Limits) -> Trial:
    pool: dict[str, Atoms] = {}
    records: list[dict[str, Any]] = []
    ends = []
    for name in names:
        for index, atoms in enumerate(structures_of(folder / f"{name}.extxyz")):
            pool[f"{name}-{index:03d}"] = atoms
        (end,) = structures_of(folder / f"{name}-exit.extxyz")
        if end.info["config_type"] == "exit":
            pool[f"{name}-exit"] = end
        ends.append(end)
        records.append(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["endurance"])
    times = np.array([record["picoseconds"] for record in records])
    return Trial(pool, Endurance(watch, limits, times, tuple(str(record["reason"]) for record in records), ends))


def sureness(candidates: tuple[Candidate, ...], limits: Limits) -> Sureness:
    """Of the candidates of a trial's pool, without the states at which dynamics ended: these are uncertain by choice.

    Raises DataError where nothing is left.
    """
    own = [one for one in candidates if one.structure.info.get("config_type") != "exit"]
    if not own:
        raise DataError("there are no states to judge but those at which dynamics ended")
    return Sureness(
        states=len(own),
        uncertain=float(np.mean([one.need(limits) > 1 for one in own])),
        energy_spread=float(np.mean([one.energy_spread for one in own])),
        force_spread=float(np.mean([one.force_spread for one in own])),
    )
