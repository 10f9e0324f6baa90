"""The command that ranks a pool of structures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ase_wavescat.cli.options import (
    CELLS,
    cell_option,
    model_option,
    overwrite_option,
    quiet_option,
    reference_option,
    stops_cleanly,
    workers_option,
)
from ase_wavescat.cli.structures import Shortfalls, end, refuse_inside

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.workflows.melting import MeltSchedule


@click.command()
@click.argument("pool", nargs=-1)
@click.option(
    "--generate", "formulas", multiple=True, metavar="FORMULA",
    show_default="none",
    help="Make the pool of this composition, as Li15Si4, in place of files; once for each.",
)  # fmt: skip
@click.option(
    "--cells", default=20, show_default=True, type=click.IntRange(min=1), help="Generate so many cells of each."
)
@click.option(
    "--atoms", default=64, show_default=True, type=click.IntRange(min=1), help="Put about so many atoms into a cell."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed the generated cells.")
@click.option(
    "--method", type=click.Choice(["packing", "melt"]), default="packing", show_default=True,
    help="Generate random packings, or melt and quench these.",
)  # fmt: skip
@click.option("--melt-temperature", type=click.FloatRange(min=1), show_default="2000",
              help="Melt at this temperature, in K, with --method melt.")  # fmt: skip
@click.option("--quench-time", type=click.FloatRange(min=0.01), show_default="4",
              help="Quench for so long, in ps, with --method melt.")  # fmt: skip
@model_option()
@click.option("--relax/--no-relax", default=True, show_default=True, help="Relax positions before.")
@cell_option()
@click.option("--fmax", default=0.05, show_default=True, type=float, help="Stop when no force is larger, in eV/Å.")
@click.option("--smax", default=0.1, show_default=True, type=float, help="Stop when no stress is larger, in GPa.")
@click.option("--steps", default=300, show_default=True, type=click.IntRange(min=0),
              help="Take so many steps at most in a relaxation.")  # fmt: skip
@reference_option("its crystal, relaxed")
@workers_option(" of this machine")
@click.option(
    "--dask", metavar="ADDRESS", show_default="none",
    help="Let the Dask cluster of the scheduler at this address do the work instead.",
)  # fmt: skip
@click.option("--best", default=20, show_default=True, type=click.IntRange(min=1), help="Write out so many structures.")
@click.option(
    "-o", "--output", default="wavescat-screen", show_default=True, type=click.Path(file_okay=False, path_type=Path),
    help="Write the database, the ranking and the picture into this folder.",
)  # fmt: skip
@overwrite_option()
@quiet_option()
def screen(
    pool: tuple[str, ...], formulas: tuple[str, ...], cells: int, atoms: int, seed: int, method: str,
    melt_temperature: float | None, quench_time: float | None, model: str, relax: bool, cell: str, fmax: float,
    smax: float, steps: int, references: dict[str, float] | None, workers: int | None, dask: str | None, best: int,
    output: Path, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Rank structures by energy above the hull of all of them and the elements.

    POOL are extended XYZ files (plain, .gz, .xz, .bz2), ASE databases, crystal files, folders or (quoted) globs of
    them. Every structure is in OUTPUT/screening.db as soon as it is done; a run that was stopped goes on when the
    same command is given again, and more structures may be added. OUTPUT/screening.json, .csv, .extxyz and .png are
    written at the end.
    """
    from ase_wavescat.workflows.relaxation import CONVERGED
    from ase_wavescat.workflows.screening.jobs import SINGLE_POINT
    from ase_wavescat.workflows.screening.run import screen as run

    _refuse_ignored(bool(formulas), method, relax, dask is not None)
    with stops_cleanly(output):
        screening = run(
            _pool(pool, formulas, cells, atoms, seed, output),
            model=model,
            output=output,
            relax=relax,
            cell=CELLS[cell],
            fmax=fmax,
            smax=smax,
            steps=steps,
            melt=_schedule(method, bool(formulas), melt_temperature, quench_time),
            references=references,
            workers=workers,
            dask=dask,
            best=best,
            overwrite=overwrite,
            progress=not quiet,
        )
    screening.write(output, "screening")
    click.echo(screening.summary())
    click.echo(f"results: {output}")
    stopped = {entry.name: entry.stop for entry in screening.table if entry.stop not in (CONVERGED, SINGLE_POINT)}
    failed = {entry.name: entry.error for entry in screening.failed}
    end(Shortfalls(failed, stopped), len(screening.table) + len(failed))


def _refuse_ignored(generated: bool, method: str, relax: bool, cluster: bool) -> None:
    """Options that would do nothing beside others."""
    context = click.get_current_context()
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    for name in ("cells", "atoms", "seed", "method") if not generated else ():
        if name in given:
            raise click.UsageError(f"--{name} is for generated cells: give --generate FORMULA")
    for name in ("cell", "fmax", "smax", "steps") if not relax else ():
        if name in given:
            raise click.UsageError(f"--{name} is of the relaxation, and --no-relax is given")
    if method == "melt" and not relax:
        raise click.UsageError("--method melt relaxes what is quenched: leave out --no-relax")
    if cluster and "workers" in given:
        raise click.UsageError("--workers are processes of this machine, --dask is a cluster: give one of them")


def _pool(
    files: tuple[str, ...], formulas: tuple[str, ...], cells: int, atoms: int, seed: int, output: Path
) -> list[str] | Iterable[Atoms]:
    from ase_wavescat.io.structures import files_of
    from ase_wavescat.workflows.generation import random_packings

    if bool(files) == bool(formulas):
        raise click.UsageError("give files of structures, or --generate FORMULA: one of them, not both")
    if formulas:
        return random_packings(formulas, cells, atoms, seed=seed)
    refuse_inside(files_of(list(files)), output)
    return list(files)


def _schedule(
    method: str, generated: bool, temperature: float | None, quenching: float | None
) -> MeltSchedule | None:  # fmt: skip
    from ase_wavescat.workflows.melting import MeltSchedule

    given = {"temperature": temperature, "quenching": quenching}
    chosen = {name: value for name, value in given.items() if value is not None}
    if method == "melt":
        if not generated:
            raise click.UsageError("--method melt is for generated cells: give --generate FORMULA")
        return MeltSchedule(**chosen)
    if chosen:
        raise click.UsageError("--melt-temperature and --quench-time go with --method melt")
    return None
