"""Errors and uncertainties of models on everything that was labelled and not learned: melts, extrapolations, minima.

    python benchmarks/accuracy/uncertainties.py [--models lisi.h5 ...] [--data FILE ...] [--json FILE]
        [--document FILE ...]

By default the test cells, the extrapolations and the minima that a search found, each alone and all together, and among
all of them those of which the model does not warn. A model that has learned any of these cells is refused.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from held_out import check_held_out
from peer_report import calibration_figures

from ase_wavescat import find_model
from ase_wavescat.evaluation.assessment import Assessment, evaluate
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import read_frames

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

SET = Path("models/lisi-dft")
DATA = [SET / f"{name}.extxyz.xz" for name in ("test", "extrapolations", "search")]
ALL, UNWARNED = "all of them", "those without a warning"


def figures_of(assessment: Assessment, chosen: np.ndarray) -> dict[str, Any]:
    """Errors of some frames, and how they compare with the spreads."""
    frames, results = (tuple(of_all[i] for i in chosen) for of_all in (assessment.frames, assessment.results))
    part = replace(assessment, frames=frames, results=results)
    errors = part.errors()
    assert errors.energy is not None and errors.forces is not None
    return {
        "cells": errors.frames,
        "energy_mae_mev_per_atom": 1e3 * errors.energy.mae,
        "energy_mean_mev_per_atom": 1e3 * errors.energy.mean,
        "force_mae_ev_per_a": errors.forces.mae,
        "energy": calibration_figures(part.energy_reliability),
        "forces": calibration_figures(part.force_reliability),
    }


def measure(model: str, files: list[Path]) -> dict[str, dict[str, Any]]:
    """By set of cells. Raises DataError for a model that has learned any."""
    parts = {path.name.split(".")[0]: read_frames(path) for path in files}
    frames = [frame for part in parts.values() for frame in part]
    check_held_out(model, frames)
    assessment = evaluate(model, frames)
    ends = np.cumsum([len(part) for part in parts.values()])
    sets = dict(zip(parts, np.split(np.arange(len(frames)), ends[:-1]), strict=True))
    sets |= {
        ALL: np.arange(len(frames)),
        UNWARNED: np.array([i for i, result in enumerate(assessment.results) if not result.outside]),
    }
    return {name: figures_of(assessment, chosen) for name, chosen in sets.items()}


def report(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A row a model and set."""
    rows = []
    for model, sets in found.items():
        for name, row in sets.items():
            errors = [f"{row['energy_mae_mev_per_atom']:.1f}", f"{row['energy_mean_mev_per_atom']:+.1f}"]
            cells = [model, name, row["cells"], *errors, f"{row['force_mae_ev_per_a']:.3f}"]
            for quantity in ("energy", "forces"):
                cells += ["-"] * 2 if row[quantity] is None else _reliability(row[quantity])
            rows.append(cells)
    header = ["model", "cells", "of them", "energy MAE, meV/atom", "mean error", "forces MAE, eV/Å"]
    for quantity in ("energies", "forces"):
        header += [f"{quantity} within 1 and 2 σ", f"rank correlation of spread and error, {quantity}"]
    return table(header, rows)


def _reliability(row: dict[str, Any]) -> list[str]:
    rank = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:.2f}"
    return [" and ".join(f"{100 * row[f'within_{n}_sigma']:.0f} %" for n in (1, 2)), rank]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lisi.h5", "lisi-fast.h5", "lisi-linear.h5"])
    parser.add_argument("--data", type=Path, nargs="+", default=DATA, help="files of labelled cells")
    standard_options(parser, "uncertainties")
    chosen = parser.parse_args()
    try:
        found = {find_model(model).name: measure(model, chosen.data) for model in chosen.models}
    except DataError as error:
        raise SystemExit(str(error)) from error
    text = f"{machine()}\n\n{report(found)}"
    print(f"\n{text}")
    write_json(chosen.json, {"models": found})
    update_documents(chosen.document, "uncertainties", text)


if __name__ == "__main__":
    main()
