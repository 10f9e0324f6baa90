"""Labelled structures from files."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.stress import full_3x3_to_voigt_6_stress

from ase_wavescat.io.structures import Paths, check_structure, files_of, is_output, named, structures_of
from ase_wavescat.structure.periodicity import Periodicity
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, did_you_mean, warn

NO_GROUPS = "none"
"""As `group_key`: every frame is a group of its own."""
NO_CONFIG_TYPE = "no config_type"
"""The kind of frames that have none, in tables of errors."""

_NEIGHBOURS_COMPARED = 50
_ASYMMETRY = 0.01  # of the largest component; stresses by finite steps or loose settings are a little asymmetric
_SAME_ENERGY = 1e-5  # eV/atom
_STRESS = "six numbers (xx yy zz yz xz xy) or nine"
_SAME_CELL, _SAME_PLACE = 0.05, 0.5  # share of the longest edge; A, root mean square over atoms


class MissingGroupError(DataError):
    """A frame that does not say what it belongs with."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled structure.

    Attributes:
        structure: Cell, positions, numbers, pbc.
        energy: Of the whole cell, eV.
        forces: (N, 3), eV/A, or None.
        stress: (6,) Voigt in ASE's order and sign, eV/A^3, or None. Frames with open directions have no stress: codes
            divide it by the volume of whatever vacuum there was.
        group: Of frames that must not be told apart by a split (one trajectory, one melt).
        config_type: Their kind.
        name: File and position in it, for messages.
        info: The frame's other scalar entries (mesh, temperature ...).
        weight: Of its squared errors in a fit.
        source: Who labelled it.
        zero: Frames of one zero of energy have the same energies of the species.
    """

    structure: Structure
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    group: str
    config_type: str
    name: str
    info: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    source: str = "labels"
    zero: str = "labels"

    def __len__(self) -> int:
        return len(self.structure)

    @property
    def cell(self) -> np.ndarray:
        return self.structure.cell

    @property
    def positions(self) -> np.ndarray:
        return self.structure.positions

    @property
    def numbers(self) -> np.ndarray:
        return self.structure.numbers

    @property
    def pbc(self) -> Periodicity:
        return self.structure.pbc

    @property
    def volume(self) -> float:
        return self.structure.volume

    def count(self, species: Sequence[int]) -> np.ndarray:
        """Atoms of each species, (S,)."""
        return self.structure.count(species)


@dataclass(frozen=True)
class Virial:
    """Where virials are, and their sign.

    key: of `info`; six numbers in ASE's order of stresses or nine, eV for the whole cell.
    sign: "-" where stress = -virial / volume (the virial is the sum of r_i F_i), "+" where stress = +virial / volume.
    Raises DataError for another sign: programs differ, and nothing in a file says which is meant.
    """

    key: str
    sign: str

    def __post_init__(self) -> None:
        if self.sign not in ("+", "-"):
            raise DataError(
                f"the sign of the virial {self.key!r} must be '-' (stress = -virial / volume) or '+' (stress = virial /"
                f" volume), got {self.sign!r}; ask the program that wrote it"
            )


def read_frames(paths: Paths, group_key: str = "group", virial: Virial | None = None) -> list[Frame]:
    """The frames of files labelled in one way, in order; `sources.read_sources` reads several kinds of labels.

    paths: see `files_of`. Labels are `energy`, `forces`, `stress` as ASE stores them, or `REF_energy`, `REF_forces`,
    `REF_stress` in `info` and `arrays` (an ASE database: key-value pairs and data), which win where both are present.
    A stress has 6 components in ASE's order or 9, and ASE's sign. Virials, whose sign differs from code to code, are
    read where `virial` says which and how, and then stand for the stresses. Any directions may be open (`pbc`); the
    stress of a frame that is not periodic throughout is not used. The group is `info[group_key]` (a key-value pair or
    data in an ASE database), as it is written; that of a frame of a program's output is its file, where it has none;
    `group_key="none"` makes every frame a group of its own.

    Raises DataError, which names the file, the frame and what to do, for files that are missing or cannot be read,
    frames without energy or group, labels that are not finite or misshapen, and cells that do not span the periodic
    directions. Warns (WaveScatWarning) where every frame has a group of its own but neighbours look like one
    trajectory, and of labels under other names.
    """
    files = files_of(paths)
    return [frame for file, name in named(files) for frame in frames_of(file, group_key, name, virial)]


def frames_of(file: Path, group_key: str, name: str, virial: Virial | None = None) -> list[Frame]:
    """The frames of one file, as `read_frames`; `name` stands for the file in their names."""
    structures = structures_of(file, (group_key,))
    if virial is not None and not any(virial.key in atoms.info for atoms in structures):
        raise DataError(f"no frame of {name} has the virial {virial.key!r}{_near(virial.key, structures)}")
    if is_output(file):
        for atoms in structures:
            atoms.info.setdefault(group_key, str(file))
    frames = [_frame(atoms, group_key, f"{name}#{index}", virial) for index, atoms in enumerate(structures)]
    _warn_of_misnamed(structures, frames, name)
    _warn_of_free_energies(structures, frames, name)
    if group_key != NO_GROUPS and len({frame.group for frame in frames}) == len(frames):
        _warn_of_trajectory(frames, group_key, name)
    return frames


def _near(key: str, structures: Sequence[Atoms]) -> str:
    return did_you_mean(key, sorted({str(name) for atoms in structures for name in atoms.info}))


_MISNAMED = {
    "forces": (("force",), "rename them to 'forces' or 'REF_forces'"),
    "stress": (
        ("stress", "virial"),
        "rename stresses to 'stress' or 'REF_stress'; say of a virial which key and sign it has (virial and virial_sign"
        " of the label source, --virial and --virial-sign)",
    ),
}
"""Parts of other names, and the remedy."""


def _warn_of_misnamed(structures: Sequence[Atoms], frames: Sequence[Frame], name: str) -> None:
    """Labels under other names would be missed by nobody until the errors are looked at."""
    for kind, (parts, remedy) in _MISNAMED.items():
        shape = (lambda count: {(count, 3)}) if kind == "forces" else (lambda count: {(6,), (9,), (3, 3)})
        without = [
            atoms
            for atoms, frame in zip(structures, frames, strict=True)
            if getattr(frame, kind) is None and (kind == "forces" or atoms.pbc.all())
        ]
        names = {
            str(key)
            for atoms in without
            for key, value in (*atoms.info.items(), *atoms.arrays.items())
            if any(part in str(key).lower() for part in parts) and np.shape(value) in shape(len(atoms))
        }
        if names:
            warn(
                f"{len(without)} frames of {name} have no '{kind}' or 'REF_{kind}' but arrays named"
                f" {', '.join(map(repr, sorted(names)))}, which are not read; {remedy}",
                stacklevel=4,
            )


def _warn_of_free_energies(structures: Sequence[Atoms], frames: Sequence[Frame], name: str) -> None:
    """Programs store both; which of the two forces belong to is no matter of taste."""
    differing = [
        abs(atoms.calc.results["free_energy"] - frame.energy) / len(frame)
        for atoms, frame in zip(structures, frames, strict=True)
        if atoms.calc is not None and "REF_energy" not in atoms.info and frame.forces is not None
        and isinstance(atoms.calc.results.get("free_energy"), (float, np.floating))
    ]  # fmt: skip
    if max(differing, default=0.0) > _SAME_ENERGY:
        warn(
            f"frames of {name} have a free_energy that differs from the energy by up to {1e3 * max(differing):.3g}"
            " meV/atom; the energy is read, the forces are derivatives of the free energy: store that one as"
            " 'REF_energy'",
            stacklevel=4,
        )


def _frame(atoms: Atoms, group_key: str, name: str, virial: Virial | None) -> Frame:
    check_structure(atoms, name)
    energy = _label(atoms, "energy", name)
    if energy is None:
        close = [str(key) for key in atoms.info if "energy" in str(key).lower()]
        hint = f" (it has {', '.join(map(repr, close))})" if close else ""
        raise DataError(f"{name} has no energy{hint}; store it as 'energy' or 'REF_energy', or leave the frame out")
    return Frame(
        structure=Structure.from_atoms(atoms),
        energy=float(energy),
        forces=_label(atoms, "forces", name),
        stress=_stress(atoms, name, virial) if atoms.pbc.all() else None,
        group=_group(atoms, group_key, name),
        config_type=group_of(atoms.info.get("config_type", NO_CONFIG_TYPE)),
        name=name,
        info={key: value for key, value in atoms.info.items() if np.isscalar(value)},
    )


def _stress(atoms: Atoms, name: str, virial: Virial | None) -> np.ndarray | None:
    """(6,) eV/A^3, by the virial where one is asked for and there."""
    if virial is None or virial.key not in atoms.info:
        stress: np.ndarray | None = _label(atoms, "stress", name)
        return stress
    components = _shaped(atoms.info[virial.key], (6,), virial.key, _STRESS, name)
    return (-components if virial.sign == "-" else components) / atoms.get_volume()


def group_of(value: Any) -> str:
    """A group's name, the same whatever format it was read from; truth values as extended XYZ has them."""
    return "FT"[bool(value)] if isinstance(value, (bool, np.bool_)) else str(value)


