"""The command `wavescat`. What a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

from ase_wavescat.cli.check import check
from ase_wavescat.cli.elastic import elastic
from ase_wavescat.cli.eos import eos
from ase_wavescat.cli.explore import explore
from ase_wavescat.cli.group import main
from ase_wavescat.cli.hops import hops
from ase_wavescat.cli.models import combine, demo, evaluate, info, suggest, train
from ase_wavescat.cli.neb import neb
from ase_wavescat.cli.rdf import rdf
from ase_wavescat.cli.relax import relax
from ase_wavescat.cli.screen import screen
from ase_wavescat.cli.search import search
from ase_wavescat.cli.select import select
from ase_wavescat.cli.tiling import tiling
from ase_wavescat.cli.voltage import voltage

__all__ = ["main"]

for command in (
    info,
    demo,
    suggest,
    train,
    evaluate,
    combine,
    check,
    relax,
    neb,
    hops,
    eos,
    elastic,
    explore,
    select,
    tiling,
    voltage,
    rdf,
    screen,
    search,
):
    main.add_command(command)
