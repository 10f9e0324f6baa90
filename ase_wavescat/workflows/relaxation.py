"""Relaxation of positions, or of positions and cell, with a stop that is never silent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError as FailedCalculation
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.optimize import LBFGS
from ase.units import GPa

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.errors import DataError, StructureError, WaveScatError
from ase_wavescat.plotting import BLUE, ORANGE
from ase_wavescat.progress import step_bar
from ase_wavescat.workflows.checks import calculator_of, evaluated, with_calculator
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

CellChoice = bool | Literal["volume"]
_CELL_NAMES: dict[CellChoice, str] = {False: "fixed", True: "free", "volume": "volume"}


@dataclass(frozen=True, eq=False)
class Relaxation(Result):
    """A relaxation by steps; step 0 is the structure as given.

    path: at most fifty states, evenly thinned, the first and the last among them, with energy and forces (and stress
        where the cell relaxes).
    path_steps: the step of each of them.
    energies: (steps + 1,) eV, whole cell.
    largest_forces: (steps + 1,) eV/A, length of the largest force on an atom.
    largest_stresses: (steps + 1,) GPa, largest component (of the pressure, where only the volume relaxes); None where
        the cell is fixed.
    volumes: (steps + 1,) A^3.
    cell: "fixed", "volume" or "free".
    stop_reason: "converged", "step limit", or "runaway: ..." with what went wrong; the last state before it is kept.
    energy_uncertainty: eV, whole cell, calibrated spread over members at the end; None without members. The last
        structure then carries it in info["energy_uncertainty"], that of the forces in arrays["forces_uncertainty"].
    energy_change_uncertainty: eV, the same for the energy at the end less that at the start.
    """

    path: list[Atoms]
    path_steps: list[int]
    energies: np.ndarray
    largest_forces: np.ndarray
    largest_stresses: np.ndarray | None
    volumes: np.ndarray
    cell: str
    stop_reason: str
    energy_uncertainty: float | None
    energy_change_uncertainty: float | None

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
        return {".traj": lambda place: write(place, self.path, format="traj")}

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

    def summary(self) -> str:
        atoms = len(self.structure)
        change = 1000 * (self.energies[-1] - self.energies[0]) / atoms
        spread = self.energy_change_uncertainty
        lines = [
            f"{self.stop_reason} after {self.steps} steps, cell {self.cell}",
            f"energy         {self.energies[-1]:.4f} eV, {change:+.2f} meV/atom"
            + ("" if spread is None else f" ± {1000 * spread / atoms:.2f}"),
            f"largest force  {self.largest_forces[-1]:.4f} eV/Å (at first {self.largest_forces[0]:.4f})",
        ]
        if self.largest_stresses is not None:
            lines.append(
                f"largest stress {self.largest_stresses[-1]:.3f} GPa (at first {self.largest_stresses[0]:.3f})"
            )
            lines.append(f"volume         {self.volumes[-1]:.2f} Å³ (at first {self.volumes[0]:.2f})")
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Energy and largest force by step."""
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        figure = Figure(figsize=(6, 4.4), layout=ConstrainedLayoutEngine())
        draw_relaxation(figure.subplots(), self)
        return figure


def relax(
    atoms: Atoms, *, cell: CellChoice = False, fmax: float = 0.02, smax: float = 0.05, steps: int = 500
) -> Relaxation:
    """Move atoms (ASE's LBFGS) until no force is larger than `fmax`; the structure given stays as it is.

    cell: False: fixed; True: lengths and angles relax as well (ASE's FrechetCellFilter); "volume": the cell keeps its
        shape.
    fmax: eV/A.  smax: GPa, largest stress component left where the cell relaxes.  steps: at most so many.

    A structure that runs away (energies not finite, fused atoms, a cell that explodes, a calculator that gives up on
    the way) is stopped and said to be so in `stop_reason`.
    Constraints of the structure hold; forces are those after constraints.
    Raises CalculatorError, DataError and StructureError before the first step.
    """
    calculator = calculator_of(atoms, "forces", *(["stress"] if cell else []))
    check_settings(atoms, cell, fmax, smax, steps)
    record = _Record(with_calculator(atoms, calculator), cell)
    with warnings.catch_warnings():
        # SciPy's, at every step of a cell that relaxes, about errors of 1e-13
        warnings.filterwarnings("ignore", message="logm result may be inaccurate")
        stop_reason = _run(record, fmax, smax, steps)
    path = record.path()
    energies = member_energies(calculator, [path[0], path[-1]])
    at_end, change = None, None
    if energies is not None and not stop_reason.startswith(RUNAWAY):
        at_end = float(spread(calculator, energies[1]))
        change = float(spread(calculator, energies[1] - energies[0]))
        assert isinstance(calculator, WaveScatCalculator)
        calculator.annotate(path[-1])
    return Relaxation(
        path=path,
        path_steps=record.path_steps(),
        energies=np.array(record.energies),
        largest_forces=np.array(record.forces),
        largest_stresses=np.array(record.stresses) if cell else None,
        volumes=np.array(record.volumes),
        cell=_CELL_NAMES[cell],
        stop_reason=stop_reason,
        energy_uncertainty=at_end,
        energy_change_uncertainty=change,
    )


