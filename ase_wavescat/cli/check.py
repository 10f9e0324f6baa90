"""`wavescat check`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ase_wavescat.cli.options import overwrite_option, quiet_option
from ase_wavescat.cli.structures import INPUTS, inputs_record, kept


@click.command()
@click.argument("model")
@click.option(
    "--json", "figures", type=click.Path(dir_okay=False, path_type=Path),
    show_default="none is written",
    help="Write all figures to this file.",
)  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", show_default="all", help="Run this check; once for each.")
@click.option("--skip", multiple=True, metavar="NAME", show_default="none", help="Leave out this check; once for each.")
@click.option(
    "--calls", type=click.IntRange(min=100), default=2500, show_default=True,
    help="Watch the memory of the process over so many calls.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed all that is random.")
@overwrite_option()
@quiet_option()
def check(
    model: str, figures: Path | None, only: tuple[str, ...], skip: tuple[str, ...], calls: int, seed: int,
    overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Check that a model keeps what every calculator must keep.

    MODEL is a name or a path. Printed is a table of figures, limits and verdicts. The exit status is 1 where a check
    fails. The checks, by name:

    \b
      species                  foreign species          permutation
      wrapping                 lattice shifts           lattice vectors
      translation              rotation                 rotation of molecules
      inversion                boundaries               extensivity
      forces                   stress                   smoothness
      dimers                   holes                    energy drift
      determinism              results                  changes
      copies                   spawned process          threads
      shared by threads        memory

    What each measures is in docs/explanation/conformance.md.
    """
    from ase_wavescat.potentials.file.model_file import load_model
    from ase_wavescat.system.atomic_write import atomic_path
    from ase_wavescat.testing import CHECKS, check_calculator, chosen_checks, model_subject

    left_out = chosen_checks(skip)
    checks = [one for one in (chosen_checks(only) if only else CHECKS) if one not in left_out]
    if not checks:
        raise click.UsageError("no check is left: --skip takes all that --only names")
    settings = {"workflow": "check", "checks": [one.name for one in checks], "calls": calls, "seed": seed}
    inputs = inputs_record([], load_model(model), settings)
    if figures is not None:
        kept(figures, inputs, overwrite)  # of the same inputs: measured anew all the same
    result = check_calculator(model_subject(model, calls=calls, seed=seed, progress=not quiet), checks)
    click.echo(result.table())
    if figures is not None:
        content = {**json.loads(result.to_json()), INPUTS: inputs}
        with atomic_path(figures) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if not result.passed:
        failed = [outcome.check for outcome in result.outcomes if outcome.verdict == "fails"]
        raise click.ClickException(f"{model} fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}")
