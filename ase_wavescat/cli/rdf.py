"""`wavescat rdf`."""

from __future__ import annotations

from pathlib import Path

import click

from ase_wavescat.cli.structures import inputs_record, kept, read_structures, structure_arguments, write_result


@click.command()
@structure_arguments("wavescat-rdf", model=False)
@click.option(
    "--cutoff", type=float, default=8.0, show_default=True, help="Count neighbours up to this distance, in Å."
)
@click.option("--bins", type=int, default=160, show_default=True, help="Divide the range into so many bins.")
def rdf(files: tuple[str, ...], output: Path, quiet: bool, cutoff: float, bins: int, overwrite: bool) -> None:
    """Compute radial distribution functions and coordination numbers.

    They are partial ones, means over all structures in FILES, which are extended XYZ, ASE databases, CIF and other
    usual formats, folders or (quoted) globs. Written are rdf.json, rdf.png and rdf.extxyz.
    """
    from ase_wavescat.workflows import rdf as work

    frames = list(read_structures(files, output).values())
    inputs = inputs_record(frames, None, {"workflow": "rdf", "cutoff": cutoff, "bins": bins})
    if kept(output / "rdf.json", inputs, overwrite) is not None:
        click.echo(f"rdf: kept, it is in {output} already")
        return
    result = work(frames, cutoff=cutoff, bins=bins)
    write_result(result, output, "rdf", inputs)
    if not quiet:
        click.echo(result.summary())
    click.echo(f"results: {output}")
