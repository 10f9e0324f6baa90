"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ase_wavescat.workflows.relaxation import CellChoice

CELLS: dict[str, CellChoice] = {
    "fixed": False, "volume": "volume", "shape": "shape", "in-plane": "in-plane", "free": True,
}  # fmt: skip


def cell_option() -> Any:
    """--cell: what relaxes beside the atoms."""
    return click.option(
        "--cell", type=click.Choice(list(CELLS)), default="fixed", show_default=True,
        help="What relaxes of the cell. fixed: nothing, only atoms move; volume: its size, the shape stays; shape: its"
        " shape, the volume stays; in-plane: a slab's two vectors that repeat, the open direction and its vacuum stay;"
        " free: all of it.",
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
