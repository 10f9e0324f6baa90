"""A model against density-functional theory where it extrapolates: strained glasses, hops, larger cells, quenches.

    python benchmarks/accuracy/dft_extrapolations.py --make POOLS [--models lisi.h5]
    python benchmarks/accuracy/dft_extrapolations.py --collect POOLS LABELS [LABELS ...] [--data FILE]
    python benchmarks/accuracy/dft_extrapolations.py [--data FILE] [--models lisi.h5 ...] [--json FILE]
        [--document FILE ...] [--picture FILE]

The first makes glasses and bands by the (first) model and writes the structures to label, four files in POOLS. They are
labelled by any code, converged in k-points; for example each by `examples/label_with_gpaw.py POOLS/strains.extxyz
LABELS`. The second puts the labels that are there, files or folders of them, together with what the pools say of each
structure, into one file of frames. The third compares models that were trained on none of them. Labels may be missing:
curves need three points, bands an image between the two ends.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from ase.units import GPa
from extrapolation_pools import make
from held_out import check_held_out
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from same_structures import partners
from small_pictures import save_small

from ase_wavescat import WaveScatCalculator, find_model
from ase_wavescat.io.structures import files_of, structures_of
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import WaveScatError, WaveScatWarning
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE
from ase_wavescat.training.data.frames import read_frames
from ase_wavescat.workflows import path_energies
from ase_wavescat.workflows.checks import evaluated, with_calculator
from ase_wavescat.workflows.equation_of_state import PARABOLA_REACH, fit_parabola
from ase_wavescat.workflows.members import member_energies, spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

DATA = Path("models/lisi-dft/extrapolations.extxyz.xz")
FEWEST_POINTS = 3
APART = 0.06  # eV/atom between the curves of the picture
SINZ = {"bulk modulus": "3.3 GPa", "curves": "8.9 meV/atom", "barriers": "0.20 eV", "larger": "6.8 meV/atom"}
"""Mean absolute errors of Sinz et al. 2020 on tests of these kinds, against their own calculations."""

Rows = list[dict[str, Any]]


# ---------------------------------------------------------------- labels


def collect(pools: Path, labels: Sequence[Path], data: Path) -> None:
    """Frames of the pools that have labels, with the labels and what the pools say, into one file."""
    wanted = [atoms for file in files_of(pools) for atoms in structures_of(file)]
    wanted = [atoms for atoms in wanted if "parent" in atoms.info]
    labelled = [atoms for file in files_of(list(labels)) for atoms in structures_of(file)]
    frames = []
    for atoms, found in zip(wanted, partners(wanted, labelled), strict=True):
        if found is not None:
            frame = evaluated(found)
            frame.info = {**found.info, **atoms.info}
            frames.append(frame)
    if not frames:
        raise SystemExit(f"none of the {len(wanted)} structures in {pools} has a label; label them first")
    with atomic_path(data) as temporary:
        write(temporary, frames, format="extxyz")
    print(f"{len(frames)} of {len(wanted)} structures have labels; in {data}")


def of_kind(frames: Sequence[Atoms], kind: str) -> dict[str, list[Atoms]]:
    """Frames of a config_type by parent."""
    found: dict[str, list[Atoms]] = {}
    for atoms in frames:
        if atoms.info["config_type"] == kind:
            found.setdefault(atoms.info["parent"], []).append(atoms)
    return found


# ---------------------------------------------------------------- strained glasses


@dataclass(frozen=True)
class Curve:
    """One glass at several strains: linear strains, eV by the labels, eV by the members (points, M) or the model
    (points, 1), volume at no strain (A^3), atoms."""

    strains: np.ndarray
    labels: np.ndarray
    energies: np.ndarray
    volume: float
    atoms: int

    def fits(self) -> tuple[tuple[float, float], np.ndarray] | None:
        """(bulk modulus in GPa, equilibrium volume in A^3/atom) of the labels, and (M, 2) of the columns of energies.

        All through the same points, those within 4 % of the lowest label: a cubic term changes a parabola with the
        range that it is fitted in.  None where one of the curves has no minimum, or that of the labels lies beyond the
        points.
        """
        near = np.abs(self.strains - self.strains[np.argmin(self.labels)]) <= PARABOLA_REACH + 1e-9
        found = []
        for column in (self.labels, *self.energies.T):
            fit = fit_parabola(self.strains[near], column[near], self.volume, self.atoms)
            beyond = fit is not None and not self.strains[near].min() <= fit.strain <= self.strains[near].max()
            if fit is None or (beyond and column is self.labels):
                return None
            found.append((fit.bulk_modulus, fit.volume / self.atoms))
        return found[0], np.array(found[1:])


def strained(frames: Sequence[Atoms], calculator: WaveScatCalculator) -> Rows:
    """A row for each curve with points enough, all of one mesh of k-points."""
    rows = []
    for parent, points in of_kind(frames, "strain-curve").items():
        points = sorted(points, key=lambda atoms: atoms.info["linear_strain"])
        if len(points) < FEWEST_POINTS or len({atoms.info.get("kpts") for atoms in points}) > 1:
            print(f"{parent}: left out, {len(points)} points, not all of one mesh or too few")
            continue
        strains = np.array([atoms.info["linear_strain"] for atoms in points])
        labels = np.array([atoms.get_potential_energy() for atoms in points])
        energies = np.array([calculator.get_potential_energy(atoms) for atoms in points])
        members = member_energies(calculator, points)
        volume, count = points[0].get_volume() / (1 + strains[0]) ** 3, len(points[0])
        row = {
            "parent": parent, "x": points[0].info["x"], "strains": strains.tolist(),
            "labels": (labels / count).tolist(), "energies": (energies / count).tolist(),
            "errors_mev_per_atom": (1e3 * (energies - labels) / count).tolist(),
        }  # fmt: skip
        fits = Curve(strains, labels, energies[:, None], volume, count).fits()
        if fits is not None:
            row |= dict(zip(("label_modulus", "label_volume"), fits[0], strict=True))
            row |= dict(zip(("modulus", "volume"), fits[1][0].tolist(), strict=True))
            of_members = None if members is None else Curve(strains, labels, members, volume, count).fits()
            row["modulus_spread"] = None if of_members is None else float(spread(calculator, of_members[1][:, 0]))
        rows.append(row)
    return sorted(rows, key=lambda row: row["x"])


# ---------------------------------------------------------------- hops


def hops(frames: Sequence[Atoms], calculator: WaveScatCalculator) -> Rows:
    """A row for each band of which both ends and an image between have labels."""
    starts = of_kind(frames, "strain-curve")
    rows = []
    for parent, images in of_kind(frames, "hop-path").items():
        first = [atoms for atoms in starts.get(parent, []) if atoms.info["linear_strain"] == 0]
        path = first + sorted(images, key=lambda atoms: atoms.info["image"])
        last = max(atoms.info["images"] for atoms in images) - 1
        if not first or len(path) < 3 or path[-1].info["image"] != last:
            print(f"{parent}: band left out, it has no labels of both ends and an image between")
            continue
        if len({atoms.info.get("kpts") for atoms in path}) > 1:
            print(f"{parent}: band left out, its labels are not all of one mesh")
            continue
        labels, model = path_energies(path), path_energies(path, calculator)
        rows.append({
            "parent": parent, "x": path[0].info["x"], "images": len(path), "lengths": labels.lengths.tolist(),
            "labels": labels.energies.tolist(), "energies": model.energies.tolist(),
            **{f"label_{way}": getattr(labels, way) for way in ("forward", "backward")},
            **{name: getattr(model, name) for name in ("forward", "backward", "forward_spread", "backward_spread")},
        })  # fmt: skip
    return sorted(rows, key=lambda row: row["x"])


# ---------------------------------------------------------------- single structures


def singles(frames: Sequence[Atoms], kind: str, calculator: WaveScatCalculator) -> Rows:
    """A row for each structure of a config_type: errors of energy, forces and stress."""
    rows = []
    for labelled in (atoms for atoms in frames if atoms.info["config_type"] == kind):
        atoms = with_calculator(labelled, calculator)
        force = atoms.get_forces() - labelled.get_forces()
        stress = (atoms.get_stress() - labelled.get_stress()) / GPa
        rows.append({
            "parent": labelled.info["parent"], "x": labelled.info["x"], "atoms": len(atoms),
            "error_mev_per_atom": 1e3 * (atoms.get_potential_energy() - labelled.get_potential_energy()) / len(atoms),
            "uncertainty_mev_per_atom": 1e3 * calculator.get_energy_uncertainty(atoms) / len(atoms),
            "force_mae": float(np.abs(force).mean()), "force_rmse": float(np.sqrt((force**2).mean())),
            "stress_mae": float(np.abs(stress).mean()),
        })  # fmt: skip
    return sorted(rows, key=lambda row: row["x"])


# ---------------------------------------------------------------- figures


def measure(frames: Sequence[Atoms], model: str) -> dict[str, Any]:
    calculator = WaveScatCalculator(model)
    curves, bands = strained(frames, calculator), hops(frames, calculator)
    larger, quenched = singles(frames, "larger", calculator), singles(frames, "quenched", calculator)
    rows = {"curves": curves, "bands": bands, "larger": larger, "quenched": quenched}
    data = errors(**rows)
    return {
        **rows,
        "summary": {name: float(np.abs(values).mean()) for name, values in data.items()},
        "numbers": {name: len(values) for name, values in data.items()},
    }


def errors(curves: Rows, bands: Rows, larger: Rows, quenched: Rows) -> dict[str, list[float]]:
    """Of the kinds of SUMMARY; what has no labels is not in it."""
    fitted = [row for row in curves if "modulus" in row]
    parts: dict[str, list[float]] = {
        "bulk modulus": [row["modulus"] - row["label_modulus"] for row in fitted],
        "volume": [100 * (row["volume"] / row["label_volume"] - 1) for row in fitted],
        "curves": [error for row in curves for error in row["errors_mev_per_atom"]],
        "barriers": [row[way] - row[f"label_{way}"] for row in bands for way in ("forward", "backward")],
        "larger": [row["error_mev_per_atom"] for row in larger],
        "larger forces": [row["force_mae"] for row in larger],
        "quenched": [row["error_mev_per_atom"] for row in quenched],
        "quenched forces": [row["force_mae"] for row in quenched],
    }
    return {name: values for name, values in parts.items() if values}


SUMMARY: dict[str, tuple[str, str]] = {
    "bulk modulus": ("bulk moduli, from strains within 4 % of the lowest", "{:.1f} GPa"),
    "volume": ("equilibrium volumes", "{:.2f} %"),
    "curves": ("energies along the strain", "{:.1f} meV/atom"),
    "barriers": ("barriers of hops, both ways", "{:.3f} eV"),
    "larger": ("glasses of 80 to 100 atoms, energies", "{:.1f} meV/atom"),
    "larger forces": ("their forces", "{:.3f} eV/Å"),
    "quenched": ("glasses of 64 atoms at the end of a model's melt and quench, energies", "{:.1f} meV/atom"),
    "quenched forces": ("their forces", "{:.3f} eV/Å"),
}


def text(results: dict[str, dict[str, Any]]) -> str:
    """The errors of all models, then what they are made of, for the first."""
    lines = []
    for name, (label, form) in SUMMARY.items():
        cells = [
            f"{form.format(one['summary'][name])} ({one['numbers'][name]})" if name in one["summary"] else "-"
            for one in results.values()
        ]
        if set(cells) != {"-"}:
            lines.append([label, *cells, SINZ.get(name, "")])
    parts = [table(["mean absolute error (of how many)", *results, "Sinz et al. 2020, theirs"], lines)]
    first = next(iter(results.values()))
    makers: tuple[Callable[[dict[str, Any]], str], ...] = (_curve_table, _band_table, _single_table)
    return "\n\n".join([*parts, *filter(None, (make_table(first) for make_table in makers))])


def _plus_minus(value: float, deviation: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def _curve_table(result: dict[str, Any]) -> str:
    header = ["strained glass", "x", "points", "B of DFT, GPa", "B of the model, GPa", "volume, model to DFT, %",
              "mean error, meV/atom"]  # fmt: skip
    lines = []
    for row in result["curves"]:
        fitted = ["no minimum", "no minimum", ""]
        if "modulus" in row:
            modulus = _plus_minus(row["modulus"], row["modulus_spread"], 1)
            fitted = [f"{row['label_modulus']:.1f}", modulus, f"{100 * (row['volume'] / row['label_volume'] - 1):+.2f}"]
        error = f"{np.mean(row['errors_mev_per_atom']):+.1f}"
        lines.append([row["parent"], f"{row['x']:.2f}", len(row["strains"]), *fitted, error])
    return table(header, lines) if lines else ""


def _band_table(result: dict[str, Any]) -> str:
    lines = [
        [row["parent"], f"{row['x']:.2f}", row["images"]]
        + [
            cell
            for way in ("forward", "backward")
            for cell in (f"{row[f'label_{way}']:.2f}", _plus_minus(row[way], row[f"{way}_spread"], 2))
        ]
        for row in result["bands"]
    ]
    header = [
        "hop in",
        "x",
        "points",
        *(f"{way} {by}, eV" for way in ("forward", "backward") for by in ("DFT", "model")),
    ]
    return table(header, lines) if lines else ""


def _single_table(result: dict[str, Any]) -> str:
    lines = [
        [row["parent"], kind, f"{row['x']:.2f}",
         f"{row['error_mev_per_atom']:+.1f} ± {row['uncertainty_mev_per_atom']:.1f}", f"{row['force_mae']:.3f}",
         f"{row['force_rmse']:.3f}", f"{row['stress_mae']:.2f}"]
        for kind in ("larger", "quenched") for row in result[kind]
    ]  # fmt: skip
    header = ["glass", "kind", "x", "energy error, meV/atom", "forces MAE, eV/Å", "forces RMSE", "stress MAE, GPa"]
    return table(header, lines) if lines else ""


# ---------------------------------------------------------------- picture


def picture(result: dict[str, Any]) -> Figure:
    """Energies along the strain, bulk moduli, and energies along the bands."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_curves(panels[0], result["curves"])
    _draw_moduli(panels[1], [row for row in result["curves"] if "modulus" in row])
    _draw_bands(panels[2], result["bands"])
    return figure


