"""What decides about wavelets in a data set: species, distances, densities, cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_wavescat.errors import DataError
from ase_wavescat.scattering.boundary import padded_cell
from ase_wavescat.scattering.neighbours import neighbour_pairs
from ase_wavescat.scattering.parameter_rules import room
from ase_wavescat.training.dataset import structures_of

_CUTOFF = 4.0  # A; distances are sought up to this, and twice as far for as long as there are none
_FARTHEST = 32.0
_COINCIDENT = 0.1  # A; atoms closer than this are taken for a mistake


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
    """The structures of the files by name (file and position in it), labelled or not."""
    structures = {}
    for path in paths:
        structures.update({f"{path.name}#{index}": atoms for index, atoms in enumerate(structures_of(path))})
    return structures


def survey_structures(structures: Mapping[str, Atoms]) -> Survey:
    """What the structures, by name, have in common and how they differ.

    Raises DataError, which names the structure, for empty or broken ones and atoms that coincide, and where no two
    atoms are near each other.
    """
    if not structures:
        raise DataError("there are no structures to look at; name at least one extended XYZ file or ASE database")
    for name, atoms in structures.items():
        _check(name, atoms)
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


def _check(name: str, atoms: Atoms) -> None:
    if len(atoms) == 0:
        raise DataError(f"{name} has no atoms; leave it out")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise DataError(f"{name} has positions or cell vectors that are not finite; leave it out")
    vectors = atoms.cell.array[atoms.pbc]
    if np.linalg.matrix_rank(vectors) < len(vectors):
        raise DataError(
            f"{name} is periodic along {atoms.pbc.tolist()}, but these cell vectors, {vectors.tolist()}, are not"
            " independent; set them, or set pbc to False along directions that do not repeat"
        )


def _has_energy(atoms: Atoms) -> bool:
    return "REF_energy" in atoms.info or (atoms.calc is not None and atoms.calc.results.get("energy") is not None)


def _distances(
    structures: Mapping[str, Atoms], species: Sequence[int]
) -> tuple[Range, dict[tuple[int, int], Range]]:
    """Shortest distances over structures: of any pair, and of each pair of species."""
    pairs = list(combinations_with_replacement(species, 2))
    nearest: list[float] = []
    closest: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    for name, atoms in structures.items():
        distances, numbers = _near(atoms)
        if len(distances) == 0:
            continue
        nearest.append(float(distances.min()))
        if nearest[-1] < _COINCIDENT:
            raise DataError(f"{name} has two atoms {nearest[-1]:.3g} A apart; mend the structure or leave it out")
        for pair in pairs:
            mine = distances[(numbers[0] == pair[0]) & (numbers[1] == pair[1])]
            if len(mine):
                closest[pair].append(float(mine.min()))
    if not nearest:
        raise DataError(
            f"no two atoms are within {_FARTHEST:g} A of each other in any of {len(structures)} structures: there is no"
            " distance to choose the width of the wavelets by; add structures of more than one atom"
        )
    return Range.of(nearest), {pair: Range.of(values) for pair, values in closest.items() if values}


def _near(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Distances (P,) of near pairs and their sorted atomic numbers (2, P); none where all atoms are far apart."""
    cutoff = _CUTOFF
    while True:
        cell = padded_cell(atoms.cell.array, atoms.pbc, atoms.positions, cutoff)
        first, second, vectors = neighbour_pairs(cell, atoms.positions, cutoff)
        if len(first) or cutoff >= _FARTHEST:
            return np.linalg.norm(vectors, axis=1), np.sort([atoms.numbers[first], atoms.numbers[second]], axis=0)
        cutoff *= 2
