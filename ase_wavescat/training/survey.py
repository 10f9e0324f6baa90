"""What decides about wavelets in a data set: species, distances, densities, cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_wavescat.io.structures import check_structure, files_of, named, structures_of
from ase_wavescat.representation.parameter_rules import room
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.distances import CUTOFF, check_apart, shortest_distances

_FARTHEST = 32.0  # A; distances are sought up to the usual cutoff, and up to this where there are none


@dataclass(frozen=True)
class Range:
    """Least, median and largest of some values."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        return cls(float(np.min(values)), float(np.median(values)), float(np.max(values)))

    def text(self, form: str) -> str:
        if format(self.least, form) == format(self.most, form):
            return format(self.least, form)
        return f"{self.least:{form}} to {self.most:{form}}, median {self.median:{form}}"


@dataclass(frozen=True)
class Survey:
    """What decides about wavelets in a data set.

    species: atomic numbers, ascending; fractions: of each species, least and largest over the structures.
    atoms: in a structure; density: atoms/A^3, None without fully periodic structures.
    nearest: shortest distance in a structure (A); closest: the same for each pair of species, where within reach.
    room: see `parameter_rules.room` (A); kinds: how many structures are periodic along 0, 1, 2, 3 directions.
    energies: how many structures have one; info_keys: those that every structure has.
    """

    structures: int
    species: tuple[int, ...]
    fractions: Mapping[int, tuple[float, float]]
    atoms: Range
    density: Range | None
    nearest: Range
    closest: Mapping[tuple[int, int], Range]
    room: Range
    kinds: tuple[int, int, int, int]
    energies: int
    info_keys: tuple[str, ...]


def read_structures(paths: Sequence[Path]) -> dict[str, Atoms]:
    """The structures of files, folders and globs by name (file and position in it), labelled or not."""
    structures = {}
    for file, name in named(files_of(paths)):
        structures.update({f"{name}#{index}": atoms for index, atoms in enumerate(structures_of(file))})
    return structures


def survey_structures(structures: Mapping[str, Atoms]) -> Survey:
    """What the structures, by name, have in common and how they differ.

    Raises DataError, which names the structure, for empty or broken ones and atoms that coincide, and where no two
    atoms are near each other.
    """
    if not structures:
        raise DataError("there are no structures to look at; name at least one extended XYZ file or ASE database")
    for name, atoms in structures.items():
        check_structure(atoms, name)
    everything = list(structures.values())
    species = tuple(sorted({int(z) for atoms in everything for z in atoms.numbers}))
    shares = {z: [np.count_nonzero(a.numbers == z) / len(a) for a in everything] for z in species}
    nearest, closest = _distances(structures, species)
    bulk = [len(a) / a.get_volume() for a in everything if a.pbc.all()]
    kinds = Counter(int(a.pbc.sum()) for a in everything)
    return Survey(
        structures=len(everything),
        species=species,
        fractions={z: (min(values), max(values)) for z, values in shares.items()},
        atoms=Range.of([len(a) for a in everything]),
        density=Range.of(bulk) if bulk else None,
        nearest=nearest,
        closest=closest,
        room=Range.of([room(a.cell.array, a.pbc, a.positions) for a in everything]),
        kinds=(kinds[0], kinds[1], kinds[2], kinds[3]),
        energies=sum(_has_energy(a) for a in everything),
        info_keys=tuple(sorted(set.intersection(*(set(a.info) for a in everything)))),
    )


def _has_energy(atoms: Atoms) -> bool:
    return "REF_energy" in atoms.info or (atoms.calc is not None and atoms.calc.results.get("energy") is not None)


def _distances(structures: Mapping[str, Atoms], species: Sequence[int]) -> tuple[Range, dict[tuple[int, int], Range]]:
    """Shortest distances over structures: of any pair, and of each pair of species."""
    nearest: list[float] = []
    closest: dict[tuple[int, int], list[float]] = {pair: [] for pair in combinations_with_replacement(species, 2)}
    for name, atoms in structures.items():
        shortest = _shortest(atoms)
        if not shortest:
            continue
        check_apart(shortest, name)
        nearest.append(min(shortest.values()))
        for pair, distance in shortest.items():
            closest[pair].append(distance)
    if not nearest:
        raise DataError(
            f"no two atoms are within {_FARTHEST:g} A of each other in any of {len(structures)} structures: there is no"
            " distance to choose the width of the wavelets by; add structures of more than one atom"
        )
    return Range.of(nearest), {pair: Range.of(values) for pair, values in closest.items() if values}


def _shortest(atoms: Atoms) -> dict[tuple[int, int], float]:
    """Shortest distance of each pair of species that is near; nothing where all atoms are far apart."""
    cutoff = CUTOFF
    while True:
        shortest = shortest_distances(Structure.from_atoms(atoms), cutoff)
        if shortest or cutoff >= _FARTHEST:
            return shortest
        cutoff *= 2
