"""Random-structure search: random small cells, relaxed with their cell, moving from basin to basin; what is distinct
and low in energy is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from tqdm import tqdm

from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import DataError, listening, unheard
from ase_wavescat.system.locks import held
from ase_wavescat.system.processes import cores, end_with_parent, worker_pool
from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.duplicates import fingerprints
from ase_wavescat.workflows.basin_walk import Walk, WalkSettings
from ase_wavescat.workflows.checks import calculator_of, record_of, with_calculator
from ase_wavescat.workflows.hull import (
    References,
    composition_table,
    energies_above_hull,
    formation_energies,
    member_formation_energies,
)
from ase_wavescat.workflows.members import member_energies, spread
from ase_wavescat.workflows.random_cells import RandomCells
from ase_wavescat.workflows.relaxation import CONVERGED
from ase_wavescat.workflows.result import Result
from ase_wavescat.workflows.screening.crews import check_start, check_travels
from ase_wavescat.workflows.screening.jobs import CalculatorSource, Model
from ase_wavescat.workflows.screening.result import UNRANKED
from ase_wavescat.workflows.screening.run import crystal_energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAME = 0.012
"""Of the distance of two fingerprints at one volume, below which two relaxed states are one minimum. Soft cells of
lithium and silicon that relaxed twice (0.02 eV/A, 0.05 GPa) are 0.001 to 0.009 apart, copper 0.0004; other minima of
one composition 0.06 and more, fcc, hcp and double hcp 0.017 to 0.035."""
SAME_ENERGY = 0.0005
"""eV/atom that one minimum's energies differ by at most; measured: 0.00005."""
SAME_VOLUME = 0.03
"""Share that their volumes differ by at most: by the stress that is left."""
_VOLUME = 15.0  # A^3 an atom, at which fingerprints are compared: they change with a volume more than with a structure
_SHOWN = 10  # states in the summary


@dataclass(frozen=True, eq=False)
class Search(Result):
    """Distinct states of low energy, by energy above the hull of all that were found and the elements.

    Attributes:
        states: With energy, forces and stress; info: `name`, `walk`, `move`, `space_group` (of the random cell),
            `outside` (kinds, or "no"), `times`, `energy_above_hull` (eV/atom).
        formation: (n,) eV/atom.
        above_hull: (n,) eV/atom.
        above_hull_spread: (n,) eV/atom, calibrated, of the members' own hulls; None without members.
        times: (n,) how often each was found.
        outside: Of each state, in what it lies outside the model's training domain; empty inside.
        references: Energies of the elements.
        relaxed: How many states were ranked, whatever their energy.
        left_out: Of the others, by name, why: no relaxed state, or one whose energy means nothing (`UNRANKED`).
    """

    states: list[Atoms]
    formation: np.ndarray
    above_hull: np.ndarray
    above_hull_spread: np.ndarray | None
    times: np.ndarray
    outside: tuple[tuple[str, ...], ...]
    references: References
    relaxed: int
    left_out: Mapping[str, str]

    @property
    def structures(self) -> list[Atoms]:
        return self.states

    def summary(self) -> str:
        lines = [f"{symbol}: {energy:.4f} eV/atom, {self.references.sources[symbol]}"
                 for symbol, energy in sorted(self.references.energies.items())]  # fmt: skip
        lines.append(f"{'state':<26}{'above hull':>16}{'formation':>11}{'times':>7}  (meV/atom)")
        lines += [self._line(index) for index in range(min(_SHOWN, len(self.states)))]
        beyond = sum(map(bool, self.outside))
        lines.append(
            f"{len(self.states)} distinct states, {beyond} of these outside the training domain, of {self.relaxed}"
            f" that relaxed; {len(self.left_out)} did not"
        )
        lines += [f"left out: {name}: {why}" for name, why in list(self.left_out.items())[:5]]
        return "\n".join(lines)

    def _line(self, index: int) -> str:
        above = f"{1e3 * self.above_hull[index]:.1f}"
        if self.above_hull_spread is not None:
            above += f" ± {1e3 * self.above_hull_spread[index]:.1f}"
        formation = f"{1e3 * self.formation[index]:.1f}"
        outside = " ".join(self.outside[index])
        line = f"{self.states[index].info['name']:<26}{above:>16}{formation:>11}{self.times[index]:>7}"
        return f"{line}  outside: {outside}" if outside else line

    def plot(self) -> Figure:
        """Energy above hull against the fraction of the first element, of one element against the volume; what lies
        outside the training domain as crosses."""
        from matplotlib.figure import Figure

        from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        elements, counts = composition_table(self.states)
        if len(elements) > 1:
            places = counts[:, 0] / counts.sum(axis=1)
            axes.set_xlabel(f"fraction of {elements[0]}")
        else:
            places = np.array([state.get_volume() / len(state) for state in self.states])
            axes.set_xlabel("volume (Å³/atom)")
        spreads = None if self.above_hull_spread is None else 1e3 * self.above_hull_spread
        beyond = np.array([bool(kinds) for kinds in self.outside])
        for chosen, marker, colour, label in ((~beyond, "o", BLUE, "states"), (beyond, "x", ORANGE, "outside domain")):
            if chosen.any():
                errors = None if spreads is None else spreads[chosen]
                heights = 1e3 * self.above_hull[chosen]
                axes.errorbar(
                    places[chosen], heights, errors, fmt=marker, color=colour, ecolor=GREY, markersize=5, label=label
                )
        axes.set_ylabel("energy above hull (meV/atom)")
        axes.legend(frameon=False)
        return figure


