"""Pictures of the validation report. Each function makes one figure; none touches global state."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa

from ase_wavescat.evaluation.assessment import Assessment
from ase_wavescat.evaluation.feature_statistics import Breakdown
from ase_wavescat.evaluation.reliability import Reliability
from ase_wavescat.evaluation.short_range import Approach, ShortRange
from ase_wavescat.potentials.repulsion import pair_name
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREEN, VIOLET = "#3f8f4f", "#8a4fa3"
COLOURS = (BLUE, ORANGE, GREEN, VIOLET, GREY, "#b8962e", "#2a9d9d", "#c0392b")
_MANY = 1500  # points: more are drawn as a density
_DPI = 110
Curve = Sequence[Mapping[str, Any]]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


# ---------------------------------------------------------------- errors


def parity_figure(assessment: Assessment) -> Figure:
    """Predicted against labelled, and histograms of the errors: energies, forces, stresses, as far as labelled."""
    columns = [_energy_column(assessment)]
    for name, unit, factor in (("forces", "eV/Å", 1.0), ("stress", "GPa", 1 / GPa)):
        pairs = [
            (getattr(frame, name).ravel(), getattr(result, name).ravel())
            for frame, result in zip(assessment.frames, assessment.results, strict=True)
            if getattr(frame, name) is not None
        ]
        if pairs:
            labelled, predicted = (factor * np.concatenate(part) for part in zip(*pairs, strict=True))
            title = "force components" if name == "forces" else "stress components"
            columns.append((title, unit, labelled, predicted))
    figure = _figure(4.6 * len(columns), 8.0)
    panels = figure.subplots(2, len(columns), squeeze=False, height_ratios=(1.35, 1))
    for (title, unit, labelled, predicted), top, bottom in zip(columns, *panels, strict=True):
        _draw_parity(top, labelled, predicted)
        top.set(title=title, xlabel=f"labelled ({unit})", ylabel=f"predicted ({unit})")
        _draw_errors(bottom, predicted - labelled)
        bottom.set(xlabel=f"predicted less labelled ({unit})", ylabel="number")
    return figure


def _energy_column(assessment: Assessment) -> tuple[str, str, np.ndarray, np.ndarray]:
    """Labels less their part linear in the composition, and with that part's predictions, meV/atom."""
    labels = assessment.labelled_energies
    linear = np.linalg.lstsq(assessment.fractions, labels, rcond=1e-8)[0]
    labelled = 1e3 * (labels - assessment.fractions @ linear)
    predicted = labelled + 1e3 * assessment.comparable_energy_errors
    offsets = "\nand offsets" if assessment.has_other_zero else ""
    return f"energy, less its composition-linear part{offsets}", "meV/atom", labelled, predicted


def _draw_parity(axes: Axes, labelled: np.ndarray, predicted: np.ndarray) -> None:
    low, high = (float(f(np.concatenate([labelled, predicted]))) for f in (np.min, np.max))
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, zorder=0)
    if len(labelled) > _MANY:
        image = axes.hexbin(
            labelled, predicted, gridsize=70, bins="log", mincnt=1, linewidths=0.1, cmap="viridis",
            extent=(low, high, low, high),
        )  # fmt: skip
        bar = axes.figure.colorbar(image, ax=axes, label="number", shrink=0.8)
        _plain_log_ticks(bar.ax.yaxis, math.inf)
    else:
        axes.plot(labelled, predicted, ".", color=BLUE, alpha=0.6, markersize=5)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


def _draw_errors(axes: Axes, errors: np.ndarray) -> None:
    """A histogram with a normal curve of the same root mean square; the outermost 0.1 % lie in the last bins."""
    rms = float(np.sqrt(np.mean(errors**2)))
    edge = max(float(np.quantile(np.abs(errors), 0.999)), 2 * rms) or 1.0
    heights, edges, _ = axes.hist(
        np.clip(errors, -edge, edge), bins=_bins(len(errors)), range=(-edge, edge), color=BLUE, alpha=0.75
    )
    axes.set_ylim(0, 1.2 * float(np.max(heights)))
    if rms > 0:
        x = np.linspace(-edge, edge, 300)
        normal = len(errors) * (edges[1] - edges[0]) * np.exp(-0.5 * (x / rms) ** 2) / (rms * math.sqrt(2 * math.pi))
        axes.plot(x, normal, color=ORANGE, linewidth=1.5, label="normal, same rms")
        axes.legend(frameon=False, loc="upper right")
    axes.axvline(0, color=GREY, linewidth=1)


