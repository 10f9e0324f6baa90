"""The papers' extrapolations with a model trained on forces: bulk moduli and larger cells of amorphous Li-Si.

    python benchmarks/accuracy/lisi_ann.py FOLDER --store FOLDER [--every N] [--json FILE] [--document FILE ...]
        [--picture FILE]

FOLDER holds relaxation paths of amorphous Li-Si and what was made from their ends (.extxyz.xz), labelled by the
neural-network potential of Artrith, Urban and Ceder. The model is trained on energies, forces and stresses of five
frames of paths from which neither strained nor larger cells were made. STORE keeps features and model: a second run
goes on where the first was stopped, and benchmarks/accuracy/barriers.py takes STORE/lisi-ann.h5 as well.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from matplotlib.figure import Figure

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE, save_figure
from ase_wavescat.training.fitting import train
from ase_wavescat.workflows.equation_of_state import Parabola, fit_parabola
from ase_wavescat.workflows.members import member_energies, spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

FRAMES = (0, 1, 2, 4, 23)
"""Of the 24 of a path: those whose forces are not small, and the end."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of labelled structures")
    standard_options(parser, "lisi_ann")
    parser.add_argument("--store", type=Path, required=True, help="folder for training set, features and model")
    parser.add_argument("--preset", default="correlations", help="features of the model")
    parser.add_argument("--every", type=int, default=2, help="take every so many-th path only")
    parser.add_argument("--picture", type=Path, help="where the picture of the bulk moduli goes")
    parser.add_argument("--workers", type=int, help="processes for the features (default: all cores)")
    return parser.parse_args()


def trained_model(chosen: argparse.Namespace) -> Path:
    """The model in the store, trained when it is missing."""
    model = chosen.store / "lisi-ann.h5"
    if model.exists():
        return model
    chosen.store.mkdir(parents=True, exist_ok=True)
    data = chosen.store / "paths.extxyz"
    write(data, training_frames(chosen.folder, chosen.every))
    train(
        data, model, chosen.preset, store=chosen.store / "features", workers=chosen.workers, group_key="conc",
        references={"Li": 0.0, "Si": 0.0},  # the labels are formation energies
        provenance={"label_source": "neural-network potential of Artrith, Urban and Ceder (2018)"},
    )  # fmt: skip
    return model


def training_frames(folder: Path, every: int) -> list[Atoms]:
    used = {a.info["path_id"] for name in ("eos", "large") for a in structures_of(folder / f"{name}.extxyz.xz")}
    frames = [a for a in structures_of(folder / "paths.extxyz.xz") if a.info["path_id"] not in used]
    taken = sorted({int(a.info["path_id"]) for a in frames})[::every]
    return [a for a in frames if a.info["path_id"] in taken and a.info["frame"] in FRAMES]


def bulk_moduli(folder: Path, calculator: WaveScatCalculator, first_principles: Any) -> list[dict[str, Any]]:
    """For each composition the curves of the labels, of the model, and of the shipped model, whose labels are DFT.

    All go through the same strained cells, on the grids of the unstrained one.
    """
    frames = sorted(
        structures_of(folder / "eos.extxyz.xz"), key=lambda atoms: (atoms.info["path_id"], atoms.info["strain"])
    )
    curves = []
    for path, group in groupby(frames, key=lambda atoms: atoms.info["path_id"]):
        cells = list(group)
        strains = np.array([atoms.info["strain"] for atoms in cells])
        unstrained = cells[int(np.argmin(np.abs(strains)))]
        for one in (calculator, first_principles):
            one.set(reference_cell=unstrained.cell.array)
        members = member_energies(calculator, cells)
        assert members is not None
        shipped = np.array([first_principles.get_potential_energy(atoms) for atoms in cells])
        labels = np.array([atoms.get_potential_energy() for atoms in cells])

        def fit(energies: np.ndarray, at: Any = (strains, unstrained)) -> Parabola | None:
            return fit_parabola(at[0], energies, at[1].get_volume(), len(at[1]))

        fits = [fit(energies) for energies in members.T]
        known = [one.bulk_modulus for one in fits if one is not None]
        mine, reference, dft = fit(members.mean(axis=1)), fit(labels), fit(shipped)
        curves.append(
            {
                "path": int(path),
                "lithium": float(np.mean(unstrained.numbers == 3)),
                "reference": asdict(reference) if reference else None,
                "model": asdict(mine) if mine else None,
                "shipped_model": asdict(dft) if dft else None,
                "spread_gpa": float(spread(calculator, np.array(known))) if len(known) == len(fits) else None,
                "errors_mev_per_atom": (1e3 * (members.mean(axis=1) - labels) / len(unstrained)).tolist(),
            }
        )
    calculator.set(reference_cell=None)
    return curves


