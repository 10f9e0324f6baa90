"""Time of a network's energy, forces and stress, beside that of a linear model, one core, all in one run.

    OMP_NUM_THREADS=1 python benchmarks/speed/networks.py [--model lisi-fast.h5] [--document FILE ...]

The network is that of `NetworkSpecification`'s defaults with random weights, on which its time does not depend. Atoms
move a little between calls, as in dynamics; "kept search" is what the calculator does, which looks for neighbours anew
only where it has to. Processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.neighbour_list import NeighbourList
from ase_wavescat.structure.structure import Structure
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, processor_time, standard_options, table, update_documents, write_json

SEED = 0


def glass(repeats: tuple[int, int, int]) -> Atoms:
    """Li3Si of the shipped glass's volume an atom, on a jittered lattice."""
    rng, shipped = np.random.default_rng(SEED), shipped_structure()
    atoms = bulk("Li", "bcc", a=(2 * shipped.get_volume() / len(shipped)) ** (1 / 3), cubic=True).repeat(repeats)
    atoms.positions += rng.normal(scale=0.15, size=atoms.positions.shape)
    atoms.numbers[rng.permutation(len(atoms))[: len(atoms) // 4]] = 14
    return atoms


def network_call(atoms: Atoms, execution: Execution, kept: bool) -> Callable[[], object]:
    """Energy, forces and stress of the structure, moved by 0.001 A."""
    potential = NetworkPotential(NetworkWeights.random(NetworkSpecification((3, 14)), SEED))
    rng, searches = np.random.default_rng(SEED), NeighbourList(potential.neighbour_reach)

    def call() -> object:
        atoms.positions += rng.normal(scale=1e-3, size=atoms.positions.shape)
        structure = Structure.from_atoms(atoms)
        if kept:
            searches.serve(structure)
        prediction = potential.predict(structure, execution=execution)
        return prediction.energy, prediction.gradient, prediction.strain_gradient

    return call


def model_call(atoms: Atoms, model: str) -> Callable[[], object]:
    """The same of a linear model's calculator."""
    calculator, rng = WaveScatCalculator(model), np.random.default_rng(SEED)

    def call() -> object:
        atoms.positions += rng.normal(scale=1e-3, size=atoms.positions.shape)
        calculator.calculate(atoms, ["energy", "forces", "stress"])
        return calculator.results

    return call


def measure(model: str) -> dict[str, dict[str, float]]:
    """Milliseconds by number of atoms and way."""
    figures: dict[str, dict[str, float]] = {}
    for repeats, times in (((4, 4, 2), 40), ((16, 16, 8), 3)):
        atoms = glass(repeats)
        ways = {
            "a search each": network_call(atoms, Execution(), False),
            "kept search": network_call(atoms, Execution(), True),
            "kept search, single precision": network_call(atoms, Execution(precision="single"), True),
        }
        if len(atoms) < 1000:
            ways[model] = model_call(atoms, model)
        figures[str(len(atoms))] = {name: 1e3 * processor_time(call, times) for name, call in ways.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-fast.h5", help="linear model to compare with")
    standard_options(parser, "networks")
    chosen = parser.parse_args()
    figures = measure(chosen.model)
    rows = [
        [atoms, name, f"{value:.1f}" if value < 100 else f"{value:.0f}", f"{1e3 * value / int(atoms):.0f}"]
        for atoms, ways in figures.items()
        for name, value in ways.items()
    ]
    text = f"{machine()}\n\n{table(['atoms', 'way', 'energy, forces, stress, ms', 'an atom, us'], rows)}"
    print(text)
    update_documents(chosen.document, "networks", text)
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
