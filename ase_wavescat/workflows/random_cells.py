"""Random small cells, with and without symmetry, of every composition: where searches for low-energy states begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import cellpar_to_cell
from ase.spacegroup import Spacegroup

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.generation import CLOSEST, cell_volume, numbers_of, push_apart

Weights = Sequence[str] | Mapping[str, float]
"""Names that all count the same, or what each counts."""

SWELLING = (0.9, 1.3)
"""Volumes of cells, in units of the sum of the elements' own."""
_TRIES = 30  # draws of a cell, until one has room for its atoms
_GROWTH = 1.05  # of the volume, where there was none
_ORBITS = 40  # draws of a point, until its images are as many as are missing
_TURNS = 12  # that often in a row every rotation of a crystal is the identity
_SPACE_GROUPS = 230
_COINCIDENT = 1e-6  # fractional


@dataclass(frozen=True)
class RandomCells:
    """Periodic cells of few atoms; the random numbers of each follow from `seed` and its index alone.

    Cell lengths differ by factors of up to two, angles lie between 60 and 120 degrees, the volume is `SWELLING` times
    what the elements take (`random_packing`). A share of the cells has a space group, drawn from those of primitive
    lattices, with its atoms in general and special positions. Atoms are pushed apart as in `random_packing`.

    Attributes:
        elements: Which occur, in every composition; a weight is the parameter of a Dirichlet distribution of the
            fractions: with weights of 1 all are as likely; an element's mean share is its weight over their sum.
        compositions: In place of elements: formulas and how often each is drawn.
        atoms: The least and the most in a cell.
        symmetric: Share of cells with a space group.
        volumes: A^3 an atom by element, as of `random_packing`.

    Raises:
        DataError: For elements, compositions, numbers and volumes that make no sense, or no cell.
    """

    elements: Weights = ()
    compositions: Weights = ()
    atoms: tuple[int, int] = (8, 24)
    symmetric: float = 0.5
    seed: int = 0
    volumes: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if bool(self.elements) == bool(self.compositions):
            raise DataError(
                f"give elements or compositions, one of them, got {self.elements!r} and {self.compositions!r}"
            )
        least, most = self.atoms
        if not 1 <= least <= most:
            raise DataError(f"atoms are the least and the most in a cell, at least 1, got {self.atoms}")
        if not 0 <= self.symmetric <= 1:
            raise DataError(f"symmetric is a share, from 0 to 1, got {self.symmetric}")
        if self.seed < 0:
            raise DataError(f"seed must not be negative, got {self.seed}")
        for name, weight in {**weights_of(self.elements), **weights_of(self.compositions)}.items():
            if not (np.isfinite(weight) and weight > 0):
                raise DataError(f"the weight of {name} must be a positive number, got {weight}")
        for symbol in self.symbols:
            cell_volume(np.array([atomic_numbers[symbol]]), self.volumes)
        for formula in weights_of(self.compositions):
            self._multiples(formula)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The elements that may occur, sorted."""
        unknown = [symbol for symbol in weights_of(self.elements) if atomic_numbers.get(symbol, 0) < 1]
        if unknown:
            raise DataError(f"{', '.join(map(repr, unknown))}: no such element; give symbols such as 'Si'")
        found = set(weights_of(self.elements))
        for formula in weights_of(self.compositions):
            found |= set(Atoms(numbers_of(formula, 1)).get_chemical_symbols())
        return tuple(sorted(found))

    def cell(self, index: int) -> Atoms:
        """The cell of a number, counted from 0; info["space_group"]: the number of the group drawn, 1 without symmetry.

        Raises:
            DataError: Where the atoms find no room in any of many cells drawn.
        """
        generator = np.random.default_rng([self.seed, index])
        numbers = self._numbers(generator)
        volume = cell_volume(numbers, self.volumes)
        wanted = generator.random() < self.symmetric
        for attempt in range(2 * _TRIES):  # at last without symmetry
            atoms = _draw(numbers, volume * generator.uniform(*SWELLING), wanted and attempt < _TRIES, generator)
            try:
                push_apart(atoms, CLOSEST)
            except DataError as error:
                reason = str(error)
                volume *= _GROWTH
                continue
            atoms.wrap()
            return atoms
        raise DataError(reason)

    def _numbers(self, generator: np.random.Generator) -> np.ndarray:
        """Atomic numbers, by element."""
        if self.compositions:
            weights = weights_of(self.compositions)
            shares = np.array(list(weights.values()), dtype=float)
            formula = list(weights)[generator.choice(len(weights), p=shares / shares.sum())]
            return numbers_of(formula, int(generator.choice(self._multiples(formula))))
        weights = weights_of(self.elements)
        total = int(generator.integers(self.atoms[0], self.atoms[1] + 1))
        exact = total * generator.dirichlet(list(weights.values()))
        counts = np.floor(exact).astype(int)
        counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
        return np.repeat([atomic_numbers[symbol] for symbol in weights], counts)

    def _multiples(self, formula: str) -> np.ndarray:
        """Numbers of atoms within the limits that make whole formula units."""
        unit = len(numbers_of(formula, 1))
        least, most = self.atoms
        multiples = np.arange(unit, most + 1, unit)
        multiples = multiples[multiples >= least]
        if not len(multiples):
            raise DataError(
                f"no whole number of {formula}, which has {unit} atoms, has {least} to {most} atoms; change atoms"
            )
        return multiples


def weights_of(given: Weights) -> dict[str, float]:
    """By name; 1 where only names are given."""
    if isinstance(given, Mapping):
        return {str(name): float(weight) for name, weight in given.items()}
    return dict.fromkeys([given] if isinstance(given, str) else given, 1.0)


def _draw(numbers: np.ndarray, volume: float, symmetric: bool, generator: np.random.Generator) -> Atoms:
    """A cell of this volume (A^3), its atoms where they fall."""
    group, places = 1, generator.random((len(numbers), 3))
    for _ in range(_TRIES if symmetric else 0):  # until the numbers of atoms are sums of the group's multiplicities
        drawn = int(generator.integers(2, _SPACE_GROUPS + 1))
        found = _symmetric_places(numbers, drawn, generator) if _space_group(drawn).lattice == "P" else None
        if found is not None:
            group, places = drawn, found
            break
    cell = _lattice(group, generator)
    cell *= (volume / abs(np.linalg.det(cell))) ** (1 / 3)
    return Atoms(numbers, scaled_positions=places, cell=cell, pbc=True, info={"space_group": group})


@cache
def _space_group(number: int) -> Spacegroup:
    """Kept: ASE reads a file of all for each."""
    return Spacegroup(number)


def _lattice(group: int, generator: np.random.Generator) -> np.ndarray:
    """(3, 3) vectors of the group's crystal system, of any length."""
    while True:
        a, b, c = np.exp(generator.uniform(-0.35, 0.35, 3))
        alpha, beta, gamma = generator.uniform(60, 120, 3)
        if group > 2:
            alpha = gamma = 90.0
        if group > 15:
            beta = 90.0
        if group > 74:
            b = a
        if 142 < group < 195:
            gamma = 120.0
        if group > 194:
            c = a
        cell = np.array(cellpar_to_cell([a, b, c, alpha, beta, gamma]))
        if abs(np.linalg.det(cell)) > 0.4 * a * b * c:  # flatter ones have no room
            return cell


