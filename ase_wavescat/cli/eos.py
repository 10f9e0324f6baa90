"""`wavescat eos`."""

from __future__ import annotations

from pathlib import Path

import click

from ase_wavescat.cli.structures import run_files, structure_arguments


@click.command()
@structure_arguments("wavescat-eos")
@click.option("--range", "reach", type=click.FloatRange(0, 0.5, min_open=True), default=0.09, show_default=True,
              help="Strain the sides of the box by so much at most, both ways.")  # fmt: skip
@click.option(
    "--points", type=click.IntRange(min=5), default=9, show_default=True, help="Take so many strains, evenly spaced."
)
@click.option(
    "--relax-ions", is_flag=True, help="Relax positions at each strain; without it fractional positions stay."
)
@click.option("--fmax", type=float, default=0.02, show_default=True, help="Relax until no force is larger, in eV/Å.")
@click.option("--steps", type=click.IntRange(min=0), default=500, show_default=True,
              help="Take so many steps at most in a relaxation.")  # fmt: skip
def eos(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, reach: float, points: int, relax_ions: bool,
    fmax: float, steps: int, overwrite: bool,
) -> None:  # fmt: skip
    """Compute equilibrium volumes and bulk moduli.

    They come of the energies of the structures in FILES under hydrostatic strain. Written for each structure are
    NAME.json, NAME.extxyz (the strained structures) and NAME.png. Structures done before are kept.
    """
    import numpy as np

    from ase_wavescat.workflows import eos as work

    settings = {
        "workflow": "eos", "range": reach, "points": points, "relax_ions": relax_ions, "fmax": fmax, "steps": steps,
    }  # fmt: skip
    strains = np.linspace(-reach, reach, points)
    run_files(
        files, model, output, settings,
        lambda atoms: work(atoms, strains=strains, relax_ions=relax_ions, fmax=fmax, steps=steps), quiet, overwrite,
    )  # fmt: skip
