"""Molecules, wires and slabs: what the vacuum around them changes, and what they cost.

    python benchmarks/robustness/boundaries.py [--model lisi-linear.h5] [--json FILE] [--document FILE ...]

Pieces are cut from the shipped glass. Each is computed with its open directions (pbc False) and held against itself in
fully periodic boxes with more vacuum, moved, turned, and with other cell vectors along the open directions. For the
model: energy in meV/atom, forces in meV/A. For the presets: relative change of the features of a molecule, the median
over features and the largest, by the feature's own size or that of a typical one, whichever is larger; presets of
moduli with two of their scales.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from ase_wavescat import WaveScatCalculator, preset
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.representation.presets import PRESETS
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.periodicity import padded_cell
from ase_wavescat.structure.structure import Structure
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, median_time, standard_options, table, update_documents, write_json

# Presets of moduli at full size reach some 100 A: two scales, and n <= 3 where there are many wavelets.
_UP_TO_3 = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
SMALLER: dict[str, dict[str, Any]] = {
    "brumwell2018": {"scales": (0.0, 0.5), "wavelets": _UP_TO_3},
    "polynomial": {"scales": (0.0, 0.5)},
    "sinz2020": {"scales": (0.0, 0.5)},
    "solid-harmonic": {"scales": (0.0, 1.0)},
}
# a changed structure and the matrix that turns vectors
Change = Callable[[Atoms, float], tuple[Atoms, np.ndarray]]


def small_preset(name: str) -> ScatteringSpec:
    """A preset for Li and Si, reduced as `SMALLER` says."""
    return preset(name, ["Li", "Si"], **SMALLER.get(name, {}))


def pieces() -> dict[str, Atoms]:
    """A molecule of twenty atoms, a wire along z, a slab in x and y; the last two with the glass's own cell vectors."""
    glass = shipped_structure()
    glass.wrap()
    centre = glass.cell.array.sum(axis=0) / 2
    away = glass.positions - centre
    molecule = glass[np.argsort(np.linalg.norm(away, axis=1))[:20]]
    wire = glass[np.argsort(np.linalg.norm(away[:, :2], axis=1))[:36]]
    slab = glass.copy()
    for piece, pbc in ((molecule, (0, 0, 0)), (wire, (0, 0, 1)), (slab, (1, 1, 0))):
        piece.pbc = pbc
    return {"molecule": molecule, "wire": wire, "slab": slab}


def triclinic(atoms: Atoms) -> Atoms:
    """The piece in a skewed cell, its periodic vectors turned and sheared with the atoms."""
    matrix = np.array([[1.0, 0.22, -0.1], [0.05, 0.96, 0.17], [0.12, -0.08, 1.03]])
    skewed = atoms.copy()
    skewed.set_cell(atoms.cell.array @ matrix)
    skewed.positions = atoms.positions @ matrix
    return skewed


def larger_box(factor: float) -> Change:
    def box(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
        cell = padded_cell(atoms.cell.array, atoms.pbc, atoms.positions, factor * reach)
        return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=True), np.eye(3)

    return box


def rotation(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
    turn = Rotation.from_rotvec([0.5, -1.3, 0.8]).as_matrix()
    return Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc), turn


