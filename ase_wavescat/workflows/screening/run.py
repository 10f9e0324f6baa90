"""Screening of a pool of structures by energy above hull, with one database that fills as it goes on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from tqdm import tqdm

from ase_wavescat.capabilities import members_of
from ase_wavescat.io.structures import check_structure
from ase_wavescat.system.errors import DataError, WaveScatError, WaveScatWarning, listening
from ase_wavescat.system.processes import cores
from ase_wavescat.system.progress import hidden
from ase_wavescat.workflows.hull import References, formation_energies, reference_energies
from ase_wavescat.workflows.melting import MeltSchedule
from ase_wavescat.workflows.relaxation import CellChoice
from ase_wavescat.workflows.screening.crews import crew_of, screened_structures
from ase_wavescat.workflows.screening.database import NO_FLAGS, ScreeningDatabase, open_database
from ase_wavescat.workflows.screening.jobs import (
    CalculatorSource,
    Job,
    Model,
    ScreenedStructure,
    ScreeningSettings,
    job_key,
)
from ase_wavescat.workflows.screening.pool import Entry, Pool, pool_entries
from ase_wavescat.workflows.screening.result import Screening, read_screening


def screen(
    pool: Pool,
    *,
    model: Model,
    output: str | os.PathLike[str],
    relax: bool = True,
    cell: CellChoice = False,
    fmax: float = 0.05,
    smax: float = 0.1,
    steps: int = 300,
    melt: MeltSchedule | None = None,
    references: References | Mapping[str, float] | None = None,
    workers: int | None = None,
    dask: str | None = None,
    best: int = 20,
    overwrite: bool = False,
    progress: bool = True,
) -> Screening:
    """Rank structures by energy above the hull of all of them and the elements, relaxed or as they are.

    A structure that fails, or kills its process twice, is in the result as failed and does not end the screening; it is
    tried again in the next run.

    Args:
        pool: Files, folders, globs and ASE databases of structures; or structures, also from a generator: they are
            taken one at a time. Crystals that compete are put into the pool.
        model: Name or path of a model, or a function without arguments that makes any ASE calculator.
        output: Folder of the database `screening.db`, which has a row for each structure as soon as it is done and may
            be read while the screening runs (`read_screening`, `ase db`). A run that was stopped, however, goes on when
            it is started again; more structures may be added, and all in the database are ranked together.
        relax: Positions, until no force exceeds `fmax` (eV/A), by at most `steps` steps.
        cell: The cell as well, until no stress exceeds `smax` (GPa), see `relax`.
        melt: First melt and quench each structure.
        references: Energies of the elements, eV/atom; None: their crystals, relaxed with the model. They are kept in
            the database.
        workers: Processes of this machine, default: all cores; 1: none but this. More than one need a script with the
            line `if __name__ == "__main__":`.
        dask: Address of a Dask cluster's scheduler, to take the place of processes.
        best: Structures in the result.
        progress: Show a bar.
        overwrite: Replace a database of another model, other settings or references, which else is refused.

    Raises:
        DataError: For an empty pool, files that are missing, a database of something else or of other settings, and
            when nothing in the database has a result.
        WaveScatError: When no process or cluster is to be had, and what loading a model raises.
    """
    settings = ScreeningSettings(relax, cell, fmax, smax, steps, melt)
    if best < 1:
        raise DataError(f"best must be at least 1, got {best}")
    if workers is not None and workers < 1:
        raise DataError(f"workers must be at least 1, got {workers}")
    named = references if references is None or isinstance(references, References) else References.given(references)
    source = CalculatorSource.of(model)
    with tqdm(unit="structure", desc="screening", disable=hidden(progress)) as bar:
        entries = pool_entries(pool, lambda more: _extend(bar, more))
        with open_database(
            Path(output), source.identity, settings.plain(), named, _energy_scale(source.make()), overwrite
        ) as database:
            intake = _Intake(database, settings, source, named, bar)
            with crew_of(settings, source, workers or cores(), dask) as crew:
                for screened in screened_structures(intake.jobs(entries), crew):
                    database.add(screened)
                    bar.update()
            if not intake.taken:
                raise DataError("the pool is empty; give at least one structure")
            screening = replace(read_screening(database.path, best), duplicates=intake.duplicates)
            _store_ranks(database, screening)
    return screening


def _extend(bar: Any, more: int) -> None:
    bar.total = (bar.total or 0) + more


def _energy_scale(calculator: BaseCalculator) -> float | None:
    """Of the members' spread; None for calculators that have none."""
    ours = members_of(calculator)
    return None if ours is None else ours.energy_scale


