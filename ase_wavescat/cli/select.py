"""The command `wavescat select`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ase_wavescat.cli.options import workers_option
from ase_wavescat.cli.structures import (
    Shortfalls,
    end,
    inputs_record,
    kept,
    read_structures,
    structure_arguments,
    write_result,
)


@click.command()
@structure_arguments("wavescat-select")
@click.option(
    "-n", "--count", type=click.IntRange(min=1), default=50, show_default=True, help="Choose so many structures."
)
@click.option(
    "--energy-limit", type=click.FloatRange(min=0, min_open=True),
    show_default="the model's held-out error",
    help="Take an energy spread up to this for good enough, in meV/atom.",
)  # fmt: skip
@click.option(
    "--force-limit", type=click.FloatRange(min=0, min_open=True),
    show_default="the model's held-out error",
    help="Take a force spread up to this for good enough, in eV/Å.",
)  # fmt: skip
@click.option(
    "--known", multiple=True, show_default="none",
    help="Do not repeat the structures of this file, folder or glob, which have a label.",
)  # fmt: skip
@workers_option()
def select(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, count: int, energy_limit: float | None,
    force_limit: float | None, known: tuple[str, ...], workers: int | None, overwrite: bool,
) -> None:  # fmt: skip
    """Choose structures that are worth a label.

    They are uncertain, and unlike one another.

    FILES are structure files, folders or (quoted) globs of them. The chosen ones are in select.extxyz.
    """
    from ase_wavescat.active_learning.selection import Limits, held_out_limits
    from ase_wavescat.active_learning.selection import select as choose
    from ase_wavescat.potentials.file.model_file import load_model

    pool, labelled = read_structures(files, output), read_structures(known) if known else {}
    settings = {"workflow": "select", "count": count, "energy_limit": energy_limit, "force_limit": force_limit}
    inputs = inputs_record(
        [*pool.values(), *labelled.values()], load_model(model), {**settings, "known": len(labelled)}
    )
    if (record := kept(output / "select.json", inputs, overwrite)) is not None:
        click.echo(f"select: kept, it is in {output} already")
        _end(record["failed"], len(pool))
        return
    ensemble = load_model(model)
    if energy_limit is None or force_limit is None:
        default = held_out_limits(ensemble)
        energy_limit = 1e3 * default.energy if energy_limit is None else energy_limit
        force_limit = default.forces if force_limit is None else force_limit
    selection = choose(
        pool,
        count,
        ensemble,
        Limits(1e-3 * energy_limit, force_limit),
        known=list(labelled.values()),
        workers=workers,
        progress=not quiet,
    )
    write_result(selection, output, "select", inputs)
    click.echo(f"{selection.summary()}\nresults: {output}")
    _end(selection.failed, len(pool))


def _end(failed: Mapping[str, str], total: int) -> None:
    end(Shortfalls(failed=dict(failed)), total)
