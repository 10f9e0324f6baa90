"""What `wavescat demo` does: one amorphous Li-Si cell through every quantity the calculator gives."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.units import GPa

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.ensemble import Ensemble
from ase_wavescat.errors import WaveScatWarning
from ase_wavescat.workflows.equation_of_state import EquationOfState, eos
from ase_wavescat.workflows.relaxation import Relaxation, relax

STRUCTURE = Path(__file__).parent / "data" / "a-Li-Si.extxyz"
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


def run_demo(model: str | Path | Ensemble, structure: Atoms | None = None) -> DemoResult:
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)  # the table says what the curve lacks
        scan = eos(relaxed, strains=LINEAR_STRAINS)
    name = "a model in memory" if isinstance(model, Ensemble) else Path(model).name
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
