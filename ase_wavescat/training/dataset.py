"""Labelled structures from files: extended XYZ (plain or compressed) and ASE databases."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase import Atoms
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress

from ase_wavescat.errors import DataError
from ase_wavescat.scattering.boundary import padded_cell

NO_GROUPS = "none"
"""As `group_key`: every frame is a group of its own."""

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_DAMAGE = (sqlite3.Error, OSError, EOFError, ValueError, KeyError, IndexError, lzma.LZMAError, zlib.error)


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled structure.

    cell (3, 3) rows, A; positions (N, 3), A; numbers (N,). pbc: the directions that repeat; rows of the cell along the
    others do not matter.
    energy: total, eV; forces (N, 3), eV/A, or None; stress (6,) Voigt in ASE's order and sign, eV/A^3, or None. Frames
    with open directions have none: codes divide it by the volume of whatever vacuum the frame came with.
    group: frames that must not be told apart by a split (one trajectory, one melt); config_type: their kind.
    name: file and position in it, for messages; info: the frame's other scalar entries (mesh, temperature ...).
    weight: of its squared errors in a fit; source: who labelled it, frames of one source share a zero of energy.
    """

    cell: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    group: str
    config_type: str
    name: str
    info: Mapping[str, Any] = field(default_factory=dict)
    pbc: tuple[bool, bool, bool] = (True, True, True)
    weight: float = 1.0
    source: str = "labels"

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Of the cell (A^3); means something where all directions repeat."""
        return float(abs(np.linalg.det(self.cell)))

    def periodic_cell(self, gap: float) -> np.ndarray:
        """A fully periodic cell (3, 3), with vacuum of `gap` (A) at least along the open directions."""
        return padded_cell(self.cell, self.pbc, self.positions, gap)

    def count(self, species: Sequence[int]) -> np.ndarray:
        """Atoms of each species, (S,)."""
        return np.array([np.count_nonzero(self.numbers == z) for z in species], dtype=float)


def read_frames(paths: str | Path | Sequence[str | Path], group_key: str = "group") -> list[Frame]:
    """The frames of one or several files, in order.

    Labels are `energy`, `forces`, `stress` as ASE stores them, or `REF_energy`, `REF_forces`, `REF_stress` in
    `info` and `arrays`, which win where both are present. Any directions may be open (`pbc`); the stress of a frame
    that is not periodic throughout is not used. The group is `info[group_key]` (a key-value pair in an
    ASE database); `group_key="none"` makes every frame a group of its own.

    Raises DataError, which names the file, the frame and what to do, for files that are missing or cannot be read,
    frames without energy or group, labels that are not finite or misshapen, and cells that do not span the periodic
    directions.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    if not paths:
        raise DataError("no data files given; name at least one extended XYZ file or ASE database")
    frames = []
    for path in map(Path, paths):
        frames += [_frame(atoms, group_key, f"{path.name}#{index}") for index, atoms in enumerate(structures_of(path))]
    return frames


def structures_of(path: Path) -> list[Atoms]:
    """All structures of an extended XYZ file or an ASE database; DataError says what is wrong with it."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _OPENERS else None
    kind = suffixes[-1] if suffixes else ""
    if kind not in (".xyz", ".extxyz", ".db") or (kind == ".db" and compression):
        raise DataError(f"cannot tell the format of {path}; known are .xyz, .extxyz (plain, .gz, .xz, .bz2) and .db")
    try:
        if kind == ".db":
            structures = _read_database(path)
        else:
            # Through memory: ASE seeks in the file, and seeking in a compressed file is very slow.
            with _OPENERS.get(compression or "", open)(path, "rt") as file:
                text = file.read()
            structures = list(read(io.StringIO(text), ":", format="extxyz")) if text.strip() else []
    except _DAMAGE as error:
        raise DataError(f"cannot read {path}: {error}; is it complete?") from error
    if not structures:
        raise DataError(f"{path} holds no structures; leave it out or check how it was written")
    return structures


def _read_database(path: Path) -> list[Atoms]:
    structures = []
    with ase.db.connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = {**row.data, **row.key_value_pairs}
            structures.append(atoms)
    return structures


def _frame(atoms: Atoms, group_key: str, name: str) -> Frame:
    if len(atoms) == 0:
        raise DataError(f"{name} has no atoms; leave it out")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise DataError(f"{name} has positions or cell vectors that are not finite; leave it out")
    pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
    vectors = atoms.cell.array[atoms.pbc]
    if np.linalg.matrix_rank(vectors, tol=1e-6) < len(vectors):
        raise DataError(
            f"{name} is periodic along {list(pbc)} but its cell vectors there, {vectors.tolist()}, are zero or"
            " parallel; set them, or set pbc = False along directions that do not repeat"
        )
    energy = _label(atoms, "energy", name)
    if energy is None:
        raise DataError(f"{name} has no energy; store it as 'energy' or 'REF_energy', or leave the frame out")
    return Frame(
        cell=atoms.cell.array.copy(),
        positions=atoms.positions.copy(),
        numbers=atoms.numbers.copy(),
        energy=float(energy),
        forces=_label(atoms, "forces", name),
        stress=_label(atoms, "stress", name) if all(pbc) else None,
        group=_group(atoms, group_key, name),
        config_type=str(atoms.info.get("config_type", "unlabelled")),
        name=name,
        info={key: value for key, value in atoms.info.items() if np.isscalar(value)},
        pbc=pbc,
    )


def _group(atoms: Atoms, group_key: str, name: str) -> str:
    if group_key == NO_GROUPS:
        return name
    if group_key not in atoms.info:
        raise DataError(
            f"{name} has no key {group_key!r}, which says what frames belong together (one trajectory, one melt),"
            f" never split between training and test; the frame has {sorted(atoms.info)}: choose one of these as the"
            f" group key, or {NO_GROUPS!r} to treat every frame as its own group (errors then look too good)"
        )
    return str(atoms.info[group_key])


_SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "energy": lambda atoms: (),
    "forces": lambda atoms: (atoms, 3),
    "stress": lambda atoms: (6,),
}


def _label(atoms: Atoms, kind: str, name: str) -> Any:
    """A label as array of its proper shape, None where it is absent."""
    value = atoms.arrays.get("REF_forces") if kind == "forces" else atoms.info.get(f"REF_{kind}")
    if value is None and atoms.calc is not None:
        value = atoms.calc.results.get(kind)
    if value is None:
        return None
    array = np.array(value, dtype=float)
    if kind == "stress" and array.size == 9:
        array = full_3x3_to_voigt_6_stress(array.reshape(3, 3))
    shape = _SHAPES[kind](len(atoms))
    if array.shape != shape:
        raise DataError(f"{name} has {kind} of shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} has a label {kind!r} that is not finite; leave the frame out, or remove that label")
    return array
