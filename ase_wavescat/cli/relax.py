"""`wavescat relax`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ase_wavescat.cli.structures import read_structures, run_each, structure_arguments

if TYPE_CHECKING:
    from ase_wavescat.workflows.relaxation import CellChoice

_CELLS: dict[str, CellChoice] = {"fixed": False, "volume": "volume", "free": True}


@click.command()
@structure_arguments("wavescat-relax")
@click.option(
    "--cell", type=click.Choice(list(_CELLS)), default="fixed", show_default=True,
    help="fixed: only atoms move; volume: the cell keeps its shape; free: all of it relaxes.",
)  # fmt: skip
@click.option("--fmax", type=float, default=0.02, show_default=True, help="Largest force left, eV/Å.")
@click.option("--smax", type=float, default=0.05, show_default=True, help="Largest stress left, GPa.")
@click.option("--steps", type=click.IntRange(min=0), default=500, show_default=True, help="At most so many steps.")
def relax(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, cell: str, fmax: float, smax: float, steps: int
) -> None:
    """Relax the structures in FILES: positions, or positions and cell.

    FILES are extended XYZ, ASE databases, CIF and other usual formats, folders or (quoted) globs. For each structure
    NAME.json, NAME.extxyz (relaxed), NAME.traj (the path) and NAME.png. Structures done before are kept.
    """
    from ase_wavescat.workflows import relax as work

    settings = {"workflow": "relax", "cell": cell, "fmax": fmax, "smax": smax, "steps": steps}
    run_each(
        read_structures(files), model, output, settings,
        lambda atoms: work(atoms, cell=_CELLS[cell], fmax=fmax, smax=smax, steps=steps), quiet,
    )  # fmt: skip
