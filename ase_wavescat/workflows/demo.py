"""What `wavescat demo` does: one amorphous Li-Si cell through every quantity the calculator gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.io import read
from ase.units import GPa

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.digest import SHORT
from ase_wavescat.system.errors import listening, unheard
from ase_wavescat.workflows.equation_of_state import EquationOfState, draw_equation_of_state, eos
from ase_wavescat.workflows.relaxation import Relaxation, draw_relaxation, relax

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRUCTURE = Path(__file__).parents[1] / "data" / "a-Li-Si.extxyz"
RELAXATION_STEPS = 30
LINEAR_STRAINS = np.linspace(-0.04, 0.04, 9)


@dataclass(frozen=True)
class DemoResult:
    """Everything that the demo's table and picture show; eV, A, eV/A, eV/A^3."""

    model: str
    structure: Atoms
    energy: float
    energy_uncertainty: float
    forces: np.ndarray
    forces_uncertainty: np.ndarray
    stress: np.ndarray
    relaxation: Relaxation
    scan: EquationOfState


def shipped_structure() -> Atoms:
    """Amorphous Li55Si18, 73 atoms; its info["comment"] says where it comes from."""
    atoms = read(STRUCTURE)
    assert isinstance(atoms, Atoms)
    return atoms


def run_demo(model: str | Path | Model, structure: Atoms | None = None) -> DemoResult:
    """Evaluate, relax and strain a structure (default: the shipped one).  Raises what WaveScatCalculator raises."""
    atoms = shipped_structure() if structure is None else structure.copy()
    calculator = WaveScatCalculator(model)
    atoms.calc = calculator
    first = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
        "energy_uncertainty": calculator.get_energy_uncertainty(atoms),
        "forces_uncertainty": calculator.get_forces_uncertainty(atoms),
    }
    relaxation = relax(atoms, steps=RELAXATION_STEPS)
    relaxed = relaxation.structure.copy()
    relaxed.calc = calculator
    with listening(unheard):  # the table says what the curve lacks
        scan = eos(relaxed, strains=LINEAR_STRAINS)
    name = "a model in memory" if isinstance(model, Model) else Path(model).name
    name += f" ({calculator.model.digest[:SHORT]})"
    return DemoResult(name, atoms, **first, relaxation=relaxation, scan=scan)


def table(result: DemoResult) -> str:
    """The demo's numbers, a line each."""
    atoms = len(result.structure)
    lengths = np.linalg.norm(result.forces, axis=1)
    uncertain = np.linalg.norm(result.forces_uncertainty, axis=1)
    pressure = -result.stress[:3].mean() / GPa
    relaxation, scan = result.relaxation, result.scan
    change = 1000 * (relaxation.energies[-1] - relaxation.energies[0]) / atoms
    rows = [
        ("structure", f"amorphous {result.structure.get_chemical_formula()}, {result.structure.get_volume():.1f} Å³"),
        ("model", result.model),
        ("energy", f"{result.energy:.4f} ± {result.energy_uncertainty:.4f} eV"),
        (
            "energy per atom (total)",
            f"{result.energy / atoms:.5f} ± {result.energy_uncertainty / atoms:.5f} eV",
        ),
        ("largest force", f"{lengths.max():.4f} eV/Å (rms {np.sqrt((lengths**2).mean()):.4f})"),
        ("force uncertainty", f"mean {uncertain.mean():.4f}, largest {uncertain.max():.4f} eV/Å"),
        ("stress xx yy zz yz xz xy", " ".join(f"{value / GPa:.2f}" for value in result.stress) + " GPa"),
        ("pressure", f"{pressure:.2f} GPa"),
        (
            f"relaxation, {len(relaxation.energies) - 1} steps",
            f"{change:+.2f} meV/atom, largest force {relaxation.largest_forces[-1]:.4f} eV/Å"
            + (", converged" if relaxation.converged else ""),
        ),
    ]
    if (curve := scan.birch_murnaghan) is None:
        rows.append(("equation of state", "no minimum between -4 % and +4 % of the side"))
    else:
        rows += [
            ("equilibrium volume", f"{curve.volume:.1f} Å³ ({curve.volume / atoms:.3f} Å³/atom)"),
            ("bulk modulus", f"{curve.bulk_modulus:.1f} GPa (fractional positions fixed)"),
        ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


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
