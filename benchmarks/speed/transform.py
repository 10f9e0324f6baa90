"""Speed of a model and of the papers' features, one core, all ratios from one run.

    OMP_NUM_THREADS=1 python benchmarks/speed/transform.py [--model lisi-linear.h5] [--reference FOLDER]
        [--document FILE ...]

64 atoms of Li-Si at 0.058 atoms/A^3. "Bare FFTs" are the transforms that the model's own plan makes for energy, forces
and stress, with nothing between them. The papers' recipe makes every map of `sinz2020` by a complex FFT on 104^3: one
such FFT is timed and multiplied by their number. --reference: a folder with `annpot.py`, a published neural-network
potential of Li-Si as an ASE calculator.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from moduli import RECIPE_FFTS, RECIPE_POINTS, recipe

from ase_wavescat import WaveScatCalculator, find_model, load_model, preset
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.representation.families.correlations.prepared import PreparedCorrelations
from ase_wavescat.representation.lattice.fourier import workspace
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, median_time, standard_options, table, update_documents, write_json


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-linear.h5")
    parser.add_argument("--reference", type=Path, help="folder of annpot.py")
    standard_options(parser, "transform")
    return parser.parse_args()


def bare_ffts(transform: Transform, cell: np.ndarray) -> tuple[int, float]:
    """Number and time (s) of the FFTs of one call with forces, alone."""
    jobs = []
    for prepared in transform.prepared(cell, None)[1]:
        if isinstance(prepared, PreparedCorrelations):
            groups = zip(prepared.plan.groups, prepared.shapes, strict=True)
            jobs += [(workspace(s), g.rows + len(g.maps)) for g, s in groups]

    def run() -> None:
        for space, count in jobs:
            space.half[:] = 0.0
            for _ in range(count):
                space.inverse()
                space.forward()

    return sum(2 * count for _, count in jobs), median_time(run)


def model_rows(chosen: argparse.Namespace, figures: dict[str, float]) -> list[list[str]]:
    atoms = glass()
    ensemble = load_model(find_model(chosen.model))
    transform = ensemble.term(LinearPotential).transform()
    cell, positions, numbers = atoms.cell.array, atoms.positions, atoms.numbers
    weights = ensemble.term(LinearPotential).mean_weights
    energy = median_time(lambda: transform.evaluate(Structure(cell, positions, numbers)).features @ weights)
    everything = median_time(lambda: transform.evaluate(Structure(cell, positions, numbers)).gradient(weights))
    ffts, bare = bare_ffts(transform, cell)
    calculator = WaveScatCalculator(ensemble)
    moved = atoms.copy()
    moved.calc = calculator
    rng = np.random.default_rng(0)

    def step() -> None:
        moved.positions = positions + rng.normal(scale=1e-3, size=positions.shape)
        moved.get_forces()

    def strain() -> None:
        moved.set_cell(cell * (1 + 1e-3 * rng.normal()), scale_atoms=True)
        moved.get_stress()

    through = median_time(step)
    new_cell = median_time(strain)
    figures |= {"energy_ms": 1e3 * energy, "energy_forces_stress_ms": 1e3 * everything, "bare_ffts_ms": 1e3 * bare}
    figures |= {"calculator_step_ms": 1e3 * through, "calculator_new_cell_ms": 1e3 * new_cell}
    rows = [
        ["energy", f"{1e3 * energy:.1f}", ""],
        ["energy, forces, stress", f"{1e3 * everything:.1f}", f"{everything / energy:.2f} x energy"],
        [f"its {ffts} FFTs alone", f"{1e3 * bare:.1f}", f"energy, forces, stress = {everything / bare:.2f} x these"],
        ["calculator, a step of dynamics", f"{1e3 * through:.1f}", ""],
        ["calculator, a new cell", f"{1e3 * new_cell:.1f}", ""],
    ]
    if chosen.reference:
        sys.path.insert(0, str(chosen.reference))
        from annpot import default  # type: ignore[import-not-found]

        moved.set_cell(cell)
        moved.calc = default("04153")
        peer = median_time(step)
        figures["neural_network_ms"] = 1e3 * peer
        rows.append(["published neural network, a step", f"{1e3 * peer:.1f}", f"ours = {through / peer:.1f} x"])
    return rows


def papers_rows(figures: dict[str, float]) -> list[list[str]]:
    atoms = glass(density=0.064)
    transform = Transform(preset("sinz2020", ["Li", "Si"]))
    arguments = atoms.cell.array, atoms.positions, atoms.numbers
    weights = np.ones(len(transform.keys))
    features = median_time(lambda: transform.evaluate(Structure(*arguments)), repeats=7)
    everything = median_time(lambda: transform.evaluate(Structure(*arguments)).gradient(weights), repeats=7)
    papers = recipe(10)
    figures |= {"sinz2020_ms": 1e3 * features, "sinz2020_gradient_ms": 1e3 * everything, "recipe_ms": 1e3 * papers}
    return [
        [f"papers' recipe, {RECIPE_FFTS} FFTs on {RECIPE_POINTS}^3 (one timed)", f"{1e3 * papers:.0f}", ""],
        ["sinz2020, all 3740 features", f"{1e3 * features:.0f}", f"1 / {papers / features:.0f} of the recipe"],
        ["sinz2020, with forces and stress", f"{1e3 * everything:.0f}", f"{everything / features:.2f} x features"],
    ]


FIRST_ENERGY = """
from ase_wavescat import WaveScatCalculator
from ase_wavescat.workflows.demo import shipped_structure
atoms = shipped_structure()
atoms.calc = WaveScatCalculator({model!r})
atoms.get_potential_energy()
"""


def start_rows(chosen: argparse.Namespace, figures: dict[str, float]) -> list[list[str]]:
    """New processes, on a machine that has compiled the kernels before."""
    rows = []
    for name, code in (("import", "import ase_wavescat"), ("first energy", FIRST_ENERGY.format(model=chosen.model))):
        seconds = median_time(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True), repeats=5)
        figures[f"{name.replace(' ', '_')}_ms"] = 1e3 * seconds
        rows.append([f"new process: {name}", f"{1e3 * seconds:.0f}", ""])
    return rows


def main() -> None:
    chosen = options()
    figures: dict[str, float] = {}
    print(machine(), "\n")
    rows = model_rows(chosen, figures) + papers_rows(figures) + start_rows(chosen, figures)
    text = table([f"{chosen.model}, 64 atoms", "ms (median)", "ratio"], rows)
    print("\n" + text)
    update_documents(chosen.document, "transform", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
