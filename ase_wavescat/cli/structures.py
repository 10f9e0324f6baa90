"""What commands on structures share: their arguments, and results kept in a folder so that a run can go on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from tqdm import tqdm

from ase_wavescat.errors import DataError, WaveScatError, WaveScatWarning, listening

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.calculator import WaveScatCalculator
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


def read_structures(files: tuple[str, ...], output: Path | None = None) -> dict[str, Atoms]:
    """Structures by a name fit for files: the file's without its endings, with the number of the frame where it holds
    several, with the folders where several files have that name.

    output: where results will be, in files of these names.
    Raises DataError for files that are missing, cannot be read, hold structures that no code could evaluate, or lie in
    the folder `output`, where results could replace them.
    """
    from ase_wavescat.extended_xyz import storable, warn_of_dropped
    from ase_wavescat.structure_files import check_structure, files_of, structures_of, without_results

    paths = files_of(list(files))
    if output is not None:
        refuse_inside(paths, output)
    structures: dict[str, Atoms] = {}
    for file, base in zip(paths, _names(paths), strict=True):
        frames = structures_of(file)
        for index, atoms in enumerate(frames):
            check_structure(atoms, f"{file}#{index}")
            name = base if len(frames) == 1 else f"{base}-{index:0{len(str(len(frames) - 1))}d}"
            if name in structures:
                raise DataError(f"two structures would have the name {name}, one of {file}; rename that file")
            structures[name] = without_results(atoms)
    kept, dropped = storable(structures.values())
    warn_of_dropped(dropped)  # before the work
    return dict(zip(structures, kept, strict=True))


def refuse_inside(paths: list[Path], output: Path) -> None:
    """DataError for input files in the folder of the results, which could replace them."""
    inside = [path for path in paths if path.resolve().parent == output.resolve()]
    if inside:
        raise DataError(f"{inside[0]} lies in {output}, where results could replace it; give another folder by -o")


def _names(paths: list[Path]) -> list[str]:
    """A name for each file that no other has: its stem, its name, or that with as many folders as it takes."""
    from ase_wavescat.file_formats import file_name, stem_of

    stems = [stem_of(path) for path in paths]
    places = [(*path.resolve().parts[1:-1], stem) for path, stem in zip(paths, stems, strict=True)]
    names = stems
    for depth in range(1, max(map(len, places)) + 1):
        bearers = Counter(names)
        longer = [path.name for path in paths] if depth == 1 else ["-".join(place[-depth:]) for place in places]
        names = [long if bearers[name] > 1 else name for name, long in zip(names, longer, strict=True)]
    return [file_name(name) for name in names]


def run_each(
    structures: Mapping[str, Atoms], model: str, folder: Path, settings: Mapping[str, Any],
    work: Callable[[Atoms], Result], quiet: bool,
) -> list[str]:  # fmt: skip
    """Do `work` on each structure, its calculator set, and write what comes of it under the structure's name.

    Results that are in the folder already, of the same structure, model and settings, are kept. What fails by a named
    error is reported, and the others go on; these names are returned, for `end`.
    Raises DataError, before any work is done, for a folder with results of other structures or another workflow.
    """
    from ase_wavescat.calculator import WaveScatCalculator

    calculator = WaveScatCalculator(model)
    marks = {name: fingerprint([atoms], calculator, settings) for name, atoms in structures.items()}
    done = {name for name, inputs in marks.items() if kept(folder / f"{name}.json", inputs)}
    failed = []
    bar = tqdm(structures.items(), unit="structure", disable=quiet or len(structures) == 1, leave=False)
    for name, atoms in bar:
        bar.set_postfix_str(name)
        if name in done:
            tqdm.write(f"{name}: kept, it is in {folder} already")
            continue
        atoms.calc = calculator
        calculator.forget_warnings()  # each structure has its own
        with _named_warnings(name) as said:
            try:
                result = work(atoms)
            except WaveScatError as error:
                failed.append(name)
                tqdm.write(f"{name}: {error}", file=sys.stderr)
                continue
        result.write(folder, name, {"warnings_shown": said, INPUTS: marks[name]})
        if not quiet:
            tqdm.write(f"{name}\n{result.summary()}\n")
    click.echo(f"results: {folder}")
    return failed


def run_files(
    files: tuple[str, ...], model: str, folder: Path, settings: Mapping[str, Any],
    work: Callable[[Atoms], Result], quiet: bool,
) -> None:  # fmt: skip
    """A whole command: `run_each` on all structures of files, and its end."""
    structures = read_structures(files, folder)
    end(run_each(structures, model, folder, settings, work, quiet), structures)


@contextmanager
def _named_warnings(name: str) -> Iterator[list[str]]:
    """Warnings that the package names are shown with the name of the structure; their texts."""
    said: list[str] = []

    def show(warning: WaveScatWarning) -> None:
        text = str(warning)
        if text not in said:
            said.append(text)
            tqdm.write(f"{name}: warning: {text}", file=sys.stderr)

    with listening(show):
        yield said


def end(failed: list[str], structures: Mapping[str, Atoms]) -> None:
    """The command's end, by an error where structures failed."""
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(structures)} structures failed: {', '.join(failed)}")


def fingerprint(structures: list[Atoms], calculator: WaveScatCalculator, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a result came of: the workflow and other settings, and hexadecimal digits that change with any structure,
    and with the model."""
    from ase_wavescat.structure_files import structure_bytes

    return {
        "workflow": str(settings.get("workflow", "")),
        "structures": hashlib.sha256(b"".join(map(structure_bytes, structures))).hexdigest()[:16],
        "model": calculator.ensemble.digest,
        "settings": json.loads(json.dumps(settings, default=str)),
    }


def kept(path: Path, inputs: Mapping[str, Any], *, same: tuple[str, ...] = ("workflow", "structures")) -> bool:
    """Whether the JSON file of an earlier run is there and came of the same inputs.

    Raises DataError where it came of inputs that differ in what is `same` for whatever may replace it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[INPUTS]
        other = [name for name in same if found[name] != inputs[name]]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    if other:
        raise DataError(f"{path} is the result of another input ({', '.join(other)}); give another folder by -o")
    return bool(found == inputs)
