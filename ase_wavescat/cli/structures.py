"""What commands on structures share: their arguments, and results kept in a folder so that a run can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ase_wavescat.errors import WaveScatError

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.workflows.result import Result

Command = TypeVar("Command", bound=Callable[..., Any])
INPUTS = "inputs"


def structure_arguments(default_folder: str, *, model: bool = True) -> Callable[[Command], Command]:
    """FILES, --model (unless nothing is to be evaluated), --output and --quiet: what commands on structures take."""
    decorators = [
        click.option("--quiet", is_flag=True, help="No progress."),
        click.option(
            "-o", "--output", default=default_folder, show_default=True,
            type=click.Path(file_okay=False, path_type=Path), help="Folder for numbers, structures and pictures.",
        ),
        click.argument("files", nargs=-1, required=True),
    ]  # fmt: skip
    if model:
        named = click.option("--model", default="lisi.h5", show_default=True, help="Name of a model, or a path.")
        decorators.insert(2, named)

    def decorate(command: Command) -> Command:
        for decorator in decorators:
            command = decorator(command)
        return command

    return decorate


def read_structures(files: tuple[str, ...]) -> dict[str, Atoms]:
    """Structures by a name fit for files: the file's stem, with the number of the frame where it holds several.

    Raises DataError for files that are missing, cannot be read, or hold structures that no code could evaluate.
    """
    from ase_wavescat.structure_files import check_structure, files_of, structures_of, without_results

    structures: dict[str, Atoms] = {}
    for file in files_of(list(files)):
        frames = structures_of(file)
        stem = file.name.partition(".")[0] or file.name
        for index, atoms in enumerate(frames):
            name = stem if len(frames) == 1 else f"{stem}-{index:0{len(str(len(frames) - 1))}d}"
            while name in structures:
                name += "_"
            check_structure(atoms, f"{file}#{index}")
            structures[name] = without_results(atoms)
    return structures


def run_each(
    structures: Mapping[str, Atoms], model: str, folder: Path, settings: Mapping[str, Any],
    work: Callable[[Atoms], Result], quiet: bool,
) -> None:  # fmt: skip
    """Do `work` on each structure, its calculator set, and write what comes of it under the structure's name.

    Results that are in the folder already, of the same structure, model and settings, are kept. What fails by a named
    error is reported, and the others go on; the command then ends with an error.
    """
    from ase_wavescat.calculator import WaveScatCalculator
    from ase_wavescat.model_file import find_model

    calculator = WaveScatCalculator(model)
    failed = []
    for name, atoms in structures.items():
        inputs = fingerprint([atoms], find_model(model), settings)
        if kept(folder / f"{name}.json", inputs):
            click.echo(f"{name}: kept, it is in {folder} already")
            continue
        atoms.calc = calculator
        try:
            result = work(atoms)
        except WaveScatError as error:
            failed.append(name)
            click.echo(f"{name}: {error}", err=True)
            continue
        result.write(folder, name, {INPUTS: inputs})
        if not quiet:
            click.echo(f"{name}\n{result.summary()}\n")
    click.echo(f"results: {folder}")
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(structures)} structures failed: {', '.join(failed)}")


def fingerprint(structures: list[Atoms], model: Path, settings: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change with any structure, the model file's content or a setting."""
    from ase_wavescat.structure_files import structure_bytes

    digest = hashlib.sha256(model.read_bytes())
    for atoms in structures:
        digest.update(structure_bytes(atoms))
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def kept(path: Path, inputs: str) -> bool:
    """Whether the JSON file of an earlier run is there and came of the same inputs."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(INPUTS) == inputs
    except (OSError, ValueError, AttributeError):
        return False
