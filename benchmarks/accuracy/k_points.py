"""What a denser mesh of k-points changes: labels of the same structures with two meshes.

    python benchmarks/accuracy/k_points.py [FOLDER] [--json FILE] [--document FILE ...]

FOLDER holds the data set. Its structures are found in one another's files by their atoms, cells and places: those of
the converged mesh (23.5 A) among the denser one (31 A), those of the cheap mesh (15 A) among the converged one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa
from extrapolation_pools import formula_of
from same_structures import partners

from ase_wavescat.io.structures import structures_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import standard_options, table, update_documents, write_json

FOLDER = Path("models/lisi-dft")
MESHES = {"denser": ("denser",), "converged": ("converged", "test"), "cheap": ("cheap", "test-cheap")}
"""Files of each mesh, the densest first."""


def read_mesh(folder: Path, mesh: str) -> list[Atoms]:
    return [atoms for name in MESHES[mesh] for atoms in structures_of(folder / f"{name}.extxyz.xz")]


def differences(coarse: Sequence[Atoms], dense: Sequence[Atoms]) -> list[dict[str, Any]]:
    """A row for each structure that both have, where the meshes differ: coarse less dense."""
    return [
        _difference(found, atoms)
        for atoms, found in zip(dense, partners(dense, coarse), strict=True)
        if found is not None and found.info.get("kpts") != atoms.info.get("kpts")
    ]


def _difference(coarse: Atoms, dense: Atoms) -> dict[str, Any]:
    """meV/atom; eV/A: mean absolute, root mean square and largest component of the forces' difference; GPa."""
    energy = 1e3 * (coarse.get_potential_energy() - dense.get_potential_energy()) / len(dense)
    forces = coarse.get_forces() - dense.get_forces()
    return {
        "formula": formula_of(dense),
        "kind": dense.info["config_type"],
        "meshes": [coarse.info.get("kpts"), dense.info.get("kpts")],
        "energy": float(energy),
        "force_mae": float(np.abs(forces).mean()),
        "force_rms": float(np.sqrt((forces**2).mean())),
        "force_max": float(np.abs(forces).max()),
        "stress": float(np.abs(coarse.get_stress() - dense.get_stress()).mean() / GPa),
    }


def by_kind(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Cells of the table: a line for each kind, and for all."""
    lines = []
    for kind in [*sorted({row["kind"] for row in rows}), "all"]:
        mine = [row for row in rows if kind in (row["kind"], "all")]
        energy, force, rms, largest, stress = (
            np.array([row[name] for row in mine])
            for name in ("energy", "force_mae", "force_rms", "force_max", "stress")
        )
        deviation = f"{energy.std(ddof=1):.1f}" if len(mine) > 1 else ""
        worst = mine[int(np.argmax(rms))]["formula"]
        lines.append([
            kind, str(len(mine)), f"{energy.mean():+.1f}", deviation, f"{np.abs(energy).max():.1f}",
            f"{force.mean():.3f}", f"{rms.max():.3f} ({worst})", f"{largest.max():.3f}", f"{stress.mean():.2f}",
        ])  # fmt: skip
    return lines


def text(results: dict[str, list[dict[str, Any]]]) -> str:
    header = ["cells", "energy, mean, meV/atom", "standard deviation", "largest", "forces, mean absolute, eV/Å",
              "root mean square of the worst cell", "largest component", "stress, mean, GPa"]  # fmt: skip
    return "\n\n".join(table([name, *header], by_kind(rows)) for name, rows in results.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="the data set")
    standard_options(parser, "k_points")
    chosen = parser.parse_args()
    meshes = {mesh: read_mesh(chosen.folder, mesh) for mesh in MESHES}
    results = {
        f"{coarse} less {dense}": differences(meshes[coarse], meshes[dense]) for dense, coarse in pairwise(MESHES)
    }
    content = text(results)
    print(content)
    update_documents(chosen.document, "k_points", content)
    write_json(chosen.json, {"cells": results})


if __name__ == "__main__":
    main()
