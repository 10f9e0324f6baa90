"""What commands on structures share: their arguments, results kept in a folder so that a run can go on, their end."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from tqdm import tqdm

from ase_wavescat.cli.options import model_option, overwrite_option, quiet_option
from ase_wavescat.system.errors import DataError, WaveScatError, WaveScatWarning, listening
from ase_wavescat.system.progress import hidden, steps_shown

if TYPE_CHECKING:
    from ase import Atoms

    from ase_wavescat.potentials.model import Model
    from ase_wavescat.workflows.result import Result

Command = TypeVar("Command", bound=Callable[..., Any])
INPUTS = "inputs"
INCOMPLETE = "incomplete"
_MOST_NAMED = 10


def structure_arguments(default_folder: str, *, model: bool = True) -> Callable[[Command], Command]:
    """What commands on structures take: FILES, --model (unless nothing is to be evaluated), --output, --overwrite and
    --quiet."""
    decorators = [
        quiet_option(),
        overwrite_option(),
        click.option(
            "-o", "--output", default=default_folder, show_default=True,
            type=click.Path(file_okay=False, path_type=Path), help="Write results into this folder.",
        ),
        *([model_option()] if model else []),
        click.argument("files", nargs=-1, required=True),
    ]  # fmt: skip

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
    from ase_wavescat.io.extended_xyz import storable, warn_of_dropped
    from ase_wavescat.io.structures import check_structure, files_of, structures_of, without_results

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
    from ase_wavescat.io.formats import file_name, stem_of

    stems = [stem_of(path) for path in paths]
    places = [(*path.resolve().parts[1:-1], stem) for path, stem in zip(paths, stems, strict=True)]
    names = stems
    for depth in range(1, max(map(len, places)) + 1):
        bearers = Counter(names)
        longer = [path.name for path in paths] if depth == 1 else ["-".join(place[-depth:]) for place in places]
        names = [long if bearers[name] > 1 else name for name, long in zip(names, longer, strict=True)]
    return [file_name(name) for name in names]


@dataclass
class Shortfalls:
    """What of a command's work is not as it was asked for, and why, by name.

    failed: there is no result.  incomplete: there is one, of something that did not converge or was stopped.
    """

    failed: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """Take what the JSON record of a result says of itself."""
        if record.get(INCOMPLETE):
            self.incomplete[name] = record[INCOMPLETE]


class NotComplete(click.ClickException):
    """All results are written, and some are of what did not converge or was stopped."""

    exit_code = 3


def end(shortfalls: Shortfalls, total: int) -> None:
    """The command's end: by an error of status 1 where something failed, of status 3 where results are incomplete."""
    parts = []
    if shortfalls.failed:
        parts.append(f"{len(shortfalls.failed)} of {total} failed: {_listed(list(shortfalls.failed))}")
    if shortfalls.incomplete:
        named = [f"{name} ({reason})" for name, reason in shortfalls.incomplete.items()]
        parts.append(f"{len(named)} of {total} not complete: {_listed(named)}")
    if parts:
        raise (click.ClickException if shortfalls.failed else NotComplete)("; ".join(parts))


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def run_each(
    structures: Mapping[str, Atoms], model: str, folder: Path, settings: Mapping[str, Any],
    work: Callable[[Atoms], Result], quiet: bool, overwrite: bool = False,
) -> Shortfalls:  # fmt: skip
    """Do `work` on each structure, its calculator set, and write what comes of it under the structure's name.

    Results that are in the folder already, of the same structure, model and settings, are kept. What fails by a named
    error is reported, and the others go on; what is returned is for `end`.
    Raises DataError, before any work is done, for a folder with results of other inputs, see `kept`.
    """
    from ase_wavescat.calculator import WaveScatCalculator

    calculator = WaveScatCalculator(model)
    marks = {name: inputs_record([atoms], calculator.model, settings) for name, atoms in structures.items()}
    done = {name: kept(folder / f"{name}.json", inputs, overwrite) for name, inputs in marks.items()}
    shortfalls = Shortfalls()
    bar = tqdm(structures.items(), unit="structure", disable=hidden(not quiet and len(structures) > 1), leave=False)
    for name, atoms in bar:
        bar.set_postfix_str(name)
        if (record := done[name]) is not None:
            tqdm.write(f"{name}: kept, it is in {folder} already")
            shortfalls.add(name, record)
            continue
        atoms.calc = calculator
        calculator.forget_warnings()  # each structure has its own
        with _named_warnings(name) as said, steps_shown(not quiet):
            try:
                result = work(atoms)
            except WaveScatError as error:
                shortfalls.failed[name] = str(error)
                tqdm.write(f"{name}: {error}", file=sys.stderr)
                continue
        shortfalls.add(name, write_result(result, folder, name, marks[name], {"warnings_shown": said}))
        if not quiet:
            tqdm.write(f"{name}\n{result.summary()}\n")
    click.echo(f"results: {folder}")
    return shortfalls


def write_result(
    result: Result, folder: Path, name: str, inputs: Mapping[str, Any], extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write a result with what it came of, for `kept`, and what is incomplete, for `end`; these entries."""
    entries = {**(extra or {}), INCOMPLETE: result.incomplete, INPUTS: dict(inputs)}
    result.write(folder, name, entries)
    return entries


def run_files(
    files: tuple[str, ...], model: str, folder: Path, settings: Mapping[str, Any],
    work: Callable[[Atoms], Result], quiet: bool, overwrite: bool,
) -> None:  # fmt: skip
    """A whole command: `run_each` on all structures of files, and its end."""
    structures = read_structures(files, folder)
    end(run_each(structures, model, folder, settings, work, quiet, overwrite), len(structures))


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


def inputs_record(structures: Sequence[Atoms], model: Model | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a result came of: the workflow and other settings, and hexadecimal digits that change with any structure,
    and with the model, where there is one."""
    from ase_wavescat.io.structures import structure_bytes

    return {
        "workflow": str(settings.get("workflow", "")),
        "structures": hashlib.sha256(b"".join(map(structure_bytes, structures))).hexdigest()[:16],
        "model": None if model is None else model.digest,
        "settings": json.loads(json.dumps(settings, default=str)),
    }


def kept(path: Path, inputs: Mapping[str, Any], overwrite: bool = False) -> dict[str, Any] | None:
    """The rule of all commands for results that are there: the JSON record of one that came of the same inputs, which
    is kept; None where there is none, or one that `overwrite` gives up.

    Raises DataError, with what differs, for one that came of other inputs.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or a part of one, as a crash of the machine leaves it
        return None
    differences = _differences(record.get(INPUTS) if isinstance(record, dict) else None, inputs)
    if differences and not overwrite:
        raise DataError(
            f"{path} is there, of other inputs: {'; '.join(differences)}. Give another place by -o, or replace it by"
            " --overwrite"
        )
    return None if differences else record


def _differences(found: Any, inputs: Mapping[str, Any]) -> list[str]:
    """In what the inputs of an earlier result are not those of now, in words."""
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        return ["it does not say what made it"]
    differences = [f"other {name}" for name in inputs if name != "settings" and found.get(name) != inputs[name]]
    then, now = found["settings"], inputs["settings"]
    for name in [name for name in {**now, **then} if then.get(name) != now.get(name)]:
        differences.append(f"{name} {json.dumps(then.get(name))}, now {json.dumps(now.get(name))}")
    return differences
