"""Repeated cells: what a calculator says of the same structure, and of one disturbed, in cells of growing size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.units import GPa

from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.workflows.checks import calculator_of, evaluated, private
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Repeat = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tiling(Result):
    """One row (T of them) for each repetition of the cell.

    exact, perturbed: the tiled structures, as they are and with every coordinate moved.
    repeats: (T, 3) copies along the cell vectors.
    atoms: (T,) atoms.
    amplitude: A, standard deviation of the movement of each coordinate.
    seed: of the movement.
    energies: (T,) eV/atom of the exact copies.
    energy_change: (T,) meV/atom, from the cell as given; 0 for a calculator whose energy is extensive.
    force_change: (T,) eV/A, largest deviation of a force component from that of the atom's original.
    stress_change: (T,) GPa, largest deviation of a stress component; None for a calculator without stress.
    cost: (T,) eV/atom, energy of the perturbed copies above the exact ones.
    cost_spread: (T,) eV/atom, calibrated spread over members; None without members.
    cost_error: (T,) meV/atom, cost less that of the reference calculator, which does not depend on the two
        calculators' zeros of energy; None without a reference.
    seconds: (T,) for energy and forces of a perturbed copy.
    """

    exact: list[Atoms]
    perturbed: list[Atoms]
    repeats: np.ndarray
    atoms: np.ndarray
    amplitude: float
    seed: int
    energies: np.ndarray
    energy_change: np.ndarray
    force_change: np.ndarray
    stress_change: np.ndarray | None
    cost: np.ndarray
    cost_spread: np.ndarray | None
    cost_error: np.ndarray | None
    seconds: np.ndarray

    @property
    def structures(self) -> list[Atoms]:
        """The exact copies, then the perturbed ones."""
        return [*self.exact, *self.perturbed]

    def summary(self) -> str:
        lines = [f"exact copies against the cell as given; coordinates moved by {self.amplitude} Å (seed {self.seed})"]
        for row, repeat in enumerate(self.repeats):
            text = (
                f"{'x'.join(map(str, repeat))}  {self.atoms[row]:5d} atoms  energy {self.energy_change[row]:+.1e}"
                f" meV/atom  forces {self.force_change[row]:.1e} eV/Å"
            )
            if self.stress_change is not None:
                text += f"  stress {self.stress_change[row]:.1e} GPa"
            text += f"  moved {1e3 * self.cost[row]:+.2f}"
            if self.cost_spread is not None:
                text += f" ± {1e3 * self.cost_spread[row]:.2f}"
            if self.cost_error is not None:
                text += f" (error {self.cost_error[row]:+.2f})"
            lines.append(f"{text} meV/atom  {self.seconds[row]:.3f} s")
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Left: what the movement costs, by size; right: seconds, by size."""
        from matplotlib.figure import Figure

        from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        errors = None if self.cost_spread is None else 1e3 * self.cost_spread
        left.errorbar(
            self.atoms, 1e3 * self.cost, yerr=errors, fmt="o", color=BLUE, ecolor=GREY, capsize=3, label="cost"
        )
        if self.cost_error is not None:
            left.plot(self.atoms, 1e3 * self.cost - self.cost_error, "s", color=ORANGE, label="reference")
            left.legend(frameon=False)
        left.set_ylabel(f"cost of moving coordinates by {self.amplitude} Å (meV/atom)")
        right.loglog(self.atoms, self.seconds, "o-", color=BLUE)
        right.set_ylabel("energy and forces (s)")
        for axes in (left, right):
            axes.set_xlabel("atoms")
        return figure


