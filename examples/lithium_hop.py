"""A lithium atom hops in a glass: voids, the most favourable hop, its minimum-energy path and barrier.

    python examples/lithium_hop.py [FOLDER]

FOLDER (default lithium-hop) gets hop.json, hop.extxyz (all images, with energies and forces) and hop.png.
`wavescat hops` does this for many hops and many glasses.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ase_wavescat import WaveScatCalculator
from ase_wavescat.demo import shipped_structure
from ase_wavescat.errors import PathError
from ase_wavescat.workflows import Barrier, find_hops, neb, relax


def main(output: Path, *, count: int = 3, room: float = 2.3, images: int = 7, steps: int = 500) -> Barrier:
    glass = shipped_structure()
    glass.calc = WaveScatCalculator("lisi.h5")

    relaxation = relax(glass, steps=steps)
    print(f"glass {glass.get_chemical_formula()}: {relaxation.summary()}\n")
    relaxed = relaxation.structure.copy()
    relaxed.calc = glass.calc

    for hop in find_hops(relaxed, species="Li", count=count, room=room):
        print(
            f"Li {hop.atom} into a void with {hop.void.room:.2f} Å of room, {hop.length:.2f} Å away:"
            f" {hop.energy:+.2f} eV before all others relax"
        )
        try:
            barrier = neb(hop.initial, hop.final, images=images, steps=steps)
        except PathError as error:  # such as: when all relax, it falls back to its place
            print(f"  {error}")
            continue
        print(barrier.summary())
        print(f"results: {barrier.write(output, 'hop').parent}")
        return barrier
    raise SystemExit("no hop leads into a void where lithium stays; look for voids with less room")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "lithium-hop"))
