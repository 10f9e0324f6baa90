"""`wavescat check`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model")
@click.option(
    "--json", "figures", type=click.Path(dir_okay=False, path_type=Path), help="File to write all figures to."
)
@click.option("--only", "names", multiple=True, metavar="NAME", help="Run this check; once for each. Default: all.")
@click.option(
    "--calls", type=click.IntRange(min=100), default=10_000, show_default=True,
    help="Calls over which the memory of the process is watched.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--quiet", is_flag=True, help="No progress.")
def check(model: str, figures: Path | None, names: tuple[str, ...], calls: int, seed: int, quiet: bool) -> None:
    """Check that MODEL, as a calculator, keeps what every calculator must keep.

    Symmetries, boundaries, derivatives, sizes, dimers, dynamics, copies, threads and memory: a table of figures, limits
    and verdicts. The exit status is 1 where a check fails.
    """
    from functools import partial

    from ase.data import chemical_symbols

    from ase_wavescat.atomic_write import atomic_path
    from ase_wavescat.calculator import WaveScatCalculator
    from ase_wavescat.model_file import load_model
    from ase_wavescat.testing import CHECKS, Subject, check_calculator, chosen_checks

    checks = chosen_checks(names) if names else CHECKS
    ensemble = load_model(model)
    species = [chemical_symbols[number] for number in ensemble.spec.species]
    make = partial(WaveScatCalculator, ensemble)
    subject = Subject(make, species, thread_safe=True, calls=calls, seed=seed, progress=not quiet)
    result = check_calculator(subject, checks)
    click.echo(result.table())
    if figures is not None:
        with atomic_path(figures) as temporary:
            temporary.write_text(result.to_json() + "\n", encoding="utf-8")
    if not result.passed:
        failed = [outcome.check for outcome in result.outcomes if outcome.verdict == "fails"]
        raise click.ClickException(f"{model} fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}")