def settle(atoms: Atoms, *, fmax: float, steps: int) -> tuple[Atoms, str]:
    """Positions relaxed as by `relax`, and the stop reason, without uncertainties: for many strained copies.

    The structure has its energy and forces, not its calculator. Raises DataError for limits that make no sense.
    """
    check_settings(atoms, False, fmax, 1.0, steps)
    record = _Record(with_calculator(atoms, atoms.calc), False)
    stop_reason = _run(record, fmax, np.inf, steps)
    return record.path()[-1], stop_reason


def check_settings(atoms: Atoms, cell: CellChoice, fmax: float, smax: float, steps: int) -> None:
    """Raise DataError or StructureError for what `relax` cannot do."""
    if cell and not atoms.pbc.all():
        raise StructureError(
            f"a cell can relax where all directions repeat, got pbc = {atoms.pbc.tolist()}; leave the cell fixed"
        )
    check_limits(cell, fmax, smax, steps)


def check_limits(cell: CellChoice, fmax: float, smax: float, steps: int) -> None:
    """Raise DataError for limits of a relaxation that make no sense."""
    if cell not in _CELL_NAMES:
        raise DataError(f"cell must be False, True or 'volume', got {cell!r}")
    for name, value in (("fmax", fmax), ("smax", smax)):
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"{name} must be a positive number, got {value}")
    if steps < 0:
        raise DataError(f"steps must not be negative, got {steps}")


def _run(record: _Record, fmax: float, smax: float, steps: int) -> str:
    """The stop reason."""
    moving: Any = record.atoms
    if record.cell:
        # ASE's default, the number of atoms, leaves the cell far softer than the atoms: its curvature is that of a
        # bulk modulus times the volume, so with the square root both are alike for any size.
        factor = float(np.sqrt(len(record.atoms)))
        moving = FrechetCellFilter(record.atoms, hydrostatic_strain=record.cell == "volume", exp_cell_factor=factor)
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
    """What is kept of each step; of the structures only so many, evenly spaced."""

    def __init__(self, atoms: Atoms, cell: CellChoice) -> None:
        self.atoms = atoms
        self.cell = cell
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
            stress = self.atoms.get_stress() / GPa
            left = abs(stress[:3].mean()) if self.cell == "volume" else np.abs(stress).max()
            self.stresses.append(float(left))
        self._last = evaluated(self.atoms)
        if step % self._every == 0:
            self._frames[step] = self._last
        if len(self._frames) >= MOST_FRAMES:
            self._every *= 2
            self._frames = {at: frame for at, frame in self._frames.items() if at % self._every == 0}

    def path_steps(self) -> list[int]:
        return sorted({*self._frames, len(self.energies) - 1})

    def path(self) -> list[Atoms]:
        assert self._last is not None
        frames = {**self._frames, len(self.energies) - 1: self._last}
        return [frames[step] for step in self.path_steps()]


def draw_relaxation(axes: Axes, relaxation: Relaxation) -> None:
    """Energy above the last step (left axis) and largest force (right axis) by step."""
    steps = np.arange(len(relaxation.energies))
    gained = 1000 * (relaxation.energies - relaxation.energies[-1]) / len(relaxation.structure)
    axes.plot(steps, gained, "o-", color=BLUE, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("energy above the last step (meV/atom)", color=BLUE)
    axes.tick_params(axis="y", colors=BLUE)
    forces = axes.twinx()
    forces.plot(steps, relaxation.largest_forces, "s--", color=ORANGE, markersize=4)
    forces.set_ylim(bottom=0)
    forces.set_ylabel("largest force (eV/Å)", color=ORANGE)
    forces.tick_params(axis="y", colors=ORANGE, which="both")
    axes.set_title(f"relaxation, cell {relaxation.cell}: {relaxation.stop_reason.partition(':')[0]}")
