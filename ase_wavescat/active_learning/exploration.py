"""Where users will go with a model: relaxations, dynamics, hops and strained cells, as a pool to select from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.system.errors import DataError, WaveScatError, listening, unheard
from ase_wavescat.system.plotting import BLUE, GREY
from ase_wavescat.workflows.barriers import neb
from ase_wavescat.workflows.checks import calculator_of, evaluated, record_of, with_calculator
from ase_wavescat.workflows.dynamics import draw_velocities, run_langevin
from ase_wavescat.workflows.hops import find_hops
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.relaxation import Relaxation, relax
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAND_STEPS = 20  # the way of a hop need not be exact to be worth a label


@dataclass(frozen=True)
class Plan:
    """What to do with each structure.

    Attributes:
        temperatures: K, of one run of dynamics each, from the relaxed structure.
        picoseconds: Length of each.
        timestep: fs.
        snapshots: Taken evenly from each.
        strains: Linear, hydrostatic, ions relaxed again.
        hops: Of single atoms of `species` into voids; the middle images of their bands are taken.
    """

    temperatures: tuple[float, ...] = (300.0, 600.0, 1000.0)
    picoseconds: float = 1.0
    timestep: float = 1.0
    snapshots: int = 4
    strains: tuple[float, ...] = (-0.03, 0.03)
    hops: int = 2
    species: str = "Li"

    def __post_init__(self) -> None:
        positive = (*self.temperatures, self.picoseconds, self.timestep)
        if not all(np.isfinite(value) and value > 0 for value in positive):
            raise DataError(f"temperatures, picoseconds and timestep must be positive numbers, got {positive}")
        if self.snapshots < 1 or self.hops < 0:
            raise DataError(f"snapshots must be positive, hops not negative, got {self.snapshots} and {self.hops}")
        if not all(abs(strain) < 0.2 for strain in self.strains):
            raise DataError(f"linear strains must be small, below 0.2, got {self.strains}")


@dataclass(frozen=True, eq=False)
class Exploration(Result):
    """States that a calculator leads to from one structure.

    Attributes:
        states: Bare structures; info: `config_type` (relaxation, relaxed, md, strain, hop), for dynamics `temperature`
            (K), and the `group` of the structure given.
        kinds: Of each state.
        energies: (n,) eV/atom.
        spreads: (n,) eV/atom, calibrated standard deviations over members; None without members.
        ended: Parts that ended before they were done, and why.
    """

    states: list[Atoms]
    kinds: list[str]
    energies: np.ndarray
    spreads: np.ndarray | None
    ended: tuple[str, ...] = ()

    @property
    def structures(self) -> list[Atoms]:
        return self.states

    @property
    def incomplete(self) -> str:
        return "; ".join(self.ended)

    def summary(self) -> str:
        lines = [f"{len(self.states)} states of {self.states[0].get_chemical_formula()}"]
        for kind, number in Counter(self.kinds).items():
            chosen = np.array([one == kind for one in self.kinds])
            text = f"{kind:<11}{number:4d}  {1e3 * (self.energies[chosen].mean() - self.energies[0]):8.1f}"
            text += " meV/atom above the relaxed state"
            if self.spreads is not None:  # of the energies, by which states are chosen; their differences have less
                text += f", spread of the energies {1e3 * self.spreads[chosen].mean():.1f}"
            lines.append(text)
        return "\n".join(lines + [f"ended before: {text}" for text in self.ended])

    def plot(self) -> Figure:
        """Energies above the relaxed state by kind, with their spreads."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        names = list(dict.fromkeys(self.kinds))
        places = [names.index(kind) for kind in self.kinds] + np.linspace(-0.25, 0.25, len(self.kinds))
        errors = None if self.spreads is None else 1e3 * self.spreads
        gained = 1e3 * (self.energies - self.energies[0])
        axes.errorbar(places, gained, yerr=errors, fmt="o", color=BLUE, ecolor=GREY, markersize=4)
        axes.set_xticks(range(len(names)), names)
        bars = "" if errors is None else "\nbars: spread of the energy itself"
        axes.set_ylabel(f"energy above the relaxed state (meV/atom){bars}")
        return figure


