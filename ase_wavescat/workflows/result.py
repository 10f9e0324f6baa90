"""What every workflow returns: numbers with units, structures, a picture, all of it written in one go."""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.io import write

from ase_wavescat.atomic_write import atomic_path
from ase_wavescat.plotting import save_figure

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

    @staticmethod
    def _begin_writing(folder: Path, name: str) -> None:
        """The JSON file stands for a complete result: an old one goes before anything else is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").unlink(missing_ok=True)

    def write(self, folder: str | Path, name: str, extra: Mapping[str, Any] | None = None) -> Path:
        """NAME.extxyz, NAME.png and last NAME.json, each complete or not at all, in a folder made when missing.

        extra: further entries of the JSON file.  Returns its path.
        """
        folder = Path(folder)
        self._begin_writing(folder, name)
        with atomic_path(folder / f"{name}.extxyz") as temporary:
            write(temporary, [_writable(atoms) for atoms in self.structures], format="extxyz")
        save_figure(self.plot(), folder / f"{name}.png")
        with atomic_path(folder / f"{name}.json") as temporary:
            text = json.dumps({**self.figures(), **(extra or {})}, indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        return folder / f"{name}.json"


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
