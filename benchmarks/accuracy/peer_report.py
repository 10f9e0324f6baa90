"""Errors of several models on the same labelled frames: figures, tables, a picture."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ase_wavescat.evaluation.reliability import Reliability
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE
from ase_wavescat.training.data.frames import Frame

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import quarter, table

SPECIES = {"Li": 3, "Si": 14}
SIGMAS = {1: 0.6827, 2: 0.9545}
"""Shares of a normal distribution within so many standard deviations."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of n frames.

    label: its name; ours: whether its zero of energy is that of the labels; version: of the package and its weights.
    energies (n,): eV a cell; forces: n arrays (N, 3), eV/A; stresses (n, 6): eV/A^3, in ASE's order and sign.
    elements, volumes: of its own relaxed crystals, eV and A^3 an atom.
    seconds: processor time of energy, forces and stress of 64 atoms, None where not timed; in_this_run: the models in
        turn.
    """

    label: str
    ours: bool
    version: str
    energies: np.ndarray
    forces: tuple[np.ndarray, ...]
    stresses: np.ndarray
    elements: Mapping[str, float]
    volumes: Mapping[str, float]
    seconds: float | None = None
    in_this_run: bool = False


# ---------------------------------------------------------------- figures


def sizes(frames: Sequence[Frame]) -> np.ndarray:
    """Atoms, (n,)."""
    return np.array([len(frame) for frame in frames], dtype=float)


def fractions(frames: Sequence[Frame]) -> np.ndarray:
    """Of each species, (n, 2)."""
    return np.array([frame.count(list(SPECIES.values())) for frame in frames]) / sizes(frames)[:, None]


def quarters_of(frames: Sequence[Frame]) -> list[str]:
    """The quarter of the composition that each frame lies in."""
    return [quarter(x) for x in fractions(frames)[:, 0]]


def energy_errors(
    predictions: Predictions, frames: Sequence[Frame], references: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Predicted less labelled, (n,) eV/atom, with zeros of energy that forgive more and more.

    total: as they are, which means something only for models of these labels.  formation: against bcc lithium and
    diamond silicon, each method's own (references: of the labels, eV/atom).  centred: these less their mean.  fitted:
    less one energy for each element, by least squares over the frames.
    """
    count, shares = sizes(frames), fractions(frames)
    total = predictions.energies / count - np.array([frame.energy for frame in frames]) / count
    formation = total - shares @ np.array([predictions.elements[s] - references[s] for s in SPECIES])
    fitted = total - shares @ np.linalg.lstsq(shares, total, rcond=1e-8)[0]
    return {"total": total, "formation": formation, "centred": formation - formation.mean(), "fitted": fitted}


def components(parts: Sequence[Any], chosen: Sequence[int] | np.ndarray) -> np.ndarray:
    """All components of the chosen frames' arrays, in one."""
    return np.concatenate([np.ravel(parts[i]) for i in chosen])


def slope_of(values: np.ndarray, others: np.ndarray) -> float:
    """Of values on others, by least squares through the origin."""
    return float(values @ others / (others @ others))


def deviations(errors: np.ndarray, name: str, unit: str) -> dict[str, float]:
    """Mean absolute, root mean square and mean error."""
    values = {"mae": np.abs(errors).mean(), "rmse": np.sqrt(np.mean(errors**2)), "mean_error": errors.mean()}
    return {f"{name}_{kind}_{unit}": float(value) for kind, value in values.items()}


def figures_of(
    predictions: Predictions, frames: Sequence[Frame], references: Mapping[str, float], chosen: np.ndarray | None = None
) -> dict[str, Any]:
    """Errors over the frames with these indices (default: all); the zeros of energy are those of all frames."""
    chosen = np.arange(len(frames)) if chosen is None else chosen
    figures: dict[str, Any] = {"frames": len(chosen), "groups": len({frames[i].group for i in chosen})}
    for name, errors in energy_errors(predictions, frames, references).items():
        figures |= deviations(1e3 * errors[chosen], f"{name}_energy", "mev_per_atom")
    predicted, labelled = components(predictions.forces, chosen), components([f.forces for f in frames], chosen)
    stress_errors = components(predictions.stresses, chosen) - components([f.stress for f in frames], chosen)
    return {
        **figures,
        **deviations(predicted - labelled, "force", "ev_per_a"),
        "force_slope": slope_of(predicted, labelled),
        "force_factor": slope_of(labelled, predicted),
        **deviations(stress_errors / units.GPa, "stress", "gpa"),
    }