def _bins(count: int) -> int:
    """Of a histogram of so many errors: an odd number, so that zero is the middle of one."""
    return 2 * int(np.clip(np.cbrt(count), 5, 35)) + 1


# ---------------------------------------------------------------- uncertainties


def reliability_figure(energy: Reliability | None, forces: Reliability | None) -> Figure:
    """Binned errors against predicted spreads, and histograms of errors over spreads, of energies and forces."""
    rows = [
        (name, unit, factor, found)
        for name, unit, factor, found in (("energy", "meV/atom", 1e3, energy), ("forces", "eV/Å", 1.0, forces))
        if found is not None
    ]
    figure = _figure(10.5, 4.3 * len(rows))
    panels = figure.subplots(len(rows), 2, squeeze=False)
    for (name, unit, factor, found), (left, right) in zip(rows, panels, strict=True):
        _draw_calibration(left, found, factor)
        left.set(
            title=f"{name}: errors against spreads, {len(found.bins[0])} equal bins",
            xlabel=f"predicted spread, rms of the bin ({unit})", ylabel=f"error, rms of the bin ({unit})",
        )  # fmt: skip
        _draw_z_scores(right, found.z_scores)
        right.set(title=f"{name}: errors over spreads", xlabel="z = error / predicted spread", ylabel="density")
    return figure


def _draw_calibration(axes: Axes, found: Reliability, factor: float) -> None:
    spreads, errors = (factor * values for values in found.bins)
    axes.plot(spreads, errors, "o", color=BLUE, label="bins")
    low, high = 0.8 * min(spreads.min(), errors.min()), 1.25 * max(spreads.max(), errors.max())
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, label="error = spread")
    ratio = found.scale / found.stored_scale
    axes.plot([low, high], [ratio * low, ratio * high], "--", color=ORANGE, label=f"error = {ratio:.2f} × spread")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_log_ticks(axis, high / low)
    axes.legend(frameon=False, loc="best")


