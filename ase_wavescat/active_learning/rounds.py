"""The rounds of a loop of active learning: what was measured after each, as a table and a picture."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms

from ase_wavescat.active_learning.endurance import time_words
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FALLING = ("energy_error", "force_error", "uncertain")


@dataclass(frozen=True)
class Round:
    """A model and what it was measured to be.

    energy_spread (eV/atom), force_spread (eV/A, root mean square over components): means over these states.

    Attributes:
        labels: Structures that it was trained on.
        new: Those labelled in this round.
        failed: Those that could not be.
        energy_error, force_error: eV/atom and eV/A, mean absolute, held out; NaN without labels.
        states: That the model led to.
        uncertain: Share of them with a spread above its limit.
        endurance: ps, median time that dynamics stay inside the domain and below the limits.
        lasted, runs: How many of how many did so for `longest` ps: the median is a lower bound where at least half did.
        longest: ps, of the dynamics.
    """

    number: int
    labels: int
    new: int
    failed: int
    energy_error: float
    force_error: float
    states: int
    uncertain: float
    energy_spread: float
    force_spread: float
    endurance: float
    lasted: int
    runs: int
    longest: float

    @classmethod
    def read(cls, path: Path) -> Round:
        """From the file that `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {name: math.nan for name, value in values.items() if value is None})

    def write(self, path: Path) -> None:
        """As JSON, complete or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(_without_nan(self), indent=1) + "\n", encoding="utf-8")

    def cells(self) -> list[str]:
        """For a table with the columns `HEADER`."""
        return [
            f"{self.number}", f"{self.labels}", f"{1e3 * self.energy_error:.1f}", f"{self.force_error:.3f}",
            f"{1e3 * self.energy_spread:.1f}", f"{self.force_spread:.3f}", f"{100 * self.uncertain:.0f}",
            f"{time_words(self.endurance, self.lasted, self.runs)} ({self.lasted} of {self.runs})",
        ]  # fmt: skip


HEADER = (
    "round", "labels", "held-out energy MAE, meV/atom", "forces MAE, eV/Å", "spread of its own states, meV/atom",
    "eV/Å", "uncertain states, %", "time inside, ps",
)  # fmt: skip
"""Of `Round.cells`."""


def _without_nan(done: Round) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in dataclasses.asdict(done).items()}


def stop_reason(rounds: Sequence[Round], tolerance: float) -> str | None:
    """Why a loop ends after these rounds; None where it goes on.

    It ends where none of the held-out errors of energies and forces and the share of uncertain states in the last round
    is more than `tolerance` (a share) below the lowest of the rounds before, or no state is uncertain.
    """
    *before, last = rounds
    if last.uncertain == 0:
        return "no state that the model leads to is uncertain"
    if not before:
        return None
    for name in FALLING:
        lowest = min(getattr(one, name) for one in before)
        if getattr(last, name) < (1 - tolerance) * lowest:
            return None
    return f"neither errors nor uncertain states fell by more than {100 * tolerance:g} per cent"


@dataclass(frozen=True, eq=False)
class Learning(Result):
    """A loop of active learning.

    Attributes:
        rounds: In order, the first is the model to begin with.
        stop_reason: Why it ended.
        labelled: The structures labelled in the loop, with their labels; info: `round`, `group`, `config_type` ...
    """

    rounds: tuple[Round, ...]
    stop_reason: str
    labelled: list[Atoms]

    @property
    def structures(self) -> list[Atoms]:
        return self.labelled

    def table(self) -> str:
        """The rounds as a Markdown table."""
        lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
        return "\n".join(lines + ["| " + " | ".join(one.cells()) + " |" for one in self.rounds])

    def summary(self) -> str:
        return f"{self.table()}\n\n{self.stop_reason}"

    def _further_files(self) -> dict[str, Callable[[Path], None]]:
        """The table as NAME.md."""
        return {".md": self._write_table}

    def _write_table(self, path: Path) -> None:
        path.write_text(self.table() + "\n", encoding="utf-8")

    def plot(self) -> Figure:
        """Held-out errors, and the model's own states: shares of uncertain ones and times inside, by labels."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.2, 4.0), layout="constrained")
        errors, own = figure.subplots(1, 2)
        labels = [one.labels for one in self.rounds]
        _two_curves(
            errors, labels,
            ("energy MAE (meV/atom)", [1e3 * one.energy_error for one in self.rounds]),
            ("force MAE (eV/Å)", [one.force_error for one in self.rounds]),
        )  # fmt: skip
        errors.set_title("held-out errors")
        times = _two_curves(
            own, labels,
            ("uncertain states (%)", [100 * one.uncertain for one in self.rounds]),
            ("time inside (ps)", [one.endurance for one in self.rounds]),
        )  # fmt: skip
        times.axhline(max(one.longest for one in self.rounds), color=GREY, linestyle=":")
        own.set_title("states that the model leads to")
        for axes in (errors, own):
            axes.set_xlabel("labels")
            axes.locator_params(axis="x", integer=True)
        return figure


def _two_curves(axes: Any, x: list[int], left: tuple[str, list[float]], right: tuple[str, list[float]]) -> Any:
    """Two quantities with an axis each, both from zero; the second axes."""
    other = axes.twinx()
    for own, (name, values), color, style in ((axes, left, BLUE, "o-"), (other, right, ORANGE, "s--")):
        own.plot(x, values, style, color=color, markersize=5)
        own.set_ylabel(name, color=color)
        own.tick_params(axis="y", colors=color)
        own.set_ylim(bottom=0)
    return other
