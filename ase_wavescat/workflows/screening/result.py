"""The ranking that a screening ends with, read from its database: at any time, also while it runs."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.formula import Formula

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.hull import (
    References,
    composition_table,
    energies_above_hull,
    member_formation_energies,
)
from ase_wavescat.workflows.result import Result
from ase_wavescat.workflows.screening.database import (
    NO_FLAGS,
    read_header,
    references_of_header,
    rows_of,
    structures_by_id,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNRANKED = ("runaway", "close", "distance")
"""Flags of energies that mean nothing: such structures shape no hull and have no energy above it."""
_IN_INFO = ("name", "energy_above_hull", "energy_above_hull_uncertainty", "formation_energy", "uncertainty", "stop")
UNCERTAIN = 3.0
"""Times the median uncertainty of the pool, beyond which a structure is flagged as uncertain."""


@dataclass(frozen=True)
class Ranked:
    """One structure of a screening.

    What is not known (no members, no cell) is None.

    Attributes:
        id: Of its row in the database: in the order in which structures were done, so not the same in every run.
        atoms: How many.
        energy: eV/atom.
        formation_energy: eV/atom, relative to the references.
        energy_above_hull: eV/atom above the lower hull of the pool and the elements; None for what is not ranked.
        energy_above_hull_uncertainty: Calibrated spread over members, eV/atom, each with its own references and hull.
        uncertainty: Of the energy, calibrated spread over members, eV/atom.
        density: g/cm^3.
        volume: A^3/atom.
        shortest: Shortest distance, A.
        stop: Why the relaxation stopped.
        flags: What looks wrong: "runaway" (energy, atoms or cell exploded), "close" (atoms closer than 0.6 of the sum
            of their covalent radii), "distance", "composition", "boundaries", "environments", "features", "spread"
            (outside the training domain), "unconverged", "uncertain" (three times the pool's median).
    """

    id: int = field(compare=False)
    name: str
    formula: str
    atoms: int
    energy: float | None
    formation_energy: float | None
    energy_above_hull: float | None
    energy_above_hull_uncertainty: float | None
    uncertainty: float | None
    density: float | None
    volume: float | None
    shortest: float | None
    stop: str
    flags: tuple[str, ...]

    @property
    def ranked(self) -> bool:
        return not set(self.flags) & set(UNRANKED)


@dataclass(frozen=True)
class Failed:
    """A structure, or a file, without a result, and why."""

    id: int = field(compare=False)
    name: str
    error: str


@dataclass(frozen=True, eq=False)
class Screening(Result):
    """Structures by energy above hull; those that are not ranked come last.

    Attributes:
        database: The ase.db with every structure, its forces and its values.
        model: Identity of the calculator.
        settings: What was done to each structure.
        references: Energies of the elements, eV/atom, with their sources.
        table: All structures with a result.
        failed: Those without.
        best: The first structures of the table, with energy, forces, and the table's values in `info`.
        duplicates: Structures of the pool that were there before under another name, and were left out.
    """

    database: Path
    model: str
    settings: Mapping[str, Any]
    references: References
    table: tuple[Ranked, ...]
    failed: tuple[Failed, ...]
    best: list[Atoms]
    duplicates: int = 0

    @property
    def structures(self) -> list[Atoms]:
        return self.best

    def summary(self) -> str:
        """References, the first ten, and how many are flagged or failed."""
        lines = [f"{element}: {energy:.4f} eV/atom, {self.references.sources[element]}"
                 for element, energy in sorted(self.references.energies.items())]  # fmt: skip
        lines.append(f"{'':<36}{'above hull':>18}{'formation':>11}{'density':>10}")
        lines.append(f"{'name':<24}{'formula':<12}{'meV/atom':>18}{'meV/atom':>11}{'g/cm³':>10}  flags")
        lines += [_line(entry) for entry in self.table[:10]]
        flagged = sum(1 for entry in self.table if entry.flags)
        unranked = sum(1 for entry in self.table if not entry.ranked)
        lines.append(f"{len(self.table)} structures, {flagged} flagged, {unranked} of these not ranked; "
                     f"{len(self.failed)} failed, {self.duplicates} were duplicates")  # fmt: skip
        lines += [f"failed: {entry.name}: {entry.error}" for entry in self.failed[:5]]
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Formation energy against composition with the hull, of two elements; else energy above hull against volume.

        Coloured by the uncertainty, flagged structures as crosses; what is not ranked is not drawn.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.8, 4.6), layout="constrained")
        axes = figure.subplots()
        drawn = [entry for entry in self.table if entry.ranked]
        elements, counts = composition_table([entry.formula for entry in drawn] or ["H"])
        if len(elements) == 2:
            _draw_hull(axes, drawn, elements[0], counts[:, 0] / counts.sum(axis=1))
            axes.set_ylabel("formation energy (meV/atom)")
        else:
            _draw_points(axes, drawn, [entry.volume or np.nan for entry in drawn], "energy_above_hull")
            axes.set_xlabel("volume (Å³/atom)")
            axes.set_ylabel("energy above hull (meV/atom)")
        if drawn:
            axes.legend(frameon=False)
        return figure

    def _further_files(self) -> dict[str, Callable[[Path], None]]:
        """The table as NAME.csv."""
        return {".csv": self._write_table}

    def _write_table(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow([part.name for part in dataclasses.fields(Ranked)])
            for entry in self.table:
                table.writerow([*dataclasses.astuple(entry)[:-1], " ".join(entry.flags)])


def _line(entry: Ranked) -> str:
    above, spread = entry.energy_above_hull, entry.energy_above_hull_uncertainty
    text = (
        "not ranked" if above is None else f"{1000 * above:.1f}" + ("" if spread is None else f" ± {1000 * spread:.1f}")
    )
    numbers = [f"{1000 * entry.formation_energy:.1f}" if entry.formation_energy is not None else ""]
    numbers.append("" if entry.density is None else f"{entry.density:.3f}")
    flags = " ".join(entry.flags)
    return f"{entry.name:<24}{entry.formula:<12}{text:>18}{numbers[0]:>11}{numbers[1]:>10}  {flags}".rstrip()


def _draw_hull(axes: Axes, drawn: Sequence[Ranked], element: str, fractions: np.ndarray) -> None:
    from ase_wavescat.system.plotting import GREY

    formation = np.array([entry.formation_energy for entry in drawn], dtype=float)
    above = np.array([entry.energy_above_hull for entry in drawn], dtype=float)
    corners = {0.0: 0.0, 1.0: 0.0} | dict(zip(fractions.tolist(), (1000 * (formation - above)).tolist(), strict=True))
    places = sorted(corners)
    axes.plot(places, [corners[place] for place in places], color=GREY, zorder=1, label="hull")
    _draw_points(axes, drawn, fractions, "formation_energy")
    axes.set_xlabel(f"fraction of {element}")


def _draw_points(axes: Axes, drawn: Sequence[Ranked], places: Sequence[float] | np.ndarray, value: str) -> None:
    from ase_wavescat.system.plotting import BLUE

    places = np.asarray(places, dtype=float)
    heights = np.array([1000 * getattr(entry, value) for entry in drawn])
    spreads = np.array([np.nan if entry.uncertainty is None else 1000 * entry.uncertainty for entry in drawn])
    known = bool(len(spreads)) and bool(np.isfinite(spreads).all())
    limits = (float(spreads.min()), float(spreads.max())) if known else (0.0, 1.0)
    flagged = np.array([bool(entry.flags) for entry in drawn], dtype=bool)
    shown = None
    for chosen, marker, label in ((~flagged, "o", "structures"), (flagged, "x", "flagged")):
        if chosen.any():
            colours = {"c": spreads[chosen], "vmin": limits[0], "vmax": limits[1]} if known else {"c": BLUE}
            shown = axes.scatter(places[chosen], heights[chosen], marker=marker, s=22, label=label, zorder=2, **colours)
    if known and shown is not None:
        figure = axes.get_figure()
        assert figure is not None
        figure.colorbar(shown, ax=axes, label="uncertainty of the energy (meV/atom)")


def read_screening(database: str | os.PathLike[str], best: int = 20) -> Screening:
    """The ranking of what is in a screening's database by now.

    Structures are ranked by energy above the lower hull of all of them and the elements (energy zero), in eV/atom; what
    carries a flag of `UNRANKED` has no part in it. The uncertainty is the spread over the members' own hulls.

    Args:
        best: How many structures to take along.

    Raises:
        DataError: For a database of something else, and where no structure has a result.
    """
    path = Path(database)
    header = read_header(path)
    rows = list(rows_of(path))
    failed = tuple(Failed(row.id, row.name, row.error) for row in rows if row.failed)
    done = [row for row in rows if not row.failed]
    references = references_of_header(header)
    if not done or references is None:
        reason = f"all {len(failed)} failed, {failed[0].name} by: {failed[0].error}" if failed else "there are none yet"
        raise DataError(f"no structure in {path} has a result: {reason}")
    table = _ranking(done, references, header["energy scale"])
    structures = structures_by_id(path, [entry.id for entry in table[:best]])
    for atoms, entry in zip(structures, table, strict=False):
        values = {key: getattr(entry, key) for key in _IN_INFO}
        atoms.info = {key: value for key, value in values.items() if value is not None}
        atoms.info["flags"] = " ".join(entry.flags) or NO_FLAGS
    return Screening(
        database=path,
        model=header["model"],
        settings=header["settings"],
        references=references,
        table=tuple(table),
        failed=failed,
        best=structures,
    )


def _ranking(rows: Sequence[Any], references: References, scale: float | None) -> list[Ranked]:
    flags = _flags(rows)
    sound = [row for row in rows if not set(flags[row.id]) & set(UNRANKED)]
    formulas = [row.formula for row in sound]
    formation = np.array([row.formation_energy for row in sound])
    above = dict(zip([row.id for row in sound], _above(formulas, formation), strict=True))
    spreads: dict[int, float] = {}
    if scale is not None and sound:
        members = member_formation_energies(formulas, np.array([row.data["members"] for row in sound]), references)
        spread = scale * np.std(_above(formulas, members), axis=1, ddof=1)
        spreads = dict(zip([row.id for row in sound], spread.tolist(), strict=True))
    entries = [_ranked(row, above.get(row.id), spreads.get(row.id), flags[row.id]) for row in rows]
    return sorted(entries, key=_order)


def _above(formulas: Sequence[str], formation: np.ndarray) -> np.ndarray:
    return energies_above_hull(formulas, formation) if len(formulas) else formation


def _flags(rows: Sequence[Any]) -> dict[int, tuple[str, ...]]:
    """By id: those of each structure, and "uncertain" for what stands out from the pool."""
    own = {row.id: tuple(flag for flag in row.flags.split() if flag not in (NO_FLAGS, "uncertain")) for row in rows}
    known = [row.uncertainty for row in rows if "uncertainty" in row and not set(own[row.id]) & set(UNRANKED)]
    limit = UNCERTAIN * float(np.median(known)) if known else np.inf
    return {row.id: own[row.id] + ("uncertain",) * (row.get("uncertainty", 0.0) > limit) for row in rows}


def _ranked(row: Any, above: float | None, spread: float | None, flags: tuple[str, ...]) -> Ranked:
    energy = row.get("energy")
    return Ranked(
        id=row.id,
        name=row.name,
        formula=Formula(row.formula).format("metal"),
        atoms=row.natoms,
        energy=None if energy is None else energy / row.natoms,
        formation_energy=row.get("formation_energy"),
        energy_above_hull=None if above is None else float(above),
        energy_above_hull_uncertainty=spread,
        uncertainty=row.get("uncertainty"),
        density=row.get("density"),
        volume=row.get("volume_per_atom"),
        shortest=row.get("shortest"),
        stop=row.stop,
        flags=flags,
    )


def _order(entry: Ranked) -> tuple[Any, ...]:
    above, formation = entry.energy_above_hull, entry.formation_energy
    return above is None, above or 0.0, formation if formation is not None else np.inf, entry.name