def search(
    cells: RandomCells,
    *,
    model: Model,
    output: str | os.PathLike[str],
    starts: int = 50,
    moves: int = 4,
    fmax: float = 0.02,
    smax: float = 0.05,
    steps: int = 300,
    within: float = 0.1,
    references: References | Mapping[str, float] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Search:
    """Relax random cells, go on from each by basin hopping, and keep what is distinct and low in energy.

    From each cell leads a walk of its own (SciPy's `basinhopping`, at temperature 0): cell and positions are moved at
    random, atoms of two elements change places, all is relaxed again, and the walk goes on from the lower state. The
    random numbers of a walk follow from the seed of the cells and its number: results do not depend on `workers`.

    Args:
        cells: What the walks begin with.
        model: Name or path of a model, or a function without arguments that makes any ASE calculator.
        output: Folder; `states/` in it has a file for each state as soon as that is relaxed. A run that was stopped
            goes on when it is started again, and may be given more `starts` and `moves` then.
        starts: Cells, and walks.
        moves: Of each walk.
        fmax: eV/A, largest force left; smax: GPa, largest stress left; steps: at most so many, see `relax`.
        within: eV/atom above the hull; higher states are not kept in the result.
        references: Energies of the elements, eV/atom; None: their crystals, relaxed with the model.
        workers: Processes, default: all cores; 1: none but this. More than one need a script with the line
            `if __name__ == "__main__":`.
        overwrite: Replace the states of another model, other cells or settings, which else are refused.
        progress: Show a bar.

    Raises:
        DataError: For settings that make no sense, a folder of another search or in use, and where nothing
            relaxed, or nothing to such an energy.
        CalculatorError: For what makes no calculator, or one without forces and stress.
        StructureError: For elements that the model does not know; this and all above before any work.
        WaveScatError: Where a process was killed; what is done is kept.
    """
    settings = WalkSettings(fmax, smax, steps)
    _check_numbers(starts, moves, within, workers)
    source = CalculatorSource.of(model)
    calculator = source.make()
    calculator_of(with_calculator(cells.cell(0), calculator), "forces", "stress")
    named = _references(references, source, cells.symbols)
    with _folder_of_states(Path(output), _record(cells, settings, source), overwrite) as folder:
        walk = Walk(cells, settings, source, folder, moves)
        with tqdm(total=starts * (moves + 1), unit="state", desc="search", disable=hidden(progress)) as bar:
            files: list[Path] = []
            for found in _walked(walk, starts, workers or cores()):
                files += found
                bar.update(moves + 1)
        states = [structures_of(file)[0] for file in files]
    return _ranked(states, calculator, named, within)


def _references(
    given: References | Mapping[str, float] | None, source: CalculatorSource, elements: Sequence[str]
) -> References:
    if given is None:
        found = References({}, {})
        for symbol in elements:
            found = found.joined(crystal_energy(source, symbol))
        return found
    named = given if isinstance(given, References) else References.given(given)
    formation_energies(elements, [0.0] * len(elements), named)  # raises for those that are missing
    return named


def _check_numbers(starts: int, moves: int, within: float, workers: int | None) -> None:
    if starts < 1 or moves < 0:
        raise DataError(f"starts must be at least 1, moves not negative, got {starts} and {moves}")
    if not (np.isfinite(within) and within >= 0):
        raise DataError(f"within is an energy above the hull in eV/atom, not negative, got {within}")
    if workers is not None and workers < 1:
        raise DataError(f"workers must be at least 1, got {workers}")


# ---------------------------------------------------------------- the folder


def _record(cells: RandomCells, settings: WalkSettings, source: CalculatorSource) -> dict[str, Any]:
    """What the states depend on, as JSON holds it."""
    made = {"cells": asdict(cells), "settings": asdict(settings), "model": source.identity}
    return dict(json.loads(json.dumps(made, default=dict)))


@contextmanager
def _folder_of_states(output: Path, record: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """The folder of the states, ours alone; its record says what made them."""
    folder = make_folder(output / "states")
    with held(folder / "lock") as ours:
        if not ours:
            raise DataError(f"another search works in {output}; wait for it, or give another folder")
        place = folder / "search.json"
        if place.exists() and (differing := _differing(place, record)):
            if not overwrite:
                raise DataError(
                    f"{folder} has the states of another search ({differing}); give another folder, or replace them by"
                    " overwrite"
                )
            for file in folder.glob("*.extxyz"):
                file.unlink()
        with atomic_path(place) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        yield folder


def _differing(place: Path, record: Mapping[str, Any]) -> str:
    """In what a record that is there differs, in words; "" in nothing."""
    try:
        there = json.loads(place.read_text(encoding="utf-8"))
    except ValueError:
        return f"{place.name} cannot be read"
    if not isinstance(there, dict):
        return f"{place.name} is none"
    return " and ".join(f"other {name}" for name in record if there.get(name) != record[name])


# ---------------------------------------------------------------- the walks


def _walked(walk: Walk, starts: int, workers: int) -> Iterator[list[Path]]:
    """The files of each walk's states, in the order of the walks."""
    if workers == 1:
        with listening(unheard):  # what lies outside the domain is in the states
            yield from map(walk, range(starts))
        return
    check_travels(walk.source)
    with worker_pool(workers, _start_worker, (walk,), "what is relaxed is kept; ") as pool:
        check_start(pool)
        yield from pool.map(_work, range(starts))


_of_process: dict[str, Walk] = {}


def _start_worker(walk: Walk) -> None:
    end_with_parent()
    _of_process["walk"] = walk


def _work(index: int) -> list[Path]:
    with listening(unheard):
        return _of_process["walk"](index)


# ---------------------------------------------------------------- the ranking


def _ranked(states: Sequence[Atoms], calculator: BaseCalculator, references: References, within: float) -> Search:
    reasons = [_reason_against(state) for state in states]
    sound = [state for state, reason in zip(states, reasons, strict=True) if not reason]
    left_out = {str(state.info["name"]): reason for state, reason in zip(states, reasons, strict=True) if reason}
    if not sound:
        name, why = next(iter(left_out.items()))
        raise DataError(f"none of {len(states)} states relaxed, {name} for: {why}")
    formation = _formation(sound, references)
    above = energies_above_hull(sound, formation)
    for state, energy in zip(sound, above, strict=True):
        state.info["energy_above_hull"] = float(energy)
    if above.min() > within:
        raise DataError(
            f"the lowest of {len(sound)} states is {above.min():.3f} eV/atom above the hull, none is within {within};"
            " raise within, or try more starts and moves"
        )
    low = [sound[index] for index in np.argsort(above, kind="stable") if above[index] <= within]
    kept, times = distinct(low)
    for state, number in zip(kept, times, strict=True):
        state.info["times"] = int(number)
    return Search(
        states=kept,
        formation=_formation(kept, references),
        above_hull=np.array([state.info["energy_above_hull"] for state in kept]),
        above_hull_spread=_hull_spread(kept, calculator, references),
        times=times,
        outside=tuple(map(_outside, kept)),
        references=references,
        relaxed=len(sound),
        left_out=left_out,
        calculators=[record_of(calculator)],
    )


def _outside(state: Atoms) -> tuple[str, ...]:
    """Kinds of what lies outside the training domain."""
    return tuple(kind for kind in str(state.info["outside"]).split() if kind != "no")


def _reason_against(state: Atoms) -> str:
    """Why a state is not ranked, in words; "" where it is."""
    if state.info["stop_reason"] != CONVERGED:
        return str(state.info["stop_reason"])
    kinds = set(_outside(state)) & set(UNRANKED)
    return f"outside the training domain: {' '.join(sorted(kinds))}" if kinds else ""


def _formation(states: Sequence[Atoms], references: References) -> np.ndarray:
    return formation_energies(states, [state.get_potential_energy() for state in states], references)


def _hull_spread(states: Sequence[Atoms], calculator: BaseCalculator, references: References) -> np.ndarray | None:
    with listening(unheard):
        members = member_energies(calculator, states)
    if members is None:
        return None
    formation = member_formation_energies(states, members, references)
    return spread(calculator, energies_above_hull(states, formation))


def distinct(states: Sequence[Atoms]) -> tuple[list[Atoms], np.ndarray]:
    """The first of each minimum among relaxed states with energies, and how often each occurs.

    Two are one where fingerprints at one volume, energies and volumes agree to `SAME`, `SAME_ENERGY`, `SAME_VOLUME`.
    """
    marks = fingerprints([_at_volume(state) for state in states])
    energies = np.array([state.get_potential_energy() / len(state) for state in states])
    volumes = np.log([state.get_volume() / len(state) for state in states])
    kept: list[int] = []
    times: list[int] = []
    for index in range(len(states)):
        near = np.linalg.norm(marks[kept] - marks[index], axis=1) < SAME
        near &= np.abs(energies[kept] - energies[index]) < SAME_ENERGY
        near &= np.abs(volumes[kept] - volumes[index]) < SAME_VOLUME
        if near.any():
            times[int(np.argmax(near))] += 1
        else:
            kept.append(index)
            times.append(1)
    return [states[index] for index in kept], np.array(times)


def _at_volume(state: Atoms) -> Atoms:
    """Bare, swollen to `_VOLUME` an atom."""
    scale = (_VOLUME * len(state) / state.get_volume()) ** (1 / 3)
    places = state.get_scaled_positions()
    return Atoms(state.numbers, scaled_positions=places, cell=scale * state.cell.array, pbc=True)