def explore(atoms: Atoms, plan: Plan = Plan(), *, seed: int = 0) -> Exploration:
    """States that the structure's calculator leads to: along its relaxation, in dynamics, strained, between voids.

    What runs away ends that part, with the states before it: where a model fails is worth a label. The same seed gives
    the same states.

    Raises:
        CalculatorError: Without a calculator with forces; this and the others before the first step.
        DataError: For structures that no code could evaluate.
        StructureError: For structures that the calculator cannot evaluate.
    """
    calculator = calculator_of(atoms, "forces")
    relaxation = relax(atoms, fmax=0.05)
    states, ended = _states(atoms, relaxation, calculator, plan, seed)
    counts = np.array([len(state) for state in states])
    energies = np.array([calculator.get_potential_energy(state) for state in states]) / counts
    members = member_energies(calculator, states)
    spreads = None if members is None else spread(calculator, members) / counts
    kinds = [str(state.info["config_type"]) for state in states]
    return Exploration(states, kinds, energies, spreads, ended, calculators=[record_of(calculator)])


def _states(
    atoms: Atoms, relaxation: Relaxation, calculator: BaseCalculator, plan: Plan, seed: int
) -> tuple[list[Atoms], tuple[str, ...]]:
    """The states, and the parts that ended before they were done."""
    relaxed = relaxation.structure
    ended = [] if relaxation.converged else [f"relaxation: {relaxation.stop_reason}"]
    states = [_named(relaxed, atoms, "relaxed")]
    states += [_named(frame, atoms, "relaxation") for frame in _evenly(relaxation.path[:-1], plan.snapshots)]
    if relaxation.runaway:
        return states, tuple(ended)
    start = with_calculator(relaxed, calculator)
    for index, temperature in enumerate(plan.temperatures):
        frames, failure = dynamics(start, temperature, plan, np.random.default_rng([seed, index]))
        ended += [] if failure is None else [f"dynamics at {temperature:g} K: {failure}"]
        states += [_named(frame, atoms, "md", temperature=temperature) for frame in frames]
    states += [_named(frame, atoms, "strain") for frame in _strained(relaxed, calculator, plan.strains)]
    states += [_named(frame, atoms, "hop") for frame in _hopping(relaxed, calculator, plan)]
    return states, tuple(ended)


def dynamics(
    atoms: Atoms, temperature: float, plan: Plan, generator: np.random.Generator
) -> tuple[list[Atoms], str | None]:
    """Evenly spaced snapshots of Langevin dynamics at fixed volume, and why it was stopped, if it was: the last
    snapshot then is that before a runaway."""
    moving = with_calculator(atoms, atoms.calc)
    draw_velocities(moving, temperature, generator)
    steps = max(plan.snapshots, round(1000 * plan.picoseconds / plan.timestep))
    wanted = set(np.linspace(0, steps, plan.snapshots + 1).round().astype(int)[1:].tolist())
    frames: list[Atoms] = []
    last = [evaluated(moving)]

    def record(step: int) -> None:
        last[0] = evaluated(moving)
        if step in wanted:
            frames.append(last[0])

    failure = run_langevin(moving, lambda step: temperature, steps, plan.timestep, generator, record)
    return (frames, None) if failure is None else ([*frames, *last], failure)


def _strained(relaxed: Atoms, calculator: BaseCalculator, strains: tuple[float, ...]) -> Iterator[Atoms]:
    for strain in strains:
        frame = with_calculator(relaxed, calculator)
        frame.set_cell(relaxed.cell.array * (1 + strain), scale_atoms=True)
        yield relax(frame, fmax=0.1).structure


def _hopping(relaxed: Atoms, calculator: BaseCalculator, plan: Plan) -> Iterator[Atoms]:
    if plan.hops == 0 or plan.species not in set(relaxed.symbols):
        return
    if not relaxed.pbc.all() or len(relaxed) == 1:  # no voids, or nothing to hop into them
        return
    for hop in find_hops(with_calculator(relaxed, calculator), species=plan.species, count=plan.hops):
        try:
            with listening(unheard):  # that the band has not converged
                band = neb(hop.initial, hop.final, images=5, steps=BAND_STEPS, climb=False)
        except WaveScatError:  # the void does not hold the atom
            continue
        yield from (band.images[1], band.images[2], band.images[3])


def _evenly(frames: list[Atoms], count: int) -> list[Atoms]:
    if not frames:
        return []
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return [frames[index] for index in chosen]


def _named(frame: Atoms, parent: Atoms, kind: str, **more: float) -> Atoms:
    """Bare, with the kind and the parent's group."""
    bare = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    bare.info = {"config_type": kind, **more}
    if "group" in parent.info:
        bare.info["group"] = parent.info["group"]
    return bare
