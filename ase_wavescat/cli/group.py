"""The group of all commands: named errors and warnings are shown as their message."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import click

from ase_wavescat import __version__
from ase_wavescat.errors import WaveScatError, WaveScatWarning


class _Group(click.Group):
    """Errors and warnings that the package names are shown as their message, without traceback or source line."""

    def invoke(self, context: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show(warnings.showwarning)
            try:
                return super().invoke(context)
            except (WaveScatError, OSError) as error:
                raise click.ClickException(str(error)) from error


def _show(usual: Callable[..., None]) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if issubclass(category, WaveScatWarning):
            click.echo(f"warning: {message}", err=True)
        else:
            usual(message, category, *where)

    return show


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wavescat")
def main() -> None:
    """Use wavelet-scattering interatomic potentials with ASE.

    `wavescat COMMAND --help` says what a command reads, does and writes. Results of the same inputs are kept, those of
    others are replaced with --overwrite only. The exit status is 1 where something failed, 2 for options that make no
    sense, 3 where all results are written but some did not converge.
    """
