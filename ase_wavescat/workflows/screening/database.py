"""The database of a screening: an ase.db that holds every structure as soon as it is done.

One process writes, any may read; a row is there complete or not at all. What the rows have in common (model, settings,
references) is in the database's metadata, so that a run that goes on knows whether it may.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase import Atoms

from ase_wavescat.system.atomic_write import atomic_path, database_error, make_folder
from ase_wavescat.system.errors import DataError
from ase_wavescat.system.locks import held
from ase_wavescat.workflows.hull import References, formation_energies
from ase_wavescat.workflows.screening.jobs import ScreenedStructure

FILE = "screening.db"
NO_FLAGS = "none"
_KEY = "ase_wavescat_screening"
_VERSION = 1
_DENSITY = 1.66053906660  # g/cm^3 in one atomic mass unit per A^3
# For the columns of `ase db -w`: short and long description, unit
_KEYS = {
    "name": ("Name", "File and frame, or given name", ""),
    "energy_above_hull": ("Above hull", "Energy above the hull of pool and elements", "eV/atom"),
    "energy_above_hull_uncertainty": ("Above hull ±", "Its calibrated spread over members", "eV/atom"),
    "formation_energy": ("Formation energy", "Relative to the references of the elements", "eV/atom"),
    "uncertainty": ("Uncertainty", "Calibrated spread of the energy over members", "eV/atom"),
    "density": ("Density", "Mass density", "g/cm³"),
    "volume_per_atom": ("Volume", "Volume of the cell per atom", "Å³/atom"),
    "shortest": ("Shortest", "Shortest distance", "Å"),
    "largest_grade": ("Largest grade", "Most unlike atom against the training set, 1 is the limit", ""),
    "stop": ("Stop", "Why dynamics or relaxation stopped", ""),
    "flags": ("Flags", "What looks wrong", ""),
    "failed": ("Failed", "Whether there is no result", ""),
    "error": ("Error", "Why there is no result", ""),
    "seconds": ("Time", "Time that one process took", "s"),
}


class ScreeningDatabase:
    """Open for writing, see `open_database`."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._database = _connected(path)
        self._header = header
        self._known = {row.fingerprint: (row.id, bool(row.failed)) for row in _light_rows(self._database)}

    @property
    def references(self) -> References | None:
        """Those that energies in the database are relative to, so far."""
        return references_of_header(self._header)

    def set_references(self, references: References) -> None:
        members = references.members
        self._header["references"] = {
            "energies": dict(references.energies),
            "sources": dict(references.sources),
            "members": None if members is None else {key: list(map(float, of)) for key, of in members.items()},
        }
        with _written(self.path):
            self._database.metadata = {**self._database.metadata, _KEY: self._header}

    def has(self, job_key: str) -> bool:
        """Whether the structure is done; those that failed are not."""
        return job_key in self._known and not self._known[job_key][1]

    def add(self, screened: ScreenedStructure) -> None:
        """One row, in the place of the one that failed before where there is one."""
        pairs, data = _row_of(screened, self.references)
        place = self._known.get(screened.job_key, (None, False))[0]
        with _written(self.path):
            number = self._database.write(screened.atoms, key_value_pairs=pairs, data=data, id=place)
        self._known[screened.job_key] = number, screened.error is not None

    def update(self, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Values of rows by their id, all at once, written where they change; None: the row has no such value."""
        changes = {}
        for row in _light_rows(self._database):
            wanted = values.get(row.id, {})
            changes[row.id] = {key: value for key, value in wanted.items() if row.get(key) != value}
        with _written(self.path), self._database:
            for number, changed in changes.items():
                kept = {key: value for key, value in changed.items() if value is not None}
                if changed:
                    self._database.update(number, delete_keys=[key for key in changed if key not in kept], **kept)


@contextmanager
def open_database(
    folder: Path, model: str, settings: Mapping[str, Any], references: References | None, energy_scale: float | None,
    overwrite: bool = False,
) -> Iterator[ScreeningDatabase]:  # fmt: skip
    """The database of a screening in a folder, made when missing, for this process alone.

    Args:
        model: The calculator's identity.
        references: Given ones; None: they will be set.
        energy_scale: The calibration of the members' spread, where there are members.
        overwrite: Replace a screening of another model, other settings or references by an empty one.

    Raises:
        DataError: For a database that is not of a screening, or of another model, other settings or references, and for
            one that another process is writing to.
        FileWriteError: Where nothing can be written.
    """
    try:
        make_folder(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{folder} is no folder ({error}); name another for the screening") from error
    path = folder / FILE
    given = None if references is None else dict(references.energies)
    wanted = {
        "version": _VERSION,
        "model": model,
        "settings": dict(settings),
        "given references": given,
        "energy scale": energy_scale,
    }
    with held(path.with_suffix(".lock")) as ours:
        if not ours:
            raise DataError(f"another process is screening into {path}; wait for it to end, or take another folder")
        if not path.exists():
            _create(path, wanted)
        header = read_header(path)
        if differences := _differences(header, wanted):
            if not overwrite:
                raise DataError(
                    f"{path} holds a screening with another {'; another '.join(differences)}: ranks would not be"
                    " comparable; take another folder, or replace it (--overwrite)"
                )
            _create(path, wanted)
            header = read_header(path)
        database = ScreeningDatabase(path, header)
        if references is not None:
            database.set_references(references)
        yield database


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Errors of SQLite as a FileWriteError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise database_error(path, error) from error


def _create(path: Path, header: Mapping[str, Any]) -> None:
    """A database without rows; readers find it complete or not at all."""
    with _written(path), atomic_path(path) as temporary:
        _connected(temporary).metadata = {
            "title": "Screening",
            "key_descriptions": _KEYS,
            "default_columns": ["id", "formula", "name", "energy_above_hull", "uncertainty", "density", "flags"],
            _KEY: header,
        }


def read_header(path: Path) -> dict[str, Any]:
    """What the rows of a screening's database have in common.

    Raises:
        DataError: For what is none.
    """
    if not path.is_file():
        raise DataError(f"there is no database {path}; it is made by a screening")
    try:
        header = _connected(path).metadata.get(_KEY)
    except (sqlite3.Error, OSError, ValueError) as error:
        raise DataError(f"{path} is not an ASE database ({error}); take another folder") from error
    if header is None or header.get("version") != _VERSION:
        raise DataError(
            f"{path} is a database, but not of a screening by this version of ase_wavescat; take another folder"
        )
    return header


def references_of_header(header: Mapping[str, Any]) -> References | None:
    found = header.get("references")
    if found is None:
        return None
    members = found["members"]
    arrays = None if members is None else {key: np.array(values) for key, values in members.items()}
    return References(found["energies"], found["sources"], arrays)


def rows_of(path: Path) -> Iterator[Any]:
    """All rows of the database, in the order in which they were written."""
    yield from _connected(path).select()


def structures_by_id(path: Path, numbers: Sequence[int]) -> list[Atoms]:
    """With energy and forces, and the record of their calculator."""
    database = _connected(path)
    structures = []
    for row in map(database.get, numbers):
        structures.append(row.toatoms())
        structures[-1].calc.parameters.update(row.get("calculator_parameters", {}))
    return structures


def _connected(path: Path) -> Any:
    # ASE's lock file would outlive a killed process; SQLite's own lock keeps readers and the writer apart
    return ase.db.connect(path, use_lock_file=False)


def _light_rows(database: Any) -> Iterator[Any]:
    return database.select(include_data=False, columns=["id", "key_value_pairs"])


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [f"{key} {found[key]} there, {wanted[key]} now" for key in wanted if found[key] != wanted[key]]


def _row_of(screened: ScreenedStructure, references: References | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Key-value pairs and data."""
    pairs: dict[str, Any] = {
        "name": screened.name,
        "fingerprint": screened.job_key,  # so called in databases
        "seconds": screened.seconds,
        "failed": screened.error is not None,
    }
    if screened.error is not None:
        return {**pairs, "error": screened.error}, {}
    atoms, energy = screened.atoms, screened.atoms.calc.results["energy"]  # without that of constraints
    flags = screened.flags
    pairs |= {
        "stop": screened.stop_reason,
        "converged": screened.converged,
        "flags": " ".join(flags) or NO_FLAGS,
        "flagged": bool(flags),
    }
    if np.isfinite(energy):
        assert references is not None
        pairs["formation_energy"] = float(formation_energies([atoms], [energy], references)[0])
    if atoms.pbc.all():
        pairs["volume_per_atom"] = atoms.get_volume() / len(atoms)
        pairs["density"] = _DENSITY * atoms.get_masses().sum() / atoms.get_volume()
    for key, value in (("shortest", screened.shortest), ("uncertainty", screened.uncertainty)):
        if value is not None:
            pairs[key] = value / (len(atoms) if key == "uncertainty" else 1)
    data: dict[str, Any] = {"outside": dict(screened.outside)} if screened.outside else {}
    if screened.grades is not None:
        pairs["largest_grade"] = float(screened.grades.max())
        data["grades"] = screened.grades
    if screened.members is not None:
        data["members"] = screened.members
    return pairs, data
