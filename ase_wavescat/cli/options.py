"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ase_wavescat.workflows.relaxation import CellChoice

CELLS: dict[str, CellChoice] = {"fixed": False, "volume": "volume", "free": True}


def cell_option() -> Any:
    """--cell: what relaxes beside the atoms."""
    return click.option(
        "--cell", type=click.Choice(list(CELLS)), default="fixed", show_default=True,
        help="fixed: only atoms move; volume: the cell keeps its shape; free: all of it relaxes.",
    )  # fmt: skip


def model_option() -> Any:
    """--model: by name or path."""
    return click.option(
        "--model", default="lisi.h5", show_default=True, help="Name of a model (`wavescat info NAME`), or its path."
    )


def quiet_option() -> Any:
    """--quiet; progress is shown on terminals only."""
    return click.option("--quiet", is_flag=True, help="Show no progress.")


def overwrite_option() -> Any:
    """--overwrite: what the rule for results that are there refuses is replaced."""
    return click.option(
        "--overwrite", is_flag=True,
        help="Replace earlier results that other inputs, settings or models made; without it they are refused.",
    )  # fmt: skip


def reference_option(help: str) -> Any:
    """--reference EL=EV, once for each element: energies by element, or None."""
    return click.option("--reference", "references", multiple=True, metavar="EL=EV", callback=_energies, help=help)


def _energies(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float] | None:
    energies = {}
    for text in given:
        symbol, _, energy = text.partition("=")
        try:
            energies[symbol] = float(energy)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not an element and its energy, as Li=-1.9") from None
    return energies or None
