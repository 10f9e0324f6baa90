"""A walk from basin to basin of the energy of a cell, of which every state is a file that need not be made again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from scipy.optimize import OptimizeResult, basinhopping

from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.structures import structures_of, without_results
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.checks import fresh, with_calculator
from ase_wavescat.workflows.generation import CLOSEST, push_apart
from ase_wavescat.workflows.random_cells import RandomCells
from ase_wavescat.workflows.relaxation import CONVERGED, check_limits, relax
from ase_wavescat.workflows.screening.jobs import CalculatorSource

JUMP = 0.5
"""A, standard deviation of each coordinate's change in a move."""
STRAIN = 0.08
"""Standard deviation of each component of a move's strain."""
EXCHANGES = 0.5
"""Share of moves in which two atoms of different elements change places."""
FAILED = "failed"
"""How the stop reason of a state begins that the calculator could not relax at all."""


@dataclass(frozen=True)
class WalkSettings:
    """Limits of the relaxations, see `relax`: eV/A, GPa, and at most so many steps."""

    fmax: float
    smax: float
    steps: int

    def __post_init__(self) -> None:
        check_limits(True, self.fmax, self.smax, self.steps)


@dataclass(frozen=True)
class Walk:
    """From a random cell by number, relaxed, over `moves`; call it with the number, it returns the states' files.

    SciPy's `basinhopping` at temperature 0: from each state the next is tried by a random move, and the lower of the
    two is gone on from. A walk whose random cell runs away or fails ends there.
    """

    cells: RandomCells
    settings: WalkSettings
    source: CalculatorSource
    folder: Path
    moves: int

    def __call__(self, index: int) -> list[Path]:
        course = _Course(self, index)
        first = course.relaxed(self.cells.cell(index))
        if self.moves and not first.info["stop_reason"].startswith((FAILED, "runaway")):
            course.go_on(first)
        return course.files


class _Course:
    """The states of one walk, as far as it has come."""

    def __init__(self, walk: Walk, index: int) -> None:
        self.files: list[Path] = []
        self._walk, self._index = walk, index
        self._generator = np.random.default_rng([walk.cells.seed, index, 1])
        self._calculator: Any = None

    def go_on(self, first: Atoms) -> None:
        """All moves from the first state."""
        given = [first]

        def minimum(function: Any, place: np.ndarray, **options: Any) -> OptimizeResult:
            state = given.pop() if given else self.relaxed(_structure(place, first))
            converged = state.info["stop_reason"] == CONVERGED
            energy = state.get_potential_energy() if converged else np.inf
            return OptimizeResult(x=_place(state), fun=energy, success=converged)

        def moved(place: np.ndarray) -> np.ndarray:
            return _place(_moved(_structure(place, first), self._generator))

        basinhopping(
            _no_value, _place(first), niter=self._walk.moves, T=0.0, take_step=moved,
            minimizer_kwargs={"method": minimum},
        )  # fmt: skip

    def relaxed(self, start: Atoms) -> Atoms:
        """The next state, as its file has it: read where it is there, else relaxed and written."""
        formula, move = start.get_chemical_formula(), len(self.files)
        name = f"{self._index:04d}-{formula}-{move}"
        file = self._walk.folder / f"{name}.extxyz"
        if not file.exists():
            state = self._relax(start)
            group = start.info["space_group"]
            state.info |= {"name": name, "walk": self._index, "move": move, "space_group": group}
            with atomic_path(file) as temporary:
                write_extended_xyz(temporary, [state])
        self.files.append(file)
        return structures_of(file)[0]

    def _relax(self, start: Atoms) -> Atoms:
        """Whatever goes wrong with a state is in its stop reason: none ends a search."""
        if self._calculator is None:
            self._calculator = self._walk.source.make()
        limits = self._walk.settings
        moving = with_calculator(start, fresh(self._calculator))
        try:
            done = relax(moving, cell=True, fmax=limits.fmax, smax=limits.smax, steps=limits.steps)
        except Exception as error:  # of any calculator
            failed = without_results(start)
            failed.info |= {"stop_reason": f"{FAILED}: {error or type(error).__name__}", "outside": "no"}
            return failed
        state = done.structure
        state.info |= {"stop_reason": done.stop_reason, "outside": " ".join(done.outside) or "no"}
        return state


def _no_value(place: np.ndarray) -> float:
    """What `basinhopping` asks a function for, its minimiser finds without."""
    return np.nan


def _place(atoms: Atoms) -> np.ndarray:
    """(9 + 3N,): the cell (A), then fractional positions."""
    return np.concatenate([atoms.cell.array.ravel(), atoms.get_scaled_positions().ravel()])


def _structure(place: np.ndarray, like: Atoms) -> Atoms:
    """The structure at a place, of the atoms of another."""
    cell, positions = place[:9].reshape(3, 3), place[9:].reshape(-1, 3)
    info = {"space_group": like.info["space_group"]}
    return Atoms(like.numbers, scaled_positions=positions, cell=cell, pbc=True, info=info)


def _moved(atoms: Atoms, generator: np.random.Generator) -> Atoms:
    """Strained and rattled, perhaps with two atoms exchanged, and no two too close."""
    strain = STRAIN * generator.standard_normal((3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    if generator.random() < EXCHANGES and len(set(atoms.numbers)) > 1:
        first = generator.integers(len(atoms))
        second = generator.choice(np.flatnonzero(atoms.numbers != atoms.numbers[first]))
        atoms.positions[[first, second]] = atoms.positions[[second, first]]
    atoms.positions += JUMP * generator.standard_normal(atoms.positions.shape)
    with suppress(DataError):  # no room in a state that is denser than random cells: the relaxation makes some
        push_apart(atoms, CLOSEST)
    return atoms
