"""How long dynamics under a model stay where the model knows what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from tqdm import tqdm

from ase_wavescat.active_learning.selection import Limits, check_judge, held_out_limits
from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.capabilities import DomainCalculator, MemberCalculator
from ase_wavescat.io.structures import check_structure
from ase_wavescat.potentials.each import for_each
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import DataError, listening, unheard
from ase_wavescat.system.plotting import BLUE, GREY
from ase_wavescat.system.processes import cores
from ase_wavescat.system.progress import hidden
from ase_wavescat.workflows.checks import private, record_of, with_calculator
from ase_wavescat.workflows.dynamics import draw_velocities, run_langevin
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOMAIN, UNCERTAIN, RUNAWAY = "outside", "uncertain", "runaway"


@dataclass(frozen=True)
class Watch:
    """How dynamics are followed.

    Attributes:
        temperature: K.
        picoseconds: At most so long.
        timestep: fs.
        every: Steps from one look at the domain and the spreads to the next; a look costs about ten steps.
    """

    temperature: float = 600.0
    picoseconds: float = 2.0
    timestep: float = 2.0
    every: int = 20

    def __post_init__(self) -> None:
        for name in ("temperature", "picoseconds", "timestep"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise DataError(f"{name} of dynamics must be a positive number, got {value}")
        if self.every < 1:
            raise DataError(f"every must be at least one step, got {self.every}")

    @property
    def looks(self) -> int:
        """After the first one, before the dynamics; at least one."""
        return max(1, round(1000 * self.picoseconds / (self.timestep * self.every)))

    @property
    def longest(self) -> float:
        """ps, to the last look."""
        return self.looks * self.every * self.timestep / 1000


@dataclass(frozen=True, eq=False)
class Endurance(Result):
    """Dynamics from several structures, each until the model leaves what it knows.

    Attributes:
        watch, limits: As asked for.
        times: (n,) ps to the last look at which all was well, `watch.longest` for those that lasted.
        reasons: (n,) why each ended ("outside: ...", "uncertain: ...", "runaway: ..."), "" for those that lasted.
        ends: The states at which they ended; info: `config_type` exit, or lasted, `temperature` (K), and the `group` of
            the structure given. That before a runaway.
    """

    watch: Watch
    limits: Limits
    times: np.ndarray
    reasons: tuple[str, ...]
    ends: list[Atoms]

    @property
    def structures(self) -> list[Atoms]:
        return self.ends

    @property
    def lasted(self) -> int:
        """How many never ended."""
        return sum(not reason for reason in self.reasons)

    @property
    def median(self) -> float:
        """ps; a lower bound where at least half of them lasted."""
        return float(np.median(self.times))

    def median_words(self) -> str:
        """The median in ps, with its sign where it is a bound."""
        return time_words(self.median, self.lasted, len(self.times))

    def summary(self) -> str:
        kinds = [reason.partition(":")[0] for reason in self.reasons if reason]
        ended = ", ".join(f"{kinds.count(kind)} {kind}" for kind in (DOMAIN, UNCERTAIN, RUNAWAY) if kind in kinds)
        return (
            f"{len(self.times)} runs at {self.watch.temperature:g} K: median {self.median_words()} ps, {self.lasted}"
            f" lasted {self.watch.longest:g} ps" + (f"; ended: {ended}" if ended else "")
        )

    def plot(self) -> Figure:
        """Share of the runs that go on, by time."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        ended = np.sort([time for time, reason in zip(self.times, self.reasons, strict=True) if reason])
        left = 1 - np.arange(1, len(ended) + 1) / len(self.times)
        times = [0.0, *ended, self.watch.longest]
        axes.step(times, [1.0, *left, left[-1] if len(left) else 1.0], where="post", color=BLUE)
        axes.axhline(0.5, color=GREY, linestyle="--", linewidth=0.8)
        axes.set(xlabel="time (ps)", ylabel="share of the runs that go on", ylim=(0, 1.02))
        axes.set_title(f"{len(self.times)} runs at {self.watch.temperature:g} K")
        return figure


def time_words(median: float, lasted: int, runs: int) -> str:
    """The median of the times (ps) of runs, with a sign where it is a lower bound, as so many of them lasted."""
    return f"{'> ' if 2 * lasted >= runs else ''}{median:.2g}"


