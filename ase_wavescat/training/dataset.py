"""Labelled structures from files."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.stress import full_3x3_to_voigt_6_stress

from ase_wavescat.errors import DataError, WaveScatWarning
from ase_wavescat.scattering.boundary import padded_cell
from ase_wavescat.structure_files import Paths, check_structure, files_of, named, structures_of

NO_GROUPS = "none"
"""As `group_key`: every frame is a group of its own."""
NO_CONFIG_TYPE = "no config_type"
"""The kind of frames that have none, in tables of errors."""

_NEIGHBOURS_COMPARED = 50
_ASYMMETRY = 0.01  # of the largest component; stresses by finite steps or loose settings are a little asymmetric
_SAME_CELL, _SAME_PLACE = 0.05, 0.5  # share of the longest edge; A, root mean square over atoms


class MissingGroupError(DataError):
    """A frame that does not say what it belongs with."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled structure.

    cell (3, 3) rows, A; positions (N, 3), A; numbers (N,). pbc: the directions that repeat; rows of the cell along the
    others do not matter.
    energy: of the whole cell, eV; forces (N, 3), eV/A, or None; stress (6,) Voigt in ASE's order and sign, eV/A^3, or
    None. Frames with open directions have no stress: codes divide it by the volume of whatever vacuum there was.
    group: frames that must not be told apart by a split (one trajectory, one melt); config_type: their kind.
    name: file and position in it, for messages; info: the frame's other scalar entries (mesh, temperature ...).
    weight: of its squared errors in a fit; source: who labelled it; zero: frames of one zero of energy have the same
        energies of the species.
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
    zero: str = "labels"

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


def read_frames(paths: Paths, group_key: str = "group") -> list[Frame]:
    """The frames of files labelled in one way, in order; `sources.read_sources` reads several kinds of labels.

    paths: see `files_of`. Labels are `energy`, `forces`, `stress` as ASE stores them, or `REF_energy`, `REF_forces`,
    `REF_stress` in `info` and `arrays` (an ASE database: key-value pairs and data), which win where both are present.
    A stress has 6 components in ASE's order or 9, and ASE's sign; a `virial`, whose sign and unit differ from code to
    code, is not read. Any directions may be open (`pbc`); the stress of a frame that is not periodic throughout is not
    used. The group is `info[group_key]` (a key-value pair or data in an ASE database); `group_key="none"` makes every
    frame a group of its own.

    Raises DataError, which names the file, the frame and what to do, for files that are missing or cannot be read,
    frames without energy or group, labels that are not finite or misshapen, and cells that do not span the periodic
    directions. Warns (WaveScatWarning) where every frame has a group of its own but neighbours look like one
    trajectory, and of forces under another name.
    """
    files = files_of(paths)
    return [frame for file, name in named(files) for frame in frames_of(file, group_key, name)]


def frames_of(file: Path, group_key: str, name: str) -> list[Frame]:
    """The frames of one file, as `read_frames`; `name` stands for the file in their names."""
    structures = structures_of(file)
    frames = [_frame(atoms, group_key, f"{name}#{index}") for index, atoms in enumerate(structures)]
    _warn_of_misnamed_forces(structures, frames, name)
    if group_key != NO_GROUPS and len({frame.group for frame in frames}) == len(frames):
        _warn_of_trajectory(frames, group_key, name)
    return frames


def _warn_of_misnamed_forces(structures: Sequence[Atoms], frames: Sequence[Frame], name: str) -> None:
    """Forces under another name would be missed by nobody until the errors are looked at."""
    without = [atoms for atoms, frame in zip(structures, frames, strict=True) if frame.forces is None]
    names = {key for atoms in without for key in atoms.arrays if "force" in key.lower()}
    if names:
        warnings.warn(
            f"{len(without)} frames of {name} have no 'forces' or 'REF_forces' but arrays named"
            f" {', '.join(map(repr, sorted(names)))}, which are not read; rename them",
            WaveScatWarning,
            stacklevel=4,
        )


