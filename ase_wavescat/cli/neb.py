"""`wavescat neb`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ase_wavescat.cli.structures import (
    Shortfalls,
    end,
    inputs_record,
    kept,
    read_structures,
    structure_arguments,
    write_result,
)
from ase_wavescat.system.progress import steps_shown

if TYPE_CHECKING:
    from ase_wavescat.workflows import Band


@click.command()
@structure_arguments("wavescat-neb")
@click.option(
    "--path",
    "given",
    is_flag=True,
    help="Take FILES for a whole path and compute its energies as it is; nothing moves.",
)
@click.option(
    "--images", type=click.IntRange(min=3), default=7, show_default=True,
    help="Make a band of so many images, both ends included: two fewer move in it. Images in FILES go before.",
)  # fmt: skip
@click.option("--fmax", type=float, default=0.05, show_default=True, help="Stop when no force is larger, in eV/Å.")
@click.option(
    "--steps", type=click.IntRange(min=0), default=500, show_default=True,
    help="Take so many steps at most for each end, and for the band.",
)  # fmt: skip
@click.option("--climb/--no-climb", default=True, show_default=True, help="Let the highest image climb to the saddle.")
@click.option("--relax-ends/--keep-ends", default=True, show_default=True, help="Relax both ends before the band.")
def neb(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, given: bool, images: int, fmax: float, steps: int,
    climb: bool, relax_ends: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Compute a barrier by a nudged elastic band.

    FILES are two structures, the initial and the final one, in one file or two; more of them are the images of a path,
    in order, with which the band begins, or which is all there is with --path. Written are NAME.json, NAME.extxyz (all
    images, with energies and forces) and NAME.png, where NAME is "initial-to-final", of the files' names. A result of
    the same structures, model and settings is kept.
    """
    from ase_wavescat.calculator import WaveScatCalculator
    from ase_wavescat.system.errors import PathError
    from ase_wavescat.workflows import neb as barrier
    from ase_wavescat.workflows import path_energies

    structures = read_structures(files, output)
    path, names = list(structures.values()), list(structures)
    name = f"{names[0]}-to-{names[-1]}"
    if len(path) < (3 if given else 2):
        needed = "at least three images" if given else "the initial and the final structure"
        raise PathError(f"{' '.join(files)} holds {len(path)} structures; give {needed}")
    settings = {
        "workflow": "path" if given else "neb", "images": images, "fmax": fmax, "steps": steps, "climb": climb,
        "relax_ends": relax_ends,
    }  # fmt: skip
    calculator, shortfalls = WaveScatCalculator(model), Shortfalls()
    inputs = inputs_record(path, calculator.model, settings)
    if (record := kept(output / f"{name}.json", inputs, overwrite)) is not None:
        click.echo(f"{name}: kept, it is in {output} already")
        shortfalls.add(name, record)
        return end(shortfalls, 1)
    path[0].calc = calculator
    if given:
        result: Band = path_energies(path, path[0].calc)
    else:
        with steps_shown(not quiet):
            result = barrier(
                path[0], path[-1], images=path[1:-1] or images, fmax=fmax, steps=steps, climb=climb,
                relax_endpoints=relax_ends, progress=not quiet,
            )  # fmt: skip
    shortfalls.add(name, write_result(result, output, name, inputs))
    if not quiet:
        click.echo(f"{name}\n{result.summary()}\n")
    click.echo(f"results: {output}")
    end(shortfalls, 1)