def tiling(
    atoms: Atoms,
    *,
    repeats: Sequence[Repeat] = ((1, 1, 1), (2, 1, 1), (2, 2, 2)),
    amplitude: float = 0.1,
    seed: int = 0,
    reference: BaseCalculator | None = None,
) -> Tiling:
    """Energies, forces and stress of repeated cells, exact and disturbed; the structure given stays as it is.

    Exact copies have the energy per atom, the forces and the stress of the original. Disturbed ones, every coordinate
    moved by a normal random number (Sinz et al. 2020: 0.1 A), are new structures, larger than any seen in training.

    repeats: copies along the three cell vectors; 1 along directions that do not repeat.
    amplitude: A, standard deviation of each coordinate's movement.
    reference: a calculator to compare the cost of the movement with.
    Raises CalculatorError and DataError before any work.
    """
    calculator = calculator_of(atoms, "forces")
    _check(atoms, calculator, repeats, amplitude, seed)
    original = _evaluated(_tiled(atoms, (1, 1, 1)), calculator)
    rng = np.random.default_rng(seed)
    exact, perturbed, seconds = [], [], []
    for repeat in repeats:
        copies = _evaluated(_tiled(atoms, repeat), calculator)
        moved = copies.copy()
        moved.positions += rng.normal(scale=amplitude, size=moved.positions.shape)
        start = time.perf_counter()
        moved = _evaluated(moved, calculator)
        seconds.append(time.perf_counter() - start)
        exact.append(copies)
        perturbed.append(moved)
    counts = np.array([len(copies) for copies in exact])
    energies = np.array([copies.get_potential_energy() for copies in exact]) / counts
    cost = np.array([moved.get_potential_energy() for moved in perturbed]) / counts - energies
    return Tiling(
        exact=exact,
        perturbed=perturbed,
        repeats=np.array(repeats, dtype=int),
        atoms=counts,
        amplitude=amplitude,
        seed=seed,
        energies=energies,
        energy_change=1e3 * (energies - original.get_potential_energy() / len(atoms)),
        force_change=np.array([_force_change(original, copies) for copies in exact]),
        stress_change=_stress_changes(original, exact),
        cost=cost,
        cost_spread=_cost_spread(calculator, exact, perturbed),
        cost_error=None if reference is None else 1e3 * (cost - _costs(private(reference), exact, perturbed)),
        seconds=np.array(seconds),
    )


def _check(atoms: Atoms, calculator: BaseCalculator, repeats: Sequence[Repeat], amplitude: float, seed: int) -> None:
    if (getattr(calculator, "parameters", None) or {}).get("reference_cell") is not None:
        raise CalculatorError(
            "the calculator's reference_cell fixes the grids of one cell, and repeated cells need their own; set it to"
            " None"
        )
    if seed < 0:
        raise DataError(f"the seed must not be negative, got {seed}")
    if not repeats:
        raise DataError("there are no repeats; give at least one, as (2, 1, 1)")
    for repeat in repeats:
        if np.shape(repeat) != (3,) or any(number != number // 1 or number < 1 for number in repeat):
            raise DataError(f"repeats are three positive whole numbers each, as (2, 1, 1), got {repeat}")
        if any(number > 1 and not periodic for number, periodic in zip(repeat, atoms.pbc, strict=True)):
            raise DataError(
                f"{tuple(repeat)} repeats a direction that does not repeat itself: pbc = {atoms.pbc.tolist()}"
            )
    if not (np.isfinite(amplitude) and amplitude >= 0):
        raise DataError(f"the amplitude must be a length in A, not negative, got {amplitude}")


def _tiled(atoms: Atoms, repeat: Repeat) -> Atoms:
    """Copies without the constraints, velocities and other baggage of the original."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return bare.repeat(tuple(map(int, repeat)))


def _evaluated(atoms: Atoms, calculator: BaseCalculator) -> Atoms:
    """With energy and forces, and the stress where the calculator has it."""
    atoms.calc = calculator
    atoms.get_forces()
    atoms.get_potential_energy()
    if "stress" in calculator.implemented_properties and atoms.pbc.all():
        atoms.get_stress()
    return evaluated(atoms)


def _force_change(original: Atoms, copies: Atoms) -> float:
    """Largest deviation, eV/A; `Atoms.repeat` puts whole copies one after another."""
    forces = copies.get_forces().reshape(-1, len(original), 3)
    return float(np.abs(forces - original.get_forces()).max())


def _stress_changes(original: Atoms, exact: Sequence[Atoms]) -> np.ndarray | None:
    if "stress" not in original.calc.results:
        return None
    return np.array([np.abs(copies.get_stress() - original.get_stress()).max() / GPa for copies in exact])


def _cost_spread(calculator: BaseCalculator, exact: Sequence[Atoms], perturbed: Sequence[Atoms]) -> np.ndarray | None:
    before, after = member_energies(calculator, exact), member_energies(calculator, perturbed)
    if before is None or after is None:
        return None
    counts = np.array([len(copies) for copies in exact])
    return spread(calculator, (after - before) / counts[:, None])


def _costs(calculator: BaseCalculator, exact: Sequence[Atoms], perturbed: Sequence[Atoms]) -> np.ndarray:
    """(T,) eV/atom."""
    costs = []
    for copies, moved in zip(exact, perturbed, strict=True):
        costs.append((calculator.get_potential_energy(moved) - calculator.get_potential_energy(copies)) / len(copies))
    return np.array(costs)
