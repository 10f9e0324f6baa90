"""`wavescat relax`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ase_wavescat.cli.options import CELLS, cell_option
from ase_wavescat.cli.structures import run_files, structure_arguments
from ase_wavescat.system.errors import warn

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.workflows import Relaxation


@click.command()
@structure_arguments("wavescat-relax")
@cell_option()
@click.option("--pressure", type=float, default=0.0, show_default=True,
              help="Relax under this external pressure, in GPa, with --cell volume or free.")  # fmt: skip
@click.option("--fmax", type=float, default=0.02, show_default=True, help="Stop when no force is larger, in eV/Å.")
@click.option("--smax", type=float, default=0.05, show_default=True,
              help="Stop when no stress beside the pressure is larger, in GPa.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=0), default=500, show_default=True, help="Take so many steps at most.")
def relax(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, cell: str, pressure: float, fmax: float,
    smax: float, steps: int, overwrite: bool,
) -> None:  # fmt: skip
    """Relax positions, or positions and cell, also under an external pressure.

    FILES are extended XYZ, ASE databases, CIF and other usual formats, folders or (quoted) globs. Written for each
    structure are NAME.json, NAME.extxyz (relaxed), NAME.traj (the path) and NAME.png. Structures done before are kept.
    """
    from ase_wavescat.workflows import relax as work

    settings = {
        "workflow": "relax", "cell": cell, "pressure": pressure, "fmax": fmax, "smax": smax, "steps": steps,
    }  # fmt: skip

    def relaxed(atoms: Atoms) -> Relaxation:
        result = work(atoms, cell=CELLS[cell], pressure=pressure, fmax=fmax, smax=smax, steps=steps)
        if not result.converged:
            warn(f"not relaxed: {result.ending()}", stacklevel=2)
        return result

    run_files(files, model, output, settings, relaxed, quiet, overwrite)
