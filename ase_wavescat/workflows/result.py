"""What every workflow returns: numbers with units, structures, a picture, all of it written in one go."""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.formats import file_name
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.digest import SHORT
from ase_wavescat.system.plotting import draw, sign
from ase_wavescat.workflows.checks import record_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Result(ABC):
    """Base of the frozen dataclasses that workflows return.

    Attributes:
        calculators: What it came from: each calculator's name, and of a model its own, its digest and the versions; by
            default of those that the structures have.
    """

    calculators: list[dict[str, Any]] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        if not self.calculators:
            found = [record_of(atoms.calc) for atoms in self.structures if atoms.calc is not None]
            known = [one for at, one in enumerate(found) if one["name"] != "unknown" and one not in found[:at]]
            object.__setattr__(self, "calculators", known)

    @property
    @abstractmethod
    def structures(self) -> list[Atoms]:
        """The structures that the result is about, with their energies (and forces, stress where known)."""

    @abstractmethod
    def summary(self) -> str:
        """A few lines for the terminal, with units."""

    @property
    def incomplete(self) -> str:
        """In what the result is not what was asked for, such as a relaxation that was stopped; "" in nothing."""
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

        Args:
            name: Parts of it that ASE takes for the names of other formats are written in lower case, see `file_name`.
            extra: Further entries of the JSON file.

        Returns:
            Its path.

        Raises:
            FileWriteError: Where the disk is full or nothing may be written; what was there is as it was.

        Warns:
            WaveScatWarning: Of what structures hold and files cannot.
        """
        name = file_name(name)
        record = make_folder(folder) / f"{name}.json"
        entries = {**self.figures(), **(extra or {})}
        writers: dict[str, Callable[[Path], None]] = {
            ".json": partial(_write_json, entries),
            ".extxyz": partial(write_extended_xyz, structures=self.structures),
            ".png": partial(draw, self._signed_plot()),
            **self._further_files(),
        }
        with ExitStack() as replaced:  # from the last to the first
            paths = {end: replaced.enter_context(atomic_path(record.parent / f"{name}{end}")) for end in writers}
            for end, write_file in writers.items():
                write_file(paths[end])
            record.unlink(missing_ok=True)
        return record

    def _signed_plot(self) -> Figure:
        """With what it came from in a corner, so that pictures of two models can be told apart."""
        figure = self.plot()
        sign(figure, ", ".join(map(_short_record, self.calculators)))
        return figure


def _short_record(record: Mapping[str, Any]) -> str:
    """Such as "lisi.h5 1a2b3c4d"."""
    if "model" not in record:
        return str(record["name"])
    return f"{Path(record['model']).name} {record['model_digest'][:SHORT]}"


def _write_json(entries: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(entries, indent=1, allow_nan=False) + "\n", encoding="utf-8")


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
