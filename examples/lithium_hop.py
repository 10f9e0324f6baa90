"""A lithium atom hops in a glass: voids, the most favourable hops, minimum-energy paths until one has a barrier.

    python examples/lithium_hop.py [FOLDER]

FOLDER (default lithium-hop) gets hop-0.json, hop-0.extxyz (all images, with energies and forces), hop-0.png and so on.
`wavescat hops` does this for many hops and many glasses.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ase_wavescat import WaveScatCalculator
from ase_wavescat.demo import shipped_structure
from ase_wavescat.errors import PathError
from ase_wavescat.workflows import find_hops, neb, relax


def main(output: Path, *, count: int = 3, room: float = 2.3, images: int = 7, steps: int = 500) -> None:
    glass = shipped_structure()
    glass.calc = WaveScatCalculator("lisi.h5")

    relaxation = relax(glass, steps=steps)
    print(f"glass {glass.get_chemical_formula()}: {relaxation.summary()}\n")
    relaxed = relaxation.structure.copy()
    relaxed.calc = glass.calc

    for number, hop in enumerate(find_hops(relaxed, species="Li", count=count, room=room)):
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
        if min(barrier.forward, barrier.backward) > 0:  # a barrier from both sides: two minima, and a saddle between
            break


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "lithium-hop"))