def _draw_curves(axes: Axes, rows: Rows) -> None:
    """Energies less the lowest label, one curve above the other."""
    for index, row in enumerate(rows):
        zero = min(row["labels"]) - APART * index
        strains = 100 * np.array(row["strains"])
        axes.plot(strains, 1e3 * (np.array(row["labels"]) - zero), "o", color=BLUE, markersize=4)
        axes.plot(strains, 1e3 * (np.array(row["energies"]) - zero), color=ORANGE)
        axes.text(strains[-1] + 0.4, 1e3 * (row["labels"][-1] - zero), f"{row['x']:.2f}", fontsize=8, color=GREY)
    axes.plot([], [], "o", color=BLUE, label="DFT")
    axes.plot([], [], color=ORANGE, label="model")
    axes.margins(y=0.12)  # room for the legend
    axes.legend(frameon=False, loc="upper center", ncols=2)
    axes.set_xlabel("linear strain (%)")
    axes.set_ylabel(f"energy, {1e3 * APART:.0f} apart (meV/atom)")


def _draw_moduli(axes: Axes, rows: Rows) -> None:
    x, y = (np.array([row[name] for row in rows]) for name in ("label_modulus", "modulus"))
    spreads = np.array([row["modulus_spread"] or 0.0 for row in rows])
    _diagonal(axes, x, y)
    axes.errorbar(x, y, spreads, fmt="none", ecolor=GREY, capsize=2, zorder=1)
    points = axes.scatter(x, y, c=[row["x"] for row in rows], cmap="viridis", zorder=2)
    axes.figure.colorbar(points, ax=axes, label="lithium fraction")
    axes.set_xlabel("bulk modulus of DFT (GPa)")
    axes.set_ylabel("bulk modulus of the model (GPa), ±1σ")


