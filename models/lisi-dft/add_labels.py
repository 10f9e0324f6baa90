"""Add labels to the set, each to its file: training or test by its group, converged or cheap by its mesh.

    python models/lisi-dft/add_labels.py LABELS ... --mesh converged|cheap [--set FOLDER]

LABELS are files and folders as `wavescat train` takes them. Structures that a file has are passed over. A group stays
on its side of the split: test groups are those of the test files; a new group is for training. Labels of another mesh,
labels that are not finite and structures that the other side has are refused, and nothing is written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_wavescat.io.structures import files_of, structures_of
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.training.data.duplicates import digest

HERE = Path(__file__).parent
FILES = {
    ("converged", False): "converged", ("cheap", False): "cheap", ("converged", True): "test",
    ("cheap", True): "test-cheap",
}  # fmt: skip
"""By mesh and whether the group is a test group."""
KEYS = "config_type", "group", "round", "x", "temperature", "kpts", "energy_sigma0"
LABELS = "energy", "forces", "stress"
LITHIUM = 3
CONVERGED = 23.5
"""A: k-points along each axis times the distance of the lattice planes, at least."""


def entry(atoms: Atoms, where: str, mesh: str) -> Atoms:
    """Structure and labels with the keys of the set and no others; refused where one is missing or of another mesh."""
    info = {"x": float(np.mean(atoms.numbers == LITHIUM)), "temperature": 0.0, **atoms.info}  # 0 K: no dynamics
    missing = [key for key in KEYS if key not in info]
    missing += [name for name in LABELS if atoms.calc is None or name not in atoms.calc.results]
    if missing:
        raise SystemExit(f"a structure of {where} lacks {', '.join(missing)}")
    if mesh_of(atoms) != mesh:
        raise SystemExit(f"{atoms.info['kpts']} of {atoms.get_chemical_formula()} in {where} is not the {mesh} mesh")
    for name in LABELS:
        if not np.isfinite(atoms.calc.results[name]).all():
            raise SystemExit(f"the {name} of {atoms.get_chemical_formula()} in {where} is not finite")
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info = {key: plain(info[key]) for key in KEYS}
    bare.calc = SinglePointCalculator(bare, **{name: atoms.calc.results[name] for name in LABELS})
    return bare


def mesh_of(atoms: Atoms) -> str:
    """By its k-points, NxNxN."""
    points = np.array([int(part) for part in str(atoms.info["kpts"]).split("x")])
    lengths = points / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    return "converged" if lengths.min() > CONVERGED - 0.01 else "cheap"  # files round cells


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def read_set(folder: Path) -> dict[str, list[Atoms]]:
    """The structures of each file that is there."""
    paths = {name: folder / f"{name}.extxyz.xz" for name in FILES.values()}
    return {name: list(structures_of(path)) if path.exists() else [] for name, path in paths.items()}


def write_file(path: Path, structures: list[Atoms]) -> None:
    """In an order that does not depend on that in which labels came."""
    ordered = sorted(structures, key=lambda atoms: (atoms.info["round"], str(atoms.info["group"]), digest(atoms)))
    with atomic_path(path) as temporary:
        write(temporary, ordered, format="extxyz")


def main(labels: list[Path], mesh: str, folder: Path = HERE) -> None:
    known = read_set(folder)
    test_groups = {str(atoms.info["group"]) for atoms in known["test"] + known["test-cheap"]}
    if not test_groups:
        raise SystemExit(f"there are no test structures in {folder}, so that no group is known to be held out")
    seen = {name: set(map(digest, structures)) for name, structures in known.items()}
    added: Counter[str] = Counter()
    for path in files_of(labels):
        for atoms in structures_of(path):
            new, held_out = entry(atoms, str(path), mesh), str(atoms.info["group"]) in test_groups
            name, mark = FILES[mesh, held_out], digest(new)
            if any(mark in seen[FILES[one, not held_out]] for one in ("converged", "cheap")):
                raise SystemExit(
                    f"{new.get_chemical_formula()} in {path} is a structure of the other side of the split"
                )
            if mark not in seen[name]:
                known[name].append(new)
                seen[name].add(mark)
                added[name] += 1
    for name in added:
        write_file(folder / f"{name}.extxyz.xz", known[name])
    for name, structures in known.items():
        groups = {atoms.info["group"] for atoms in structures}
        print(f"{name:<11}{len(structures):5d} structures in {len(groups)} groups, {added[name]} of them new")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="+", type=Path)
    parser.add_argument("--mesh", choices=["converged", "cheap"], required=True)
    parser.add_argument("--set", type=Path, default=HERE, help="folder of the set")
    chosen = parser.parse_args()
    main(chosen.labels, chosen.mesh, chosen.set)