def figures_by(
    predictions: Predictions, frames: Sequence[Frame], references: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """By config_type, then by quarter of the composition."""
    tables = {}
    for labels in (np.array([frame.config_type for frame in frames]), np.array(quarters_of(frames))):
        for label in sorted(set(labels.tolist())):
            tables[label] = figures_of(predictions, frames, references, np.flatnonzero(labels == label))
    return tables


def model_figures(predictions: Predictions, frames: Sequence[Frame], references: Mapping[str, float]) -> dict[str, Any]:
    """Everything of one model, what the JSON file holds."""
    kept = ("ours", "version", "elements", "volumes", "seconds", "in_this_run")
    return {
        **figures_of(predictions, frames, references),
        **{name: getattr(predictions, name) for name in kept},
        "parts": figures_by(predictions, frames, references),
    }


def calibration_figures(found: Reliability | None) -> dict[str, Any] | None:
    """How errors compare with predicted uncertainties; None for models of one member."""
    if found is None:
        return None
    coverage = found.coverage(list(SIGMAS.values()))
    return {
        "data": len(found.errors),
        "rms_of_error_over_uncertainty": float(np.sqrt(np.mean(found.z_scores**2))),
        **{f"within_{n}_sigma": coverage[share] for n, share in SIGMAS.items()},
        "rank_correlation": found.rank_correlation,
        "factor_asked_for": found.scale / found.stored_scale,
    }


# ---------------------------------------------------------------- tables


def summary_table(models: Mapping[str, dict[str, Any]]) -> str:
    """The most important figures of every model; times also as ratios to that of the first one."""
    rows = []
    yardstick = next(iter(models.values()))["seconds"]
    for label, row in models.items():
        energies = [_mev(row, name, "mae") for name in ("total", "formation", "centred", "fitted")]
        energies[0] = energies[0] if row["ours"] else "-"
        time = "-" if row["seconds"] is None else _rounded(1e3 * row["seconds"])
        ratio = _rounded(row["seconds"] / yardstick) if row["in_this_run"] else "another run"
        forces = [f"{row['force_mae_ev_per_a']:.3f}", f"{row['force_slope']:.2f}"]
        rows.append([label, *energies, *forces, f"{row['stress_mae_gpa']:.2f}", time, ratio])
    header = ["MAE on held-out cells", "energy, meV/atom", "formation energy", "its mean error removed"]
    header += ["one energy an element fitted", "forces, eV/Å", "slope of forces", "stress, GPa"]
    return table([*header, "a call, 64 atoms, ms", f"x {next(iter(models))}"], rows)


def details_table(models: Mapping[str, dict[str, Any]], volumes: Mapping[str, float]) -> str:
    """What the first table leaves out. volumes: of the crystals by DFT, A^3 an atom."""
    rows = []
    for label, row in models.items():
        errors = [_mev(row, "formation", "mean_error", "+.1f")]
        errors += [_mev(row, name, "rmse") for name in ("formation", "centred", "fitted")]
        errors += [f"{row['force_rmse_ev_per_a']:.3f}", f"{row['force_factor']:.2f}"]
        errors += [f"{row['stress_rmse_gpa']:.2f}", f"{row['stress_mean_error_gpa']:+.2f}"]
        crystals = [f"{100 * (row['volumes'][s] / volumes[s] - 1):+.1f} %" for s in SPECIES]
        rows.append([label, *errors, *crystals, row["version"]])
    header = ["RMSE on held-out cells", "mean error of the formation energy, meV/atom", "formation energy"]
    header += ["its mean error removed", "one energy an element fitted", "forces, eV/Å", "factor to DFT forces"]
    return table([*header, "stress, GPa", "its mean error", "volume of bcc Li", "of diamond Si", "version"], rows)


def model_table(model: dict[str, Any]) -> str:
    """One of our models by kind and composition: energies as they are."""
    rows = []
    for label, row in {"all": model, **model["parts"]}.items():
        energies = [_mev(row, "total", "mae"), _mev(row, "total", "rmse"), _mev(row, "total", "mean_error", "+.1f")]
        forces = [f"{row['force_mae_ev_per_a']:.3f}", f"{row['force_rmse_ev_per_a']:.3f}"]
        rows.append([label, row["frames"], row["groups"], *energies, *forces, f"{row['stress_mae_gpa']:.2f}"])
    header = ["held out", "cells", "groups", "energy MAE, meV/atom", "RMSE", "mean error"]
    return table([*header, "forces MAE, eV/Å", "RMSE", "stress MAE, GPa"], rows)


def beside_table(models: Mapping[str, dict[str, Any]], shown: Sequence[str]) -> str:
    """Some models side by side, by kind and composition: peers with the zero that fits them best, ours as they are."""
    header = ["held out", "cells"]
    for label in shown:
        header += [f"{label}: energy MAE, meV/atom", "mean error", "forces MAE, eV/Å"]
    rows = []
    for part, first in {"all": models[shown[0]], **models[shown[0]]["parts"]}.items():
        rows.append([part, first["frames"]])
        for label in shown:
            row = models[label] if part == "all" else models[label]["parts"][part]
            zero = "total" if models[label]["ours"] else "fitted"
            rows[-1] += [
                _mev(row, zero, "mae"),
                _mev(row, zero, "mean_error", "+.1f"),
                f"{row['force_mae_ev_per_a']:.3f}",
            ]
    return table(header, rows)


def calibration_table(calibration: Mapping[str, Mapping[str, dict[str, Any] | None]]) -> str:
    """By model and quantity."""
    rows = []
    for label, quantities in calibration.items():
        for quantity, row in quantities.items():
            if row is not None:
                shares = [f"{100 * row[f'within_{n}_sigma']:.0f} %" for n in SIGMAS]
                rank = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:.2f}"
                rms = f"{row['rms_of_error_over_uncertainty']:.2f}"
                rows.append([label, quantity, row["data"], rms, *shares, rank, f"{row['factor_asked_for']:.2f}"])
    header = ["model", "uncertainty of", "data", "rms of error over uncertainty"]
    header += [f"errors within {n} σ (normal: {100 * share:.0f} %)" for n, share in SIGMAS.items()]
    return table([*header, "rank correlation with size of error", "factor asked for"], rows)


