"""What every workflow returns: numbers with units, structures, a picture, all of it written in one go."""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.io import write

from ase_wavescat.atomic_write import atomic_path, make_folder
from ase_wavescat.plotting import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Result(ABC):
    """Base of the frozen dataclasses that workflows return."""

    @property
    @abstractmethod
    def structures(self) -> list[Atoms]:
        """The structures that the result is about, with their energies (and forces, stress where known)."""

    @abstractmethod
    def summary(self) -> str:
        """A few lines for the terminal, with units."""

    @property
    def incomplete(self) -> str:
        """In what the result is not what was asked for, such as a relaxation that was stopped; "": in nothing."""
        return ""

    @abstractmethod
    def plot(self) -> Figure:
        """A figure made without pyplot; `plotting.save_figure` writes it."""

    def to_json(self) -> str:
        """All fields but the structures, which go to a structure file; arrays as lists, numbers not finite as null."""
        return json.dumps(self.figures(), indent=1, allow_nan=False)

    def figures(self) -> dict[str, Any]:
        """The fields of `to_json` as plain Python values."""
        assert dataclasses.is_dataclass(self)
        return {part.name: _plain(getattr(self, part.name)) for part in _numeric_fields(self)}

    def _further_files(self) -> dict[str, Callable[[Path], None]]:
        """What some results have besides: functions that write a file, by its suffix."""
        return {}

    def write(self, folder: str | Path, name: str, extra: Mapping[str, Any] | None = None) -> Path:
        """NAME.extxyz, NAME.png and NAME.json, in a folder made when missing.

        Those of an earlier result are replaced when all of the new ones are complete, the JSON file last: where it is,
        the others belong to it.
        extra: further entries of the JSON file.  Returns its path.
        Raises FileWriteError where the disk is full or nothing may be written; what was there is as it was.
        """
        record = make_folder(folder) / f"{name}.json"
        entries = {**self.figures(), **(extra or {})}
        writers: dict[str, Callable[[Path], None]] = {
            ".json": partial(_write_json, entries),
            ".extxyz": partial(_write_structures, self.structures),
            ".png": partial(draw, self.plot()),
            **self._further_files(),
        }
        with ExitStack() as replaced:  # from the last to the first
            paths = {end: replaced.enter_context(atomic_path(record.parent / f"{name}{end}")) for end in writers}
            for end, write_file in writers.items():
                write_file(paths[end])
            record.unlink(missing_ok=True)
        return record


def _write_json(entries: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(entries, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _write_structures(structures: Sequence[Atoms], path: Path) -> None:
    write(path, [_writable(atoms) for atoms in structures], format="extxyz")


def _writable(atoms: Atoms) -> Atoms:
    """Without entries of `info` and `arrays` that bear the names of results, which the format does not take."""
    clean = atoms.copy()
    clean.calc = atoms.calc
    for kept in (clean.info, clean.arrays):
        for key in [key for key in kept if key in all_properties]:
            del kept[key]
    return clean


def _numeric_fields(result: Any) -> list[dataclasses.Field[Any]]:
    return [part for part in dataclasses.fields(result) if not _holds_structures(getattr(result, part.name))]


def _holds_structures(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(item, Atoms) for item in value)
    return isinstance(value, Atoms)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in _numeric_fields(value)}
    return value
