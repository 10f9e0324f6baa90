"""Lithium atoms hop in silicon-rich amorphous Li-Si: voids, the most favourable hops, a minimum-energy path for each.

    python examples/lithium_hop.py [FOLDER]

FOLDER (default lithium-hop) gets hop-0.json, hop-0.extxyz (all images, with energies and forces), hop-0.png and so on.
`wavescat hops` does this for any glasses. Here the glass is a random packing of 48 atoms, relaxed: quick to make, and
its silicon stays where it is while one lithium atom moves. In lithium-rich glasses many atoms move at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ase import Atoms

from ase_wavescat import PathError, WaveScatCalculator
from ase_wavescat.workflows import find_hops, neb, random_packing, relax


def make_glass(atoms: int, steps: int) -> Atoms:
    """A packing whose cell, then whose positions are relaxed, with its calculator."""
    packing = random_packing("LiSi3", atoms, seed=5)
    packing.calc = WaveScatCalculator("lisi.h5")
    loose = relax(packing, cell=True, fmax=0.05, smax=0.2, steps=steps).structure.copy()
    loose.calc = packing.calc
    relaxation = relax(loose, steps=steps)
    glass = relaxation.structure.copy()
    glass.calc = packing.calc
    print(f"glass {glass.get_chemical_formula()}: {relaxation.summary()}\n")
    return glass


def main(output: Path, *, atoms: int = 48, count: int = 3, images: int = 7, steps: int = 300) -> None:
    glass = make_glass(atoms, steps)
    for number, hop in enumerate(find_hops(glass, species="Li", count=count)):
        print(
            f"Li {hop.atom} into a void with {hop.void.room:.2f} Å of room, {hop.length:.2f} Å away:"
            f" {hop.energy:+.2f} eV before all others relax"
        )
        try:
            barrier = neb(hop.initial, hop.final, images=images, steps=steps)
        except PathError as error:  # such as: when all relax, it falls back to its place
            print(f"  {error}\n")
            continue
        print(f"{barrier.summary()}\nwritten: {barrier.write(output, f'hop-{number}')}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "lithium-hop"))
