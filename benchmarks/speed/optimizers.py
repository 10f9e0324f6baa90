"""Calls of a calculator until glasses are relaxed, by optimizer: why `relax` uses the one it does.

    python benchmarks/speed/optimizers.py FOLDER [--json FILE] [--document FILE ...]

FOLDER holds md.extxyz.xz, snapshots of amorphous Li-Si from dynamics; four of them, lithium-rich to silicon-rich.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, FIRE2, LBFGS, BFGSLineSearch
from ase.optimize.precon import Exp, PreconLBFGS
from ase.units import GPa

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.workflows.relaxation import FIRST_CURVATURE, relax

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

FRAMES = (400, 250, 120, 3)
FORCE, STRESS = 0.02, 0.05  # eV/A, GPa
MOST = 1000
OPTIMIZERS: dict[str, Callable[[Atoms], Any]] = {
    "LBFGS, curvature 12 eV/Å²": lambda atoms: LBFGS(atoms, logfile=os.devnull, alpha=12.0),
    "LBFGS, 25": lambda atoms: LBFGS(atoms, logfile=os.devnull, alpha=25.0),
    "LBFGS, 70, ASE's default": lambda atoms: LBFGS(atoms, logfile=os.devnull),
    "FIRE2": lambda atoms: FIRE2(atoms, logfile=os.devnull),
    "FIRE": lambda atoms: FIRE(atoms, logfile=os.devnull),
    "BFGSLineSearch": lambda atoms: BFGSLineSearch(atoms, logfile=os.devnull),
    "BFGS": lambda atoms: BFGS(atoms, logfile=os.devnull),
    "PreconLBFGS, Exp": lambda atoms: PreconLBFGS(atoms, precon=Exp(), logfile=os.devnull),
}

CELLS = {
    "LBFGS, 7, strain as N Å": (7.0, 1.0),
    "LBFGS, 70, √N": (70.0, 0.5),
    "LBFGS, 70, N, ASE's defaults": (70.0, 1.0),
}


class Counting(WaveScatCalculator):
    """Counts its calls."""

    calls = 0

    def calculate(self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes):
        self.calls += 1
        super().calculate(atoms, properties, system_changes)


def calls_by_relax(atoms: Atoms, cell: bool = False) -> tuple[int, float]:
    """Calls, and energy reached (eV/atom)."""
    moving = atoms.copy()
    moving.calc = calculator = Counting("lisi-linear.h5")
    result = relax(moving, cell=cell, fmax=FORCE, smax=STRESS, steps=MOST)
    return calculator.calls, float(result.energies[-1]) / len(atoms)


def calls_with_free_cell(curvature: float, power: float, atoms: Atoms) -> tuple[int, float]:
    """The same for LBFGS on atoms and cell, the strain counted as N^power A, until the limits of `relax` are met."""
    moving = atoms.copy()
    moving.calc = calculator = Counting("lisi-linear.h5")
    both: Any = FrechetCellFilter(moving, exp_cell_factor=len(atoms) ** power)
    for _ in LBFGS(both, logfile=os.devnull, alpha=curvature).irun(fmax=0.0, steps=MOST):
        force = np.linalg.norm(moving.get_forces(), axis=1).max()
        if force <= FORCE and np.abs(moving.get_stress()).max() <= STRESS * GPa:
            break
    return calculator.calls, float(moving.get_potential_energy()) / len(atoms)


def calls_by(make: Callable[[Atoms], Any], atoms: Atoms) -> tuple[int, float]:
    moving = atoms.copy()
    moving.calc = calculator = Counting("lisi-linear.h5")
    make(moving).run(fmax=FORCE, steps=MOST)
    return calculator.calls, float(moving.get_potential_energy()) / len(atoms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of md.extxyz.xz")
    standard_options(parser, "optimizers")
    chosen = parser.parse_args()
    print(machine())
    frames = structures_of(chosen.folder / "md.extxyz.xz")
    glasses = [frames[index] for index in FRAMES]
    for atoms in glasses:
        atoms.calc = None
    results = {f"relax: LBFGS, {FIRST_CURVATURE:g}": [calls_by_relax(atoms) for atoms in glasses]}
    for name, make in OPTIMIZERS.items():
        results[name] = [calls_by(make, atoms) for atoms in glasses]
        print(name, results[name], flush=True)
    cells = {f"relax: LBFGS, {FIRST_CURVATURE:g}, √N": [calls_by_relax(atoms, cell=True) for atoms in glasses]}
    for name, (curvature, power) in CELLS.items():
        cells[name] = [calls_with_free_cell(curvature, power, atoms) for atoms in glasses]
        print(name, cells[name], flush=True)
    formulas = ", ".join(atoms.get_chemical_formula() for atoms in glasses)
    text = f"{table_of(formulas, results)}\n\nCell free, largest stress {STRESS:g} GPa:\n\n{table_of(formulas, cells)}"
    print(text)
    limits = {"frames": FRAMES, "force": FORCE, "stress": STRESS}
    write_json(chosen.json, {**limits, "calls_and_energies": results, "cell_free": cells})
    update_documents(chosen.document, "optimizers", text)


def table_of(formulas: str, results: dict[str, list[tuple[int, float]]]) -> str:
    rows = []
    for name, found in results.items():
        calls, energies = zip(*found, strict=True)
        lowest = ", ".join(f"{energy:.4f}" for energy in energies)
        rows.append([name, ", ".join(map(str, calls)), sum(calls), lowest])
    return table([f"optimizer of ASE; {formulas}", "calls for each glass", "sum", "eV/atom at the end"], rows)


if __name__ == "__main__":
    main()
