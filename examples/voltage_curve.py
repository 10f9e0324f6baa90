"""Voltage of amorphous Li_xSi: glasses of many compositions are relaxed, then compared with lithium metal.

    python examples/voltage_curve.py [FOLDER]

Takes small annealed cells of the data set beside the model, relaxes positions and cells, and writes voltage.json,
voltage.png and voltage.extxyz. Few small cells make a rough curve: docs/measurements/voltage.md has a better one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ase import Atoms

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.potentials.file.search import bundled_folder
from ase_wavescat.workflows import reference_energies, relax, voltage

MOST_LITHIUM = 3.75  # Li15Si4: no lithium goes in beyond
PUBLISHED = [(0.02, 0.43), (0.85, 0.41), (1.5, 0.32)]  # Chevrier and Dahn, DFT


def main(output: Path, *, cells: int = 12, fmax: float = 0.05, steps: int = 150) -> None:
    """Relax so many cells, evenly chosen by composition, until no force is above `fmax` (eV/A)."""
    calculator = WaveScatCalculator("lisi.h5")
    relaxed = []
    for atoms in _glasses(cells):
        atoms.calc = calculator
        result = relax(atoms, cell=True, fmax=fmax, smax=0.1, steps=steps)
        print(f"{atoms.get_chemical_formula():<8} {result.stop_reason} after {result.steps} steps")
        if not result.runaway:
            relaxed.append(result.structure)
    for atoms in relaxed:
        atoms.calc = calculator  # energies of all members, not only the mean
    references = reference_energies(calculator, ["Li"])
    curve = voltage(relaxed, references=references, order=3, published=PUBLISHED)
    curve.write(output, "voltage")
    print(curve.summary())


def _glasses(count: int) -> list[Atoms]:
    frames = structures_of(bundled_folder() / "lisi-dft" / "cheap.extxyz.xz")
    cells = [atoms for atoms in frames if atoms.info["config_type"] == "annealed" and _lithium(atoms) <= MOST_LITHIUM]
    cells.sort(key=_lithium)
    return [cells[round(index * (len(cells) - 1) / (count - 1))] for index in range(count)]


def _lithium(atoms: Atoms) -> float:
    """Li atoms per Si."""
    symbols = atoms.get_chemical_symbols()
    return symbols.count("Li") / symbols.count("Si")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "voltage"))
