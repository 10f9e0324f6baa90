"""The same question again: anew, after other structures, after the answer was scribbled on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from ase import Atoms

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import Subject, ask


def determinism(subject: Subject) -> Findings:
    """Each structure by a calculator, by the same one after it has forgotten its results, and by another new one."""
    findings, repeat = Findings(), subject.tolerances.repeat
    first, second = subject.new(), subject.new()
    for atoms in subject.structures:
        expected = ask(first, atoms)
        if hasattr(first, "reset"):
            first.reset()
            findings.compare(expected, ask(first, atoms), repeat, repeat, repeat)
        findings.compare(expected, ask(second, atoms), repeat, repeat, repeat)
    return findings


def results_are_copies(subject: Subject) -> Findings:
    """Arrays that were handed out belong to who asked: a later calculation does not change them, overwriting them
    changes no later answer, and the structure asked about stays as it is."""
    findings, calculator, rng = Findings(), subject.new(), subject.rng()
    for atoms in subject.structures:
        asked, other = atoms.copy(), atoms.copy()
        other.positions += rng.normal(scale=0.05, size=other.positions.shape)
        for name in [name for name in ("forces", "stress") if name in calculator.implemented_properties]:
            add = findings.add_stress if name == "stress" else partial(findings.add, unit="eV/Å")
            given = calculator.get_property(name, asked)
            kept = given.copy()
            calculator.get_property(name, other)
            add(f"{name}, kept", _change(given, kept), limit=0.0)
            given = calculator.get_property(name, asked)
            given[...] = 1e3
            again = calculator.get_property(name, asked)
            # after another structure the last digits may be others
            add(f"{name}, overwritten", _change(again, kept), limit=getattr(subject.tolerances, name))
        findings.add("structure", _movement(atoms, asked), "Å", 0.0)
    return findings


def _change(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max())


def _movement(before: Atoms, after: Atoms) -> float:
    """Infinite where more than positions and cell has changed."""
    if len(before) != len(after) or (before.numbers != after.numbers).any() or (before.pbc != after.pbc).any():
        return float("inf")
    return max(_change(after.positions, before.positions), _change(after.cell.array, before.cell.array))


def changes_are_seen(subject: Subject) -> Findings:
    """One structure, changed again and again in place, by one calculator; against a new calculator for each state.

    Calculators keep what they can between calls; here it shows when they keep too much: a movement of one atom, another
    cell with the atoms in place and with the atoms scaled, another element, one atom less, other periodicity, and the
    first state again.
    """
    limits, findings, calculator = subject.tolerances, Findings(), subject.new()
    for atoms in _states(subject):
        found, expected = ask(calculator, atoms), ask(subject.new(), atoms.copy())
        findings.compare(expected, found, limits.energy, limits.forces, limits.stress)
    return findings


def _states(subject: Subject) -> Iterator[Atoms]:
    """The same object each time, until the last."""
    first = subject.structures[0]
    atoms = first.copy()
    yield atoms
    atoms.positions[0] += [0.1, -0.05, 0.07]
    yield atoms
    cell = atoms.cell.array.copy()
    cell[2, 2] += 0.5
    atoms.set_cell(cell)
    yield atoms
    atoms.set_cell(0.99 * atoms.cell.array, scale_atoms=True)
    yield atoms
    others = [symbol for symbol in subject.species if symbol != atoms.symbols[0]]
    if others:
        atoms.symbols[0] = others[0]
        yield atoms
    if not subject.refusal((True, True, False)):
        atoms.pbc[2] = False
        yield atoms
        atoms.pbc[2] = True
    if len(atoms) > 1:
        del atoms[0]
        yield atoms
    yield first.copy()
