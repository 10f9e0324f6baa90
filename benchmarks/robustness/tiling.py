"""Repeated cells of the shipped glass: exact copies, disturbed copies, and how long they take.

    python benchmarks/robustness/tiling.py [--model lisi-linear.h5] [--reference FOLDER]
        [--json FILE] [--document FILE ...]
        [--picture FILE]

--reference: the folder with annpot.py, the published neural network. What it says a disturbance costs is shown beside;
it is another method, and no label of the model.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from ase_wavescat import WaveScatCalculator, WaveScatWarning
from ase_wavescat.system.plotting import save_figure
from ase_wavescat.workflows import Tiling, tiling
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

REPEATS = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 3))


def network(folder: Path) -> Any:
    """The published neural network as a calculator."""
    sys.path.insert(0, str(folder))
    from annpot import default  # type: ignore[import-not-found]

    return default("04153")


def rows(result: Tiling) -> list[list[str]]:
    assert result.stress_change is not None and result.cost_spread is not None
    return [
        [
            "x".join(map(str, repeat)),
            str(result.atoms[at]),
            f"{result.energy_change[at]:+.0e}",
            f"{result.force_change[at]:.0e}",
            f"{result.stress_change[at]:.0e}",
            f"{1e3 * result.cost[at]:.1f} ± {1e3 * result.cost_spread[at]:.1f}",
            "" if result.cost_error is None else f"{1e3 * result.cost[at] - result.cost_error[at]:.1f}",
            f"{result.seconds[at]:.2f}",
        ]
        for at, repeat in enumerate(result.repeats)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-linear.h5")
    parser.add_argument("--reference", type=Path, help="folder of annpot.py")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    standard_options(parser, "tiling")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", WaveScatWarning)
    atoms = shipped_structure()
    atoms.calc = WaveScatCalculator(chosen.model)
    result = tiling(atoms, repeats=REPEATS, reference=network(chosen.reference) if chosen.reference else None)
    header = ["copies", "atoms", "energy, meV/atom", "forces, eV/Å", "stress, GPa", "moved by 0.1 Å, meV/atom",
              "by the network", "s"]  # fmt: skip
    text = table(header, rows(result))
    print(f"{machine()}\n\n{text}")
    update_documents(chosen.document, "tiling", text)
    if chosen.picture:
        save_figure(result.plot(), chosen.picture)
    write_json(chosen.json, result.figures())


if __name__ == "__main__":
    main()
