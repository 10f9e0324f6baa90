"""Cross-validated errors of a model trained on a folder of labelled structures: the accuracy figures of the README.

    python benchmarks/accuracy.py [FOLDER] [--model models/lisi.h5] [--store FOLDER] [--json FILE] [--document FILE ...]

Trains as `wavescat train` does (five folds by group, then the members), prints the errors over all frames, by kind and
by composition, and writes them as JSON. With --model the model that was fitted is kept, its errors inside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, standard_options, table, update_documents, write_json

from ase_wavescat.training.settings import ENERGY_WEIGHT, FORCE_WEIGHT, STRESS_WEIGHT
from ase_wavescat.training.train import train

FOLDER = Path("../shared/data/lisi-dft")
ENDINGS = (".xyz", ".extxyz", ".db", ".xyz.gz", ".extxyz.gz", ".xyz.xz", ".extxyz.xz")
LISI_DFT = {
    "label_source": "GPAW 22.8, plane waves 300 eV, PAW setups 0.9.20000, PBE, Fermi smearing 0.1 eV; free energies",
    "licence": "CC BY 4.0",
    "citation": "the ase_wavescat project: lisi-dft, PBE-DFT labels of small amorphous Li-Si cells",
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="folder of labelled structures")
    parser.add_argument("--preset", default="correlations")
    parser.add_argument("--model", type=Path, help="keep the model here")
    standard_options(parser, "accuracy")
    parser.add_argument("--store", type=Path, help="folder that keeps the features for the next run")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--energy-weight", type=float, default=ENERGY_WEIGHT)
    parser.add_argument("--force-weight", type=float, default=FORCE_WEIGHT)
    parser.add_argument("--stress-weight", type=float, default=STRESS_WEIGHT)
    return parser.parse_args()


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    files = sorted(path for path in chosen.folder.glob("*") if path.name.endswith(ENDINGS))
    if not files:
        raise SystemExit(f"no extended XYZ files or ASE databases in {chosen.folder}; give the folder as argument")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        ensemble = train(
            files,
            chosen.model or Path(scratch) / "model.h5",
            chosen.preset,
            store=chosen.store or Path(scratch) / "features",
            members=chosen.members,
            seed=chosen.seed,
            energy_weight=chosen.energy_weight,
            force_weight=chosen.force_weight,
            stress_weight=chosen.stress_weight,
            provenance=LISI_DFT if chosen.folder.name == FOLDER.name else None,
        )
    kept = ("data", "frames", "groups", "settings", "versions", "metrics")
    return {
        "features": len(ensemble.keys),
        "seconds": round(time.perf_counter() - start, 1),
        "calibration": vars(ensemble.calibration),
        **{name: ensemble.provenance[name] for name in kept},
    }


def as_table(figures: dict[str, Any]) -> str:
    """All frames, then by kind, then by composition."""
    metrics = figures["metrics"]
    rows = [("all", metrics), *metrics["by_kind"].items()]
    rows += [(f"{metrics['composition_of']} fraction {name}", row) for name, row in metrics["by_composition"].items()]
    names = ("energy_mae_mev_per_atom", "energy_rmse_mev_per_atom", "force_mae_ev_per_a", "force_rmse_ev_per_a")
    cells = [
        [label, row["frames"], *(f"{row[n]:.1f}" for n in names[:2]), *(f"{row[n]:.3f}" for n in names[2:]),
         f"{160.2177 * row['stress_mae_ev_per_a3']:.2f}"]
        for label, row in rows
    ]  # fmt: skip
    header = ["held out", "frames", "energy MAE, meV/atom", "RMSE", "forces MAE, eV/Å", "RMSE", "stress MAE, GPa"]
    return table(header, cells)


def main() -> None:
    chosen = options()
    print(machine())
    figures = measure(chosen)
    print(f"{figures['seconds']} s")
    update_documents(chosen.document, "accuracy", as_table(figures))
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
