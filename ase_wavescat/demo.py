"""What `wavescat demo` does: one amorphous Li-Si cell through every quantity the calculator gives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.eos import EquationOfState, birchmurnaghan
from ase.io import read
from ase.optimize import LBFGS
from ase.units import GPa

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.ensemble import Ensemble

STRUCTURE = Path(__file__).parent / "data" / "a-Li-Si.extxyz"
RELAXATION_STEPS = 30
RELAXATION_FORCE = 0.02
LINEAR_STRAINS = np.linspace(-0.04, 0.04, 9)


@dataclass(frozen=True)
class Relaxation:
    """A relaxation at fixed cell: energies (eV) and largest forces (eV/A) by step, the first before any step."""

    structure: Atoms
    energies: np.ndarray
    largest_forces: np.ndarray
    converged: bool


@dataclass(frozen=True)
class EquationFit:
    """A Birch-Murnaghan fit: volume of the minimum (A^3), its energy (eV), bulk modulus (GPa) and its slope."""

    volume: float
    energy: float
    bulk_modulus: float
    slope: float

    def energy_at(self, volumes: np.ndarray) -> np.ndarray:
        """Energies (eV) at volumes (A^3)."""
        return birchmurnaghan(volumes, self.energy, self.bulk_modulus * GPa, self.slope, self.volume)


@dataclass(frozen=True)
class VolumeScan:
    """Energies (eV) along hydrostatic strains at fixed fractional positions and fixed grids.

    relative_uncertainties: calibrated spread (eV) over members of the energy less that of the unstrained cell.
    fit: None where the curve has no minimum within the scan.
    """

    volumes: np.ndarray
    energies: np.ndarray
    relative_uncertainties: np.ndarray
    fit: EquationFit | None


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
    scan: VolumeScan


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
    relaxation = relax(atoms)
    scan = scan_volume(relaxation.structure, calculator)
    name = "a model in memory" if isinstance(model, Ensemble) else Path(model).name
    return DemoResult(name, atoms, **first, relaxation=relaxation, scan=scan)


def relax(atoms: Atoms, force: float = RELAXATION_FORCE, steps: int = RELAXATION_STEPS) -> Relaxation:
    """At most `steps` steps of LBFGS at fixed cell, until the largest force is below `force` (eV/A)."""
    relaxed = atoms.copy()
    relaxed.calc = atoms.calc
    energies: list[float] = []
    forces: list[float] = []

    def record() -> None:
        energies.append(relaxed.get_potential_energy())
        forces.append(float(np.linalg.norm(relaxed.get_forces(), axis=1).max()))

    optimizer = LBFGS(relaxed, logfile=os.devnull)
    optimizer.attach(record)
    converged = bool(optimizer.run(fmax=force, steps=steps))
    return Relaxation(relaxed, np.array(energies), np.array(forces), converged)


def scan_volume(atoms: Atoms, calculator: WaveScatCalculator) -> VolumeScan:
    """Nine hydrostatic strains of the side from -4 % to +4 %, fractional positions and grids fixed."""
    ensemble = calculator.ensemble
    calculator.set(reference_cell=atoms.cell.array)
    members = []
    volumes = []
    for strain in LINEAR_STRAINS:
        strained = atoms.copy()
        strained.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
        volumes.append(strained.get_volume())
        members.append(calculator.get_member_energies(strained))
    calculator.set(reference_cell=None)
    energies = np.mean(members, axis=1)
    relative = np.array(members) - members[int(np.argmin(np.abs(LINEAR_STRAINS)))]
    spread = relative.std(axis=1, ddof=1) if ensemble.members > 1 else np.zeros(len(volumes))
    fit = fit_equation_of_state(np.array(volumes), energies)
    return VolumeScan(np.array(volumes), energies, ensemble.calibration.energy_scale * spread, fit)


def fit_equation_of_state(volumes: np.ndarray, energies: np.ndarray) -> EquationFit | None:
    """Birch-Murnaghan through volumes (A^3) and energies (eV); None without a minimum between the ends."""
    if np.argmin(energies) in (0, len(energies) - 1):
        return None
    equation = EquationOfState(volumes, energies, eos="birchmurnaghan")
    volume, energy, modulus = equation.fit(warn=False)
    return EquationFit(float(volume), float(energy), float(modulus / GPa), float(equation.eos_parameters[2]))


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
    if scan.fit is None:
        rows.append(("equation of state", "no minimum between -4 % and +4 % of the side"))
    else:
        rows += [
            ("equilibrium volume", f"{scan.fit.volume:.1f} Å³ ({scan.fit.volume / atoms:.3f} Å³/atom)"),
            ("bulk modulus", f"{scan.fit.bulk_modulus:.1f} GPa (fractional positions fixed)"),
        ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
