"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ase_wavescat.system.errors import DataError

if TYPE_CHECKING:
    from ase_wavescat.workflows.relaxation import CellChoice

Command = TypeVar("Command", bound=Callable[..., Any])
CELLS: dict[str, CellChoice] = {
    "fixed": False, "volume": "volume", "shape": "shape", "in-plane": "in-plane", "free": True,
}  # fmt: skip


@contextmanager
def stops_cleanly(output: Path) -> Iterator[None]:
    """An interrupt ends a run that can go on, with a line that says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; what is done is in {output}, the same command goes on") from None


def cell_option() -> Any:
    """--cell: what relaxes beside the atoms."""
    return click.option(
        "--cell", type=click.Choice(list(CELLS)), default="fixed", show_default=True,
        help="Keep the cell fixed, relax its volume at the same shape, its shape at the same volume, the vectors of a"
        " slab that repeat (in-plane: the open direction and its vacuum stay), or free all of it.",
    )  # fmt: skip


def model_option() -> Any:
    """--model: by name or path."""
    return click.option(
        "--model",
        default="lisi.h5",
        show_default=True,
        help="Use this model: a name, as of `wavescat info`, or a path.",
    )


def workers_option(place: str = "") -> Any:
    """--workers: None for all cores."""
    return click.option(
        "--workers", type=click.IntRange(min=1), show_default="all cores", help=f"Work in so many processes{place}."
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


def reference_option(default: str) -> Any:
    """--reference EL=EV, once for each element: energies by element, or None, which stands for `default`."""
    return click.option(
        "--reference", "references", multiple=True, metavar="EL=EV", callback=_energies, show_default=default,
        help="Take this energy of an element, in eV an atom, as Li=-1.9; give it once for each.",
    )  # fmt: skip


def virial_options(command: Command) -> Command:
    """--virial and --virial-sign: virials that stand for stresses; `virial_of` takes them."""
    command = click.option(
        "--virial-sign", type=click.Choice(["+", "-"]),
        show_default="none",
        help="Take stress = -virial / volume (-), or virial / volume (+).",
    )(command)  # fmt: skip
    return click.option(
        "--virial", metavar="KEY", show_default="none",
        help="Read the virials, in eV, of this key in place of stresses.",
    )(command)  # fmt: skip


def virial_of(key: str | None, sign: str | None) -> Any:
    """The `Virial` of the two options, None without; DataError where one is missing."""
    from ase_wavescat.training.data.frames import Virial

    if (key is None) != (sign is None):
        raise DataError("--virial (a key) and --virial-sign (+ or -) belong together: give both")
    return None if key is None or sign is None else Virial(key, sign)


def _energies(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float] | None:
    energies = {}
    for text in given:
        symbol, _, energy = text.partition("=")
        try:
            energies[symbol] = float(energy)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not an element and its energy, as Li=-1.9") from None
    return energies or None
