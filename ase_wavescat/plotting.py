"""Pictures. Figures are made without pyplot: no display is needed and no global state is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from ase_wavescat.atomic_write import atomic_path

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ase_wavescat.demo import DemoResult
    from ase_wavescat.workflows.elasticity import ElasticConstants
    from ase_wavescat.workflows.equation_of_state import EquationOfState
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
    draw_equation_of_state(volume, result.scan)
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


def equation_of_state_figure(result: EquationOfState) -> Figure:
    """Energies by volume with what was fitted."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(6, 4.4), layout=ConstrainedLayoutEngine())
    draw_equation_of_state(figure.subplots(), result)
    return figure


def draw_equation_of_state(axes: Axes, result: EquationOfState) -> None:
    """Energies with the spread over members about the curve, and the fits."""
    atoms = len(result.points[0])
    zero = result.energies.min()
    energies = 1000 * (result.energies - zero) / atoms
    # The spread that matters for a curve is that of energy differences
    spread = result.relative_uncertainties
    axes.errorbar(
        result.volumes / atoms,
        energies,
        yerr=None if spread is None else 1000 * spread / atoms,
        fmt="o",
        color=BLUE,
        ecolor=GREY,
        capsize=3,
        label="energy" if spread is None else "model, ±1σ of the\ndifference to the lowest",
    )
    volumes = np.linspace(result.volumes[0], result.volumes[-1], 200)
    if (curve := result.birch_murnaghan) is not None:
        label = f"Birch-Murnaghan, B = {curve.bulk_modulus:.1f} GPa"
        axes.plot(volumes / atoms, 1000 * (curve.energy_at(volumes) - zero) / atoms, color=ORANGE, label=label)
    if (parabola := result.parabola) is not None:
        # The fit's reach: 4 % of the side to both sides of the minimum
        strains = parabola.strain + np.linspace(-0.04, 0.04, 50)
        unstrained = parabola.volume / (1 + parabola.strain) ** 3
        bend = 4.5 * parabola.bulk_modulus * GPa * unstrained * (1 + parabola.strain)
        heights = 1000 * (parabola.energy - zero + bend * (strains - parabola.strain) ** 2) / atoms
        label = f"parabola, B = {parabola.bulk_modulus:.1f} GPa"
        axes.plot(unstrained * (1 + strains) ** 3 / atoms, heights, "--", color=GREY, label=label)
    axes.set_xlabel("volume (Å³/atom)")
    axes.set_ylabel("energy above the lowest (meV/atom)")
    axes.legend(frameon=False)
    axes.set_title("hydrostatic strain, " + ("ions relaxed" if result.relaxed_ions else "fractional positions fixed"))


def elastic_figure(result: ElasticConstants) -> Figure:
    """The tensor in numbers, and the stresses whose slopes are its diagonal."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(11, 4.6), layout=ConstrainedLayoutEngine(wspace=0.05))
    matrix, slopes = figure.subplots(1, 2)
    names = ("xx", "yy", "zz", "yz", "xz", "xy")
    tensor = result.best
    largest = float(np.abs(tensor.stiffness).max())
    matrix.imshow(tensor.stiffness, cmap="RdBu_r", vmin=-1.5 * largest, vmax=1.5 * largest)
    for (row, column), value in np.ndenumerate(tensor.stiffness):
        matrix.text(column, row, f"{value:.1f}".replace("-0.0", "0.0"), ha="center", va="center")
    matrix.set_xticks(range(6), names)
    matrix.set_yticks(range(6), names)
    ions = "clamped" if result.relaxed is None else "relaxed"
    matrix.set_title(f"C (GPa), ions {ions}: K {tensor.bulk_modulus:.1f}, G {tensor.shear_modulus:.1f} GPa")
    stresses = result.clamped_stresses if result.relaxed_stresses is None else result.relaxed_stresses
    for kind, name in enumerate(names):
        change = stresses[kind, :, kind] - result.residual_stress[kind]
        (points,) = slopes.plot(100 * result.strains, change, "o", markersize=4)
        line = tensor.stiffness[kind, kind] * result.strains
        slopes.plot(100 * result.strains, line, color=points.get_color(), label=name)
    slopes.set_xlabel("strain (%)")
    slopes.set_ylabel("change of the stress of the same component (GPa)")
    slopes.legend(frameon=False)
    return figure
