"""Elastic constants of relaxed ions: by force constants, as `elastic` does, and by relaxing ions at each strain.

    python benchmarks/robustness/relaxed_ions.py FILE [--model lisi-linear.h5] [--json FILE] [--document FILE ...]

FILE holds the crystals (crystals.extxyz.xz), of which LiSi is taken; besides, diamond silicon and the shipped glass.
Relaxations end at several force tolerances: forces that a strain of one per cent causes are near the usual one, and
ions that begin below it do not move. Calls are those of the calculator, without the relaxation of the cell before.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.stress import voigt_6_to_full_3x3_strain
from ase.units import GPa

from ase_wavescat import WaveScatCalculator, WaveScatWarning
from ase_wavescat.io.structures import structures_of
from ase_wavescat.workflows import elastic, relax
from ase_wavescat.workflows.demo import shipped_structure
from ase_wavescat.workflows.elasticity import STRAINS, ElasticTensor, fit_tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

TOLERANCES = (0.005, 0.001, 0.0002)
"""eV/A."""


class Counting(WaveScatCalculator):
    """How often it computes."""

    calls = 0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        super().calculate(*args, **kwargs)


def structures(file: Path) -> dict[str, Atoms]:
    crystals = [frame for frame in structures_of(file) if frame.info["kind"] == "asis"]
    lisi = next(frame for frame in crystals if frame.info["name"] == "LiSi")
    return {"diamond Si": bulk("Si"), "LiSi": lisi, "glass": shipped_structure()}


def by_relaxations(base: Atoms, calculator: Counting, fmax: float) -> ElasticTensor:
    """Ions at each strain begin where those of the next smaller one of its sign ended."""
    strains = np.array(STRAINS)
    base.calc = calculator
    base = relax(base, fmax=fmax, steps=3000).structure.copy()
    stresses = np.zeros((6, len(strains), 6))
    for kind in range(6):
        places = dict.fromkeys((False, True), base.get_scaled_positions())
        for at in np.argsort(np.abs(strains), kind="stable"):
            way = bool(strains[at] > 0)
            frame = base.copy()
            deformation = voigt_6_to_full_3x3_strain(strains[at] * np.eye(6)[kind])
            frame.set_cell(base.cell.array @ deformation)
            frame.set_scaled_positions(places[way])
            frame.calc = calculator
            settled = relax(frame, fmax=fmax, steps=3000).structure
            places[way] = settled.get_scaled_positions(wrap=False)
            frame.positions = settled.positions
            stresses[kind, at] = frame.get_stress() / GPa
    return fit_tensor(strains, stresses)


def rows(name: str, atoms: Atoms, calculator: Counting) -> Iterator[dict[str, Any]]:
    """Of one structure, its cell relaxed; moduli in GPa."""
    atoms.calc = calculator
    relaxed = relax(atoms, cell=True, fmax=0.005, smax=0.02, steps=2000).structure.copy()
    relaxed.calc = calculator

    def row(way: str, tensor: ElasticTensor, before: int) -> dict[str, Any]:
        return {"structure": name, "atoms": len(atoms), "way": way, "calls": calculator.calls - before,
                "bulk_modulus": tensor.bulk_modulus, "shear_modulus": tensor.shear_modulus,
                "shear_constants": np.diag(tensor.stiffness)[3:].tolist()}  # fmt: skip

    before = calculator.calls
    constants = elastic(relaxed)
    yield row("clamped ions", constants.clamped, calculator.calls)
    assert constants.relaxed is not None
    yield row("force constants", constants.relaxed, before)
    for fmax in TOLERANCES:
        before = calculator.calls
        tensor = by_relaxations(relaxed, calculator, fmax)
        yield row(f"relaxed to {fmax:g} eV/Å", tensor, before)


def report(figures: list[dict[str, Any]]) -> str:
    header = ["structure", "atoms", "ions", "calls", "K, GPa", "G, GPa", "C44, C55, C66, GPa"]
    body = []
    for row in figures:
        shears = ", ".join(f"{value:.2f}" for value in row["shear_constants"])
        body.append([row["structure"], str(row["atoms"]), row["way"], str(row["calls"] or ""),
                     f"{row['bulk_modulus']:.2f}", f"{row['shear_modulus']:.2f}", shears])  # fmt: skip
    return table(header, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="crystals.extxyz.xz")
    parser.add_argument("--model", default="lisi-linear.h5")
    standard_options(parser, "relaxed_ions")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", WaveScatWarning)
    calculator = Counting(chosen.model)
    figures = [row for name, atoms in structures(chosen.file).items() for row in rows(name, atoms, calculator)]
    text = report(figures)
    print(text)
    update_documents(chosen.document, "relaxed_ions", f"{machine()}\n\n{text}")
    write_json(chosen.json, {"model": chosen.model, "rows": figures})


if __name__ == "__main__":
    main()
