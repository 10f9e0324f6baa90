"""Screen a hundred random glasses: five compositions, twenty cells each, ranked by energy above hull.

    python examples/screen_glasses.py

To be done in two minutes the cells are small (about 20 atoms), keep their volume, and relax loosely: to 0.1 eV/Å by at
most 100 steps. For a ranking to rely on take 64 atoms, cell=True and the defaults of `screen`, and
melt=MeltSchedule() for glasses from a melt. Stop it and start it again: it goes on. The numbers are in
screening-glasses/screening.db while it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.db

from ase_wavescat.workflows import random_packings, screen

COMPOSITIONS = ("LiSi", "Li12Si7", "Li7Si3", "Li13Si4", "Li15Si4")


def main(output: Path, cells: int = 20, atoms: int = 20, steps: int = 100, workers: int | None = None) -> None:
    screening = screen(
        random_packings(COMPOSITIONS, cells, atoms, seed=1),
        model="lisi-fast.h5",
        output=output,
        fmax=0.1,
        steps=steps,
        workers=workers,
    )
    screening.write(output, "screening")
    print(screening.summary())

    # Any question to the database, also from another process while the screening runs
    database = ase.db.connect(screening.database)
    print("\ncells with a formation energy below -50 meV/atom and an uncertainty below 10:")
    for row in database.select("formation_energy<-0.05,uncertainty<0.010", sort="formation_energy", limit=5):
        print(f"{row.name:<24}{1000 * row.formation_energy:8.1f} ± {1000 * row.uncertainty:.1f} meV/atom")
    print(f"\nall results: {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "output", nargs="?", type=Path, default=Path("screening-glasses"), help="folder for the results"
    )
    main(parser.parse_args().output)
