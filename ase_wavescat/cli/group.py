"""The group of all commands: named errors and warnings are shown as their message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ase_wavescat import __version__
from ase_wavescat.system.errors import WaveScatError, WaveScatNote, WaveScatWarning, listening


class _Group(click.Group):
    """Errors and warnings that the package names are shown as their message, without traceback or source line."""

    def invoke(self, context: click.Context) -> Any:
        with listening(_show_once()):
            try:
                return super().invoke(context)
            except (WaveScatError, OSError) as error:
                raise click.ClickException(str(error)) from error


def _show_once() -> Callable[[WaveScatWarning], None]:
    """Each text the first time it comes."""
    said: set[str] = set()

    def show(warning: WaveScatWarning) -> None:
        text = str(warning)
        if text not in said:
            said.add(text)
            click.echo(f"{'note' if isinstance(warning, WaveScatNote) else 'warning'}: {text}", err=True)

    return show


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wavescat")
def main() -> None:
    """Use wavelet-scattering interatomic potentials with ASE.

    `wavescat COMMAND --help` says what a command reads, does and writes. Results of the same inputs are kept, those of
    others are replaced with --overwrite only. The exit status is 1 where something failed, 2 for options that make no
    sense, 3 where all results are written but some did not converge.
    """
