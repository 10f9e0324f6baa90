"""What a potential does below the distances of its data: dimers, compressed structures, compressed crystals.

No label reaches there, so a potential may do anything, and where it attracts, atoms fuse. These checks take any ASE
calculator: energies as atoms come closer and closer, which must rise with every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols, covalent_radii

from ase_wavescat.potentials.repulsion import pair_name
from ase_wavescat.structure.crystals import crystal, crystals_of
from ase_wavescat.system.errors import listening, unheard

SHORTEST_DIMER = 0.8
SIDES = np.linspace(1.0, 0.6, 17)
JUDGED_SIDE = 0.95
CRYSTAL_SHARES = np.concatenate([np.linspace(2.0, 1.0, 21), np.linspace(0.975, 0.6, 16)])
TOLERANCE = 1e-3
"""eV (an atom, for cells): a smaller fall is no fall."""

_DIMER_CELL = 14.0  # A, periodic: the images stay put, so they add next to nothing to a change of the distance


@dataclass(frozen=True, eq=False)
class Approach:
    """Energies of a structure whose atoms come closer and closer.

    Attributes:
        coordinates: (K,) descending: a distance (A), or for compressed structures the share of the cell's side.
        energies: (K,) eV, of dimers less that of the largest distance; eV/atom for the others, less the first.
        contact: From this coordinate downwards the energy must rise with every step; it is one of the coordinates.

    Raises:
        ValueError: For coordinates that do not descend, and where none is below the contact.
    """

    name: str
    coordinates: np.ndarray
    energies: np.ndarray
    contact: float

    def __post_init__(self) -> None:
        if len(self.coordinates) != len(self.energies) or not np.all(np.diff(self.coordinates) < 0):
            raise ValueError(f"the coordinates of {self.name} must descend, one for each energy: {self.coordinates}")
        if np.count_nonzero(self.judged) < 2:
            raise ValueError(f"no coordinate of {self.name} is below {self.contact}: {self.coordinates}")

    @property
    def judged(self) -> np.ndarray:
        """Mask (K,) of the coordinates that are judged, the contact and all below."""
        return self.coordinates <= self.contact + 1e-9

    @property
    def first_fall(self) -> float | None:
        """The largest judged coordinate at which the energy is below that of the step before; None: it always rises.

        An energy that is not finite counts as a fall.
        """
        coordinates, energies = self.coordinates[self.judged], self.energies[self.judged]
        rises = np.diff(energies) > -TOLERANCE  # False for NaN
        rises &= np.isfinite(energies[1:])
        return None if rises.all() else float(coordinates[1 + int(np.argmin(rises))])

    @property
    def lowest(self) -> float:
        """The lowest energy below the contact, less that at the contact; negative: a hole."""
        energies = self.energies[self.judged]
        return float(np.min(energies[1:]) - energies[0])

    @property
    def deepest_fall(self) -> float:
        """The largest fall of the energy on the way in, from the highest judged energy before; 0 if it always rises."""
        energies = self.energies[self.judged]
        return float(np.max(np.maximum.accumulate(energies) - energies))

    @property
    def is_safe(self) -> bool:
        """Whether the energy rises with every step that is judged."""
        return self.first_fall is None


@dataclass(frozen=True, eq=False)
class ShortRange:
    """Approaches of every kind.

    Attributes:
        contacts: The distance (A) of each pair below which a repulsion is asked for.
        dimers: Two atoms.
        compressed: Structures of the data.
        crystals: Simple crystals of each species and pair.
    """

    contacts: Mapping[tuple[int, int], float]
    dimers: tuple[Approach, ...]
    compressed: tuple[Approach, ...]
    crystals: tuple[Approach, ...]

    @property
    def is_safe(self) -> bool:
        """Whether all approaches are."""
        return all(approach.is_safe for approach in (*self.dimers, *self.compressed, *self.crystals))


def check_short_range(
    calculator: Calculator,
    species: Sequence[int],
    closest: Mapping[tuple[int, int], float] | None = None,
    structures: Sequence[tuple[str, Atoms]] = (),
) -> ShortRange:
    """Dimers of all pairs of the species, simple crystals of each species and pair, and given structures compressed.

    Args:
        closest: Shortest distances (A) of the data by pair of atomic numbers; where none is known, see `contacts`.
        structures: Names and structures near their equilibrium volume.
    """
    distances = contacts(species, closest or {})
    pairs = list(distances)
    return ShortRange(
        contacts=distances,
        dimers=tuple(dimer_approach(calculator, pair, distances[pair]) for pair in pairs),
        compressed=tuple(compression_approach(calculator, atoms, name) for name, atoms in structures),
        crystals=tuple(
            crystal_approach(calculator, pair, name, distances[pair]) for pair in pairs for name in crystals_of(pair)
        ),
    )


def contacts(species: Sequence[int], closest: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """For each unordered pair the closest distance seen, or else the sum of the covalent radii (A)."""
    seen = {(min(pair), max(pair)): distance for pair, distance in closest.items()}
    return {
        pair: seen.get(pair, float(covalent_radii[pair[0]] + covalent_radii[pair[1]]))
        for pair in combinations_with_replacement(sorted(species), 2)
    }


def dimer_approach(
    calculator: Calculator,
    pair: tuple[int, int],
    contact: float,
    distances: Sequence[float] | np.ndarray | None = None,
) -> Approach:
    """Two atoms, alone in a periodic cell of 14 A, at the distances (A) and at the contact.

    Args:
        distances: By default from 6 A down to 0.8 A, or to 60 % of the contact where that is shorter.
    """
    if distances is None:
        shortest = min(SHORTEST_DIMER, 0.6 * contact)
        distances = np.concatenate([np.arange(6.0, 3.1, -0.2), np.arange(3.0, shortest - 1e-6, -0.05)])
    path = _descending(distances, contact)
    dimers = [Atoms(pair, [[0.0, 0.0, 0.0], [r, 0.0, 0.0]], cell=3 * [_DIMER_CELL], pbc=True) for r in path]
    energies = _energies(calculator, dimers)
    return Approach(pair_name(pair), path, energies - energies[0], contact)


def compression_approach(
    calculator: Calculator, atoms: Atoms, name: str, sides: Sequence[float] | np.ndarray = SIDES
) -> Approach:
    """A structure scaled isotropically, judged from 95 % of its side downwards; it should be near its equilibrium."""
    path = _descending(sides, JUDGED_SIDE)
    scaled = [Atoms(atoms.numbers, s * atoms.positions, cell=s * atoms.cell.array, pbc=atoms.pbc) for s in path]
    energies = _energies(calculator, scaled) / len(atoms)
    return Approach(name, path, energies - energies[0], JUDGED_SIDE)


def crystal_approach(
    calculator: Calculator,
    pair: tuple[int, int],
    name: str,
    contact: float,
    shares: Sequence[float] | np.ndarray = CRYSTAL_SHARES,
) -> Approach:
    """A simple crystal at nearest-neighbour distances that are shares of the contact.

    Args:
        name: sc, bcc, fcc, diamond for two times the same element, cesiumchloride, rocksalt, zincblende for two.
    """
    path = _descending(contact * np.asarray(shares), contact)
    cells = [crystal(pair, name, distance) for distance in path]
    energies = _energies(calculator, cells) / len(cells[0])
    formula = "".join(chemical_symbols[z] for z in dict.fromkeys(pair))
    return Approach(f"{formula} {name}", path, energies - energies[0], contact)


def _descending(values: Any, contact: float) -> np.ndarray:
    """The values and the contact in descending order, each once."""
    path = np.append(np.asarray(values, dtype=float), contact)
    path = np.sort(path)[::-1]
    return path[np.append(True, -np.diff(path) > 1e-6)]


def _energies(calculator: Calculator, structures: Sequence[Atoms]) -> np.ndarray:
    """(K,) eV; that these structures are far from all data is what is looked for, and no warning."""
    with listening(unheard):
        return np.array([calculator.get_potential_energy(atoms) for atoms in structures])
