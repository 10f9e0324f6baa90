"""How near atoms come to each other, by pair of species."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations_with_replacement

import numpy as np

from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame

CUTOFF = 4.0  # A
COINCIDENT = 0.1  # A; atoms closer than this are taken for a mistake
Pair = tuple[int, int]


def shortest_distances(structure: Structure, cutoff: float = CUTOFF) -> dict[Pair, float]:
    """Shortest distance (A) of each pair of species within the cutoff (A) in one structure.

    Keys are (z, z') with z <= z', ascending; pairs never that close are left out.
    """
    numbers = structure.numbers
    first, second, _, distances = structure.neighbours(cutoff)
    pairs = np.sort([numbers[first], numbers[second]], axis=0)
    shortest = {}
    for pair in combinations_with_replacement(np.unique(numbers).tolist(), 2):
        mine = distances[(pairs[0] == pair[0]) & (pairs[1] == pair[1])]
        if len(mine):
            shortest[pair] = float(mine.min())
    return shortest


def check_apart(shortest: Mapping[Pair, float], name: str) -> None:
    """Refuses atoms that coincide: DataError with the structure's name."""
    nearest = min(shortest.values(), default=np.inf)
    if nearest < COINCIDENT:
        raise DataError(f"{name} has two atoms {nearest:.3g} A apart; mend the structure or leave it out")


def closest_pairs(frames: Iterable[Frame], cutoff: float = CUTOFF) -> dict[Pair, float]:
    """Shortest distance (A) of each pair of species within the cutoff over all frames, as `shortest_distances`.

    Raises DataError, which names the frame, for atoms that coincide.
    """
    closest: dict[Pair, float] = {}
    for frame in frames:
        shortest = shortest_distances(frame.structure, cutoff)
        check_apart(shortest, frame.name)
        for pair, distance in shortest.items():
            closest[pair] = min(distance, closest.get(pair, np.inf))
    return dict(sorted(closest.items()))
