"""All checks, and the run of them."""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from ase_wavescat.system.errors import DataError
from ase_wavescat.system.progress import hidden
from ase_wavescat.testing import (
    boundaries,
    conservation,
    copies,
    derivatives,
    dimers,
    memory,
    repeats,
    sizes,
    species,
    symmetries,
)
from ase_wavescat.testing.outcome import Check, Conformance
from ase_wavescat.testing.subject import Subject

CHECKS = (
    Check("species", species.species_supported),
    Check("foreign species", species.foreign_species),
    Check("permutation", symmetries.permutation),
    Check("wrapping", symmetries.wrapping),
    Check("lattice shifts", symmetries.lattice_shifts),
    Check("lattice vectors", symmetries.lattice_vectors),
    Check("translation", symmetries.translation),
    Check("rotation", symmetries.rotation),
    Check("rotation of molecules", symmetries.rotation_of_molecules),
    Check("inversion", symmetries.inversion),
    Check("boundaries", boundaries.boundaries),
    Check("extensivity", sizes.extensivity),
    Check("forces", derivatives.forces),
    Check("stress", derivatives.stress),
    Check("smoothness", derivatives.smoothness),
    Check("dimers", dimers.dimer_continuity),
    Check("holes", dimers.holes),
    Check("energy drift", conservation.energy_drift),
    Check("determinism", repeats.determinism),
    Check("results", repeats.results_are_copies),
    Check("changes", repeats.changes_are_seen),
    Check("copies", copies.copies),
    Check("spawned process", copies.spawned_process),
    Check("threads", copies.threads),
    Check("shared by threads", copies.shared_by_threads),
    Check("memory", memory.flat_memory),
)
"""Every check, quick ones first; each is called with a Subject."""


def chosen_checks(names: Sequence[str]) -> tuple[Check, ...]:
    """Checks by their names, in the order of `CHECKS`.

    Raises:
        DataError: For a name that is not among them.
    """
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known:
            raise DataError(f"there is no check {name!r}; there are {', '.join(known)}")
    return tuple(check for check in CHECKS if check.name in names)


def check_calculator(subject: Subject, checks: Sequence[Check] = CHECKS) -> Conformance:
    """Run the checks; a calculator's errors fail the check they came in, and the others go on.

    Raises:
        CalculatorError: Before any work, when what `subject.make` makes is no ASE calculator that gives energies.
    """
    name = type(subject.new()).__name__
    outcomes = []
    bar = tqdm(checks, disable=hidden(subject.progress), unit="check", leave=False)
    for check in bar:
        bar.set_description(check.name)
        outcomes.append(check(subject))
    return Conformance(name, tuple(subject.species), tuple(outcomes))
