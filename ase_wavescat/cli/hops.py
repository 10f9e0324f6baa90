"""`wavescat hops`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ase_wavescat.cli.structures import (
    INCOMPLETE,
    INPUTS,
    Shortfalls,
    end,
    inputs_record,
    kept,
    read_structures,
    structure_arguments,
    write_result,
)
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import WaveScatError
from ase_wavescat.system.progress import steps_shown

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.calculator import WaveScatCalculator
    from ase_wavescat.workflows import Hop

_SEARCH = ("species", "count", "room", "reach", "opening")
_BAND = ("images", "fmax", "steps")
GLASS_FORCE = 0.02
"""eV/A: largest force left in a glass before voids are looked for."""


@click.command()
@structure_arguments("wavescat-hops")
@click.option("--species", default="Li", show_default=True, help="Let atoms of this element hop.")
@click.option(
    "--count", type=click.IntRange(min=1), default=5, show_default=True, help="Take so many hops, the most favourable."
)
@click.option(
    "--room", type=float, default=2.0, show_default=True, help="Take voids that are so far from all atoms, in Å."
)
@click.option("--reach", type=float, default=4.0, show_default=True, help="Let no atom go farther into a void, in Å.")
@click.option(
    "--opening", type=float, default=1.5, show_default=True,
    help="Take ways that stay so far from other atoms, in Å.",
)  # fmt: skip
@click.option(
    "--images", type=click.IntRange(min=3), default=7, show_default=True,
    help="Make bands of so many images, both ends included: two fewer move.",
)  # fmt: skip
@click.option("--fmax", type=float, default=0.05, show_default=True, help="Stop when no force is larger, in eV/Å.")
@click.option(
    "--steps", type=click.IntRange(min=0), default=500, show_default=True,
    help="Take so many steps at most for each end, and for each band.",
)  # fmt: skip
def hops(files: tuple[str, ...], model: str, output: Path, quiet: bool, overwrite: bool, **settings: Any) -> None:
    """Find hops of atoms into voids of glasses, and their barriers.

    Structures are relaxed, voids and atoms that may hop into them are found, and a band is made for each. Written for
    each structure in FILES are NAME-hop-0.json, .extxyz and .png (a band, as `wavescat neb` writes it), NAME-hop-1 and
    so on, the most favourable void first, and NAME-hops.json, the table. Hops that fail, such as those of an atom that
    falls back when all relax, stand there with their reason. Hops done before are kept.
    """
    from ase_wavescat.calculator import WaveScatCalculator

    structures, calculator = read_structures(files, output), WaveScatCalculator(model)
    made = {"workflow": "hops", **settings}
    marks = {name: inputs_record([atoms], calculator.model, made) for name, atoms in structures.items()}
    done = {name: kept(output / f"{name}-hops.json", inputs, overwrite) for name, inputs in marks.items()}
    make_folder(output)
    shortfalls = Shortfalls()
    for name, atoms in structures.items():
        if (record := done[name]) is not None:
            click.echo(f"{name}: kept, it is in {output} already")
            shortfalls.add(name, record)
            continue
        given = atoms.copy()
        atoms.calc = calculator
        try:
            with steps_shown(not quiet):
                found, relaxation = _found(atoms, settings)
                rows = [
                    _barrier(hop, f"{name}-hop-{number}", given, calculator, output, quiet, overwrite, settings)
                    for number, hop in enumerate(found)
                ]
        except WaveScatError as error:
            shortfalls.failed[name] = str(error)
            click.echo(f"{name}: {error}", err=True)
            continue
        for number in count(len(rows)):  # of an earlier run that asked for more
            if not _remove(output, f"{name}-hop-{number}"):
                break
        record = {"hops": rows, INCOMPLETE: _incomplete(relaxation, rows), INPUTS: marks[name]}
        shortfalls.add(name, record)
        _write(output / f"{name}-hops.json", record)
        click.echo(f"{name}: {len(rows)} hops\n{_table(rows)}" if rows else f"{name}: no hops; try a smaller --room")
    click.echo(f"results: {output}")
    end(shortfalls, len(structures))


def _found(atoms: Atoms, settings: Mapping[str, Any]) -> tuple[list[Hop], str]:
    """Hops in the relaxed structure, and why its relaxation was stopped, if it was."""
    from ase_wavescat.system.errors import PathError
    from ase_wavescat.workflows import find_hops, relax

    # Better than a band's ends: what the glass still has to gain would be taken for a gain of the hop.
    relaxation = relax(atoms, fmax=min(GLASS_FORCE, settings["fmax"]), steps=settings["steps"])
    if relaxation.runaway:
        raise PathError(f"the structure does not relax: {relaxation.stop_reason}")
    if not relaxation.converged:
        click.echo(
            f"warning: not relaxed ({relaxation.ending()}): what the structure still gains enters the barriers",
            err=True,
        )
    relaxed = relaxation.structure.copy()
    relaxed.calc = atoms.calc
    return find_hops(relaxed, **{key: settings[key] for key in _SEARCH}), relaxation.incomplete


def _incomplete(relaxation: str, rows: list[dict[str, Any]]) -> str:
    """What did not come to its end: the relaxation of the structure, bands that failed or did not converge."""
    bands = [f"hop {number} {'failed' if 'failed' in row else 'not converged'}" for number, row in enumerate(rows)
             if not row.get("converged")]  # fmt: skip
    return "; ".join([f"relaxation: {relaxation}"] * bool(relaxation) + bands)


def _barrier(
    hop: Hop, name: str, given: Atoms, calculator: WaveScatCalculator, output: Path, quiet: bool, overwrite: bool,
    settings: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A row of the table; the band is written, or its failure."""
    from ase_wavescat.workflows import neb

    place = [round(float(value), 1) for value in hop.void.position]
    band = {key: settings[key] for key in _BAND}
    inputs = inputs_record([given], calculator.model, {"workflow": "hop", **band, "atom": hop.atom, "void": place})
    target = output / f"{name}.json"
    row = {
        "name": name, "atom": hop.atom, "room": hop.void.room, "length": hop.length, "opening": hop.opening,
        "energy_unrelaxed": hop.energy,
    }  # fmt: skip
    if kept(target, inputs, overwrite) is None:
        try:
            write_result(neb(hop.initial, hop.final, progress=not quiet, **band), output, name, inputs)
        except WaveScatError as error:
            _remove(output, name)
            _write(target, {"failed": str(error), INPUTS: inputs})
    done = json.loads(target.read_text(encoding="utf-8"))
    if "failed" in done:
        return {**row, "failed": done["failed"]}
    wanted = (
        "forward", "forward_spread", "backward", "backward_spread", "reaction", "reaction_spread", "converged",
        "movers", "minima",
    )  # fmt: skip
    return {**row, **{key: done[key] for key in wanted}}


def _remove(folder: Path, name: str) -> bool:
    """Whether there was a result of that name."""
    there = (folder / f"{name}.json").exists()
    for suffix in (".json", ".extxyz", ".png"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return there


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["hop  atom  length, Å  room, Å  forward, eV       backward, eV"]
    for number, row in enumerate(rows):
        start = f"{number:3d}  {row['atom']:4d}  {row['length']:9.2f}  {row['room']:7.2f}  "
        if "failed" in row:
            lines.append(start + row["failed"])
            continue
        ends = "  ".join(f"{_with_spread(row, key):16}" for key in ("forward", "backward"))
        notes = [] if row["converged"] else ["not converged"]
        notes += [f"minimum at image {', '.join(map(str, row['minima']))}"] if row["minima"] else []
        notes += [f"{len(row['movers'])} atoms move"] if len(row["movers"]) != 1 else []
        lines.append(f"{start}{ends}  {'; '.join(notes)}".rstrip())
    return "\n".join(lines)


def _with_spread(row: Mapping[str, Any], key: str) -> str:
    spread = row[f"{key}_spread"]
    return f"{row[key]:.3f}" + ("" if spread is None else f" ± {spread:.3f}")