def endure(
    starts: Sequence[Atoms],
    model: Model,
    watch: Watch = Watch(),
    limits: Limits | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Endurance:
    """Langevin dynamics at fixed volume from structures (relaxed ones, say), each until the first exit.

    An exit is a state outside the model's training domain, one with a spread of its energy or of its forces above the
    limits (root mean square over components, calibrated), or a runaway.

    Args:
        limits: By default the model's held-out root mean square errors; to compare models give them.
        seed: The same gives the same dynamics, whatever the number of workers (processes; default: all cores).

    Raises:
        DataError: Before any dynamics, without structures, for structures that cannot be evaluated, and for a model
            without members or domain.
    """
    check_starts({f"structure {number}": atoms for number, atoms in enumerate(starts)}, model)
    limits = limits or held_out_limits(model)
    bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc, info=dict(a.info)) for a in starts]
    items = [(atoms, watch, limits, [seed, number]) for number, atoms in enumerate(bare)]
    runs = for_each(model, _run, items, min(workers or cores(), len(items)))
    done = list(tqdm(runs, total=len(items), unit="run", disable=hidden(progress), desc="dynamics"))
    times, reasons, ends = zip(*done, strict=True)
    record = record_of(WaveScatCalculator(model))
    return Endurance(watch, limits, np.array(times), tuple(reasons), list(ends), calculators=[record])


def check_starts(starts: Mapping[str, Atoms], model: Model) -> None:
    """DataError without structures, for those that the model cannot evaluate, and for a model that cannot judge."""
    if not starts:
        raise DataError("there are no structures to begin with; give at least one")
    check_judge(model)
    for name, atoms in starts.items():
        check_structure(atoms, name)
        unknown = sorted(set(atoms.numbers.tolist()) - set(model.species))
        if unknown:
            elements = ", ".join(chemical_symbols[z] for z in unknown)
            raise DataError(f"{name} holds {elements}, which the model does not know; leave it out")


def _run(model: Model, item: tuple[Atoms, Watch, Limits, list[int]]) -> tuple[float, str, Atoms]:
    atoms, watch, limits, seed = item
    return follow(with_calculator(atoms, WaveScatCalculator(model)), watch, limits, np.random.default_rng(seed))


def follow(
    atoms: Atoms, watch: Watch, limits: Limits, generator: np.random.Generator
) -> tuple[float, str, Atoms]:  # fmt: skip
    """One run: ps, reason ("" where it lasted) and bare end, as in `Endurance`; atoms.calc has members and a domain.

    The structure given stays as it is.
    """
    calculator = private(atoms.calc)
    assert isinstance(calculator, MemberCalculator) and isinstance(calculator, DomainCalculator)
    moving = with_calculator(atoms, calculator)
    draw_velocities(moving, watch.temperature, generator)
    with listening(unheard):  # what it would say ends the run
        look, reason = 0, _exit(moving, calculator, limits)
        last = _end(moving, watch, reason)
        while not reason and look < watch.looks:
            failure = run_langevin(
                moving, lambda step: watch.temperature, watch.every, watch.timestep, generator, lambda step: None
            )
            if failure is not None:
                reason = f"{RUNAWAY}: {failure}"
                last.info["config_type"] = "exit"
                break
            reason = _exit(moving, calculator, limits)
            look += not reason
            last = _end(moving, watch, reason)
    return look * watch.every * watch.timestep / 1000, reason, last


def _exit(atoms: Atoms, calculator: MemberCalculator, limits: Limits) -> str:
    """Why a run ends here, "" where it goes on."""
    assert isinstance(calculator, DomainCalculator)
    outside = calculator.get_domain_messages(atoms)
    if outside:
        return f"{DOMAIN}: {next(iter(outside.values()))}"
    energy = calculator.get_energy_uncertainty(atoms) / len(atoms)
    forces = float(np.sqrt(np.mean(calculator.get_forces_uncertainty(atoms) ** 2)))
    if energy > limits.energy:
        return f"{UNCERTAIN}: the energy by {1e3 * energy:.1f} meV/atom, {1e3 * limits.energy:.1f} is the limit"
    if forces > limits.forces:
        return f"{UNCERTAIN}: the forces by {forces:.3f} eV/A, {limits.forces:.3f} is the limit"
    return ""


def _end(atoms: Atoms, watch: Watch, reason: str) -> Atoms:
    """Bare, with what a frame of a pool says of itself."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info = {"config_type": "exit" if reason else "lasted", "temperature": watch.temperature}
    if "group" in atoms.info:
        bare.info["group"] = atoms.info["group"]
    return bare
