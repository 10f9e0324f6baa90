"""Structures from files: extended XYZ, ASE databases and trajectories, crystals, and the outputs of programs."""

from __future__ import annotations

import codecs
import glob
import json
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ase.db
import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.io import read

from ase_wavescat.io.extended_xyz import parse
from ase_wavescat.io.formats import KNOWN, OPENERS, FileFormat, begins_as, format_of, is_listed, suffixes_of
from ase_wavescat.structure.limits import check_cell, check_positions
from ase_wavescat.structure.periodicity import independent
from ase_wavescat.system.errors import DataError, StructureError, WaveScatNote, warn

Paths = str | Path | Sequence[str | Path]
"""Files, folders and globs."""
ENERGY_SIGMA0 = "energy_sigma0"
"""Key of the energy extrapolated to no smearing, where the energy is the free energy."""

_LARGEST_TEXT = 2**30
"""Bytes of a file, unpacked."""
_PIECE = 2**20
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def files_of(paths: Paths) -> list[Path]:
    """The files that paths stand for, each once, in order.

    A folder stands for the structure files in it, not for trajectories (.traj, XDATCAR), outputs of programs, hidden
    files and those in folders below; a glob for the files that match ("**" goes through folders); both sorted, 2 before
    10.

    Raises:
        DataError: For a folder or glob that stands for nothing, and for files that are missing or of unknown format.
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
        files = sorted((file for file in path.iterdir() if file.is_file() and is_listed(file)), key=_natural)
        if not files:
            raise DataError(
                f"the folder {path} holds no structure files ({KNOWN}); files in folders below are found by the glob"
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


def _format(path: Path) -> FileFormat:
    """The format of a structure file that is there."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    known = format_of(path)
    if known is None:
        raise DataError(f"cannot tell the format of {path}; {KNOWN}")
    return known


def named(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """Files with names for messages and groups: the file's name, or the path where several files bear that name."""
    files = list(files)
    bearers = Counter(file.name for file in files)
    return [(file, file.name if bearers[file.name] == 1 else str(file)) for file in files]


def structures_of(path: str | Path, texts: Collection[str] = ()) -> list[Atoms]:
    """All structures of a file.

    The energy of a program's output is the free energy where there is one, as the forces are its derivatives; the one
    extrapolated to no smearing is in info["energy_sigma0"] where it is another.

    Args:
        texts: Keys of extended XYZ whose values are names, even where they look like numbers (besides group,
            config_type and name, which always are).

    Raises:
        DataError: That says what is wrong with the file.

    Warns:
        WaveScatNote: What was read of outputs.
        WaveScatWarning: Of columns that are not read and the like.
    """
    path = Path(path)
    known = _format(path)
    try:
        structures = _structures(path, known, texts)
    except Exception as error:  # parsers of many formats, and those of compressed files, have errors of all kinds
        who = "ASE cannot read" if known.name not in ("extxyz", "db") else "cannot read"
        raise DataError(f"{who} {path}: {str(error) or type(error).__name__}; is it complete?") from error
    if not structures:
        raise DataError(f"{path} holds no structures; leave it out or check how it was written")
    _check_occupation(structures, path)
    if known.energy:
        structures = [_with_free_energy(atoms) for atoms in structures]
        text = f"{path}: {len(structures)} frames of {known.name}, energies: {known.energy}"
        warn(text, stacklevel=2, kind=WaveScatNote)
    return structures


def is_output(path: Path) -> bool:
    """Whether a file is what a program wrote of one run: its frames belong together."""
    return bool(_format(path).energy)


def _structures(path: Path, known: FileFormat, texts: Collection[str]) -> list[Atoms]:
    if known.name == "extxyz":
        # Through memory: ASE seeks in the file, and seeking in a compressed file is very slow.
        with OPENERS.get(suffixes_of(path)[1], open)(path, "rb") as file:
            structures, notes = parse(_decoded(b"".join(_pieces(file))), texts)
        for note in notes:
            warn(f"{path}: {note}", stacklevel=4)
        return structures
    with _unpacked(path) as plain:
        if known.signature:
            _check_signature(plain, known)
        if known.name == "db":
            return _read_database(plain)
        return list(read(str(plain), ":", format=known.name, do_not_split_by_at_sign=True))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """All of it; Python takes the memory for as many bytes as it is asked to read."""
    size = 0
    while piece := file.read(_PIECE):
        yield piece
        size += len(piece)
        if size > _LARGEST_TEXT:
            raise ValueError(f"it has more than {_LARGEST_TEXT} bytes, unpacked; split it")


def _decoded(content: bytes) -> str:
    """A text in UTF-8, in what its first bytes say, or else in Latin-1, which any bytes are."""
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file, or a copy that is not compressed."""
    compression = suffixes_of(path)[1]
    if not compression:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name[: -len(compression)])
        with OPENERS[compression](path, "rb") as file, copy.open("wb") as plain:
            plain.writelines(_pieces(file))
        yield copy


def _check_signature(path: Path, known: FileFormat) -> None:
    """A file of this suffix that holds something else would be read as anything, or made a database."""
    if not begins_as(path, known):
        raise ValueError(f"it does not begin as a file of the format {known.name}")


def _check_occupation(structures: Sequence[Atoms], path: Path) -> None:
    for atoms in structures:
        sites = dict(atoms.info.get("occupancy") or {}).values()
        if any(share < 1 for site in sites for share in site.values()):
            raise DataError(f"{path} has sites that are occupied in part; make an ordered cell of it")


def _with_free_energy(atoms: Atoms) -> Atoms:
    results = atoms.calc.results if atoms.calc is not None else {}
    free, energy = results.get("free_energy"), results.get("energy")
    if free is not None:
        results["energy"] = free
        if energy is not None and energy != free:
            atoms.info[ENERGY_SIGMA0] = energy
    return atoms


def _read_database(path: Path) -> list[Atoms]:
    structures = []
    with ase.db.connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = {**row.data, **row.key_value_pairs}
            structures.append(atoms)
    return structures


def without_results(atoms: Atoms) -> Atoms:
    """A copy, with its constraints, without calculator and anything in `info` and `arrays` that says energies, forces,
    stress, virials or their uncertainties: they would be those of another state, or of another method."""
    copy = atoms.copy()
    for kept in (copy.info, copy.arrays):
        for key in [key for key in kept if _says_result(str(key))]:
            del kept[key]
    return copy


def _says_result(key: str) -> bool:
    name = key.removeprefix("REF_").removesuffix("_uncertainty")
    return name in all_properties or name == ENERGY_SIGMA0 or "virial" in name.lower()


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
