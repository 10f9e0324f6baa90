"""Structures from files: extended XYZ (plain or compressed), ASE databases, and usual formats that ASE reads."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import json
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import ase.db
import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.io import read

from ase_wavescat.errors import DataError, StructureError
from ase_wavescat.scattering.boundary import independent
from ase_wavescat.scattering.limits import check_cell, check_positions

Paths = str | Path | Sequence[str | Path]
"""Files, folders and globs."""

_FORMATS = (".xyz", ".extxyz", ".db")
_CRYSTALS = (".cif", ".vasp", ".poscar")
_NAMES = ("POSCAR", "CONTCAR")
_OTHER = "left to ASE"
_KNOWN = "known are .xyz, .extxyz (plain, .gz, .xz, .bz2), .db, .traj, .cif, .vasp, POSCAR and CONTCAR"
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_LARGEST_TEXT = 2**30
"""Characters of a file, unpacked."""
_PIECE = 2**20
# A key and its value; what is not closed goes to the end, so that no text is gone through twice.
_HEADER_ITEM = re.compile(
    r"""(?<![^\s])([^\s="'{}\[\]]+)\s*=\s*"""
    r"""("(?:\\.|[^"\\])*(?:"|\\?$)|'(?:\\.|[^'\\])*(?:'|\\?$)|\{[^}]*(?:\}|$)|\[[^\]]*(?:\]|$)|\S*)"""
)


def files_of(paths: Paths) -> list[Path]:
    """The files that paths stand for, each once, in order.

    A folder stands for the structure files in it, not for trajectories (.traj), hidden files and those in folders
    below; a glob for the files that match ("**" goes through folders); both sorted, 2 before 10. Raises DataError for a
    folder or glob that stands for nothing, and for files that are missing or of unknown format.
    """
    files: dict[Path, Path] = {}
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        for file in _expand(Path(path)):
            _format(file)  # refused before any file is read
            files.setdefault(file.resolve(), file)
    if not files:
        raise DataError("no data files given; name at least one extended XYZ file or ASE database")
    return list(files.values())


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.is_file() and _is_listed(file)), key=_natural)
        if not files:
            raise DataError(
                f"the folder {path} holds no structure files ({_KNOWN}); files in folders below are found by the glob"
                f" {str(path / '**' / '*.extxyz')!r}"
            )
        return files
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    files = sorted((file for file in map(Path, glob.glob(str(path), recursive=True)) if file.is_file()), key=_natural)
    if not files:
        raise DataError(f"no file matches {str(path)!r}, looked for from {Path.cwd()}; check the pattern")
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers in names by their value: image-2 before image-10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _is_listed(file: Path) -> bool:
    """Not trajectories, which lie beside what came of them; hidden files are what a killed process was writing."""
    crystal = file.suffix.lower() in _CRYSTALS or file.name in _NAMES
    return (crystal or _suffixes(file)[0] in _FORMATS) and not file.name.startswith(".")


def _suffixes(path: Path) -> tuple[str, str]:
    """The format's suffix and that of the compression, "" where there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _OPENERS else ""
    return suffixes[-1] if suffixes else "", compression


def stem_of(path: Path) -> str:
    """The file's name without the endings of its format and compression."""
    kind, compression = _suffixes(path)
    if kind not in _FORMATS:
        return path.stem
    return path.name[: -len(kind + compression)] or path.name


def _format(path: Path) -> tuple[str, str]:
    """The suffixes of a structure file that is there."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    kind, compression = _suffixes(path)
    if kind in _FORMATS and not (kind == ".db" and compression):
        return kind, compression
    if path.suffix.lower() in (*_CRYSTALS, ".traj") or path.name in _NAMES:
        return _OTHER, ""
    raise DataError(f"cannot tell the format of {path}; {_KNOWN}")


def named(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """Files with names for messages and groups: the file's name, or the path where several files bear that name."""
    files = list(files)
    bearers = Counter(file.name for file in files)
    return [(file, file.name if bearers[file.name] == 1 else str(file)) for file in files]


def structures_of(path: Path) -> list[Atoms]:
    """All structures of an extended XYZ file or an ASE database; DataError says what is wrong with it."""
    kind, compression = _format(path)
    structures = _read_by_ase(path) if kind == _OTHER else _read_ours(path, kind, compression)
    if not structures:
        raise DataError(f"{path} holds no structures; leave it out or check how it was written")
    return structures


def _read_ours(path: Path, kind: str, compression: str) -> list[Atoms]:
    try:
        if kind == ".db":
            return _read_database(path)
        # Through memory: ASE seeks in the file, and seeking in a compressed file is very slow.
        with _OPENERS.get(compression, open)(path, "rt") as file:
            text = _read_text(file)
        _check_frames(text)
        return list(read(io.StringIO(text), ":", format="extxyz")) if text.strip() else []
    except Exception as error:  # ASE's parser and those of compressed files have errors of all kinds
        raise DataError(f"cannot read {path}: {str(error) or type(error).__name__}; is it complete?") from error


