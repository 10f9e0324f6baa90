"""What a model says of structures unlike those it was trained on, and how often it warns of held-out ones.

    python benchmarks/robustness/domain.py [--models lisi.h5 lisi-fast.h5 lisi-linear.h5] [--json FILE]
        [--document FILE ...]

Held out: `test` and `extrapolations` of models/lisi-dft. Leaves with status 1, after writing the tables, where an
unlike structure gets no warning, but for UNTOLD, or more than two in a hundred held-out cells get one.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bcc110, bulk, diamond111

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.structure.structure import Structure
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, median_time, standard_options, table, update_documents, write_json

SILICON, LITHIUM = 5.47, 3.44  # A, edges of the cubic cells
LABELS = Path(__file__).parents[2] / "models" / "lisi-dft"
FALSE_ALARMS = 0.02
UNTOLD = {"silicon squeezed by 15 % along an edge"}
"""What lisi.h5 says nothing of: every atom is a little unlike, and its networks agree."""


def unlike_structures() -> dict[str, Atoms]:
    """Structures of Li and Si in which no model of bulk glasses should be trusted."""
    crystal = bulk("Si", "diamond", SILICON, cubic=True)
    silicon, lithium = diamond111("Si", (2, 2, 4), a=SILICON), bcc110("Li", (2, 2, 5), a=LITHIUM)
    thick = diamond111("Si", (2, 2, 12), a=SILICON)
    return {
        "silicon nanoparticle": nanoparticle(crystal),
        "Si(111) slab, open": _slab(silicon, periodic=False),
        "Si(111) slab, periodic with vacuum": _slab(silicon, periodic=True),
        "Si(111) slab of 12 layers, periodic with vacuum": _slab(thick, periodic=True),
        "Li(110) slab, open": _slab(lithium, periodic=False),
        "Li(110) slab, periodic with vacuum": _slab(lithium, periodic=True),
        "fcc silicon": bulk("Si", "fcc", 3.87, cubic=True),
        "bcc silicon": bulk("Si", "bcc", 3.09, cubic=True),
        "simple cubic silicon": bulk("Si", "sc", 2.53),
        "silicon squeezed by 15 % along an edge": squeezed(crystal),
        "silicon squeezed by 15 % along a vector of its primitive cell": squeezed(bulk("Si", "diamond", SILICON)),
        "a-Li55Si18, half of the atoms taken out": half(shipped_structure()),
        "diamond silicon, half of the atoms taken out": half(crystal.repeat(2)),
        "bcc lithium, half of the atoms taken out": half(bulk("Li", "bcc", LITHIUM, cubic=True).repeat(3)),
        "Si2, alone": Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]]),
        "Li2, alone": Atoms("Li2", positions=[[0, 0, 0], [0, 0, 2.7]]),
        "LiSi, alone": Atoms("LiSi", positions=[[0, 0, 0], [0, 0, 2.4]]),
    }


def nanoparticle(crystal: Atoms, radius: float = 8.0) -> Atoms:
    """The atoms within the radius (A) of the middle of a crystal, alone."""
    block = crystal.repeat(4)
    block.positions -= block.positions.mean(axis=0)
    particle = block[np.linalg.norm(block.positions, axis=1) < radius]
    particle.pbc, particle.cell = False, None
    return particle


def squeezed(crystal: Atoms, share: float = 0.85) -> Atoms:
    """The first cell vector made shorter."""
    strained = crystal.copy()
    strained.set_cell(np.diag([share, 1, 1]) @ crystal.cell.array, scale_atoms=True)
    return strained


def half(structure: Atoms, seed: int = 0) -> Atoms:
    """Every other atom taken out at random."""
    kept = np.random.default_rng(seed).permutation(len(structure))[: len(structure) // 2]
    return structure[np.sort(kept)]


def _slab(layers: Atoms, *, periodic: bool) -> Atoms:
    slab = layers.copy()
    slab.center(vacuum=8.0, axis=2)
    slab.pbc = (True, True, periodic)
    return slab


def judge(calculator: WaveScatCalculator, atoms: Atoms) -> dict[str, Any]:
    """What the model says of a structure: kinds, largest grade, spread in meV/atom."""
    return {
        "outside": list(calculator.get_domain_messages(atoms)),
        "grade": float(calculator.get_extrapolation_grades(atoms).max()),
        "spread": 1000 * calculator.get_energy_uncertainty(atoms) / len(atoms),
    }


def held_out() -> list[Atoms]:
    return [atoms for name in ("test", "extrapolations") for atoms in structures_of(LABELS / f"{name}.extxyz.xz")]


def share_of_call(model: str) -> float:
    """Time of the atoms' grades over that of a step of dynamics (energy, forces, stress, domain), 64 atoms."""
    calculator = WaveScatCalculator(model)
    atoms = glass()
    environments = calculator.model.domain.environments

    def step() -> None:
        atoms.rattle(1e-3)
        calculator.calculate(atoms, ["forces"])

    return median_time(lambda: environments.grades(Structure.from_atoms(atoms))) / median_time(step)


def report(model: str, figures: dict[str, Any]) -> str:
    rows = [
        [name, f"{one['grade']:.2f}", f"{one['spread']:.3g}", ", ".join(one["outside"]) or "nothing"]
        for name, one in figures["unlike"].items()
    ]
    unlike = table([model, "largest grade", "spread, meV/atom", "outside in"], rows)
    kinds = ", ".join(f"{kind} {count}" for kind, count in figures["kinds"].items()) or "none"
    return (
        f"{unlike}\n\nOf {figures['cells']} held-out cells {figures['warned']} get a warning ({kinds}); their largest"
        f" grade is {figures['grade']:.2f}, their largest spread {figures['spread']:.3g} meV/atom, where"
        f" {figures['typical_spread']:.2g} is typical of cells that were held out in training. The grades take"
        f" {100 * figures['share']:.0f} % of a step of dynamics."
    )


def measure(model: str) -> dict[str, Any]:
    calculator = WaveScatCalculator(model)
    cells = [judge(calculator, atoms) for atoms in held_out()]
    return {
        "unlike": {name: judge(calculator, atoms) for name, atoms in unlike_structures().items()},
        "cells": len(cells),
        "warned": sum(bool(cell["outside"]) for cell in cells),
        "kinds": dict(Counter(kind for cell in cells for kind in cell["outside"])),
        "grade": max(cell["grade"] for cell in cells),
        "spread": max(cell["spread"] for cell in cells),
        "typical_spread": 1000 * calculator.model.domain.typical_spread,
        "share": share_of_call(model),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lisi.h5", "lisi-fast.h5", "lisi-linear.h5"])
    standard_options(parser, "domain")
    chosen = parser.parse_args()
    figures = {model: measure(model) for model in chosen.models}
    text = "\n\n".join([machine(), *(report(model, found) for model, found in figures.items())])
    print(text)
    write_json(chosen.json, figures)
    update_documents(chosen.document, "domain", text)
    missed = [
        f"{model}: {name}" for model, found in figures.items() for name, one in found["unlike"].items()
        if not one["outside"] and name not in UNTOLD
    ]  # fmt: skip
    loud = [model for model, found in figures.items() if found["warned"] > FALSE_ALARMS * found["cells"]]
    if missed or loud:
        raise SystemExit(f"no warning of: {', '.join(missed)}; too many of held-out cells by: {', '.join(loud)}")


if __name__ == "__main__":
    main()
