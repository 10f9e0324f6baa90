"""Equation of state of a glass: volume and bulk modulus, with the spread over the model's members.

    python examples/equation_of_state.py [FOLDER]

Relaxes the shipped Li55Si18 glass at fixed cell, strains it with fractional positions fixed and with relaxed ions, and
writes each curve as fixed.* and relaxed.* (.json, .extxyz, .png). Ions that may move make the glass softer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ase_wavescat import WaveScatCalculator
from ase_wavescat.workflows import eos, relax, shipped_structure


def main(output: Path, *, points: int = 9, fmax: float = 0.03, steps: int = 300) -> None:
    """So many linear strains from -4 % to +4 %; ions relax until no force is above `fmax` (eV/A)."""
    calculator = WaveScatCalculator("lisi.h5")
    atoms = shipped_structure()
    atoms.calc = calculator
    relaxation = relax(atoms, fmax=fmax, steps=steps)
    print(relaxation.summary())
    glass = relaxation.structure.copy()
    glass.calc = calculator
    strains = np.linspace(-0.04, 0.04, points)
    for name, moving in (("fixed", False), ("relaxed", True)):
        curve = eos(glass, strains=strains, relax_ions=moving, fmax=fmax, steps=steps)
        curve.write(output, name)
        print(f"\nions {name}\n{curve.summary()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "equation-of-state"))
