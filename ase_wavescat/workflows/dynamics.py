"""Molecular dynamics at fixed volume that notices when a structure runs away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculatorError as FailedCalculation
from ase.md.langevin import Langevin

from ase_wavescat.system.errors import WaveScatError
from ase_wavescat.system.progress import step_bar
from ase_wavescat.workflows.runaway import RunawayWatch

FRICTION = 0.02  # 1/fs: a velocity is forgotten within 50 fs


def draw_velocities(atoms: Atoms, temperature: float, generator: np.random.Generator) -> None:
    """Give the atoms velocities of a temperature (K), of the Maxwell-Boltzmann distribution."""
    try:
        from ase.md.velocitydistribution import thermalize_momenta
    except ImportError:  # before ASE 3.29, where the older name is deprecated
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=generator)
    else:
        thermalize_momenta(atoms, temperature, rng=generator)


def run_langevin(
    atoms: Atoms, target: Callable[[int], float], steps: int, timestep: float, generator: np.random.Generator,
    record: Callable[[int], None],
) -> str | None:  # fmt: skip
    """ASE's Langevin dynamics of `atoms`, with the velocities they have; None, or why it was stopped.

    Args:
        target: K that the bath has at a step.
        timestep: fs.
        record: Called after each step in which nothing was wrong.
    """
    dynamics = Langevin(
        atoms, timestep * units.fs, temperature_K=target(0), friction=FRICTION / units.fs, fixcm=False, rng=generator,
        logfile=None,
    )  # fmt: skip
    watch = RunawayWatch(atoms)
    for step in step_bar(range(1, steps + 1), "dynamics", steps):
        try:
            dynamics.set_temperature(temperature_K=target(step))
            dynamics.run(1)
            reason = watch.reason(atoms, atoms.get_potential_energy(), atoms.get_forces())
        except (WaveScatError, FailedCalculation, ArithmeticError, np.linalg.LinAlgError) as error:
            reason = f"no energy after step {step - 1}: {error}"
        if reason is not None:
            return reason
        record(step)
    return None
