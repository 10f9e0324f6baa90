"""Which format a structure file has, by its suffix and its content, never by ASE's patterns of names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ase.io.formats import ioformats

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_LOOKED_AT = 2**15
"""Bytes at the beginning of a file, unpacked, in which a program has named itself."""


@dataclass(frozen=True)
class FileFormat:
    """A format that is read.

    Attributes:
        name: ASE's.
        suffixes: In lower case, the format whatever the file holds.
        words: Parts of the names of files without such a suffix.
        signature: What is found at the beginning of every such file.
        energy: Of the output of a program, the energy that is read; "" for formats that store what ASE calls energy.
        listed: Whether folders stand for these files.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    signature: bytes = b""
    energy: str = ""
    listed: bool = False


_FREE = "the free energy, which forces are derivatives of"
FORMATS = (
    FileFormat("extxyz", (".xyz", ".extxyz"), listed=True),
    FileFormat("db", (".db",), signature=rb"\ASQLite format 3", listed=True),
    FileFormat("traj", (".traj",), signature=rb"\A(- of Ulm|AFFormat)ASE-Trajectory"),
    FileFormat("json", (".json",), signature=rb'\A\{\s*"(\d+"\s*:\s*\{|ids"\s*:)'),
    FileFormat("cif", (".cif",), listed=True),
    FileFormat("xsf", (".xsf",)),
    FileFormat("vasp-xml", (), ("vasprun",), rb"\A\s*(<\?xml[^>]*>\s*)?<modeling", f"e_fr_energy, {_FREE}"),
    FileFormat("vasp-out", (".outcar",), ("OUTCAR",), rb"\A\s*vasp\.\d", f"free  energy   TOTEN, {_FREE}"),
    FileFormat("vasp-xdatcar", (".xdatcar",), ("XDATCAR",), rb"Direct configuration="),
    FileFormat("vasp", (".vasp", ".poscar", ".contcar"), ("POSCAR", "CONTCAR"), listed=True),
    FileFormat("espresso-out", (".pwo",), (), rb"Program PWSCF", f"!    total energy, {_FREE}"),
    FileFormat("aims-output", (), (), rb"Invoking FHI-aims", f"Electronic free energy, {_FREE}"),
    FileFormat("gpaw-out", (), (), rb"  ___ ___ ___ _ _ _", "Extrapolated: ASE reads no free energy of it"),
    FileFormat("castep-castep", (".castep",), (), rb"\| +CCC +AA +SSS +TTTTT", f"Final free energy, {_FREE}"),
)
KNOWN = (
    "known are extended XYZ (.xyz, .extxyz), ASE's .db, .traj and .json, .cif, .xsf, .vasp, POSCAR, CONTCAR, XDATCAR,"
    " and the outputs of VASP (OUTCAR, vasprun.xml), Quantum ESPRESSO, FHI-aims, GPAW and CASTEP; all of them plain,"
    " .gz, .xz or .bz2"
)


def format_of(path: Path) -> FileFormat | None:
    """The format of a file that is there, None where it is not known.

    A suffix decides; a name without one that is known, what the file holds; then words in the name.
    """
    suffix, _ = suffixes_of(path)
    for one in FORMATS:
        if suffix in one.suffixes:
            return one
    beginning = _beginning(path)
    return next((one for one in FORMATS if _matches(beginning, one)), None) or _by_words(path)


def begins_as(path: Path, known: FileFormat) -> bool:
    """Whether a file has the signature of a format."""
    return _matches(_beginning(path), known)


def _matches(beginning: bytes, known: FileFormat) -> bool:
    return bool(known.signature and re.search(known.signature, beginning))


def _by_words(path: Path) -> FileFormat | None:
    return next((one for one in FORMATS for word in one.words if word in path.name), None)


def _beginning(path: Path) -> bytes:
    try:
        with OPENERS.get(suffixes_of(path)[1], open)(path, "rb") as file:
            return bytes(file.read(_LOOKED_AT))
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return b""


def is_listed(path: Path) -> bool:
    """Whether a folder stands for this file too: structures, not trajectories and outputs that lie beside them.

    Hidden files are what a killed process was writing.
    """
    suffix, _ = suffixes_of(path)
    known = next((one for one in FORMATS if suffix in one.suffixes), None)
    if known is None and path.name.removesuffix(suffixes_of(path)[1]) in ("POSCAR", "CONTCAR"):
        known = _by_words(path)
    return known is not None and known.listed and not path.name.startswith(".")


def suffixes_of(path: Path) -> tuple[str, str]:
    """The format's suffix and that of the compression, "" where there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in OPENERS else ""
    return suffixes[-1] if suffixes else "", compression


def stem_of(path: Path) -> str:
    """The file's name without the endings of its format and compression."""
    suffix, compression = suffixes_of(path)
    if any(suffix in one.suffixes for one in FORMATS) or compression or suffix == ".xml":
        return path.name[: len(path.name) - len(suffix + compression)] or path.name
    return path.stem


def file_name(name: str) -> str:
    """A name, without suffix, that ASE does not take for that of another format: poscar-1 for POSCAR-1.

    `ase.io.read` goes by parts of names (POSCAR, OUTCAR, CONFIG ...) before it looks at suffix or content.
    """
    for one in ioformats.values():
        for pattern in one.globs:
            word = pattern.strip("*")
            if any(fnmatch(f"{name}{suffix}", pattern) for suffix in (".extxyz", ".traj", ".json", ".db")):
                name = name.replace(word, word.lower())
    return name