def translation(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
    """By part of a voxel, and far: atoms lie beyond the edges of the cell."""
    moved = atoms.copy()
    moved.positions += np.array([0.13, 0.08, 0.17]) + 3.0 * atoms.cell.array[~atoms.pbc].sum(axis=0)
    return moved, np.eye(3)


def other_vectors(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
    """Other cell vectors along the open directions, short and skewed; periodic ones by other vectors of the lattice."""
    cell = atoms.cell.array.copy()
    periodic = np.flatnonzero(atoms.pbc)
    if len(periodic) == 2:
        cell[periodic[1]] += cell[periodic[0]]
    cell[~atoms.pbc] = 0.3 * cell[~atoms.pbc] + np.array([0.4, 0.2, -0.3])
    return Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=atoms.pbc), np.eye(3)


def wrapping(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
    """Atoms moved by vectors of the lattice."""
    moved = atoms.copy()
    shifts = np.random.default_rng(3).integers(-2, 3, size=(len(atoms), 3)) * atoms.pbc
    moved.positions += shifts @ atoms.cell.array
    return moved, np.eye(3)


CHANGES: dict[str, Change] = {
    "box with 1.5 x the vacuum": larger_box(1.5),
    "box with 2 x the vacuum": larger_box(2.0),
    "rotation": rotation,
    "translation": translation,
    "other cell vectors": other_vectors,
    "wrapping": wrapping,
}


def model_changes(calculator: WaveScatCalculator) -> tuple[list[list[Any]], dict[str, Any]]:
    reach = calculator.model.term(LinearPotential).transform().reach
    rows, figures = [], {}
    cases = pieces()
    cases |= {f"triclinic {name}": triclinic(cases[name]) for name in ("wire", "slab")}
    for name, atoms in cases.items():
        energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
        for what, change in CHANGES.items():
            if what == "wrapping" and not atoms.pbc.any():
                continue
            moved, turn = change(atoms, reach)
            shift = 1e3 * abs(calculator.get_potential_energy(moved) - energy) / len(atoms)
            pull = 1e3 * np.abs(calculator.get_forces(moved) - forces @ turn.T).max()
            figures[f"{name}, {what}"] = {"energy_mev_per_atom": shift, "force_mev_per_a": pull}
            rows.append([f"{name}, {len(atoms)} atoms", what, f"{shift:.1e}", f"{pull:.1e}"])
            print(rows[-1], flush=True)
    return rows, figures


def preset_changes(name: str) -> tuple[list[Any], dict[str, Any]]:
    transform = Transform(small_preset(name))
    molecule = pieces()["molecule"][:8]
    start = time.perf_counter()
    before = _features(transform, molecule)
    seconds = time.perf_counter() - start
    size = np.abs(before)
    typical = np.median(size[size > 0])
    cells, figures = [], {"reach": transform.reach, "seconds": seconds}
    for what in ("box with 1.5 x the vacuum", "rotation", "translation"):
        change = np.abs(_features(transform, CHANGES[what](molecule, transform.reach)[0]) - before)
        median = float(np.median(change[size > 0] / size[size > 0]))
        largest = float((change / np.maximum(size, typical)).max())
        figures[what] = (median, largest)
        cells.append(f"{median:.0e}, {largest:.0e}")
    return [name, f"{transform.reach:.1f}", *cells], figures


def _features(transform: Transform, atoms: Atoms) -> np.ndarray:
    return transform.evaluate(Structure.from_atoms(atoms)).features


def vacuum_slope(calculator: WaveScatCalculator) -> float:
    """Largest |dE| per added A of vacuum (meV/A) over a slab in boxes with 1 to 2.5 times the vacuum it needs."""
    slab, reach = pieces()["slab"], calculator.model.term(LinearPotential).transform().reach
    heights, energies = [], []
    for factor in (1.0, 1.25, 1.5, 2.0, 2.5):
        box = larger_box(factor)(slab, reach)[0]
        heights.append(box.cell.lengths()[2])
        energies.append(calculator.get_potential_energy(box))
    return float(1e3 * np.abs(np.diff(energies) / np.diff(heights)).max())


def apart(calculator: WaveScatCalculator) -> float:
    """Energy of two molecules 200 A apart less the sum of their own (meV)."""
    molecule = pieces()["molecule"]
    first, second = molecule[:10], molecule[10:]
    second.positions[:, 0] += 200.0
    alone = sum(calculator.get_potential_energy(part) for part in (first, second))
    return 1e3 * abs(calculator.get_potential_energy(first + second) - alone)


def times(calculator: WaveScatCalculator) -> tuple[list[list[Any]], dict[str, float]]:
    """Median ms of energy, forces (and stress) in a known box, ratios to the bulk's, and ms in a new box."""
    ensemble = calculator.model
    bulk = shipped_structure()
    rows, figures = [], {}
    for name, atoms in {"bulk": bulk, **pieces()}.items():
        transform = ensemble.term(LinearPotential).transform()
        structure = Structure.from_atoms(atoms)

        def step(structure: Structure = structure, transform: Transform = transform) -> None:
            _ = ensemble.predict(structure).gradient

        figures[name] = 1e3 * median_time(step, 9)
        cells = iter(np.arange(20))

        def anew(atoms: Atoms = atoms, transform: Transform = transform, cells: Iterator[int] = cells) -> None:
            stretch = 1.0 + 1e-4 * next(cells)
            moved = atoms.cell.array * stretch, atoms.positions * stretch
            box = padded_cell(moved[0], atoms.pbc, moved[1], transform.reach) * stretch
            _ = ensemble.predict(Structure(box, moved[1], atoms.numbers)).gradient

        edges = np.linalg.norm(ensemble.predict(structure).evaluation.cell, axis=1)
        box = " x ".join(f"{edge:.0f}" for edge in edges)
        ratio = figures[name] / figures["bulk"]
        new = 1e3 * median_time(anew, 5)
        figures[f"{name}, new box"] = new
        rows.append([f"{name}, {len(atoms)} atoms", box, f"{figures[name]:.0f}", f"{ratio:.1f}", f"{new:.0f}"])
        print(rows[-1], flush=True)
    return rows, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-linear.h5")
    standard_options(parser, "boundaries")
    chosen = parser.parse_args()
    print(machine(), "\n")
    calculator = WaveScatCalculator(chosen.model)
    rows, figures = model_changes(calculator)
    slope, sum_error = vacuum_slope(calculator), apart(calculator)
    time_rows, timed = times(calculator)
    preset_rows = []
    for name in PRESETS:
        row, figures[name] = preset_changes(name)
        preset_rows.append(row)
        print(row, flush=True)
    figures |= {"vacuum_mev_per_a": slope, "two_molecules_mev": sum_error, "ms": timed}
    text = "\n\n".join(
        [
            machine(),
            table([chosen.model, "against", "meV/atom", "meV/A"], rows),
            f"A slab's energy changes by at most {slope:.1e} meV per added A of vacuum; two molecules 200 A apart have "
            f"the sum of their energies to {sum_error:.1e} meV.",
            table(["energy, forces, stress", "box, A", "ms (median)", "x bulk", "ms, new box"], time_rows),
            table(
                ["eight atoms: median, largest", "vacuum, A", "box with 1.5 x the vacuum", "rotation", "translation"],
                preset_rows,
            ),
        ]
    )
    print("\n" + text)
    update_documents(chosen.document, "boundaries", text)
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
