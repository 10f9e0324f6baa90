"""Relaxation of positions, or of positions and cell, with a stop that is never silent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError as FailedCalculation
from ase.io import write
from ase.optimize import LBFGS
from ase.units import GPa

from ase_wavescat.capabilities import MemberCalculator
from ase_wavescat.io.extended_xyz import storable
from ase_wavescat.system.errors import DataError, WaveScatError
from ase_wavescat.system.plotting import BLUE, ORANGE
from ase_wavescat.system.progress import step_bar
from ase_wavescat.workflows.cells import CELL_NAMES as CELL_NAMES
from ase_wavescat.workflows.cells import CellChoice as CellChoice
from ase_wavescat.workflows.cells import (
    cell_filter,
    check_cell,
    check_directions,
    open_direction,
    straightened,
    stress_left,
)
from ase_wavescat.workflows.checks import calculator_of, evaluated, with_calculator
from ase_wavescat.workflows.extrapolation import grades_of, outside_of
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.result import Result
from ase_wavescat.workflows.runaway import RunawayWatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONVERGED = "converged"
STEP_LIMIT = "step limit"
RUNAWAY = "runaway"
MOST_FRAMES = 50
FIRST_CURVATURE = 7.0
"""eV/A^2, LBFGS's first guess: with ASE's own, 70, glasses of lithium and silicon take three times the steps, and
crystals of silicon, copper and platinum up to twice."""


@dataclass(frozen=True, eq=False)
class Relaxation(Result):
    """A relaxation by steps; step 0 is the structure as given.

    path: at most fifty states, evenly thinned, the first and the last among them, with energy and forces (and stress
        where the cell relaxes).
    path_steps: the step of each of them.
    energies: (steps + 1,) eV, whole cell.
    largest_forces: (steps + 1,) eV/A, length of the largest force on an atom.
    largest_stresses: (steps + 1,) GPa, largest component of what may relax (`stress_left`); None where the cell is
        fixed.
    volumes: (steps + 1,) A^3.
    enthalpies: (steps + 1,) eV, energy plus pressure times volume; None where no pressure acts.
    cell: "fixed", "volume", "shape", "in-plane" or "free".  pressure: GPa, external.
    fmax: eV/A, smax: GPa, what was asked for.
    stop_reason: "converged", "step limit", or "runaway: ..." with what went wrong; the last state before it is kept.
    energy_uncertainty: eV, whole cell, calibrated spread over members at the end; None without members. The last
        structure then carries it in info["energy_uncertainty"], that of the forces in arrays["forces_uncertainty"].
    energy_change_uncertainty: eV, the same for the energy at the end less that at the start.
    outside: in what the last state lies outside the model's training domain, a sentence by kind; empty after a runaway
        and for calculators that know of none. Its atoms' grades are in arrays["extrapolation_grade"].
    """

    path: list[Atoms]
    path_steps: list[int]
    energies: np.ndarray
    largest_forces: np.ndarray
    largest_stresses: np.ndarray | None
    volumes: np.ndarray
    enthalpies: np.ndarray | None
    cell: str
    pressure: float
    fmax: float
    smax: float
    stop_reason: str
    energy_uncertainty: float | None
    energy_change_uncertainty: float | None
    outside: Mapping[str, str]

    @property
    def structure(self) -> Atoms:
        """The last state, with its energy, forces (and stress where the cell relaxes)."""
        return self.path[-1]

    @property
    def structures(self) -> list[Atoms]:
        """The last state alone, so that the file written can be given to the next command."""
        return [self.structure]

    def _further_files(self) -> dict[str, Callable[[Path], None]]:
        """The path of the relaxation as NAME.traj."""
        return {".traj": lambda place: write(place, storable(self.path)[0], format="traj")}

    @property
    def converged(self) -> bool:
        return self.stop_reason == CONVERGED

    @property
    def runaway(self) -> bool:
        """Whether the structure left the range in which energies mean something."""
        return self.stop_reason.startswith(RUNAWAY)

    @property
    def incomplete(self) -> str:
        return "" if self.converged else self.stop_reason

    @property
    def steps(self) -> int:
        return len(self.energies) - 1

    def unmet(self) -> list[str]:
        """The limits that the last state is still above, in words."""
        found = []
        if not self.largest_forces[-1] <= self.fmax:
            found.append(f"largest force {self.largest_forces[-1]:.4f} of {self.fmax} eV/Å")
        if self.largest_stresses is not None and not self.largest_stresses[-1] <= self.smax:
            found.append(f"largest stress {self.largest_stresses[-1]:.3f} of {self.smax} GPa")
        return found

    def ending(self) -> str:
        """Why it stopped, after how many steps, and what it then was short of."""
        text = f"{self.stop_reason} after {self.steps} steps"
        return f"{text}, {' and '.join(self.unmet())}" if self.stop_reason == STEP_LIMIT else text

    def summary(self) -> str:
        rows = {
            "energy": self._per_cell_and_atom(self.energies[-1], self.energy_uncertainty),
            "energy change": f"{self._change(self.energies)} from the first step to the last",
        }
        if self.enthalpies is not None:
            enthalpy = self._per_cell_and_atom(self.enthalpies[-1], self.energy_uncertainty)
            rows["enthalpy"] = f"{enthalpy} at {self.pressure:g} GPa"
            rows["enthalpy change"] = self._change(self.enthalpies)
        rows["largest force"] = f"{self.largest_forces[-1]:.4f} eV/Å (at first {self.largest_forces[0]:.4f})"
        if self.largest_stresses is not None:
            beside = " beside the pressure" if self.pressure else ""
            first, last = self.largest_stresses[[0, -1]]
            rows["largest stress"] = f"{last:.3f} GPa{beside} (at first {first:.3f})"
            rows["volume"] = f"{self.volumes[-1]:.2f} Å³ (at first {self.volumes[0]:.2f})"
        lines = [f"{name:<16}{text}" for name, text in rows.items()]
        lines += [f"outside the training domain: {text}" for text in self.outside.values()]
        return "\n".join([f"{self.ending()}; cell {self.cell}", *lines])

    def _per_cell_and_atom(self, value: float, uncertainty: float | None) -> str:
        atoms = len(self.structure)
        if uncertainty is None:
            return f"{value:.4f} eV, {value / atoms:.4f} eV/atom"
        return f"{value:.4f} ± {uncertainty:.4f} eV, {value / atoms:.4f} ± {uncertainty / atoms:.4f} eV/atom"

    def _change(self, values: np.ndarray) -> str:
        """In meV/atom; a pressure times a volume has no spread."""
        per_atom = 1000 / len(self.structure)
        text = f"{per_atom * (values[-1] - values[0]):+.2f}"
        if self.energy_change_uncertainty is not None:
            text += f" ± {per_atom * self.energy_change_uncertainty:.2f}"
        return f"{text} meV/atom"

    def plot(self) -> Figure:
        """Energy and largest force by step."""
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        figure = Figure(figsize=(6, 4.4), layout=ConstrainedLayoutEngine())
        draw_relaxation(figure.subplots(), self)
        return figure


def relax(
    atoms: Atoms,
    *,
    cell: CellChoice = False,
    pressure: float = 0.0,
    fmax: float = 0.02,
    smax: float = 0.05,
    steps: int = 500,
) -> Relaxation:
    """Move atoms (ASE's LBFGS) until no force is larger than `fmax`; the structure given stays as it is.

    cell: False: fixed; True: lengths and angles relax as well (ASE's FrechetCellFilter); "volume": the cell keeps its
        shape; "shape": it keeps its volume; "in-plane": of a slab, the two vectors that repeat relax within their
        plane, and the open direction stays as it is, whichever of the three it is.
    pressure: GPa, external and hydrostatic, where the volume may change: what falls then is the enthalpy E + pV, and
        the cell's stress ends at -p.
    fmax: eV/A, largest force left.  smax: GPa, largest component left of the stress that may relax, beside the
        pressure, where the cell relaxes; of a slab, over its own thickness in place of the cell's height, so that the
        vacuum does not matter (`stress_left`).  steps: at most so many.

    A structure that runs away (energies not finite, fused atoms, a cell that explodes, a calculator that gives up on
    the way) is stopped and said to be so in `stop_reason`.
    Constraints of the structure hold; forces are those after constraints.
    Raises CalculatorError, DataError and StructureError before the first step.
    """
    calculator = calculator_of(atoms, "forces", *(["stress"] if cell else []))
    check_settings(atoms, cell, fmax, smax, steps, pressure)
    record = _Record(with_calculator(atoms, calculator), cell, pressure)
    # SciPy's, at every step of a cell that relaxes, about errors of 1e-13. The filter stays: put back at the end, it
    # could take those with it that another thread has set meanwhile.
    warnings.filterwarnings("ignore", message="logm result may be inaccurate", module=r"ase\.filters")
    stop_reason = _run(record, fmax, smax, steps)
    path = record.path()
    energies = member_energies(calculator, [path[0], path[-1]])
    at_end, change = None, None
    sound = not stop_reason.startswith(RUNAWAY)
    if energies is not None and sound:
        at_end = float(spread(calculator, energies[1]))
        change = float(spread(calculator, energies[1] - energies[0]))
        assert isinstance(calculator, MemberCalculator)
        calculator.annotate(path[-1])
    elif sound and (grades := grades_of(calculator, path[-1])) is not None:
        path[-1].arrays["extrapolation_grade"] = grades
    of_steps, volumes = np.array(record.energies), np.array(record.volumes)
    return Relaxation(
        path=path,
        path_steps=record.path_steps(),
        energies=of_steps,
        largest_forces=np.array(record.forces),
        largest_stresses=np.array(record.stresses) if cell else None,
        volumes=volumes,
        enthalpies=of_steps + pressure * GPa * volumes if pressure else None,
        cell=CELL_NAMES[cell],
        pressure=float(pressure),
        fmax=float(fmax),
        smax=float(smax),
        stop_reason=stop_reason,
        energy_uncertainty=at_end,
        energy_change_uncertainty=change,
        outside=outside_of(calculator, path[-1]) if sound else {},
    )


def settle(atoms: Atoms, *, fmax: float, steps: int) -> tuple[Atoms, str]:
    """Positions relaxed as by `relax`, and the stop reason, without uncertainties: for many strained copies.

    The structure has its energy and forces, not its calculator. Raises DataError for limits that make no sense.
    """
    check_settings(atoms, False, fmax, 1.0, steps)
    record = _Record(with_calculator(atoms, atoms.calc))
    stop_reason = _run(record, fmax, np.inf, steps)
    return record.path()[-1], stop_reason


def check_settings(atoms: Atoms, cell: CellChoice, fmax: float, smax: float, steps: int, pressure: float = 0.0) -> None:
    """Raise DataError or StructureError for what `relax` cannot do."""
    check_limits(cell, fmax, smax, steps, pressure)
    check_directions(atoms, cell)


def check_limits(cell: CellChoice, fmax: float, smax: float, steps: int, pressure: float = 0.0) -> None:
    """Raise DataError for settings of a relaxation that make no sense, whatever the structure."""
    check_cell(cell, pressure)
    for name, value in (("fmax", fmax), ("smax", smax)):
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"{name} must be a positive number, got {value}")
    if steps < 0:
        raise DataError(f"steps must not be negative, got {steps}")


def _run(record: _Record, fmax: float, smax: float, steps: int) -> str:
    """The stop reason."""
    moving = cell_filter(record.atoms, record.cell, record.pressure)
    record.add()  # errors of a structure that cannot be evaluated at all are the caller's
    watch = RunawayWatch(record.atoms)
    optimizer = LBFGS(moving, logfile=os.devnull, alpha=FIRST_CURVATURE)
    try:
        # The forces of the filter mix those of atoms and cell: the criterion of ASE (here: never) is not used.
        shown = step_bar(optimizer.irun(fmax=0.0, steps=steps), "relaxation", steps)
        for index, _ in enumerate(shown):
            reason = watch.reason(record.atoms, record.atoms.get_potential_energy(), record.atoms.get_forces())
            if reason is not None:
                return f"{RUNAWAY}: {reason}"
            if index > 0:
                record.add()
            shown.set_postfix_str(f"force {record.forces[-1]:.3f} eV/Å", refresh=False)
            if record.forces[-1] <= fmax and (not record.cell or record.stresses[-1] <= smax):
                return CONVERGED
    except (WaveScatError, FailedCalculation, ArithmeticError, np.linalg.LinAlgError) as error:
        return f"{RUNAWAY}: no energy after step {len(record.energies) - 1}: {error}"
    return STEP_LIMIT


class _Record:
    """What is kept of each step; of the structures only so many, evenly spaced.

    atoms: what moves; the open vector of a slab whose plane relaxes is made perpendicular to it meanwhile.
    """

    def __init__(self, atoms: Atoms, cell: CellChoice = False, pressure: float = 0.0) -> None:
        self.atoms = atoms
        self.cell = cell
        self.pressure = pressure
        self._open: tuple[int, np.ndarray] | None = None
        if cell == "in-plane":
            self._open = open_direction(atoms), atoms.cell.array[open_direction(atoms)].copy()
            atoms.set_cell(straightened(atoms), apply_constraint=False)
        self.energies: list[float] = []
        self.forces: list[float] = []
        self.stresses: list[float] = []
        self.volumes: list[float] = []
        self._frames: dict[int, Atoms] = {}
        self._every = 1
        self._last: Atoms | None = None

    def add(self) -> None:
        step = len(self.energies)
        self.energies.append(float(self.atoms.get_potential_energy()))
        self.forces.append(float(np.linalg.norm(self.atoms.get_forces(), axis=1).max()))
        self.volumes.append(float(abs(np.linalg.det(self.atoms.cell.array))))
        if self.cell:
            self.stresses.append(stress_left(self.atoms, self.cell, self.pressure))
        self._last = self._state()
        if step % self._every == 0:
            self._frames[step] = self._last
        if len(self._frames) >= MOST_FRAMES:
            self._every *= 2
            self._frames = {at: frame for at, frame in self._frames.items() if at % self._every == 0}

    def _state(self) -> Atoms:
        """With the open vector that was given, on which nothing depends."""
        state = evaluated(self.atoms)
        if self._open is not None:
            at, vector = self._open
            for copy in (state, state.calc.atoms):
                copy.cell[at] = vector
        return state

    def path_steps(self) -> list[int]:
        return sorted({*self._frames, len(self.energies) - 1})

    def path(self) -> list[Atoms]:
        assert self._last is not None
        frames = {**self._frames, len(self.energies) - 1: self._last}
        return [frames[step] for step in self.path_steps()]


def draw_relaxation(axes: Axes, relaxation: Relaxation) -> None:
    """Energy (enthalpy under pressure) above the last step, left axis, and largest force, right axis, by step."""
    name, values = "energy", relaxation.energies
    if relaxation.enthalpies is not None:
        name, values = f"enthalpy at {relaxation.pressure:g} GPa", relaxation.enthalpies
    steps = np.arange(len(values))
    gained = 1000 * (values - values[-1]) / len(relaxation.structure)
    axes.plot(steps, gained, "o-", color=BLUE, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel(f"{name} above the last step (meV/atom)", color=BLUE)
    axes.tick_params(axis="y", colors=BLUE)
    forces = axes.twinx()
    forces.plot(steps, relaxation.largest_forces, "s--", color=ORANGE, markersize=4)
    forces.set_ylim(bottom=0)
    forces.set_ylabel("largest force (eV/Å)", color=ORANGE)
    forces.tick_params(axis="y", colors=ORANGE, which="both")
    axes.set_title(f"relaxation, cell {relaxation.cell}: {relaxation.stop_reason.partition(':')[0]}")
