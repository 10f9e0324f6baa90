"""What a check finds, and what all checks together say."""

from __future__ import annotations

import json
import math
import time
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import GPa

from ase_wavescat.system.errors import listening, unheard
from ase_wavescat.testing.subject import Answer, NotApplicable, Subject

PASSES, FAILS, NOT_APPLICABLE = "passes", "fails", "not applicable"


@dataclass(frozen=True)
class Figure:
    """A measured quantity and its limit, in the same unit."""

    quantity: str
    value: float
    unit: str
    limit: float

    @property
    def passes(self) -> bool:
        """Not for a value that is not a number."""
        return bool(self.value <= self.limit)

    @property
    def verdict(self) -> str:
        """`passes`, in a word."""
        return PASSES if self.passes else FAILS


class Findings:
    """Figures of one check, each the largest that was added, and notes on what they leave out."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}
        self.notes: list[str] = []

    @property
    def figures(self) -> tuple[Figure, ...]:
        """One of each quantity, in the order in which they came."""
        return tuple(self._figures.values())

    def add(self, quantity: str, value: float, unit: str, limit: float) -> None:
        """Keep the value if it is the largest of its quantity, or not a number."""
        last = self._figures.get(quantity)
        if last is None or math.isnan(value) or value > last.value:
            self._figures[quantity] = Figure(quantity, float(value), unit, limit)

    def add_stress(self, quantity: str, value: float, limit: float) -> None:
        """The same for a stress: value and limit in eV/A^3, shown in GPa."""
        self.add(quantity, value / GPa, "GPa", limit / GPa)

    def compare(self, before: Answer, after: Answer, energy: float, forces: float, stress: float | None = None) -> None:
        """Add the largest changes between two answers; the limits are in eV/atom, eV/A and eV/A^3.

        Args:
            stress: None where it is not compared, because it is of another cell.
        """
        self.add("energy", abs(after.energy - before.energy), "eV/atom", energy)
        if before.forces is not None and after.forces is not None:
            self.add("forces", _largest(after.forces - before.forces), "eV/Å", forces)
        if stress is not None and before.stress is not None and after.stress is not None:
            self.add_stress("stress", _largest(after.stress - before.stress), stress)


def _largest(change: np.ndarray) -> float:
    return float(np.abs(change).max())


@dataclass(frozen=True)
class Outcome:
    """What one check found of one calculator.

    Attributes:
        note: Why it does not apply, what was raised, or what the figures leave out.
        error: What was raised, if anything.
    """

    check: str
    figures: tuple[Figure, ...]
    verdict: str
    note: str
    seconds: float
    error: Exception | None = None

    def require(self) -> None:
        """For tests: AssertionError where the check fails, unittest.SkipTest (pytest skips) where it does not apply."""
        if self.verdict == NOT_APPLICABLE:
            raise unittest.SkipTest(f"{self.check}: {self.note}")
        if self.verdict == FAILS:
            parts = [
                f"{one.quantity} {one.value:.2g} {one.unit} (limit {one.limit:g})"
                for one in self.figures
                if not one.passes
            ]
            raise AssertionError(f"{self.check}: {'; '.join([*parts, *filter(None, [self.note])])}") from self.error


@dataclass(frozen=True)
class Check:
    """One property that a calculator must have: called with a Subject, it measures.

    An error of the calculator fails the check; it is not raised.
    """

    name: str
    measure: Callable[[Subject], Findings]

    @property
    def __name__(self) -> str:
        """What pytest calls a test that is parametrized by checks."""
        return self.name.replace(" ", "-")

    def __call__(self, subject: Subject) -> Outcome:
        start = time.perf_counter()
        try:
            with listening(unheard):  # the kit's structures are made for their shapes, not for any model's domain
                findings = self.measure(subject)
            if not findings.figures:
                raise NotApplicable("; ".join(findings.notes) or "there was nothing to measure")
        except NotApplicable as reason:
            return Outcome(self.name, (), NOT_APPLICABLE, str(reason), time.perf_counter() - start)
        except Exception as error:
            note = f"{type(error).__name__}: {error}"
            return Outcome(self.name, (), FAILS, note, time.perf_counter() - start, error)
        verdict = PASSES if all(figure.passes for figure in findings.figures) else FAILS
        return Outcome(self.name, findings.figures, verdict, "; ".join(findings.notes), time.perf_counter() - start)


@dataclass(frozen=True)
class Conformance:
    """What all checks found of one calculator."""

    calculator: str
    species: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed; those that do not apply are listed with their reasons."""
        return not any(outcome.verdict == FAILS for outcome in self.outcomes)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Check, quantity, figure with its unit, limit and verdict, as text: a row a figure."""
        rows = []
        for outcome in self.outcomes:
            for one in outcome.figures:
                found = f"{one.value:.1e} {one.unit}".rstrip()
                rows.append((outcome.check, one.quantity, found, f"{one.limit:.0e}", one.verdict))
            if not outcome.figures:
                rows.append((outcome.check, "", "", "", outcome.verdict))
        return rows

    def notes(self) -> list[str]:
        """What checks say beside their figures."""
        return [f"{outcome.check}: {outcome.note}" for outcome in self.outcomes if outcome.note]

    def table(self) -> str:
        """Rows, notes and the sum of them for the terminal."""
        rows = [("check", "quantity", "figure", "limit", "verdict"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]
        verdicts = [outcome.verdict for outcome in self.outcomes]
        counts = ", ".join(f"{verdicts.count(one)} {one}" for one in (PASSES, FAILS, NOT_APPLICABLE))
        notes = [f"  {note}" for note in self.notes()]
        return "\n".join([*lines, *(["notes", *notes] if notes else []), f"{self.calculator}: {counts}"])

    def to_json(self) -> str:
        """All figures and verdicts; numbers that are not finite are null."""
        outcomes = [
            {
                "check": outcome.check,
                "verdict": outcome.verdict,
                "note": outcome.note,
                "seconds": outcome.seconds,
                "figures": [_plain(figure) for figure in outcome.figures],
            }
            for outcome in self.outcomes
        ]
        content = {"calculator": self.calculator, "species": self.species, "passed": self.passed, "checks": outcomes}
        return json.dumps(content, indent=1, allow_nan=False)


def _plain(figure: Figure) -> dict[str, Any]:
    value = figure.value if math.isfinite(figure.value) else None
    return {"quantity": figure.quantity, "value": value, "unit": figure.unit, "limit": figure.limit}
