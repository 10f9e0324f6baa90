"""`wavescat search`."""

from __future__ import annotations

from pathlib import Path

import click

from ase_wavescat.cli.options import (
    model_option,
    overwrite_option,
    quiet_option,
    reference_option,
    stops_cleanly,
    workers_option,
)


def _weights(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """Weights by name from texts such as Si=2, or Si for 1."""
    weights = {}
    for text in given:
        name, _, weight = text.partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a name, or a name and its weight as Si=2") from None
    return weights


@click.command()
@click.argument("elements", nargs=-1, callback=_weights, metavar="[ELEMENT[=WEIGHT]]...")
@click.option(
    "--composition", "compositions", multiple=True, callback=_weights, metavar="FORMULA[=WEIGHT]",
    show_default="every composition of the elements",
    help="Search this composition, as Li2Si6, in place of elements; once for each.",
)  # fmt: skip
@click.option("--atoms", nargs=2, type=click.IntRange(min=1), default=(8, 24), show_default=True,
              help="Put at least and at most so many atoms into a cell.")  # fmt: skip
@click.option("--starts", default=50, show_default=True, type=click.IntRange(min=1), help="Begin with so many cells.")
@click.option("--moves", default=4, show_default=True, type=click.IntRange(min=0),
              help="Go on from each by so many random moves.")  # fmt: skip
@click.option("--symmetric", default=0.5, show_default=True, type=click.FloatRange(0, 1),
              help="Give this share of the cells a space group.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed the cells and moves.")
@model_option()
@click.option("--fmax", default=0.02, show_default=True, type=float, help="Relax until no force is larger, in eV/Å.")
@click.option("--smax", default=0.05, show_default=True, type=float, help="Relax until no stress is larger, in GPa.")
@click.option("--steps", default=300, show_default=True, type=click.IntRange(min=0),
              help="Take so many steps at most in a relaxation.")  # fmt: skip
@click.option("--within", default=0.1, show_default=True, type=click.FloatRange(min=0),
              help="Keep states up to this energy above the hull, in eV/atom.")  # fmt: skip
@reference_option("its crystal, relaxed")
@workers_option(" of this machine")
@click.option(
    "-o", "--output", default="wavescat-search", show_default=True, type=click.Path(file_okay=False, path_type=Path),
    help="Write the states, the ranking and the picture into this folder.",
)  # fmt: skip
@overwrite_option()
@quiet_option()
def search(
    elements: dict[str, float], compositions: dict[str, float], atoms: tuple[int, int], starts: int, moves: int,
    symmetric: float, seed: int, model: str, fmax: float, smax: float, steps: int, within: float,
    references: dict[str, float] | None, workers: int | None, output: Path, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Search small cells for structures of low energy.

    Random cells of the ELEMENTS, of every composition, are relaxed with their cells; from each lead random moves, each
    relaxed again, to lower states. `Li Si=3` makes silicon-rich cells: an element's mean share is its weight over the
    sum of all. Every state is in OUTPUT/states as soon as it is relaxed; a run that was stopped goes on when the same
    command is given again, also with more --starts and --moves. OUTPUT/search.json, .extxyz (what is distinct and
    low in energy) and .png are written at the end.
    """
    from ase_wavescat.workflows.random_cells import RandomCells
    from ase_wavescat.workflows.structure_search import search as run

    if bool(elements) == bool(compositions):
        raise click.UsageError("give elements, or --composition FORMULA: one of them, not both")
    with stops_cleanly(output):
        found = run(
            RandomCells(elements, compositions, atoms, symmetric, seed),
            model=model,
            output=output,
            starts=starts,
            moves=moves,
            fmax=fmax,
            smax=smax,
            steps=steps,
            within=within,
            references=references,
            workers=workers,
            overwrite=overwrite,
            progress=not quiet,
        )
    found.write(output, "search")
    click.echo(found.summary())
    click.echo(f"results: {output}")