def _mev(row: Mapping[str, Any], zero: str, kind: str, style: str = ".1f") -> str:
    return format(round(row[f"{zero}_energy_{kind}_mev_per_atom"], 1) + 0.0, style)  # no negative zeros


def _rounded(value: float) -> str:
    """Three digits, or what stands before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


# ---------------------------------------------------------------- picture


def picture(models: Sequence[Predictions], frames: Sequence[Frame], references: Mapping[str, float]) -> Figure:
    """A model a column. Above: errors of the formation energy less their mean, against composition, with the mean of
    each quarter. Below: components of the forces against those of DFT, and their slope."""
    figure = Figure(figsize=(2.1 * len(models) + 0.3, 4.7), layout="constrained")
    rows = figure.subplots(2, len(models), sharex="row", sharey="row", squeeze=False)
    labelled = components([frame.forces for frame in frames], range(len(frames)))
    for above, below, model in zip(*rows, models, strict=True):
        colour = BLUE if model.ours else ORANGE
        errors = 1e3 * energy_errors(model, frames, references)["centred"]
        _against_composition(above, frames, errors, colour)
        above.set_title(f"{model.label}\nMAE {np.abs(errors).mean():.1f} meV/atom", fontsize=9)
        predicted = components(model.forces, range(len(frames)))
        _parity(below, labelled, predicted, colour)
        mae = np.abs(predicted - labelled).mean()
        below.set_title(f"MAE {mae:.3f} eV/Å, slope {slope_of(predicted, labelled):.2f}", fontsize=8)
    rows[0, 0].set_ylabel("error of the energy\nless its mean (meV/atom)", fontsize=8)
    rows[1, 0].set_ylabel("force, model (eV/Å)", fontsize=8)
    for axes in rows.flat:
        axes.tick_params(labelsize=7)
    return figure


def _against_composition(axes: Axes, frames: Sequence[Frame], errors: np.ndarray, colour: str) -> None:
    shares, quarters = fractions(frames)[:, 0], np.array(quarters_of(frames))
    parts = [quarters == quarter for quarter in sorted(set(quarters.tolist()))]
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.plot(shares, errors, "o", markersize=3, color=colour, alpha=0.6, markeredgewidth=0)
    means = [shares[part].mean() for part in parts], [errors[part].mean() for part in parts]
    axes.plot(*means, "-s", color="black", markersize=3, linewidth=1)
    axes.set_xlabel("fraction of lithium", fontsize=8)


def _parity(axes: Axes, labelled: np.ndarray, predicted: np.ndarray, colour: str) -> None:
    limit = float(np.quantile(np.abs(labelled), 0.999))
    shades = LinearSegmentedColormap.from_list("shades", ["white", colour, "black"])
    axes.hexbin(labelled, predicted, gridsize=40, extent=(-limit, limit, -limit, limit), bins="log", cmap=shades)
    ends = np.array([-limit, limit])
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    axes.plot(ends, slope_of(predicted, labelled) * ends, "--", color="black", linewidth=1)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel("force, DFT (eV/Å)", fontsize=8)
