"""Where a training stands, in a file without pickles: a killed run goes on from it and ends in the same bits."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import DataError


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    run: digest of all that the result follows from.
    arrays: by name.
    place: plain data: stage, epoch, history.
    """

    run: str
    arrays: Mapping[str, np.ndarray]
    place: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Replaces what is there, at once."""
        text = json.dumps({"run": self.run, "place": dict(self.place)})
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {"header": np.frombuffer(text.encode(), dtype=np.uint8), **self.arrays}
            np.savez(file, **arrays)

    @classmethod
    def read(cls, path: Path, run: str) -> Checkpoint | None:
        """None where there is no file.

        Raises:
            DataError: for a file of another run, and for one that cannot be read.
        """
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored.items())
            header = json.loads(arrays.pop("header").tobytes())
            found = cls(header["run"], arrays, header["place"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is no checkpoint of a training ({error}); delete it, or name another") from None
        if found.run != run:
            raise DataError(
                f"{path} belongs to another training (other data, settings or network); delete it, or name another"
            )
        return found