class _Intake:
    """Turns a pool into jobs: leaves out what is done or was there before, and marks what cannot be computed."""

    def __init__(
        self,
        database: ScreeningDatabase,
        settings: ScreeningSettings,
        source: CalculatorSource,
        given: References | None,
        bar: Any,
    ) -> None:
        self.taken = 0
        self.duplicates = 0
        self._database, self._settings, self._source = database, settings, source
        self._given, self._bar = given, bar
        self._seen: set[str] = set()
        self._refused: dict[str, str] = {}

    def jobs(self, entries: Iterator[Entry]) -> Iterator[Job]:
        for name, atoms, problem in entries:
            self.taken += 1
            job = self._job(name, atoms)
            known = job.key in self._seen
            self._seen.add(job.key)
            self.duplicates += known
            if known or self._database.has(job.key) or not self._is_sound(job, problem):
                self._bar.update()
            else:
                yield job

    def _job(self, name: str, atoms: Atoms | None) -> Job:
        if atoms is None:  # a file that cannot be read: known by its name
            return Job(name, Atoms(), f"f{hashlib.sha256(name.encode()).hexdigest()[:24]}")
        structure = atoms.copy()  # without its calculator
        structure.info = {}
        return Job(name, structure, job_key(structure, self._settings, self._source.identity))

    def _is_sound(self, job: Job, problem: str) -> bool:
        """Whether the job can be done; if not, the database says why."""
        try:
            if problem:
                raise DataError(problem)
            check_structure(job.atoms, job.name)
            for constraint in job.atoms.constraints:
                if not hasattr(constraint, "todict"):
                    raise DataError(f"the constraint {type(constraint).__name__} cannot be stored; remove it")
            self._refer_to(set(job.atoms.get_chemical_symbols()))
        except WaveScatError as error:
            self._database.add(ScreenedStructure.failure(replace(job, atoms=Atoms()), str(error)))
            return False
        return True

    def _refer_to(self, elements: set[str]) -> None:
        """Reference energies of all elements are in the database from here on; raises DataError where there is none."""
        known = self._database.references or References({}, {})
        if self._given is not None:
            formation_energies(["".join(elements)], [0.0], self._given)  # raises for those that are missing
            return
        for symbol in sorted(elements - set(known.energies)):
            if symbol in self._refused:
                raise DataError(self._refused[symbol])
            try:
                more = crystal_energy(self._source, symbol)
            except Exception as error:  # whatever the calculator makes of an element that it does not know
                self._refused[symbol] = f"no reference energy of {symbol}: {error}"
                raise DataError(self._refused[symbol]) from error
            known = known.joined(more)
            self._database.set_references(known)


def crystal_energy(source: CalculatorSource, symbol: str) -> References:
    """Of the element's crystal, relaxed; a model that has not been trained on such says so in the source."""
    heard: list[WaveScatWarning] = []
    with listening(heard.append):
        found = reference_energies(source.make(), [symbol])  # a new calculator: it warns once of each kind
    if heard:
        return replace(found, sources={symbol: f"{found.sources[symbol]}, outside its training domain"})
    return found


def _store_ranks(database: ScreeningDatabase, screening: Screening) -> None:
    """What depends on all structures, for queries."""
    changes = {}
    for entry in screening.table:
        changes[entry.id] = {
            "energy_above_hull": entry.energy_above_hull,
            "energy_above_hull_uncertainty": entry.energy_above_hull_uncertainty,
            "flags": " ".join(entry.flags) or NO_FLAGS,
            "flagged": bool(entry.flags),
        }
    database.update(changes)
