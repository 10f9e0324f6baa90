"""Errors of a model on labelled structures that it was not trained on.

    python benchmarks/held_out.py [FOLDER_OR_FILE ...] [--model lisi.h5] [--json FILE] [--document FILE ...]

The default are single points of melts that were labelled after the training set was closed, with its settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import machine, standard_options, table, update_documents, write_json

from ase_wavescat import find_model, load_model
from ase_wavescat.training.dataset import Frame, read_frames


def measure(model: str, frames: list[Frame]) -> dict[str, dict[str, float]]:
    """By kind and for all: frames, mean absolute errors, mean error of the energy."""
    ensemble = load_model(find_model(model))
    transform = ensemble.transform()
    energies, forces = [], []
    for frame in frames:
        prediction = ensemble.predict(transform, frame.cell, frame.positions, frame.numbers)
        energies.append(1e3 * (prediction.energy - frame.energy) / len(frame))
        assert frame.forces is not None
        forces.append(-prediction.gradient[0] - frame.forces)
    kinds = np.array([frame.config_type for frame in frames])
    figures = {}
    for kind in [*sorted(set(kinds)), "all"]:
        mine = np.flatnonzero((kinds == kind) | (kind == "all"))
        error = np.array(energies)[mine]
        figures[kind] = {
            "frames": len(mine),
            "groups": len({frames[i].group for i in mine}),
            "energy_mae_mev_per_atom": float(np.abs(error).mean()),
            "energy_mean_error_mev_per_atom": float(error.mean()),
            "force_mae_ev_per_a": float(np.abs(np.concatenate([forces[i].ravel() for i in mine])).mean()),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", type=Path, default=[Path("labels/mesh-15")])
    parser.add_argument("--model", default="lisi.h5")
    standard_options(parser, "held_out")
    chosen = parser.parse_args()
    paths = [p for given in chosen.data for p in (sorted(given.glob("*.extxyz")) if given.is_dir() else [given])]
    figures = measure(chosen.model, read_frames(paths))
    rows = [
        [kind, row["frames"], row["groups"], f"{row['energy_mae_mev_per_atom']:.1f}",
         f"{row['energy_mean_error_mev_per_atom']:+.1f}", f"{row['force_mae_ev_per_a']:.3f}"]
        for kind, row in figures.items()
    ]  # fmt: skip
    header = ["new melts", "frames", "melts", "energy MAE, meV/atom", "mean error", "forces MAE, eV/Å"]
    text = table(header, rows)
    print(f"{machine()}\n\n{text}")
    update_documents(chosen.document, "held_out", text)
    write_json(chosen.json, dict(figures))


if __name__ == "__main__":
    main()