def _group(atoms: Atoms, group_key: str, name: str) -> str:
    if group_key == NO_GROUPS:
        return name
    if group_key not in atoms.info:
        raise MissingGroupError(
            f"{name} has no key {group_key!r}, which says what frames belong together (one trajectory, one melt),"
            f" never split between training and test; the frame has {sorted(map(str, atoms.info))}: choose one of these"
            f" as the group key, or {NO_GROUPS!r} to treat every frame as its own group (errors then look too good)"
        )
    return group_of(atoms.info[group_key])


def _warn_of_trajectory(frames: Sequence[Frame], group_key: str, name: str) -> None:
    """Frames that were numbered along a trajectory have groups, too; their neighbours give them away."""
    neighbours = list(pairwise(frames))
    looked_at = neighbours[:: -(-len(neighbours) // _NEIGHBOURS_COMPARED)] if neighbours else []
    alike = sum(_alike(*pair) for pair in looked_at)
    if looked_at and alike >= len(looked_at) / 2:
        warn(
            f"every frame of {name} has another {group_key!r}, but {alike} of {len(looked_at)} neighbours looked at are"
            " almost the same structure: if they are of one trajectory, errors will look too good; choose a group key"
            f" that all its frames share, or {NO_GROUPS!r} if they were made independently",
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
    value, key = atoms.arrays.get(f"REF_{kind}") if kind == "forces" else None, f"REF_{kind}"
    value = atoms.info.get(key) if value is None else value
    if value is None and atoms.calc is not None:
        value, key = atoms.calc.results.get(kind), kind
    if value is None:
        value, key = atoms.info.get(kind), kind  # what no calculator could hold
    if value is None:
        return None
    return _shaped(value, _SHAPES[kind](len(atoms)), key, _EXPECTED[kind], name)


_EXPECTED = {"energy": "one number", "forces": "three numbers for each atom", "stress": _STRESS}


def _shaped(value: Any, shape: tuple[int, ...], key: str, expected: str, name: str) -> np.ndarray:
    """Finite real numbers of that shape, nine components as six; truth values and texts are none."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} has a label {key!r} of rows of different lengths; mend or remove it") from error
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"{name} has a label {key!r} that is no number, {reprlib.repr(value)}; give {expected}, or remove it"
        )
    array = np.array(array, dtype=float)
    if shape == (6,) and array.size == 9:
        array = _voigt(array.reshape(3, 3), name)
    if array.shape != shape:
        raise DataError(
            f"{name} has {key} of shape {array.shape}, {reprlib.repr(value)}; give {expected}, or remove it"
        )
    if not np.isfinite(array).all():
        raise DataError(f"{name} has a label {key!r} that is not finite; leave the frame out, or remove that label")
    return array


def _voigt(stress: np.ndarray, name: str) -> np.ndarray:
    """(3, 3) in ASE's order of six components."""
    if np.abs(stress - stress.T).max() > _ASYMMETRY * np.abs(stress).max():
        raise DataError(f"{name} has a stress that is not symmetric, {stress.tolist()}; is it one, row by row?")
    return full_3x3_to_voigt_6_stress(stress)
