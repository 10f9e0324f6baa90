"""Labels by any ASE calculator: a folder that several processes fill, one file a structure."""

from __future__ import annotations

import errno
import glob
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.formats import file_name
from ase_wavescat.io.structures import ENERGY_SIGMA0, check_structure, structures_of, without_results
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.system.locks import held

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

SETTINGS = "settings.json"
LONGEST_NAME = 200
_OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a disk on which no structure could be computed


@dataclass(frozen=True)
class Labelling:
    """Names of structures: labelled in this run, failed in this run and why, and those done before or by others."""

    labelled: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]

    def summary(self) -> str:
        """One line, and one for each failure."""
        lines = [f"{len(self.labelled)} labelled, {len(self.failed)} failed, {len(self.left)} done before or by others"]
        return "\n".join(lines + [f"{name}: {reason}" for name, reason in self.failed.items()])


def label(
    pool: Mapping[str, Atoms],
    folder: str | Path,
    calculator: Callable[[Atoms], BaseCalculator],
    settings: Mapping[str, Any],
    *,
    report: Callable[[str], None] = print,
) -> Labelling:
    """Label the structures of a pool, each into FOLDER/NAME.extxyz, which `read_frames(FOLDER)` reads.

    Any number of processes may do this at once on one folder, of any part of a pool: a structure is locked while one
    works on it. A killed process loses the structure that it was at. What fails is named in FOLDER/NAME.failed and not
    tried again unless that file is removed. What concerns all of them, a full disk or a code that is not installed,
    ends the run by its own error, and nothing is named as failed.

    Args:
        pool: Structures by names fit for files.
        calculator: Makes the calculator of a structure; where it knows a free energy, that is the label, since forces
            are its derivative; the energy extrapolated to no smearing, where it is another, is in
            info["energy_sigma0"].
        settings: What the labels depend on, written with every label and into FOLDER/settings.json; a folder takes
            labels of one kind only.
        report: Called with one line a structure.

    Raises:
        DataError: For structures that no code could label, names that are none for files, and a folder with labels of
            other settings or of other structures by these names.
        FileWriteError: Where labels cannot be written.
    """
    folder = Path(folder)
    for name, atoms in pool.items():
        _check_name(name)
        check_structure(atoms, name)
        _check_same(folder / f"{name}.extxyz", atoms)
    check_settings(folder, settings)
    labelled, failed, left = [], {}, []
    for name, atoms in pool.items():
        reason = _label_one(name, atoms, folder, calculator, settings, report)
        if reason is None:
            left.append(name)
        elif reason:
            failed[name] = reason
        else:
            labelled.append(name)
    return Labelling(tuple(labelled), failed, tuple(left))


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or len(name) > LONGEST_NAME or set(name) & set('/\\:*?"<>|'):
        raise DataError(f"{name!r} is no name for a file; take letters, digits, - and _, at most {LONGEST_NAME}")
    if file_name(name) != name:
        raise DataError(f"ASE would take a file named {name} for one of another format; name it {file_name(name)}")


def _check_same(path: Path, atoms: Atoms) -> None:
    """What was labelled by this name before must be this structure."""
    if not path.exists():
        return
    labelled, *more = structures_of(path)
    if more:
        raise DataError(f"{path} holds {1 + len(more)} structures, a label is of one; take another folder")
    same = np.array_equal(labelled.numbers, atoms.numbers) and np.array_equal(labelled.pbc, atoms.pbc)
    if not (same and np.allclose(labelled.cell, atoms.cell, atol=1e-5) and _close(labelled, atoms)):
        raise DataError(f"{path} is the label of another structure; give this one another name, or take another folder")


