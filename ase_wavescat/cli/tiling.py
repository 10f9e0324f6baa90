"""`wavescat tiling`."""

from __future__ import annotations

from pathlib import Path

import click

from ase_wavescat.cli.structures import run_files, structure_arguments


def _repeats(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[int, int, int], ...]:
    """Copies along the cell vectors from texts such as 2x1x1."""
    repeats = []
    for text in given:
        try:
            first, second, third = map(int, text.split("x"))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not three whole numbers, as 2x1x1") from None
        repeats.append((first, second, third))
    return tuple(repeats)


@click.command()
@structure_arguments("wavescat-tiling")
@click.option(
    "--repeat", "repeats", multiple=True, callback=_repeats, metavar="AxBxC", show_default=True,
    default=("1x1x1", "2x1x1", "2x2x2"), help="Repeat the cell so often along its vectors; once for each tiling.",
)  # fmt: skip
@click.option(
    "--amplitude", type=float, default=0.1, show_default=True,
    help="Move every coordinate by a normal number of this standard deviation, in Å.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed the moves.")
def tiling(
    files: tuple[str, ...], model: str, output: Path, quiet: bool,
    repeats: tuple[tuple[int, int, int], ...], amplitude: float, seed: int, overwrite: bool,
) -> None:  # fmt: skip
    """Compare repeated cells with the cell: energies, forces, stress, time.

    Cells are repeated as they are and with every coordinate moved. FILES are extended XYZ, ASE databases, CIF and other
    usual formats, folders or (quoted) globs. Written for each structure are NAME.json, NAME.extxyz and NAME.png.
    Structures done before are kept.
    """
    from ase_wavescat.workflows import tiling as work

    settings = {"workflow": "tiling", "repeats": repeats, "amplitude": amplitude, "seed": seed}
    run_files(
        files, model, output, settings,
        lambda atoms: work(atoms, repeats=repeats, amplitude=amplitude, seed=seed), quiet, overwrite,
    )  # fmt: skip
