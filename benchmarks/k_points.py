"""What a denser mesh of k-points changes: labels of the same structures with two meshes.

    python benchmarks/k_points.py [--pair COARSE [COARSE ...] DENSE] ... [--json FILE] [--document FILE ...]

COARSE and DENSE are files or folders of labelled structures, found in one another by their atoms, cells and places; a
pair can be given several times. The defaults are the meshes of `labels/`: 23.5 A against 31 A, and 15 A, with the
published set, against 23.5 A.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa
from common import standard_options, table, update_documents, write_json
from extrapolation_pools import formula_of
from same_structures import partners

from ase_wavescat.structure_files import files_of, structures_of

PAIRS = [
    [Path("labels/mesh-23.5"), Path("labels/mesh-31")],
    [Path("../shared/data/lisi-dft/dft.extxyz.xz"), Path("labels/mesh-15"), Path("labels/mesh-23.5")],
]


def differences(coarse: Sequence[Path], dense: Path) -> list[dict[str, Any]]:
    """A row for each structure that both have, where the meshes differ: coarse less dense."""
    several = [atoms for file in files_of(list(coarse)) for atoms in structures_of(file)]
    wanted = [atoms for file in files_of(dense) for atoms in structures_of(file)]
    return [
        _difference(found, atoms)
        for atoms, found in zip(wanted, partners(wanted, several), strict=True)
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
    parser.add_argument("--pair", type=Path, nargs="+", action="append", metavar="LABELS")
    standard_options(parser, "k_points")
    chosen = parser.parse_args()
    results = {}
    for *coarse, dense in chosen.pair or PAIRS:
        missing = [str(path) for path in (*coarse, dense) if not path.exists()]
        if missing or not coarse:
            print(f"left out: {missing or 'a pair needs two'}, no comparison with {dense}")
        elif rows := differences(coarse, dense):
            results[f"{', '.join(path.name for path in coarse)} less {dense.name}"] = rows
    if not results:
        raise SystemExit("there are no structures with labels of two meshes; give them by --pair COARSE DENSE")
    content = text(results)
    print(content)
    update_documents(chosen.document, "k_points", content)
    write_json(chosen.json, {"cells": results})


if __name__ == "__main__":
    main()