def _frame(atoms: Atoms, group_key: str, name: str) -> Frame:
    check_structure(atoms, name)
    pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
    energy = _label(atoms, "energy", name)
    if energy is None:
        close = [str(key) for key in atoms.info if "energy" in str(key).lower()]
        hint = f" (it has {', '.join(map(repr, close))})" if close else ""
        raise DataError(f"{name} has no energy{hint}; store it as 'energy' or 'REF_energy', or leave the frame out")
    return Frame(
        cell=atoms.cell.array.copy(),
        positions=atoms.positions.copy(),
        numbers=atoms.numbers.copy(),
        energy=float(energy),
        forces=_label(atoms, "forces", name),
        stress=_label(atoms, "stress", name) if all(pbc) else None,
        group=_group(atoms, group_key, name),
        config_type=str(atoms.info.get("config_type", NO_CONFIG_TYPE)),
        name=name,
        info={key: value for key, value in atoms.info.items() if np.isscalar(value)},
        pbc=pbc,
    )


def _group(atoms: Atoms, group_key: str, name: str) -> str:
    if group_key == NO_GROUPS:
        return name
    if group_key not in atoms.info:
        raise MissingGroupError(
            f"{name} has no key {group_key!r}, which says what frames belong together (one trajectory, one melt),"
            f" never split between training and test; the frame has {sorted(atoms.info)}: choose one of these as the"
            f" group key, or {NO_GROUPS!r} to treat every frame as its own group (errors then look too good)"
        )
    return str(atoms.info[group_key])


def _warn_of_trajectory(frames: Sequence[Frame], group_key: str, name: str) -> None:
    """Frames that were numbered along a trajectory have groups, too; their neighbours give them away."""
    neighbours = list(pairwise(frames))
    looked_at = neighbours[:: -(-len(neighbours) // _NEIGHBOURS_COMPARED)] if neighbours else []
    alike = sum(_alike(*pair) for pair in looked_at)
    if looked_at and alike >= len(looked_at) / 2:
        warnings.warn(
            f"every frame of {name} has another {group_key!r}, but {alike} of {len(looked_at)} neighbours looked at are"
            " almost the same structure: if they are of one trajectory, errors will look too good; choose a group key"
            f" that all its frames share, or {NO_GROUPS!r} if they were made independently",
            WaveScatWarning,
            stacklevel=4,
        )


def _alike(a: Frame, b: Frame) -> bool:
    """The same atoms in nearly the same cell at nearly the same places, but for a common drift."""
    if a.pbc != b.pbc or not np.array_equal(a.numbers, b.numbers):
        return False
    if np.abs(b.cell - a.cell).max() > _SAME_CELL * np.abs(a.cell).max():
        return False
    positions = b.positions @ np.linalg.solve(b.cell, a.cell) if all(a.pbc) else b.positions
    moved, _ = find_mic(positions - a.positions, a.cell, a.pbc)
    moved -= moved.mean(axis=0)
    return float(np.sqrt(np.mean(np.sum(moved**2, axis=1)))) < _SAME_PLACE


_SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "energy": lambda atoms: (),
    "forces": lambda atoms: (atoms, 3),
    "stress": lambda atoms: (6,),
}


def _label(atoms: Atoms, kind: str, name: str) -> Any:
    """A label as array of its proper shape, None where it is absent."""
    value = atoms.arrays.get(f"REF_{kind}") if kind == "forces" else None
    value = atoms.info.get(f"REF_{kind}") if value is None else value
    if value is None and atoms.calc is not None:
        value = atoms.calc.results.get(kind)
    if value is None:
        return None
    array = _numbers(value, kind, name)
    if kind == "stress" and array.size == 9:
        array = _voigt(array.reshape(3, 3), name)
    shape = _SHAPES[kind](len(atoms))
    if array.shape != shape:
        raise DataError(f"{name} has {kind} of shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} has a label {kind!r} that is not finite; leave the frame out, or remove that label")
    return array


def _numbers(value: Any, kind: str, name: str) -> np.ndarray:
    """Real numbers as they are: a truth value is no energy, and a text not one either."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} has a label {kind!r} of rows of different lengths; mend or remove it") from error
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} has a label {kind!r} that is no number, {reprlib.repr(value)}; mend or remove it")
    return np.array(array, dtype=float)


def _voigt(stress: np.ndarray, name: str) -> np.ndarray:
    """(3, 3) in ASE's order of six components."""
    if np.abs(stress - stress.T).max() > _ASYMMETRY * np.abs(stress).max():
        raise DataError(f"{name} has a stress that is not symmetric, {stress.tolist()}; is it one, row by row?")
    return full_3x3_to_voigt_6_stress(stress)