def _plain_log_ticks(axis: Any, ratio: float) -> None:
    """Ticks such as 0.05 and 20 in place of powers of ten, few enough for an axis whose ends have this ratio."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    steps = (1.0, 2.0, 5.0) if ratio < 300 else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _draw_z_scores(axes: Axes, z: np.ndarray) -> None:
    edge = 5.0
    axes.hist(np.clip(z, -edge, edge), bins=_bins(len(z)), range=(-edge, edge), density=True, color=BLUE, alpha=0.75)
    x = np.linspace(-edge, edge, 300)
    axes.plot(x, np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi), color=ORANGE, label="normal, deviation 1")
    axes.set(xlim=(-edge, edge), ylim=(0, 1.2 * axes.get_ylim()[1]))
    axes.legend(frameon=False, loc="upper right")


# ---------------------------------------------------------------- curves of training


def learning_figure(curve: Curve, size_curve: Curve) -> Figure:
    """Held-out errors against the number of frames and against the number of features, as far as recorded."""
    sides = [
        (rows, key, label)
        for rows, key, label in ((curve, "frames", "training frames"), (size_curve, "features", "features M"))
        if rows
    ]
    figure = _figure(5.6 * len(sides), 4.2)
    for (rows, key, label), axes in zip(sides, figure.subplots(1, len(sides), squeeze=False)[0], strict=True):
        _draw_curve(axes, rows, key)
        axes.set(xlabel=label, title=f"held-out errors against the number of {key}")
        if key == "features" and all("milliseconds" in row for row in rows):
            _add_times(axes, rows)
    return figure


def _draw_curve(axes: Axes, rows: Curve, key: str) -> None:
    """Energy errors on the left axis, force errors on the right one."""
    quantities = (
        ("energy_mae_mev_per_atom", "energy MAE (meV/atom)", BLUE, "o-"),
        ("force_mae_ev_per_a", "force MAE (eV/Å)", ORANGE, "s--"),
    )
    side = axes
    for index, (name, label, colour, style) in enumerate(quantities):
        points = sorted((row[key], row[name]) for row in rows if row.get(name) is not None)
        if not points:
            continue
        if index:
            side = axes.twinx()
        side.plot(*zip(*points, strict=True), style, color=colour, markersize=5)
        side.set(xscale="log", ylim=(0, 1.15 * max(y for _, y in points)))
        side.set_ylabel(label, color=colour)
        side.tick_params(axis="y", colors=colour)
    ticks = sorted({row[key] for row in rows})
    _ticks_at(axes, ticks, [f"{tick:g}" for tick in ticks])


def _add_times(axes: Axes, rows: Curve) -> None:
    """A second scale on top: milliseconds of a call with so many features."""
    top = axes.secondary_xaxis("top")
    top.set_xlabel("milliseconds a call (energy and forces)")
    by_size = sorted(rows, key=lambda row: row["features"])
    _ticks_at(top, [row["features"] for row in by_size], [f"{row['milliseconds']:.3g}" for row in by_size])
    axes.set_title("held-out errors against the number of features", pad=34)


def _ticks_at(axes: Any, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Labels at these places of a logarithmic axis, less those too close to the one before."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    kept: list[int] = []
    gap = math.log(ticks[-1] / ticks[0]) / 9 if len(ticks) > 1 else 0.0
    for index, tick in enumerate(ticks):
        if not kept or math.log(tick / ticks[kept[-1]]) >= gap:
            kept.append(index)
    axes.xaxis.set_major_locator(FixedLocator([ticks[i] for i in kept]))
    axes.xaxis.set_major_formatter(FixedFormatter([labels[i] for i in kept]))
    axes.xaxis.set_minor_locator(NullLocator())


def greedy_figure(validation: Sequence[float | None], sizes: Sequence[int]) -> Figure:
    """Validation error by step of the greedy selection, meV/atom, and how many features the members took."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(10.5, 4.0)
    left, right = figure.subplots(1, 2)
    errors = np.array(validation[: 2 * max(sizes)], dtype=float)  # what comes later no member took
    left.plot(np.arange(1, len(errors) + 1), errors, color=BLUE, label="mean over members")
    left.axvline(float(np.mean(sizes)), color=ORANGE, linestyle="--", label=f"mean M* = {np.mean(sizes):.0f}")
    left.set(
        xlabel="features M", ylabel="RMSE on the groups left out (meV/atom)", yscale="log", title="greedy selection"
    )
    _plain_log_ticks(left.yaxis, float(np.nanmax(errors) / np.nanmin(errors)))
    left.legend(frameon=False)
    right.hist(sizes, bins=min(25, max(5, len(sizes) // 2)), color=BLUE, alpha=0.75)
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xlabel="features M* of a member", ylabel="members", title="sizes of the members")
    return figure


# ---------------------------------------------------------------- features


def breakdown_figure(breakdowns: Sequence[Breakdown]) -> Figure:
    """For each property of the features its values' shares of their number and of the weight."""
    columns = min(3, len(breakdowns))
    rows = math.ceil(len(breakdowns) / columns)
    figure = _figure(4.6 * columns, 3.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, breakdown in zip(panels, breakdowns, strict=False):
        _draw_breakdown(axes, breakdown)
    for axes in panels[len(breakdowns) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _draw_breakdown(axes: Axes, breakdown: Breakdown) -> None:
    places = np.arange(len(breakdown.parts))
    counts = np.array([part.count for part in breakdown.parts])
    shares = 100 * np.array([part.share for part in breakdown.parts])
    total = counts.sum() or 1.0
    axes.bar(places - 0.2, 100 * counts / total, 0.4, color=GREY, label="share of their number")
    axes.bar(places + 0.2, 100 * shares / (shares.sum() or 1.0), 0.4, color=BLUE, label="share of their weight")
    step = math.ceil(len(places) / 14)
    crowded = sum(len(part.label) for part in breakdown.parts[::step]) > 30
    axes.set_xticks(places[::step], [part.label for part in breakdown.parts[::step]])
    if crowded:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set(title=breakdown.title, ylabel="%")


# ---------------------------------------------------------------- short range


def dimer_figure(found: ShortRange) -> Figure:
    """Energy of each dimer against the distance."""
    names = {pair_name(pair): contact for pair, contact in found.contacts.items()}
    columns = min(3, len(found.dimers))
    rows = math.ceil(len(found.dimers) / columns)
    figure = _figure(4.6 * columns, 3.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, approach in zip(panels, found.dimers, strict=False):
        axes.axvspan(approach.coordinates[-1], names[approach.name], color=GREY, alpha=0.18, label="closer than seen")
        _draw_approach(axes, approach, BLUE, None)
        axes.set(title=f"{approach.name} dimer", xlabel="distance (Å)", ylabel="energy less that at 6 Å (eV)")
        axes.set_xlim(approach.coordinates[-1], approach.coordinates[0])
        _symmetric_log(axes)
        axes.set_ylim(bottom=min(-0.3, 1.5 * float(approach.energies.min())))
        axes.legend(frameon=False, loc="best")
    for axes in panels[len(found.dimers) :]:
        axes.set_axis_off()
    return figure


def compression_figure(approaches: Sequence[Approach]) -> Figure:
    """Energy of structures of the data, scaled isotropically."""
    figure = _figure(8.0, 4.2)
    axes = figure.subplots()
    for index, approach in enumerate(approaches):
        _draw_approach(axes, approach, COLOURS[index % len(COLOURS)], approach.name)
    axes.axvline(approaches[0].contact, color=GREY, linestyle=":", label="judged from here")
    axes.set(xlabel="side of the cell, relative", ylabel="energy (eV/atom)", title="compressed structures of the data")
    _symmetric_log(axes)
    axes.set_ylim(bottom=min(-0.3, *(1.5 * float(approach.energies.min()) for approach in approaches)))
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def crystal_figure(found: ShortRange) -> Figure:
    """Energy of simple crystals against the nearest-neighbour distance, one panel for each element or pair."""
    families: dict[str, list[Approach]] = {}
    for approach in found.crystals:
        families.setdefault(approach.name.split()[0], []).append(approach)
    columns = min(3, len(families))
    rows = math.ceil(len(families) / columns)
    figure = _figure(4.6 * columns, 3.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (formula, approaches) in zip(panels, families.items(), strict=False):
        axes.axvspan(approaches[0].coordinates[-1], approaches[0].contact, color=GREY, alpha=0.18)
        for index, approach in enumerate(approaches):
            _draw_approach(axes, approach, COLOURS[index], approach.name.split()[1])
        axes.set(title=f"{formula} crystals", xlabel="nearest-neighbour distance (Å)", ylabel="energy (eV/atom)")
        axes.set_xlim(approaches[0].coordinates[-1], approaches[0].coordinates[0])
        _symmetric_log(axes)
        axes.legend(frameon=False, loc="upper right")
    for axes in panels[len(families) :]:
        axes.set_axis_off()
    return figure


def _draw_approach(axes: Axes, approach: Approach, colour: str, label: str | None) -> None:
    """The curve, and a cross where it falls first."""
    axes.plot(approach.coordinates, approach.energies, ".-", color=colour, markersize=4, linewidth=1.3, label=label)
    if approach.first_fall is not None:
        at = int(np.argmin(np.abs(approach.coordinates - approach.first_fall)))
        axes.plot(
            approach.coordinates[at], approach.energies[at], "x", color="#c0392b", markersize=10, markeredgewidth=2
        )


def _symmetric_log(axes: Axes) -> None:
    """Linear within 1 eV of zero, logarithmic beyond."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_yscale("symlog", linthresh=1.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
