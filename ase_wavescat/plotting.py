"""Pictures. Figures are made without pyplot: no display is needed and no global state is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.atomic_write import atomic_path

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ase_wavescat.demo import DemoResult, VolumeScan
    from ase_wavescat.workflows.relaxation import Relaxation

BLUE, ORANGE, GREY = "#1f5fa8", "#c8611a", "#8a8f98"


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG; the file appears complete or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        canvas.print_figure(temporary, format="png", dpi=150)


def demo_figure(result: DemoResult) -> Figure:
    """The structure, its relaxation and its energy-volume curve side by side."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.15, wspace=0.04))
    structure, relaxation, volume = figure.subplots(1, 3, width_ratios=(1, 1.25, 1.25))
    draw_structure(structure, result.structure)
    draw_relaxation(relaxation, result.relaxation)
    draw_volume_scan(volume, result.scan, len(result.structure))
    figure.suptitle(f"{result.structure.get_chemical_formula()} with {result.model}")
    return figure


def relaxation_figure(relaxation: Relaxation) -> Figure:
    """Energy and largest force by step."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(6, 4.4), layout=ConstrainedLayoutEngine())
    draw_relaxation(figure.subplots(), relaxation)
    return figure


def draw_structure(axes: Axes, atoms: Atoms) -> None:
    """The cell seen along its third axis, tilted a little; a legend names the elements."""
    from ase.data import atomic_numbers
    from ase.data.colors import jmol_colors
    from ase.visualize.plot import plot_atoms
    from matplotlib.lines import Line2D

    plot_atoms(atoms, axes, radii=0.45, rotation="-78x,12y,2z")
    axes.set_axis_off()
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=9, markeredgecolor="black", label=symbol,
               markerfacecolor=tuple(jmol_colors[atomic_numbers[symbol]]))
        for symbol in sorted(set(atoms.get_chemical_symbols()))
    ]  # fmt: skip
    axes.legend(handles=marks, loc="lower center", ncols=len(marks), frameon=False, bbox_to_anchor=(0.5, -0.08))
    axes.set_title("structure")


def draw_relaxation(axes: Axes, relaxation: Relaxation) -> None:
    """Energy above the last step (left axis) and largest force (right axis) by step."""
    steps = np.arange(len(relaxation.energies))
    gained = 1000 * (relaxation.energies - relaxation.energies[-1]) / len(relaxation.structure)
    axes.plot(steps, gained, "o-", color=BLUE, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("energy above the last step (meV/atom)", color=BLUE)
    axes.tick_params(axis="y", colors=BLUE)
    forces = axes.twinx()
    forces.plot(steps, relaxation.largest_forces, "s--", color=ORANGE, markersize=4)
    forces.set_ylim(bottom=0)
    forces.set_ylabel("largest force (eV/Å)", color=ORANGE)
    forces.tick_params(axis="y", colors=ORANGE, which="both")
    axes.set_title(f"relaxation, cell {relaxation.cell}: {relaxation.stop_reason.partition(':')[0]}")


def draw_volume_scan(axes: Axes, scan: VolumeScan, atoms: int) -> None:
    """Energies with the spread over members about the curve, and the fitted equation of state."""
    zero = scan.energies.min()
    energies = 1000 * (scan.energies - zero) / atoms
    # The spread that matters for a curve is that of energy differences
    spread = 1000 * scan.relative_uncertainties / atoms
    axes.errorbar(
        scan.volumes / atoms,
        energies,
        yerr=spread,
        fmt="o",
        color=BLUE,
        ecolor=GREY,
        capsize=3,
        label="model, ±1σ of the\ndifference to zero strain",
    )
    if scan.fit is not None:
        volumes = np.linspace(scan.volumes[0], scan.volumes[-1], 200)
        curve = 1000 * (scan.fit.energy_at(volumes) - zero) / atoms
        axes.plot(volumes / atoms, curve, color=ORANGE, label=f"Birch-Murnaghan, B = {scan.fit.bulk_modulus:.1f} GPa")
    axes.set_xlabel("volume (Å³/atom)")
    axes.set_ylabel("energy above the lowest (meV/atom)")
    axes.legend(frameon=False)
    axes.set_title("hydrostatic strain, fractional positions fixed")
