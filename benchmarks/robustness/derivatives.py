"""Derivatives of every family against central differences of several steps: the best step's relative error.

    python benchmarks/robustness/derivatives.py [--json FILE] [--document FILE ...]

Random weights of standardised size on all features of a family; one random displacement of all atoms, one random
strain. "passes" is the largest relative difference between reverse, tangent and, where there is one, Jacobian pass.
The papers' moduli (epsilon = 0) have kinks wherever a field crosses zero, which limits their differences, not their
derivatives. Moduli have two of their scales, `brumwell2018` n <= 3. Molecule, wire and slab: differences in the box
that was made for them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from boundaries import small_preset

from ase_wavescat.representation import Moduli, ScatteringSpec
from ase_wavescat.representation.presets import PRESETS
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, standard_options, table, update_documents, write_json

STEPS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)


def structures() -> dict[str, Structure]:
    rng = np.random.default_rng(2)
    triclinic = glass(atoms=8, lithium=0.6)
    triclinic.set_cell(triclinic.cell.array + rng.uniform(-1.0, 1.0, (3, 3)), scale_atoms=True)
    small = np.array([[2.0, 0, 0], [0.1, 2.1, 0], [0.2, -0.1, 1.9]])
    long = np.diag([2.2, 2.4, 44.0])
    numbers = np.where(np.arange(18) % 3 == 1, 14, 3)
    eight = triclinic.cell.array, triclinic.positions, triclinic.numbers
    four = triclinic.cell.array, triclinic.positions[:4], triclinic.numbers[:4]
    return {
        "triclinic": Structure(*eight),
        "one atom, 2 A": Structure(small, np.array([[0.3, 0.2, 0.1]]), np.array([3])),
        "20:1": Structure(long, rng.random((18, 3)) @ long, numbers),
        "molecule": Structure(*four, (False, False, False)),
        "triclinic wire": Structure(*four, (False, True, False)),
        "triclinic slab": Structure(*four, (True, False, True)),
    }


def specs(references: list[Structure]) -> dict[str, ScatteringSpec]:
    """The presets, those of moduli reduced, and the papers' softened, too."""
    specs = {name: small_preset(name) for name in PRESETS}
    softened = dataclasses.replace(specs["sinz2020"], families=(Moduli(softening=0.4),))
    return {**specs, "sinz2020, epsilon = 0.4": softened.measured_on(references)}


def best_error(function: Callable[[float], float], derivative: float) -> tuple[float, float]:
    """Smallest relative error of the five-point formula over the steps, and that step."""
    errors = []
    for h in STEPS:
        near, far = function(h) - function(-h), function(2 * h) - function(-2 * h)
        errors.append(abs((8 * near - far) / (12 * h) - derivative) / abs(derivative))
    return min(errors), STEPS[int(np.argmin(errors))]


def measure(spec: ScatteringSpec, structure: Structure) -> tuple[list[str], dict[str, float]]:
    positions, numbers = structure.positions, structure.numbers
    transform = Transform(spec)
    evaluation = transform.evaluate(structure)
    cell = evaluation.cell
    rng = np.random.default_rng(7)
    size = np.abs(evaluation.features)
    weights = rng.normal(size=len(size)) / (size + 1e-2 * np.median(size[size > 0]))
    gradient, strain = evaluation.gradient(weights)
    move, stretch = rng.normal(size=positions.shape), rng.normal(size=(3, 3))
    stretch = (stretch + stretch.T) / 2
    along, strained = float((gradient * move).sum()), float((strain * stretch).sum())

    def energy(t: float, u: float) -> float:
        f = np.eye(3) + u * stretch
        return float(
            transform.evaluate(Structure(cell @ f, (positions + t * move) @ f, numbers), cell).features @ weights
        )

    force = best_error(lambda t: energy(t, 0.0), along) if len(numbers) > 1 else (0.0, 0.0)
    stress = best_error(lambda u: energy(0.0, u), strained)
    tangents = evaluation.tangent(np.array([move, 0 * move]), np.array([0 * stretch, stretch])) @ weights
    passes = np.abs(tangents - [along, strained]).max() / max(abs(along), abs(strained))
    if transform.has_jacobian:
        by_positions, _ = evaluation.jacobian()
        other = np.einsum("f,fna->na", weights, by_positions)
        passes = max(passes, np.abs(other - gradient).max() / max(np.abs(gradient).max(), np.abs(strain).max()))
    cells = [f"{force[0]:.0e}" if len(numbers) > 1 else "zero by symmetry", f"{stress[0]:.0e}", f"{passes:.0e}"]
    return cells, {"force": force[0], "force_step": force[1], "stress": stress[0], "passes": float(passes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    standard_options(parser, "derivatives")
    chosen = parser.parse_args()
    print(machine(), "\n")
    rows, figures = [], {}
    cases = structures()
    for name, spec in specs(list(cases.values())).items():
        for where, structure in cases.items():
            cells, values = measure(spec, structure)
            figures[f"{name}, {where}"] = values
            rows.append([name, where, *cells])
            print(rows[-1], flush=True)
    text = table(["features", "cell", "forces", "stress", "passes"], rows)
    print("\n" + text)
    update_documents(chosen.document, "derivatives", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
