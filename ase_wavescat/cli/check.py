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
    from ase_wavescat.atomic_write import atomic_path
    from ase_wavescat.testing import CHECKS, check_calculator, chosen_checks, model_subject

    checks = chosen_checks(names) if names else CHECKS
    result = check_calculator(model_subject(model, calls=calls, seed=seed, progress=not quiet), checks)
    click.echo(result.table())
    if figures is not None:
        with atomic_path(figures) as temporary:
            temporary.write_text(result.to_json() + "\n", encoding="utf-8")
    if not result.passed:
        failed = [outcome.check for outcome in result.outcomes if outcome.verdict == "fails"]
        raise click.ClickException(f"{model} fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}")
