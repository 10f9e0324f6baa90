"""Invariances of a model and of the presets: what changes, and by how much, where nothing should.

    python benchmarks/robustness/invariance.py [--model lisi-linear.h5] [--json FILE] [--document FILE ...]

For the model: energy in meV/atom and forces in meV/A, largest over the periodic structures, and over a molecule, a wire
and a slab in skewed cells, whose boxes follow their extents. For the presets: relative change of the features: the
median over features of the change by the feature's own size, and the largest change by its own size or that of a
typical feature, whichever is larger (a coarse feature of a small cell may be zero but for the grid); `brumwell2018`
with two scales and n <= 3.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from boundaries import small_preset
from scipy.spatial.transform import Rotation

from ase_wavescat import WaveScatCalculator, preset
from ase_wavescat.representation.presets import PRESETS
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, standard_options, table, update_documents, write_json

# a changed structure, the matrix that turns vectors, the original atom of each of its atoms
Change = tuple[Atoms, np.ndarray, np.ndarray]


def permutation(atoms: Atoms, rng: np.random.Generator) -> Change:
    order = rng.permutation(len(atoms))
    return atoms[order], np.eye(3), order


def wrapping(atoms: Atoms, rng: np.random.Generator) -> Change:
    """Along periodic directions."""
    moved = atoms.copy()
    moved.positions += (atoms.pbc * rng.integers(-3, 4, size=(len(atoms), 3))) @ atoms.cell.array
    return moved, np.eye(3), np.arange(len(atoms))


def translation(atoms: Atoms, rng: np.random.Generator) -> Change:
    """By a fraction of a voxel."""
    moved = atoms.copy()
    moved.positions += rng.uniform(0.05, 0.2, size=3)
    return moved, np.eye(3), np.arange(len(atoms))


def rotation(atoms: Atoms, rng: np.random.Generator) -> Change:
    turn = Rotation.random(rng=rng).as_matrix()
    moved = Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)
    return moved, turn, np.arange(len(atoms))


def other_cell(atoms: Atoms, rng: np.random.Generator) -> Change:
    """The same lattice by other vectors; any vectors along open directions."""
    moved = atoms.copy()
    matrix = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])
    matrix[np.ix_(atoms.pbc, ~atoms.pbc)] = 0
    moved.set_cell(matrix @ atoms.cell.array)
    return moved, np.eye(3), np.arange(len(atoms))


def tiling(*repeats: int) -> Callable[[Atoms, np.random.Generator], Change]:
    def tile(atoms: Atoms, rng: np.random.Generator) -> Change:
        """Along periodic directions."""
        own = tuple(np.where(atoms.pbc, repeats, 1).tolist())
        return atoms.repeat(own), np.eye(3), np.tile(np.arange(len(atoms)), int(np.prod(own)))

    return tile


def conventional(atoms: Atoms, rng: np.random.Generator) -> Change:
    """A face-centred-like cell of four times the volume, incommensurate with the primitive cell's grid."""
    matrix = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    large = make_supercell(atoms, matrix, wrap=False)
    origins = np.tile(np.arange(len(atoms)), round(len(large) / len(atoms)))
    return large, np.eye(3), origins


CHANGES = {
    "permutation": permutation,
    "wrapping": wrapping,
    "translation by part of a voxel": translation,
    "rotation": rotation,
    "other vectors of the lattice": other_cell,
    "conventional for primitive cell": conventional,
    "2x1x1": tiling(2, 1, 1),
    "2x2x2": tiling(2, 2, 2),
    "3x3x3": tiling(3, 3, 3),
}


# Only where all directions repeat is there a cell of this shape.
PERIODIC_ONLY = ("conventional for primitive cell",)


def periodic_structures() -> Iterator[Atoms]:
    """A glass, two atoms of silicon, twelve atoms in a triclinic cell."""
    rng = np.random.default_rng(4)
    yield shipped_structure()
    silicon = bulk("Si")
    silicon.rattle(0.05, rng=rng)
    yield silicon
    triclinic = glass(atoms=12, seed=3)
    triclinic.set_cell(triclinic.cell.array + rng.uniform(-0.8, 0.8, (3, 3)), scale_atoms=True)
    yield triclinic


def open_structures() -> Iterator[Atoms]:
    """Twelve atoms in the same triclinic cell as a molecule, a wire and a slab."""
    *_, triclinic = periodic_structures()
    for pbc in ((False, False, False), (False, True, False), (True, False, True)):
        piece = triclinic.copy()
        piece.pbc = pbc
        yield piece


def model_changes(
    model: str, structures: Iterable[Atoms], change: Callable[[Atoms, np.random.Generator], Change]
) -> tuple[float, float]:
    """Largest change of the energy (meV/atom) and of a force component (meV/A)."""
    rng = np.random.default_rng(0)
    calculator = WaveScatCalculator(model)
    energies, forces = [], []
    for atoms in structures:
        moved, turn, origins = change(atoms, rng)
        if len(moved) > 700:
            continue
        atoms.calc = moved.calc = calculator
        before, pull = atoms.get_potential_energy() / len(atoms), atoms.get_forces()
        energies.append(abs(moved.get_potential_energy() / len(moved) - before))
        forces.append(np.abs(moved.get_forces() - pull[origins] @ turn.T).max())
    return 1e3 * max(energies), 1e3 * max(forces)


def preset_changes(transform: Transform, change: Callable[[Atoms, np.random.Generator], Change]) -> tuple[float, float]:
    """Median and largest relative change of the features."""
    atoms = glass(atoms=12, lithium=0.6, seed=3)
    moved, _, _ = change(atoms, np.random.default_rng(0))
    before = transform.evaluate(Structure.from_atoms(atoms)).features / len(atoms)
    after = transform.evaluate(Structure.from_atoms(moved)).features / len(moved)
    change, size = np.abs(after - before), np.abs(before)
    typical = np.median(size[size > 0])
    own = (change[size > 0] / size[size > 0], change / np.maximum(size, typical))
    return float(np.median(own[0])), float(own[1].max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-linear.h5")
    standard_options(parser, "invariance")
    chosen = parser.parse_args()
    print(machine(), "\n")
    specs = {name: preset(name, ["Li", "Si"]) for name in PRESETS} | {"brumwell2018": small_preset("brumwell2018")}
    presets = {name: Transform(spec) for name, spec in specs.items()}
    rows, figures = [], {}
    for name, change in CHANGES.items():
        energy, force = model_changes(chosen.model, periodic_structures(), change)
        alone = None if name in PERIODIC_ONLY else model_changes(chosen.model, open_structures(), change)
        relative = {p: preset_changes(t, change) for p, t in presets.items()}
        figures[name] = {"energy_mev_per_atom": energy, "force_mev_per_a": force, "open": alone, **relative}
        cells: list[Any] = [f"{m:.0e}, {top:.0e}" for m, top in relative.values()]
        apart = ["-", "-"] if alone is None else [f"{value:.1e}" for value in alone]
        rows.append([name, f"{energy:.1e}", f"{force:.1e}", *apart, *cells])
        print(rows[-1], flush=True)
    header = ["change", f"{chosen.model}: meV/atom", "meV/A", "open: meV/atom", "meV/A"]
    header += [f"{p}: median, largest" for p in presets]
    text = table(header, rows)
    print("\n" + text)
    update_documents(chosen.document, "invariance", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