def _symmetric_places(numbers: np.ndarray, group: int, generator: np.random.Generator) -> np.ndarray | None:
    """(N, 3) fractional positions, orbits of the group, of atoms by element; None where they do not add up."""
    rotations, shifts = _space_group(group).get_op()
    places: list[np.ndarray] = []
    for number in dict.fromkeys(numbers.tolist()):
        missing = int(np.count_nonzero(numbers == number))
        for _ in range(_ORBITS):
            orbit = _orbit(rotations, shifts, generator)
            if len(orbit) <= missing:
                places.append(orbit)
                missing -= len(orbit)
            if not missing:
                break
        else:
            return None
    return np.concatenate(places)


def _orbit(rotations: np.ndarray, shifts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n, 3) the images of a point by operations x -> W x + w of a group, each once.

    Of a random point, up to three operations have made the mean of its images, so that some of them leave it where it
    is: a special position.
    """
    point = generator.random(3)
    for _ in range(generator.integers(4)):
        drawn = generator.integers(len(rotations))
        rotation, shift = rotations[drawn], shifts[drawn]
        shift = shift + np.round(point - rotation @ point - shift)  # to the image that is nearest
        images = [point]
        for _ in range(_TURNS - 1):
            images.append(rotation @ images[-1] + shift)
        point = np.mean(images, axis=0)
    orbit = rotations @ point + shifts
    apart = orbit[:, None] - orbit
    same = np.abs(apart - np.round(apart)).max(axis=2) < _COINCIDENT
    return orbit[np.argmax(same, axis=1) == np.arange(len(orbit))] % 1.0
