"""Glasses quenched from their melt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.checks import calculator_of, evaluated, with_calculator
from ase_wavescat.workflows.dynamics import draw_velocities, run_langevin
from ase_wavescat.workflows.relaxation import RUNAWAY, CellChoice, Relaxation, check_settings, relax, settle
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUENCHED = "quenched"
LOOSENING = 50  # steps of relaxation before the dynamics: what collides violently would not be a melt


@dataclass(frozen=True)
class MeltSchedule:
    """How a melt is made and cooled, at fixed volume.

    The defaults are quick: 2500 steps, and a fast quench.

    Attributes:
        temperature: K, of the melt.
        melting: ps at it.
        quenching: ps over which the temperature falls, in a straight line, to `final` (K).
        timestep: fs.
    """

    temperature: float = 2000.0
    final: float = 300.0
    melting: float = 1.0
    quenching: float = 4.0
    timestep: float = 2.0

    def __post_init__(self) -> None:
        for name in ("temperature", "final", "melting", "quenching", "timestep"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise DataError(f"{name} of a melt must be a positive number, got {value}")
        if self.final > self.temperature:
            raise DataError(f"a quench from {self.temperature} K cannot end at {self.final} K, which is hotter")

    @property
    def steps(self) -> tuple[int, int]:
        """Time steps of melting and quenching, at least one each."""
        return _whole(self.melting / self.timestep), _whole(self.quenching / self.timestep)

    def target(self, step: int) -> float:
        """K that the bath has at a step."""
        melting, quenching = self.steps
        share = min(max((step - melting) / quenching, 0.0), 1.0)
        return self.temperature + share * (self.final - self.temperature)


def _whole(thousands: float) -> int:
    return max(1, round(1000 * thousands))


@dataclass(frozen=True, eq=False)
class Quench(Result):
    """A glass from its melt.

    Attributes:
        dynamics: The last state of the dynamics, with energy and forces.
        schedule: Of the temperature.
        times: (n,) ps.
        bath: (n,) K, wanted.
        temperatures: (n,) K, of the atoms.
        energies: (n,) eV, potential, whole cell.
        stop_reason: "quenched", or "runaway: ..." with what went wrong.
        relaxation: Of the quenched state; None after a runaway.
    """

    dynamics: Atoms
    schedule: MeltSchedule
    times: np.ndarray
    bath: np.ndarray
    temperatures: np.ndarray
    energies: np.ndarray
    stop_reason: str
    relaxation: Relaxation | None

    @property
    def structure(self) -> Atoms:
        """The glass, relaxed where nothing went wrong."""
        return self.dynamics if self.relaxation is None else self.relaxation.structure

    @property
    def structures(self) -> list[Atoms]:
        return [self.structure]

    @property
    def runaway(self) -> bool:
        """Whether the melt or the glass left the range in which energies mean something."""
        return self.relaxation is None or self.relaxation.runaway

    def summary(self) -> str:
        atoms = len(self.dynamics)
        lines = [
            f"{self.dynamics.get_chemical_formula()}: {self.stop_reason} after {self.times[-1]:.2f} ps, last"
            f" {self.temperatures[-1]:.0f} K, {self.energies[-1] / atoms:.4f} eV/atom"
        ]
        return "\n".join(lines + ([] if self.relaxation is None else [self.relaxation.summary()]))

    def plot(self) -> Figure:
        """Temperature, wanted and had, and potential energy by time."""
        from matplotlib.figure import Figure

        from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.times, self.temperatures, color=GREY, linewidth=0.8, label="atoms")
        axes.plot(self.times, self.bath, color=ORANGE, label="bath")
        axes.set_xlabel("time (ps)")
        axes.set_ylabel("temperature (K)")
        axes.legend(frameon=False)
        energy = axes.twinx()
        energy.plot(self.times, self.energies / len(self.dynamics), color=BLUE, linewidth=0.8)
        energy.set_ylabel("potential energy (eV/atom)", color=BLUE)
        energy.tick_params(axis="y", colors=BLUE)
        return figure


def melt_quench(
    atoms: Atoms,
    schedule: MeltSchedule = MeltSchedule(),
    *,
    seed: int | Sequence[int] = 0,
    cell: CellChoice = False,
    fmax: float = 0.02,
    smax: float = 0.05,
    steps: int = 500,
) -> Quench:
    """Melt a structure, cool it and relax what comes out; the structure given stays as it is.

    Dynamics are ASE's, Langevin's at fixed volume, begun with random velocities of the melt's temperature. A structure
    that collides violently (a raw packing) is first relaxed, by fifty steps at most.

    A structure that runs away (energies not finite, fused atoms, a calculator that gives up) is stopped, and said to be
    so in `stop_reason`.

    Args:
        seed: Of velocities and bath; the same numbers give the same glass.
        cell, fmax, smax, steps: Of the relaxation at the end, see `relax`.

    Raises:
        CalculatorError: Without a calculator with forces; this and the others before the first step.
        DataError: For limits, seeds, constraints and structures that make no sense.
        StructureError: For a cell that cannot relax so.
    """
    calculator = calculator_of(atoms, "forces", *(["stress"] if cell else []))
    check_settings(atoms, cell, fmax, smax, steps)
    generator = _generator(seed)
    start, stop_reason = settle(with_calculator(atoms, calculator), fmax=fmax, steps=LOOSENING)
    moving = start.copy()
    moving.calc = calculator
    draw_velocities(moving, schedule.temperature, generator)
    record = _MeltRecord(moving, schedule)
    if stop_reason.startswith(RUNAWAY):
        return record.result(stop_reason, None)
    failure = run_langevin(moving, schedule.target, sum(schedule.steps), schedule.timestep, generator, record.add)
    if failure is not None:
        return record.result(f"{RUNAWAY}: {failure}", None)
    glass = moving.copy()
    del glass.arrays["momenta"]  # what is relaxed is at rest
    glass.calc = calculator
    return record.result(QUENCHED, relax(glass, cell=cell, fmax=fmax, smax=smax, steps=steps))


def _generator(seed: int | Sequence[int]) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (ValueError, TypeError) as error:
        raise DataError(f"the seed must be a whole number that is not negative, or several, got {seed!r}") from error


class _MeltRecord:
    """What is kept of each step, and the last state in which nothing was wrong."""

    def __init__(self, atoms: Atoms, schedule: MeltSchedule) -> None:
        self.atoms = atoms
        self.schedule = schedule
        self.steps: list[int] = []
        self._temperatures: list[float] = []
        self._energies: list[float] = []
        self.add(0)

    def add(self, step: int) -> None:
        self.steps.append(step)
        self._temperatures.append(float(self.atoms.get_temperature()))
        self._energies.append(float(self.atoms.get_potential_energy()))
        self._last = evaluated(self.atoms)

    def result(self, reason: str, relaxation: Relaxation | None) -> Quench:
        return Quench(
            dynamics=self._last,
            schedule=self.schedule,
            times=np.array(self.steps) * self.schedule.timestep / 1000,
            bath=np.array([self.schedule.target(step) for step in self.steps]),
            temperatures=np.array(self._temperatures),
            energies=np.array(self._energies),
            stop_reason=reason,
            relaxation=relaxation,
        )
