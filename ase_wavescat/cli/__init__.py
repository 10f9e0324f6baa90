"""The command `wavescat`. What a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

from ase_wavescat.cli.group import main
from ase_wavescat.cli.models import demo, evaluate, info, suggest, train
from ase_wavescat.cli.relax import relax
from ase_wavescat.cli.select import select

__all__ = ["main"]

for command in (info, demo, suggest, train, evaluate, relax, select):
    main.add_command(command)
