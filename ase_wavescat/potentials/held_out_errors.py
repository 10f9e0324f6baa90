"""Held-out errors as a training run records them in a model's provenance, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.units import GPa


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """A table of the held-out errors."""
    lines = [
        "held-out errors        frames  energy MAE    RMSE  force MAE    RMSE  stress MAE",
        "                                 meV/atom               eV/A                 GPa",
    ]
    rows = [("all", metrics), ("mean of members", metrics["mean_of_members"])]
    rows += [*metrics.get("by_source", {}).items(), *metrics["by_kind"].items()]
    rows += [(f"{metrics['composition_of']} {name}", row) for name, row in metrics["by_composition"].items()]
    names = (
        ("energy_mae_mev_per_atom", 12, 2, 1.0),
        ("energy_rmse_mev_per_atom", 8, 2, 1.0),
        ("force_mae_ev_per_a", 11, 4, 1.0),
        ("force_rmse_ev_per_a", 8, 4, 1.0),
        ("stress_mae_ev_per_a3", 12, 3, 1 / GPa),
    )
    for label, row in rows:
        cells = "".join(
            f"{factor * row[name]:>{width}.{digits}f}" if name in row else f"{'-':>{width}}"
            for name, width, digits, factor in names
        )
        lines.append(f"{label:<22}{row['frames']:>7}{cells}")
    if "strength" in metrics:
        tried = list(metrics["losses"])
        edge = "" if f"{metrics['strength']:g}" not in (tried[0], tried[-1]) else f" (tried: {tried[0]} to {tried[-1]})"
        lines.append(
            f"prior strength {metrics['strength']:g}{edge}, condition number up to {metrics['condition']:.1e}"
            + (f", {metrics['indefinite_fits']} fits left out eigenvalues" if metrics["indefinite_fits"] else "")
        )
    if metrics.get("far_off"):
        names = metrics["far_off"]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        lines.append(f"far off, look at the labels of: {', '.join(names[:5])}{more}")
    if "greedy" in metrics:
        sizes = metrics["greedy"]["m_star"]
        lines.append(f"features of a member, M*: {np.mean(sizes):.0f} +- {np.std(sizes):.0f}")
    return "\n".join(lines)
