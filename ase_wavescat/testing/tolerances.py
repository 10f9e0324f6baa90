"""What a figure may be at most."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ase_wavescat.system.errors import DataError


@dataclass(frozen=True)
class Tolerances:
    """The largest figure with which a check passes; the defaults are for calculators in double precision.

    Attributes:
        energy, forces, stress: eV/atom, eV/A, eV/A^3, where nothing but rounding may differ: symmetries, sizes,
            threads.
        repeat: eV/atom, eV/A and eV/A^3 between two calculations of the same structure; 0: the same bits.
        vacuum_energy, vacuum_forces: eV/atom, eV/A along open directions; methods on grids put vacuum there, and what
            it leaves changes with the box.
        numerical_forces, numerical_stress: eV/A, eV/A^3 between derivatives and differences of the energy.
        roughness: eV/atom beside a smooth curve through the energies of slightly strained cells; methods on grids
            choose them by the cell.
        dimer_energy, dimer_forces: eV, eV/A by which the energy and the force between two atoms may jump.
        hole: eV by which the energy of two atoms may fall where they come closer than any bond.
        drift: eV/atom/ps of the total energy at constant volume.
        memory: MB by which the process may grow over all calls; of the usual 2500, 0.8 kB a call.

    Raises:
        DataError: For a value that is negative or not a number.
    """

    energy: float = 1e-8
    forces: float = 1e-7
    stress: float = 1e-8
    repeat: float = 0.0
    vacuum_energy: float = 2e-5
    vacuum_forces: float = 1e-3
    numerical_forces: float = 1e-5
    numerical_stress: float = 1e-6
    roughness: float = 1e-6
    dimer_energy: float = 1e-4
    dimer_forces: float = 1e-3
    hole: float = 1e-3
    drift: float = 1e-3
    memory: float = 2.0

    def __post_init__(self) -> None:
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            if not (np.isfinite(value) and value >= 0):
                raise DataError(f"the tolerance {part.name} must be a number, zero or more, got {value!r}")
