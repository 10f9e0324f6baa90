"""Calls of a calculator until glasses are relaxed, by optimizer: why `relax` uses the one it does.

    python benchmarks/optimizers.py [FOLDER] [--json FILE] [--document FILE ...]

FOLDER holds md.extxyz.xz, snapshots of amorphous Li-Si from dynamics; four of them, lithium-rich to silicon-rich.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.optimize import BFGS, FIRE, FIRE2, LBFGS, BFGSLineSearch
from ase.optimize.precon import Exp, PreconLBFGS
from common import machine, standard_options, table, update_documents, write_json

from ase_wavescat import WaveScatCalculator
from ase_wavescat.structure_files import structures_of
from ase_wavescat.workflows.relaxation import FIRST_CURVATURE, relax

FRAMES = (400, 250, 120, 3)
FORCE = 0.02
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


class Counting(WaveScatCalculator):
    """Counts its calls."""

    calls = 0

    def calculate(self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes):
        self.calls += 1
        super().calculate(atoms, properties, system_changes)


def calls_by_relax(atoms: Atoms) -> tuple[int, float]:
    """Calls, and energy reached (eV/atom)."""
    moving = atoms.copy()
    moving.calc = calculator = Counting("lisi.h5")
    result = relax(moving, fmax=FORCE, steps=MOST)
    return calculator.calls, float(result.energies[-1]) / len(atoms)


def calls_by(make: Callable[[Atoms], Any], atoms: Atoms) -> tuple[int, float]:
    moving = atoms.copy()
    moving.calc = calculator = Counting("lisi.h5")
    make(moving).run(fmax=FORCE, steps=MOST)
    return calculator.calls, float(moving.get_potential_energy()) / len(atoms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/lisi-ann"))
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
    rows = []
    for name, found in results.items():
        calls, energies = np.array(found).T
        lowest = ", ".join(f"{energy:.4f}" for energy in energies)
        rows.append([name, ", ".join(map(str, calls.astype(int))), int(calls.sum()), lowest])
    formulas = ", ".join(atoms.get_chemical_formula() for atoms in glasses)
    text = table([f"optimizer of ASE; {formulas}", "calls for each glass", "sum", "eV/atom at the end"], rows)
    print(text)
    write_json(chosen.json, {"frames": FRAMES, "force": FORCE, "calls_and_energies": results})
    update_documents(chosen.document, "optimizers", text)


if __name__ == "__main__":
    main()
