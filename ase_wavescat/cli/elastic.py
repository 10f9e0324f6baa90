"""`wavescat elastic`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ase_wavescat.cli.structures import run_files, structure_arguments

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.workflows import ElasticConstants


@click.command()
@structure_arguments("wavescat-elastic")
@click.option("--strain", type=click.FloatRange(0, 0.1, min_open=True), default=0.01, show_default=True,
              help="Strain by so much at most; half of it is used as well.")  # fmt: skip
@click.option("--relax-ions/--clamped-ions", default=True, show_default=True,
              help="Report relaxed and clamped ions both, or clamped ions alone.")  # fmt: skip
@click.option("--fmax", type=float, default=0.001, show_default=True,
              help="Relax before the strains until no force is larger, in eV/Å.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=0), default=1000, show_default=True,
              help="Take so many steps at most in the relaxation before the strains.")  # fmt: skip
def elastic(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, strain: float, relax_ions: bool, fmax: float,
    steps: int, overwrite: bool,
) -> None:  # fmt: skip
    """Compute elastic constants (GPa) from the stress under small strains.

    Relaxed ions answer the strain by their force constants, which take 6N evaluations for N atoms. With spglib, the
    constants are given in the conventional axes of a crystal as well. Written for each structure in FILES are
    NAME.json, NAME.extxyz (the unstrained structure) and NAME.png. Structures done before are kept. Relax the cell
    first (`wavescat relax --cell free`): the constants are those of the cell as it is.
    """
    from ase_wavescat.workflows import elastic as work

    settings = {"workflow": "elastic", "strain": strain, "relax_ions": relax_ions, "fmax": fmax, "steps": steps}
    strains = (-strain, -strain / 2, strain / 2, strain)

    def constants(atoms: Atoms) -> ElasticConstants:
        return work(atoms, strains=strains, relax_ions=relax_ions, fmax=fmax, steps=steps, progress=not quiet)

    run_files(files, model, output, settings, constants, quiet, overwrite)
