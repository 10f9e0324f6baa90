"""Dynamics at constant energy."""

from __future__ import annotations

import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import Subject, energy_of
from ase_wavescat.workflows.dynamics import draw_velocities

_STEPS = 400
_FIRST = 0.2
"""fs for an atom of mass 1: 0.5 fs for lithium, 1.6 fs for copper."""
_TEMPERATURE = 600.0
"""K at the beginning; about half of it goes into the potential energy."""
_EASING_STEPS = 20
"""Steps of relaxation, so that no contact of the made structure is violent."""


def energy_drift(subject: Subject) -> Findings:
    """The first structure, eased and set in motion at 600 K: slope of a line through the total energy over 400 steps.

    Velocity Verlet keeps the energy of consistent forces up to oscillations; forces that are no derivative of the
    energy, or that jump, add or take energy all the time.
    """
    atoms = subject.structures[0].copy()
    atoms.calc = subject.new_with("forces")
    FIRE(atoms, logfile=None).run(steps=_EASING_STEPS)
    draw_velocities(atoms, _TEMPERATURE, subject.rng())
    Stationary(atoms)
    timestep = _FIRST * float(np.sqrt(atoms.get_masses().min()))
    dynamics = VelocityVerlet(atoms, timestep=timestep * units.fs, logfile=None)
    energies = np.empty(_STEPS)
    for step in range(_STEPS):
        dynamics.run(1)
        energies[step] = (energy_of(atoms.calc, atoms) + atoms.get_kinetic_energy()) / len(atoms)
    findings = Findings()
    findings.add("drift", _slope(1e-3 * timestep, energies), "eV/atom/ps", subject.tolerances.drift)
    return findings


def _slope(interval: float, values: np.ndarray) -> float:
    """Steepness of the straight line through values at even intervals; not a number where one of them is none."""
    if not np.isfinite(values).all():
        return float("nan")
    line = np.polynomial.Polynomial.fit(interval * np.arange(len(values)), values, 1)
    return abs(float(line.deriv()(0.0)))
