"""The loop of active learning from nothing: copper-gold, with ASE's effective-medium potential as the oracle.

    python examples/active_learning.py

Random packings are labelled and a first model trained; then, round by round, structures that the model leads to and is
unsure of are labelled, and the model is trained again. In place of EMT() goes any ASE calculator: with
density-functional theory the rounds take days in place of minutes, and other processes may help to label (see
docs/active_learning.md). Stop it and start it again: it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ase.calculators.emt import EMT

from ase_wavescat.active_learning import Campaign, Learning, Limits, Plan, Watch, label, learn
from ase_wavescat.structure_files import structures_of
from ase_wavescat.training.run_file import Features, Run
from ase_wavescat.training.settings import Settings
from ase_wavescat.workflows import random_packings

COMPOSITIONS = ("Cu3Au", "CuAu", "CuAu3")
SETTINGS = {"method": "effective-medium theory, ase.calculators.emt"}


def test_set(folder: Path, cells: int, atoms: int) -> Path:
    """Labelled structures that no round sees: the oracle's own dynamics of other packings."""
    from ase_wavescat.active_learning import explore

    plan = Plan(temperatures=(600.0,), picoseconds=0.2, snapshots=2, strains=(-0.03, 0.03), hops=0)
    pool = {}
    for number, atoms_ in enumerate(random_packings(COMPOSITIONS, cells, atoms, seed=1)):
        atoms_.info["group"] = f"test-{number}"
        atoms_.calc = EMT()
        for index, state in enumerate(explore(atoms_, plan, seed=number).states):
            if state.info["config_type"] != "relaxation":
                pool[f"test-{number}-{index}"] = state
    label(pool, folder, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    return folder


def main(
    output: Path, rounds: int = 3, count: int = 18, starts: int = 6, atoms: int = 16, workers: int | None = None,
    temperatures: Sequence[float] = (300.0, 900.0), picoseconds: float = 0.2,
) -> Learning:  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    test = test_set(output / "test", 1, atoms)
    learning = learn(
        list(random_packings(COMPOSITIONS, 8, atoms)),
        lambda atoms: EMT(),
        SETTINGS,
        Run(
            output / "cu-au.h5",
            (),
            Features(overrides={"four_body": False, "grid_maps": False}),
            Settings(members=10),
            workers=workers,
        ),
        output / "rounds",
        Campaign(
            Limits(energy=0.005, forces=0.05),
            rounds=rounds,
            count=count,
            starts=starts,
            plan=Plan(tuple(temperatures), picoseconds, 2.0, snapshots=3, hops=0),
            watch=Watch(temperature=600.0, picoseconds=picoseconds),
        ),
        test=test,
    )
    learning.write(output, "learning")
    print(f"{learning.summary()}\n\n{len(structures_of(output / 'learning.extxyz'))} labels: {output}")
    return learning


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=Path("learning-cu-au"), help="folder for the results")
    main(parser.parse_args().output)
