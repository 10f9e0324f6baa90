"""Two atoms: energy and force as functions of their distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations_with_replacement, pairwise

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.structures import bond_length
from ase_wavescat.testing.subject import Subject, energy_of

Curve = Callable[[float], tuple[float, float]]
"""Distance (A) to energy (eV) and its slope (eV/A), which is minus the force that pushes the atoms apart."""

# In sums of two covalent radii: where the scan begins, and below what distance no pair is bound (the shortest bond,
# that of N2, is at 0.77).
_SHORTEST, _UNBOUND = 0.4, 0.7
_REACH = 12.0
"""A."""
_INTERVALS = 24
_FINEST = 1e-6
"""A: an interval over which a smooth force changes by less than its limit, whatever its slope."""
_RESOLVED = 0.1
"""Of the limits: so well must the curve between the nodes be known."""
_MOST_CALLS = 500
_ALONG = np.array([0.28, 0.0, 0.96])
"""Unit vector; along no axis, and close to one, so that the box that a method on grids needs stays small."""
_ROW = (6.0, 6.0, 2 * _REACH)
"""A: edges of a periodic cell for two atoms, wide enough that what is near one atom is the other. In the vacuum that
open directions need, a method on grids takes ten times as long."""


def dimer_continuity(subject: Subject) -> Findings:
    """Pairs of stated elements from 0.4 sums of covalent radii to 12 A: the largest jumps of energy and force.

    All pairs in a periodic cell of 6 x 6 x 24 A; and the last one alone in space, where a method on grids changes its
    box with the distance. That curve is taken less that of the periodic cell, which has its steep parts and is known.
    """
    findings, calculator = Findings(), subject.new_with("forces")
    pairs = _pairs(subject)
    for pair in pairs:
        row = _curve(calculator, pair, alone=False)
        _add_jumps(findings, subject, row, pair)
    if not subject.refusal((False, False, False)):
        alone = _curve(calculator, pairs[-1], alone=True)
        _add_jumps(findings, subject, lambda distance: _less(alone(distance), row(distance)), pairs[-1])
    return findings


def _add_jumps(findings: Findings, subject: Subject, curve: Curve, pair: Sequence[str]) -> None:
    limits = subject.tolerances
    nodes = np.geomspace(_SHORTEST * bond_length(*pair), _REACH, _INTERVALS + 1).tolist()
    energy, force = largest_jumps(curve, nodes, limits.dimer_energy, limits.dimer_forces)
    findings.add("energy", energy, "eV", limits.dimer_energy)
    findings.add("force", force, "eV/Å", limits.dimer_forces)


def _less(point: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return point[0] - other[0], point[1] - other[1]


def holes(subject: Subject) -> Findings:
    """Pairs at distances where none is bound, 0.7 down to 0.4 sums of covalent radii: how far the energy falls inwards.

    Where it falls, atoms that are pushed together fuse.
    """
    findings, calculator = Findings(), subject.new()
    for pair in _pairs(subject):
        distances = bond_length(*pair) * np.linspace(_UNBOUND, _SHORTEST, 13)
        energies = np.array([energy_of(calculator, _dimer(pair, r, alone=False)) for r in distances])
        fall = float((np.maximum.accumulate(energies) - energies).max())
        findings.add("energy", fall, "eV", subject.tolerances.hole)
    return findings


def _pairs(subject: Subject) -> list[tuple[str, str]]:
    """Each element with itself and the next one; all pairs where they are few."""
    species = list(subject.species)
    if len(species) <= 3:
        return list(combinations_with_replacement(species, 2))
    return [*zip(species, species, strict=True), *pairwise(species)]


def _dimer(pair: Sequence[str], distance: float, *, alone: bool) -> Atoms:
    """Alone in space, or in a periodic cell."""
    return Atoms(pair, [np.zeros(3), distance * _ALONG], cell=_ROW, pbc=not alone)


def _curve(calculator: BaseCalculator, pair: Sequence[str], *, alone: bool) -> Curve:
    """Each distance is computed once."""

    @cache
    def curve(distance: float) -> tuple[float, float]:
        atoms = _dimer(pair, distance, alone=alone)
        pull = -float(calculator.get_property("forces", atoms)[1] @ _ALONG)
        return energy_of(calculator, atoms), pull

    return curve


def largest_jumps(curve: Curve, nodes: Sequence[float], energy: float, force: float) -> tuple[float, float]:
    """The largest jumps of energy (eV) and slope (eV/A) between the first and the last node (A).

    Over an interval (a, b) of length h and middle m, a smooth E has, but for terms of order h^5 and h^4,
        E(b) - E(a) = h (E'(a) + 4 E'(m) + E'(b)) / 6    (Simpson),
        E'(m) = 3 (E(b) - E(a)) / 2h - (E'(a) + E'(b)) / 4    (Hermite).
    Intervals where one of these is missed by more than a tenth of the limits `energy` and `force` are halved until it
    is met, or until they are 1e-6 A long: what E and E' change by over these are the jumps.
    """
    worst_energy = worst_force = 0.0
    waiting, calls = list(pairwise(nodes)), 0
    while waiting:
        a, b = waiting.pop()
        m, h = 0.5 * (a + b), b - a
        (low, slope_low), (_, slope), (high, slope_high) = curve(a), curve(m), curve(b)
        calls += 1
        step = abs(high - low - h * (slope_low + 4 * slope + slope_high) / 6)
        bend = abs(slope - 1.5 * (high - low) / h + 0.25 * (slope_low + slope_high))
        if h <= _FINEST:
            step, bend = abs(high - low - 0.5 * h * (slope_low + slope_high)), abs(slope_high - slope_low)
        elif not (step <= _RESOLVED * energy and bend <= _RESOLVED * force) and calls < _MOST_CALLS:
            waiting += [(a, m), (m, b)]
            continue
        worst_energy, worst_force = float(np.fmax(worst_energy, step)), float(np.fmax(worst_force, bend))
        if np.isnan(step + bend):
            return np.nan, np.nan
    return worst_energy, worst_force
