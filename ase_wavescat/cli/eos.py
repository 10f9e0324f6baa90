"""`wavescat eos`."""

from __future__ import annotations

from pathlib import Path

import click

from ase_wavescat.cli.structures import run_files, structure_arguments


@click.command()
@structure_arguments("wavescat-eos")
@click.option("--range", "reach", type=click.FloatRange(0, 0.5, min_open=True), default=0.09, show_default=True,
              help="Largest linear strain of the box side, to both sides.")  # fmt: skip
@click.option("--points", type=click.IntRange(min=5), default=9, show_default=True, help="Strains, evenly spaced.")
@click.option("--relax-ions", is_flag=True, help="Relax positions at each strain; else fractional positions stay.")
@click.option("--fmax", type=float, default=0.02, show_default=True, help="Largest force left on relaxed ions, eV/Å.")
@click.option("--steps", type=click.IntRange(min=0), default=500, show_default=True,
              help="At most so many steps of a relaxation.")  # fmt: skip
def eos(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, reach: float, points: int, relax_ions: bool,
    fmax: float, steps: int, overwrite: bool,
) -> None:  # fmt: skip
    """Energy against hydrostatic strain of the structures in FILES: equilibrium volume and bulk modulus.

    For each structure NAME.json, NAME.extxyz (the strained structures) and NAME.png. Structures done before are kept.
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