def large_cells(folder: Path, calculator: WaveScatCalculator) -> dict[str, dict[str, float]]:
    """Errors of the energies of larger cells by how they were made."""
    errors: dict[str, list[float]] = {}
    for atoms in structures_of(folder / "large.extxyz.xz"):
        label = atoms.get_potential_energy()
        error = 1e3 * (calculator.get_potential_energy(atoms) - label) / len(atoms)
        for kind in ("all", str(atoms.info["kind"])):
            errors.setdefault(kind, []).append(error)
    return {kind: deviations(np.array(values)) for kind, values in errors.items()}


def deviations(errors: np.ndarray) -> dict[str, float]:
    return {
        "count": len(errors),
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "mean": float(errors.mean()),
    }


def figures_of(chosen: argparse.Namespace) -> dict[str, Any]:
    model = trained_model(chosen)
    calculator = WaveScatCalculator(model)
    metrics = calculator.model.provenance["metrics"]
    curves = bulk_moduli(chosen.folder, calculator, WaveScatCalculator("lisi.h5"))
    both = [one for one in curves if one["model"] and one["reference"]]
    moduli = np.array([[one["model"]["bulk_modulus"], one["reference"]["bulk_modulus"]] for one in both])
    return {
        "settings": {"preset": chosen.preset, "every": chosen.every, "frames": FRAMES},
        "trained_on": {name: int(calculator.model.provenance[name]) for name in ("frames", "groups")},
        "held_out": {name: value for name, value in metrics.items() if "mae" in name or "rmse" in name},
        "bulk_modulus_gpa": deviations(moduli[:, 0] - moduli[:, 1]),
        "without_minimum": len(curves) - len(both),
        "strained_cells": deviations(np.concatenate([one["errors_mev_per_atom"] for one in curves])),
        "large_cells": large_cells(chosen.folder, calculator),
        "curves": curves,
    }


def as_table(figures: dict[str, Any]) -> str:
    held, moduli = figures["held_out"], figures["bulk_modulus_gpa"]
    rows = [
        ["relaxation paths, other compositions", figures["trained_on"]["frames"], "energy, meV/atom",
         f"{held['energy_mae_mev_per_atom']:.1f}", ""],
        ["", "", "forces, eV/Å", f"{held['force_mae_ev_per_a']:.3f}", ""],
        ["strained cells", figures["strained_cells"]["count"], "energy, meV/atom",
         f"{figures['strained_cells']['mae']:.1f}", f"{figures['strained_cells']['mean']:+.1f}"],
        ["", moduli["count"], "bulk modulus, GPa", f"{moduli['mae']:.1f}", f"{moduli['mean']:+.1f}"],
    ]  # fmt: skip
    for kind, errors in figures["large_cells"].items():
        name = f"larger cells, {kind}"
        rows.append([name, errors["count"], "energy, meV/atom", f"{errors['mae']:.1f}", f"{errors['mean']:+.1f}"])
    return table(["held out", "count", "of", "MAE", "mean error"], rows)


def picture(figures: dict[str, Any]) -> Figure:
    """Bulk modulus against the lithium fraction."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    curves = sorted(figures["curves"], key=lambda one: one["lithium"])
    lines = (
        ("reference", ORANGE, "labels: the neural network"),
        ("model", BLUE, "model of these labels, ±1σ of the members"),
        ("shipped_model", "black", "lisi.h5, trained on DFT"),
    )
    for name, colour, label in lines:
        known = [one for one in curves if one[name]]
        places, values = [one["lithium"] for one in known], [one[name]["bulk_modulus"] for one in known]
        spreads = [one["spread_gpa"] or 0.0 for one in known] if name == "model" else None
        axes.errorbar(places, values, yerr=spreads, fmt="o-", color=colour, ecolor=GREY, markersize=4, label=label)
    axes.set(xlabel="lithium fraction", ylabel="bulk modulus, ions fixed (GPa)", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def main() -> None:
    chosen = options()
    print(machine())
    figures = figures_of(chosen)
    text = as_table(figures)
    print(text)
    write_json(chosen.json, figures)
    update_documents(chosen.document, "lisi_ann", text)
    if chosen.picture:
        save_figure(picture(figures), chosen.picture)


if __name__ == "__main__":
    main()