def _read_text(file: TextIO) -> str:
    """All of it, in pieces: Python takes the memory for as many characters as it is asked to read."""
    pieces, size = [], 0
    while piece := file.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_TEXT:
            raise ValueError(f"it has more than {_LARGEST_TEXT} characters, unpacked; split it")
    return "".join(pieces)


def _check_frames(text: str) -> None:
    """Raise ValueError for what ASE's reader of extended XYZ takes silently, or for ever.

    It takes the last of two values of a key, leaves out all frames after an empty line, and counts to any number of
    atoms.
    """
    lines, total, frame = io.StringIO(text), text.count("\n") + 1, 0
    while (first := lines.readline()).strip():
        atoms = int(first)
        if atoms > total:
            raise ValueError(f"frame {frame} is to have {atoms} atoms, the file has {total} lines")
        keys = Counter(key for key, _ in _HEADER_ITEM.findall(lines.readline()))
        twice = [key for key, times in keys.items() if times > 1]
        if twice:
            raise ValueError(f"frame {frame} gives {twice[0]!r} twice; keep the value that is meant")
        for _ in range(atoms):
            lines.readline()
        frame += 1
        while _is_vector(lines):
            lines.readline()
    if lines.read().strip():
        raise ValueError(f"an empty line stands where frame {frame} should begin; remove it")


def _is_vector(lines: io.StringIO) -> bool:
    """Whether the next line is a cell vector of the dialect that has them after the atoms."""
    place = lines.tell()
    found = lines.readline().lstrip().startswith("VEC")
    lines.seek(place)
    return found


def _read_by_ase(path: Path) -> list[Atoms]:
    try:
        structures = list(read(str(path), ":", do_not_split_by_at_sign=True))
    except Exception as error:  # parsers of many formats have errors of all kinds
        raise DataError(f"ASE cannot read {path}: {error or type(error).__name__}; is it complete?") from error
    for atoms in structures:
        sites = dict(atoms.info.get("occupancy") or {}).values()
        if any(share < 1 for site in sites for share in site.values()):
            raise DataError(f"{path} has sites that are occupied in part; make an ordered cell of it")
    return structures


def _read_database(path: Path) -> list[Atoms]:
    structures = []
    with path.open("rb") as file:
        if file.read(15) != b"SQLite format 3":  # ASE would make a database of an empty file
            raise ValueError("it is not an SQLite database")
    with ase.db.connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = {**row.data, **row.key_value_pairs}
            structures.append(atoms)
    return structures


def without_results(atoms: Atoms) -> Atoms:
    """A copy, with its constraints, without calculator and anything in `info` and `arrays` that says energies, forces,
    stress or their uncertainties: they would be those of another state, or of another method."""
    copy = atoms.copy()
    for kept in (copy.info, copy.arrays):
        for key in [
            key for key in kept if str(key).removeprefix("REF_").removesuffix("_uncertainty") in all_properties
        ]:
            del kept[key]
    return copy


def structure_bytes(atoms: Atoms) -> bytes:
    """All that results may depend on: cell, positions, numbers, periodicity, constraints, initial moments, charges."""
    arrays = [atoms.cell.array, atoms.positions, atoms.numbers, atoms.pbc]
    arrays += [atoms.arrays[name] for name in ("initial_magmoms", "initial_charges") if name in atoms.arrays]
    constraints = [
        getattr(one, "todict", lambda one=one: [type(one).__name__, vars(one)])() for one in atoms.constraints
    ]
    return b"".join(array.tobytes() for array in arrays) + json.dumps(constraints, default=_text).encode()


def _text(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def check_structure(atoms: Atoms, name: str) -> None:
    """Raise DataError, which names the structure, for one that no code could have labelled."""
    if len(atoms) == 0:
        raise DataError(f"{name} has no atoms; leave it out")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise DataError(f"{name} has positions or cell vectors that are not finite; leave it out")
    if (atoms.numbers < 1).any():
        raise DataError(f"{name} has ghost atoms (atomic number 0, symbol X); remove them")
    vectors = atoms.cell.array[atoms.pbc]
    if not independent(vectors):
        raise DataError(
            f"{name} is periodic along {atoms.pbc.tolist()} but its cell vectors there, {vectors.tolist()}, are not"
            " independent; set them, or set pbc = False along directions that do not repeat"
        )
    try:
        check_positions(atoms.positions)
        if atoms.pbc.all():
            check_cell(atoms.cell.array, len(atoms))
    except StructureError as error:
        raise DataError(f"{name}: {error}") from None
