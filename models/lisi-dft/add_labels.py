"""Add labels to the set, each to its file: training or test by its group, converged or cheap by its mesh.

    python models/lisi-dft/add_labels.py LABELS ... --mesh converged|cheap [--set FOLDER]

LABELS are files and folders as `wavescat train` takes them. Structures that a file has are passed over. A group stays
on its side of the split: test groups are those of the test files; a new group is for training.
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

from ase_wavescat.atomic_write import atomic_path
from ase_wavescat.structure_files import files_of, structures_of

HERE = Path(__file__).parent
FILES = {
    ("converged", False): "converged", ("cheap", False): "cheap", ("converged", True): "test",
    ("cheap", True): "test-cheap",
}  # fmt: skip
"""By mesh and whether the group is a test group."""
KEYS = "config_type", "group", "round", "x", "temperature", "kpts", "energy_sigma0"
LABELS = "energy", "forces", "stress"


def entry(atoms: Atoms, where: str) -> Atoms:
    """Structure and labels with the keys of the set and no others; refused where one is missing."""
    missing = [key for key in KEYS if key not in atoms.info]
    missing += [name for name in LABELS if atoms.calc is None or name not in atoms.calc.results]
    if missing:
        raise SystemExit(f"a structure of {where} lacks {', '.join(missing)}")
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info = {key: plain(atoms.info[key]) for key in KEYS}
    bare.calc = SinglePointCalculator(bare, **{name: atoms.calc.results[name] for name in LABELS})
    return bare


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def fingerprint(atoms: Atoms) -> bytes:
    return np.round(np.vstack([atoms.cell.array, atoms.positions]), 4).tobytes() + atoms.numbers.tobytes()


def read_set(folder: Path) -> dict[str, list[Atoms]]:
    """The structures of each file that is there."""
    paths = {name: folder / f"{name}.extxyz.xz" for name in FILES.values()}
    return {name: list(structures_of(path)) if path.exists() else [] for name, path in paths.items()}


def write_file(path: Path, structures: list[Atoms]) -> None:
    """In an order that does not depend on that in which labels came."""
    ordered = sorted(structures, key=lambda atoms: (atoms.info["round"], str(atoms.info["group"]), fingerprint(atoms)))
    with atomic_path(path) as temporary:
        write(temporary, ordered, format="extxyz")


def main(labels: list[Path], mesh: str, folder: Path = HERE) -> None:
    known = read_set(folder)
    test_groups = {str(atoms.info["group"]) for atoms in known["test"] + known["test-cheap"]}
    seen = {name: set(map(fingerprint, structures)) for name, structures in known.items()}
    added: Counter[str] = Counter()
    for path in files_of(labels):
        for atoms in structures_of(path):
            new = entry(atoms, str(path))
            name = FILES[mesh, str(new.info["group"]) in test_groups]
            if (mark := fingerprint(new)) not in seen[name]:
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