def _close(one: Atoms, other: Atoms) -> bool:
    return bool(np.allclose(one.positions, other.positions, atol=1e-5))


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """A folder of labels, made when missing, has these settings and no others: DataError where it has."""
    wanted, path = plain_settings(settings), folder / SETTINGS
    make_folder(folder)
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); remove it if the labels there are of these settings"
        ) from error
    if found != wanted:
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise DataError(
            f"{folder} holds labels of other settings ({', '.join(differing)} differ, see {path}); labels of one kind"
            " belong together, take another folder"
        )


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As a file gives them back.

    Raises:
        DataError: For what a file cannot hold.
    """
    try:
        return dict(json.loads(json.dumps(dict(settings))))
    except TypeError as error:
        raise DataError(f"settings must be numbers, texts and lists of them: {error}") from error


def _label_one(
    name: str, atoms: Atoms, folder: Path, calculator: Callable[[Atoms], BaseCalculator],
    settings: Mapping[str, Any], report: Callable[[str], None],
) -> str | None:  # fmt: skip
    """ "" when done, the reason of a failure, None where there was nothing to do."""
    lock, reason = folder / f".{name}.lock", None
    if not _is_done(name, folder):
        with held(lock) as ours:
            if not ours:
                return None
            if not _is_done(name, folder):
                start = time.perf_counter()
                reason = _label_and_write(name, atoms, folder, calculator, settings)
                report(f"{name}: {reason or 'done'}, {time.perf_counter() - start:.0f} s")
    lock.unlink(missing_ok=True)  # also that of a process that was killed when it had written the label
    return reason


def _is_done(name: str, folder: Path) -> bool:
    return any((folder / f"{name}{ending}").exists() for ending in (".extxyz", ".failed"))


def _label_and_write(
    name: str, atoms: Atoms, folder: Path, calculator: Callable[[Atoms], BaseCalculator], settings: Mapping[str, Any]
) -> str:
    """The reason of a failure, "" where there is none."""
    _remove_remains(name, folder)
    content, reason = io.StringIO(), ""
    try:
        write_extended_xyz(content, [_labelled(atoms, calculator(atoms), settings)])
    except ImportError:  # a code that is not installed
        raise
    except Exception as error:  # whatever else a foreign code raises concerns this structure only
        if isinstance(error, OSError) and error.errno in _OF_ALL:
            raise
        reason = f"{type(error).__name__}: {error}"
    with atomic_path(folder / f"{name}{'.failed' if reason else '.extxyz'}") as temporary:
        temporary.write_text(f"{reason}\n" if reason else content.getvalue(), encoding="utf-8")
    return reason


def _remove_remains(name: str, folder: Path) -> None:
    """What a killed process was writing; the lock is ours. What begins alike is another structure's: name-1, say."""
    for ending in (".extxyz", ".failed"):
        for remains in folder.glob(f".{glob.escape(name)}-*{ending}"):
            if "-" not in remains.stem[len(name) + 2 :]:
                remains.unlink(missing_ok=True)


def _labelled(atoms: Atoms, calculator: BaseCalculator, settings: Mapping[str, Any]) -> Atoms:
    """A copy with energy, forces and, where there is one, stress."""
    work = atoms.copy()
    work.calc = calculator
    names = [name for name in ("forces", "stress") if name in calculator.implemented_properties]
    if "stress" in names and not work.pbc.all():
        names.remove("stress")
    results: dict[str, Any] = {name: calculator.get_property(name, work) for name in names}
    free = "free_energy" in calculator.implemented_properties
    extrapolated = calculator.get_property("energy", work)
    results["energy"] = calculator.get_property("free_energy", work) if free else extrapolated
    for name, value in results.items():
        if value is None or not np.all(np.isfinite(value)):
            raise CalculatorError(f"the {name} is {value}")
    labelled = without_results(atoms)  # labels of another method would be taken for these
    if extrapolated != results["energy"]:
        labelled.info[ENERGY_SIGMA0] = extrapolated
    labelled.info["settings"] = json.dumps(dict(settings))
    labelled.calc = SinglePointCalculator(labelled, **results)
    return labelled
