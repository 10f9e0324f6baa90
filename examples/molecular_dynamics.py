"""Langevin dynamics of a Li-Si glass: uncertainty and the most unlike atom are logged by the step, and the run stops
where the uncertainty is too large.

    python examples/molecular_dynamics.py [FOLDER]

Writes md.csv (one row a step), md.traj (every tenth step) and md.png. The shipped model's energy uncertainty is 4 to 5
meV/atom in this glass at 600 K, and 6 to 10 in melts at 2500 K, the hottest it was trained on: `limit` lies above both.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path

import numpy as np
from ase import units
from ase.io import Trajectory
from ase.md.langevin import Langevin

from ase_wavescat import WaveScatCalculator, WaveScatWarning
from ase_wavescat.system.plotting import BLUE, ORANGE, save_figure
from ase_wavescat.workflows import shipped_structure

COLUMNS = ("step", "time_fs", "temperature_k", "energy_ev_per_atom", "uncertainty_mev_per_atom", "largest_grade")


def main(
    output: Path, *, temperature: float = 600.0, steps: int = 1000, timestep: float = 1.0, limit: float = 12.0
) -> None:
    """Kelvin, steps of `timestep` fs; stop where the uncertainty exceeds `limit` (meV/atom)."""
    output.mkdir(parents=True, exist_ok=True)
    atoms = shipped_structure()
    atoms.calc = WaveScatCalculator("lisi.h5")
    # At rest at first: the thermostat heats the glass within a tenth of a picosecond
    dynamics = Langevin(
        atoms, timestep * units.fs, temperature_K=temperature, friction=0.02 / units.fs, fixcm=False,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    rows = []
    with (
        open(output / "md.csv", "w", newline="") as file,
        Trajectory(str(output / "md.traj"), "w", atoms) as trajectory,
        warnings.catch_warnings(record=True) as outside,
    ):
        warnings.simplefilter("always", WaveScatWarning)
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for step, _ in enumerate(dynamics.irun(steps)):
            uncertainty = 1e3 * atoms.calc.get_energy_uncertainty(atoms) / len(atoms)
            energy = atoms.get_potential_energy() / len(atoms)
            grade = atoms.calc.get_extrapolation_grades(atoms).max()  # beyond 1: an atom unlike any in training
            rows.append((step, step * timestep, atoms.get_temperature(), energy, uncertainty, grade))
            table.writerow(rows[-1])
            if step % 10 == 0:
                trajectory.write()
            for warning in outside:  # once for each kind: composition, distances, environments of atoms ...
                print(f"step {step}: {warning.message}")
            outside.clear()
            if uncertainty > limit:
                print(f"step {step}: stopped, the uncertainty {uncertainty:.1f} meV/atom is above {limit}")
                break
    _draw(np.array(rows), limit, output / "md.png")
    spread, grade = np.array(rows)[:, 4:].T
    print(f"{len(rows) - 1} steps, uncertainty {spread.mean():.2f} meV/atom in the mean, {spread.max():.2f} at most")
    print(f"most unlike atom: grade {grade.max():.2f}, the limit is 1")


def _draw(rows: np.ndarray, limit: float, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(rows[:, 1], rows[:, 2], color=BLUE)
    left.set_xlabel("time (fs)")
    left.set_ylabel("temperature (K)", color=BLUE)
    right.plot(rows[:, 1], rows[:, 4], color=ORANGE)
    right.axhline(limit, color=ORANGE, linestyle=":")
    right.set_ylim(bottom=0)
    right.set_ylabel("uncertainty (meV/atom), dotted: limit", color=ORANGE)
    save_figure(figure, path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "molecular-dynamics"))
