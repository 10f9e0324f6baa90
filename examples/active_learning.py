"""The loop of active learning from nothing: copper-gold, with ASE's effective-medium potential as the oracle.

    python examples/active_learning.py

Random packings are labelled and a first model trained; then, round by round, structures that the model leads to and is
unsure of are labelled, and the model is trained again. In place of EMT() goes any ASE calculator: with
density-functional theory the rounds take days in place of minutes, and other processes may help to label (see
docs/how-to/active_learning.md). Stop it and start it again: it goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ase import Atoms
from ase.calculators.emt import EMT

from ase_wavescat.active_learning import Campaign, Learning, Limits, Plan, Watch, explore, label, learn
from ase_wavescat.training import Features, Run, Settings
from ase_wavescat.workflows import random_packings

COMPOSITIONS = ("Cu3Au", "CuAu", "CuAu3")
SETTINGS = {"method": "effective-medium theory, ase.calculators.emt"}


def test_set(folder: Path, size: int) -> Path:
    """Labelled structures that no round sees: where the oracle itself leads to from packings of their own."""
    plan = Plan(temperatures=(600.0,), picoseconds=0.2, timestep=2.0, snapshots=3, strains=(0.03,), hops=0)
    pool: dict[str, Atoms] = {}
    for packing in random_packings(COMPOSITIONS, 1, size, seed=1):
        name = packing.info["name"]
        packing.info["group"] = name
        packing.calc = EMT()
        states = [state for state in explore(packing, plan).states if state.info["config_type"] != "relaxation"]
        pool |= {f"{name}-{index}": state for index, state in enumerate(states)}
    label(pool, folder, lambda atoms: EMT(), SETTINGS, report=lambda line: None)
    return folder


def main(
    output: Path, rounds: int = 2, count: int = 15, starts: int = 3, size: int = 12, picoseconds: float = 0.2,
    workers: int | None = None,
) -> Learning:  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    features = Features(overrides={"four_body": False, "grid_maps": False})  # quick, and enough for such a potential
    campaign = Campaign(
        Limits(energy=0.005, forces=0.10),
        rounds=rounds,
        count=count,
        starts=starts,
        plan=Plan((300.0, 900.0), picoseconds, timestep=2.0, snapshots=3, strains=(0.03,), hops=0),
        watch=Watch(600.0, picoseconds),
    )
    learning = learn(
        random_packings(COMPOSITIONS, 10, size),
        lambda atoms: EMT(),
        SETTINGS,
        Run(output / "cu-au.h5", (), features, Settings(members=10), workers=workers),
        output / "rounds",
        campaign,
        test=test_set(output / "test", size),
    )
    learning.write(output, "learning")
    print(f"\n{learning.summary()}\n\nall results: {output}")
    return learning


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=Path("learning-cu-au"), help="folder for the results")
    main(parser.parse_args().output)