def _diagonal(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    if len(x):
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=GREY, linewidth=1)


def _draw_bands(axes: Axes, rows: Rows) -> None:
    """Energies above the first image, one band beside the other."""
    start = 0.0
    for row in rows:
        lengths = start + np.array(row["lengths"])
        axes.plot(lengths, np.array(row["labels"]) - row["labels"][0], "o", color=BLUE, markersize=4)
        axes.plot(lengths, np.array(row["energies"]) - row["energies"][0], color=ORANGE)
        top = max(max(row[by]) - row[by][0] for by in ("labels", "energies"))
        axes.text(lengths.mean(), top + 0.03, f"{row['x']:.2f}", ha="center", fontsize=8, color=GREY)
        start = lengths[-1] + 3.0
    axes.margins(y=0.1)
    axes.set_xlabel("length of the bands (Å)")
    axes.set_ylabel("energy above the first image (eV)")


# ---------------------------------------------------------------- command


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--make", type=Path, metavar="POOLS", help="write the structures to label into this folder")
    parser.add_argument("--collect", type=Path, nargs="+", metavar=("POOLS", "LABELS"), help="put labels together")
    parser.add_argument("--data", type=Path, default=DATA, help=f"labelled frames (default {DATA})")
    parser.add_argument("--models", nargs="+", default=["lisi.h5"])
    parser.add_argument("--picture", type=Path)
    standard_options(parser, "dft_extrapolations")
    chosen = parser.parse_args()
    if chosen.collect and len(chosen.collect) < 2:
        parser.error("--collect needs the folder of the pools and at least one folder or file of labels")
    if len({Path(model).name for model in chosen.models}) < len(chosen.models):
        parser.error("two of the models have the same file name, which is what tables call them; copy one")
    return chosen


def main() -> None:
    try:
        run(options())
    except WaveScatError as error:
        raise SystemExit(str(error)) from error


def run(chosen: argparse.Namespace) -> None:
    """Raises DataError for data that cannot be read and for models that were trained on them."""
    warnings.simplefilter("ignore", WaveScatWarning)  # what leaves the domain is what is measured here
    if chosen.make:
        return make(chosen.make, find_model(chosen.models[0]))
    if chosen.collect:
        return collect(chosen.collect[0], chosen.collect[1:], chosen.data)
    frames, read = structures_of(chosen.data), read_frames(chosen.data)
    for model in chosen.models:
        check_held_out(model, read)
    results = {Path(model).name: measure(frames, model) for model in chosen.models}
    content = text(results)
    print(f"{machine()}\n\n{content}")
    write_json(chosen.json, {"frames": len(frames), "models": results})
    update_documents(chosen.document, "dft_extrapolations", content)
    if chosen.picture:
        save_small(picture(next(iter(results.values()))), chosen.picture)


if __name__ == "__main__":
    main()
