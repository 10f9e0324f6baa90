"""`wavescat explore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ase_wavescat.cli.structures import end, read_structures, run_each, structure_arguments


@click.command()
@structure_arguments("wavescat-explore")
@click.option(
    "--temperature", "temperatures", type=click.FloatRange(min=0, min_open=True), multiple=True, show_default=True,
    default=(300.0, 600.0, 1000.0), help="Run dynamics at this temperature, in K; once for each.",
)  # fmt: skip
@click.option(
    "--picoseconds", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
    help="Run each so long, in ps.",
)  # fmt: skip
@click.option(
    "--snapshots", type=click.IntRange(min=1), default=4, show_default=True, help="Take so many states of each run."
)
@click.option(
    "--hops",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Take so many hops of single atoms into voids.",
)
@click.option("--species", default="Li", show_default=True, help="Let atoms of this element hop.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed the dynamics.")
def explore(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, temperatures: tuple[float, ...], picoseconds: float,
    snapshots: int, hops: int, species: str, seed: int, overwrite: bool,
) -> None:  # fmt: skip
    """Make a pool for `wavescat select` of states that a model leads to.

    The states lie along the relaxation of the structures in FILES, in dynamics, under strain and between voids. Written
    for each structure are NAME.extxyz (the states), NAME.json and NAME.png. Structures done before are kept.
    """
    from ase_wavescat.active_learning import Plan
    from ase_wavescat.active_learning import explore as work

    plan = Plan(temperatures=temperatures, picoseconds=picoseconds, snapshots=snapshots, hops=hops, species=species)
    settings = {"workflow": "explore", "plan": asdict(plan), "seed": seed}
    structures = read_structures(files, output)
    for name, atoms in structures.items():
        atoms.info.setdefault("group", name)  # what comes of one structure belongs together
    shortfalls = run_each(
        structures, model, output, settings, lambda atoms: work(atoms, plan, seed=seed), quiet, overwrite
    )
    end(shortfalls, len(structures))
