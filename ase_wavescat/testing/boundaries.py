"""Structures that repeat along some directions only."""

from __future__ import annotations

import itertools

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.structures import boxed
from ase_wavescat.testing.subject import NotApplicable, Subject, ask
from ase_wavescat.testing.symmetries import shifted

VACUUM = 25.0
"""A between a piece and its images: more than local calculators see."""


def boundaries(subject: Subject) -> Findings:
    """Every combination of pbc with an open direction: whole cell vectors along those that repeat change nothing, and
    energy and forces are those of a fully periodic cell with vacuum along those that do not."""
    limits, findings, rng, taken = subject.tolerances, Findings(), subject.rng(), 0
    calculator = subject.new()
    for pbc in itertools.product((False, True), repeat=3):
        if all(pbc):
            continue  # the other checks are about these
        if refusal := subject.refusal(pbc):
            findings.notes.append(f"pbc {''.join('FT'[periodic] for periodic in pbc)} is refused ({refusal})")
            continue
        taken += 1
        piece = subject.piece(pbc)
        answer = ask(calculator, piece)
        if any(pbc):
            moved = ask(calculator, shifted(piece, rng))
            findings.add("energy, shifted", abs(moved.energy - answer.energy), "eV/atom", limits.energy)
        in_a_box = ask(calculator, boxed(piece, VACUUM))
        findings.compare(answer, in_a_box, limits.vacuum_energy, limits.vacuum_forces)
    if not taken:
        raise NotApplicable("structures with open directions are refused: " + "; ".join(findings.notes))
    return findings
