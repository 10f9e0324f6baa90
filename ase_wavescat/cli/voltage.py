"""`wavescat voltage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ase_wavescat.cli.options import reference_option
from ase_wavescat.cli.structures import (
    Shortfalls,
    end,
    inputs_record,
    kept,
    read_structures,
    run_each,
    structure_arguments,
    write_result,
)

if TYPE_CHECKING:
    from ase import Atoms


def _points(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[float, float], ...]:
    """Points of a published curve from texts such as 0.85=0.41."""
    points = []
    for text in given:
        at, _, volts = text.partition("=")
        try:
            points.append((float(at), float(volts)))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not x and its voltage, as 0.85=0.41") from None
    return tuple(points)


@click.command()
@structure_arguments("wavescat-voltage")
@click.option("--ion", default="Li", show_default=True, help="Let this element move; all others are the host.")
@reference_option("cells of one element in FILES, else crystals, relaxed")
@click.option(
    "--relax",
    "relaxed",
    is_flag=True,
    help="Relax positions and cells before, into the folder `relaxed` below the output.",
)
@click.option(
    "--fmax", type=float, default=0.02, show_default=True, help="Stop --relax when no force is larger, in eV/Å."
)
@click.option(
    "--per-composition", type=click.Choice(["mean", "lowest"]), default="mean", show_default=True,
    help="Take the mean of structures of one composition, for glasses, or the lowest, for crystals.",
)  # fmt: skip
@click.option("--order", type=int, default=4, show_default=True, help="Smooth the curve by a polynomial of this order.")
@click.option(
    "--published", multiple=True, callback=_points, metavar="X=V", show_default="none",
    help="Draw this point beside, V in volts; once for each.",
)  # fmt: skip
def voltage(
    files: tuple[str, ...], model: str, output: Path, quiet: bool, ion: str, references: dict[str, float] | None,
    relaxed: bool, fmax: float, per_composition: Literal["mean", "lowest"], order: int,
    published: tuple[tuple[float, float], ...], overwrite: bool,
) -> None:  # fmt: skip
    """Compute voltages against the ion's metal, and the convex hull.

    FILES, relaxed structures of several compositions, are extended XYZ, ASE databases, CIF and other usual formats,
    folders or (quoted) globs. Cells of the ion alone among them are its metal, and cells of another element alone the
    reference of that. Written are voltage.json, .extxyz and .png, and the same of hull. What was done before, of the
    same structures, model and settings, is kept.
    """
    from ase_wavescat.calculator import WaveScatCalculator
    from ase_wavescat.workflows import convex_hull
    from ase_wavescat.workflows import voltage as work
    from ase_wavescat.workflows.hull import composition_table, references_of

    structures = read_structures(files, output)
    settings = {"workflow": "voltage", "ion": ion, "references": references, "relax": relaxed, "fmax": fmax,
                "per_composition": per_composition, "order": order, "published": published}  # fmt: skip
    calculator = WaveScatCalculator(model)
    inputs = inputs_record(list(structures.values()), calculator.model, settings)
    done, shortfalls = kept(output / "voltage.json", inputs, overwrite), Shortfalls()
    if relaxed:
        structures, shortfalls = relax_each(structures, model, output / "relaxed", quiet, overwrite, fmax=fmax)
    if done is not None:
        click.echo(f"voltage: kept, it is in {output} already")
        return end(shortfalls, len(structures))
    entries = list(structures.values())
    for atoms in entries:
        atoms.calc = calculator
    named = references_of(references, calculator, {ion, *composition_table(entries)[0]}, entries)
    curve = work(entries, ion=ion, references=named, per_composition=per_composition, order=order, published=published)
    hull = convex_hull(entries, named)
    hull.write(output, "hull")
    write_result(curve, output, "voltage", inputs)
    if not quiet:
        click.echo(f"{curve.summary()}\n\n{hull.summary()}")
    click.echo(f"results: {output}")
    end(shortfalls, len(structures))


def relax_each(
    structures: dict[str, Atoms], model: str, folder: Path, quiet: bool, overwrite: bool = False, *,
    fmax: float = 0.02, smax: float = 0.05, steps: int = 500,
) -> tuple[dict[str, Atoms], Shortfalls]:  # fmt: skip
    """Structures with positions and cells relaxed, as `wavescat relax --cell free` does, and what fell short: those
    that failed or ran away are left out, those that stopped before are not."""
    from ase_wavescat.io.structures import structures_of
    from ase_wavescat.workflows import relax
    from ase_wavescat.workflows.relaxation import RUNAWAY

    settings = {"workflow": "relax", "cell": "free", "pressure": 0.0, "fmax": fmax, "smax": smax, "steps": steps}
    shortfalls = run_each(
        structures, model, folder, settings,
        lambda atoms: relax(atoms, cell=True, fmax=fmax, smax=smax, steps=steps), quiet, overwrite,
    )  # fmt: skip
    relaxed = {}
    for name in [name for name in structures if name not in shortfalls.failed]:
        reason = shortfalls.incomplete.get(name, "")
        if reason.startswith(RUNAWAY):
            click.echo(f"{name}: left out, {reason}", err=True)
            continue
        if reason:
            click.echo(f"{name}: not relaxed to the end, {reason}", err=True)
        relaxed[name] = structures_of(folder / f"{name}.extxyz")[-1]
    return relaxed, shortfalls
