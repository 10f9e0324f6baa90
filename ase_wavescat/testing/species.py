"""The elements that a calculator is said to know, and others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.structures import packing
from ase_wavescat.testing.subject import Answer, Subject, ask

# A common one, a noble gas, and the last one of the table, which no model knows.
_FOREIGN = ("Fe", "Kr", "Og")


def species_supported(subject: Subject) -> Findings:
    """Each stated element alone and beside the next one: how many of these have no finite answer."""
    findings, calculator, rng = Findings(), subject.new(), subject.rng()
    alone = [(symbol,) for symbol in subject.species]
    beside = list(zip(subject.species[:-1], subject.species[1:], strict=True))
    for symbols in [*alone, *beside]:
        said = _complaint(calculator, symbols, rng)
        if said:
            findings.notes.append(f"{'-'.join(symbols)}: {said}")
    findings.add("without an answer", len(findings.notes), "", 0)
    return findings


def _complaint(calculator: BaseCalculator, symbols: Sequence[str], rng: np.random.Generator) -> str:
    """What is wrong with the answer for a dense cell of these elements; "": nothing."""
    try:
        answer = ask(calculator, packing(symbols, (2, 2, 1), rng))
    except Exception as error:  # whatever it is, the element is not supported
        return f"{type(error).__name__}: {error}"
    return "" if _finite(answer) else "the answer is not finite"


def _finite(answer: Answer) -> bool:
    parts = [np.array(answer.energy), answer.forces, answer.stress]
    return all(bool(np.isfinite(part).all()) for part in parts if part is not None)


def foreign_species(subject: Subject) -> Findings:
    """One atom of an element that was not stated: for how many of two such elements an energy is given all the same."""
    findings, calculator, rng = Findings(), subject.new(), subject.rng()
    for symbol in [symbol for symbol in _FOREIGN if symbol not in subject.species][:2]:
        atoms = packing(subject.species, (2, 2, 1), rng)
        atoms.symbols[0] = symbol
        try:
            answer = ask(calculator, atoms)
        except Exception:  # any error is better than an answer
            continue
        findings.notes.append(f"{symbol} is given an energy of {answer.energy:.4g} eV/atom")
    findings.add("answered all the same", len(findings.notes), "", 0)
    return findings
