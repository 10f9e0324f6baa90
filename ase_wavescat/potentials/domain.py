"""What a training set covered: composition, distances, surroundings of atoms, boundaries and spreads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_names, chemical_symbols

from ase_wavescat.potentials.environments import Environments
from ase_wavescat.potentials.repulsion import pair_name, pair_table
from ase_wavescat.structure.periodicity import Periodicity
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

FRACTION_MARGIN = 0.005
LONGEST_CLOSEST = 50.0  # A; a distance that pairs of atoms are searched for up to
ATOM_SHARE = 1e-3
"""Among thousands of atoms a few are beyond the limit by chance: more than this share, or one far beyond, is worth a
warning."""
FAR_GRADE = 2.0
SPREAD_FACTOR = 3.0
"""A spread is worth a warning at so many times what is typical of held-out cells."""


@dataclass(frozen=True)
class Domain:
    """What the training set covered; predictions elsewhere are extrapolations.

    Attributes:
        fractions: For each species the smallest and largest fraction of atoms.
        closest: For each unordered pair of species the shortest distance seen (A).
        environments: The surroundings of its atoms; None where not recorded.
        typical_spread: eV/atom, usual calibrated spread of the energy on held-out frames; None where not recorded.
        periodic_only: Whether every structure is known to repeat in all directions.

    Raises:
        ValueError: For what is no element, fractions that do not ascend in [0, 1], and distances out of range.
    """

    fractions: Mapping[int, tuple[float, float]]
    closest: Mapping[tuple[int, int], float]
    environments: Environments | None = None
    typical_spread: float | None = None
    periodic_only: bool = False

    def __post_init__(self) -> None:
        if self.typical_spread is not None and not (np.isfinite(self.typical_spread) and self.typical_spread > 0):
            raise ValueError(f"the typical spread must be a positive energy, got {self.typical_spread}")
        object.__setattr__(self, "fractions", _checked_fractions(self.fractions))
        object.__setattr__(self, "closest", _checked_distances(self.closest))

    def composition_outside(self, numbers: np.ndarray) -> str | None:
        """A sentence about the species whose fraction lies furthest outside, None where all are inside."""
        worst, message = FRACTION_MARGIN, None
        for number, (low, high) in self.fractions.items():
            fraction = float(np.mean(numbers == number))
            beyond = max(low - fraction, fraction - high)
            if beyond > worst:
                worst = beyond
                message = (
                    f"the fraction of {chemical_symbols[number]} is {fraction:.3f}, "
                    f"the model has seen {low:.3f} to {high:.3f}"
                )
        return message

    def distance_outside(self, structure: Structure) -> str | None:
        """A sentence about the pair that is closest against what was seen, None where none is closer."""
        if not self.closest:
            return None
        numbers = structure.numbers
        first, second, _, distances = structure.neighbours(max(self.closest.values()))
        seen = self._closest_table[numbers[first], numbers[second]]
        shortfall = seen - distances
        if not len(shortfall) or shortfall.max() <= 0:
            return None
        at = int(np.argmax(shortfall))
        pair = pair_name((numbers[first[at]], numbers[second[at]]))
        return (
            f"atoms {first[at]} and {second[at]} ({pair}) are {distances[at]:.3f} A apart, "
            f"the model has seen nothing closer than {seen[at]:.3f} A"
        )

    def environments_outside(self, grades: np.ndarray, numbers: np.ndarray) -> str | None:
        """A sentence about atoms whose grade (N,) is beyond 1, if they are many enough or one is far beyond."""
        beyond = int(np.count_nonzero(grades > 1))
        if beyond <= ATOM_SHARE * len(grades) and grades.max() <= FAR_GRADE:
            return None
        at = int(np.argmax(grades))
        name = atomic_names[numbers[at]].lower()
        worst = f"{name} atom {at}", f"(grade {grades[at]:.2f}, the limit is 1)"
        if beyond == 1:
            return f"{worst[0]} has an environment unlike any seen {worst[1]}"
        return f"{beyond} of {len(grades)} atoms have environments unlike any seen, most of all {worst[0]} {worst[1]}"

    def boundaries_outside(self, pbc: Periodicity) -> str | None:
        """A sentence about open directions where none was seen."""
        open_along = [name for name, periodic in zip("abc", pbc, strict=True) if not periodic]
        if not open_along or not self.periodic_only:
            return None
        return (
            f"the structure is open along {', '.join(open_along)}; the model has seen no surfaces, wires or molecules,"
            " only structures that repeat in all directions"
        )

    def spread_outside(self, spread: float) -> str | None:
        """A sentence about a calibrated spread of the energy (eV/atom) several times what held-out cells have."""
        if self.typical_spread is None or spread <= SPREAD_FACTOR * self.typical_spread:
            return None
        typical = 1000 * self.typical_spread
        return f"the spread of the energy is {1000 * spread:.3g} meV/atom, {typical:.2g} on held-out cells"

    @cached_property
    def _closest_table(self) -> np.ndarray:
        return pair_table(self.closest)

    @cached_property
    def neighbour_reach(self) -> float:
        """The longest distance (A) at which the domain looks at pairs of atoms."""
        environments = self.environments.vectors.reach if self.environments is not None else 0.0
        return max([environments, *self.closest.values()], default=0.0)

    def card(self) -> list[str]:
        """Lines of the model card."""
        fractions = ", ".join(
            f"{chemical_symbols[z]} {low:.3f} to {high:.3f}" for z, (low, high) in self.fractions.items()
        )
        closest = ", ".join(f"{pair_name(pair)} {distance:.3f}" for pair, distance in self.closest.items())
        lines = [f"domain      fractions: {fractions}", f"            closest pairs (Å): {closest}"]
        if self.environments is not None:
            width = self.environments.vectors.width
            lines.append(f"            environments of single atoms are judged, through wavelets {width:.2f} Å wide")
        if self.typical_spread is not None:
            typical = 1000 * self.typical_spread
            lines.append(f"            typical spread of the energy on held-out cells: {typical:.1f} meV/atom")
        if self.periodic_only:
            lines.append("            no surfaces, wires or molecules")
        return lines

    def store(self, writer: Writer) -> None:
        writer.fractions("fractions", self.fractions)
        writer.pairs("closest", "distance", self.closest)
        writer.value("periodic_only", self.periodic_only)
        if self.typical_spread is not None:
            writer.value("typical_spread", self.typical_spread)
        if self.environments is not None:
            self.environments.store(writer.group("environments"))

    @classmethod
    def restore(cls, reader: Reader) -> Domain:
        reader.expect({"fractions", "closest"}, {"environments"})
        environments = reader.group("environments") if "environments" in reader else None
        return cls(
            fractions=reader.fractions("fractions"),
            closest=reader.pairs("closest", "distance"),
            environments=None if environments is None else Environments.restore(environments),
            typical_spread=reader.optional_number("typical_spread"),
            periodic_only=reader.flag("periodic_only"),
        )


def _checked_fractions(given: Mapping[Any, Any]) -> dict[int, tuple[float, float]]:
    fractions = {int(z): (float(low), float(high)) for z, (low, high) in given.items()}
    for number, (low, high) in fractions.items():
        if not 0 < number < len(chemical_symbols):
            raise ValueError(f"fractions are given for the atomic number {number}, which is no element")
        if not 0 <= low <= high <= 1:
            raise ValueError(f"the fractions of {chemical_symbols[number]} seen must ascend in [0, 1]: {low}, {high}")
    return dict(sorted(fractions.items()))


def _checked_distances(given: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    closest = {(min(a, b), max(a, b)): float(distance) for (a, b), distance in given.items()}
    for pair, distance in closest.items():
        if not 0 < pair[0] <= pair[1] < len(chemical_symbols):
            raise ValueError(f"a closest distance is given for atomic numbers {pair}, which are no elements")
        if not 0 < distance <= LONGEST_CLOSEST:
            raise ValueError(
                f"the closest {pair_name(pair)} distance seen must be a positive length of at most"
                f" {LONGEST_CLOSEST} A, got {distance}"
            )
    return dict(sorted(closest.items()))
