"""The pool of a screening, one structure at a time: however many there are, few are in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import ase.db.core
from ase import Atoms

from ase_wavescat.io.structures import files_of, named, structures_of
from ase_wavescat.system.errors import DataError

Pool = str | os.PathLike[str] | Atoms | Iterable[str | os.PathLike[str]] | Iterable[Atoms]
"""Files, folders, globs and databases of structures; or structures."""

Entry = tuple[str, Atoms | None, str]
"""A name, the structure, and why there is none."""


def pool_entries(pool: Pool, found: Callable[[int], None]) -> Iterator[Entry]:
    """The structures of a pool, named; a file that cannot be read is an entry without a structure.

    Names are those of the files, with the number of the frame ("glasses.extxyz#12"), or for structures info["name"],
    where it is there, or their number.

    Args:
        found: Told how many more structures there are, as soon as that is known; of a generator's it never is.

    Raises:
        DataError: Before the first structure, for files that are missing or of unknown format.
    """
    if isinstance(pool, Atoms):
        return _of_structures([pool], found)
    if isinstance(pool, (str, os.PathLike)):
        return _of_files([pool], found)
    if isinstance(pool, (list, tuple)) and pool and all(isinstance(item, (str, os.PathLike)) for item in pool):
        return _of_files(pool, found)
    return _of_structures(pool, found)


def _of_files(paths: Iterable[Any], found: Callable[[int], None]) -> Iterator[Entry]:
    files = named(files_of([Path(path) for path in paths]))

    def entries() -> Iterator[Entry]:
        for file, name in files:
            try:
                structures = structures_of(file)
            except DataError as error:
                found(1)
                yield name, None, str(error)
                continue
            found(len(structures))
            for index, atoms in enumerate(structures):
                yield name if len(structures) == 1 else f"{name}#{index}", atoms, ""

    return entries()


def _of_structures(structures: Iterable[Any], found: Callable[[int], None]) -> Iterator[Entry]:
    if isinstance(structures, Sized):
        found(len(structures))
    for index, atoms in enumerate(structures):
        if not isinstance(atoms, Atoms):
            raise DataError(f"the pool holds a {type(atoms).__name__}, {atoms!r}; it takes structures, or only paths")
        yield _name(str(atoms.info.get("name", index))), atoms, ""


def _name(text: str) -> str:
    """A text that a database does not take for a number."""
    try:
        ase.db.core.check({"name": text})
    except ValueError:
        return f"structure {text}"
    return text
