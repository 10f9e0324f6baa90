"""What is in the Li-Si data set: the counts of its data card, by kind, composition, round and size.

python benchmarks/accuracy/data_card.py [FOLDER] [--json FILE] [--document models/lisi-dft/README.md]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_wavescat.io.structures import structures_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import quarter, standard_options, table, update_documents, write_json

FOLDER = Path("models/lisi-dft")
FILES = ("converged", "cheap", "test", "test-cheap")


def kind(atoms: Atoms) -> str:
    return str(atoms.info["config_type"])


def lithium(atoms: Atoms) -> str:
    return quarter(float(np.mean(atoms.numbers == 3)))


def source_round(atoms: Atoms) -> str:
    return f"round {atoms.info['round']}"


def size(atoms: Atoms) -> str:
    return "up to 45 atoms" if len(atoms) <= 45 else "more atoms"


def mesh(atoms: Atoms) -> str:
    return f"mesh {atoms.info['kpts']}"


def counted(files: dict[str, Sequence[Atoms]], label: Callable[[Atoms], str]) -> dict[str, list[int]]:
    """For each label the number of structures in each file."""
    counts = {name: Counter(map(label, structures)) for name, structures in files.items()}
    return {key: [counts[name][key] for name in files] for key in sorted(set().union(*counts.values()))}


def measure(files: dict[str, Sequence[Atoms]]) -> dict[str, Any]:
    """Counts in each file: of structures and groups, then by kind, composition, round, size and mesh."""
    figures: dict[str, Any] = {
        "structures": [len(structures) for structures in files.values()],
        "groups": [len({atoms.info["group"] for atoms in structures}) for structures in files.values()],
        "atoms": [sum(map(len, structures)) for structures in files.values()],
    }
    for label in (kind, lithium, source_round, size, mesh):
        figures |= counted(files, label)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    standard_options(parser, "data_card")
    chosen = parser.parse_args()
    files = {name: list(structures_of(chosen.folder / f"{name}.extxyz.xz")) for name in FILES}
    figures = measure(files)
    text = table(["", *(f"`{name}`" for name in FILES)], [[name, *counts] for name, counts in figures.items()])
    print(text)
    update_documents(chosen.document, "data_card", text)
    write_json(chosen.json, {"files": list(FILES), **figures})


if __name__ == "__main__":
    main()
