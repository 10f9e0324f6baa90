"""Neighbour pairs as the work of threads, and what a support needs of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.protocol import Part
from ase_wavescat.structure.structure import Neighbours

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Pairs = tuple[IntArray, IntArray, Array]
"""First and second atoms (P,), vectors from the first to the second (P, 3), A."""

_ATOMS = 256  # whose pairs are one thread's work at a time


def pair_parts(neighbours: Neighbours, atoms: int) -> list[Pairs]:
    """The pairs in parts, each of first atoms of its own."""
    first, second, vectors, _ = neighbours
    ends = np.searchsorted(first, np.arange(0, atoms + _ATOMS, _ATOMS))
    return [(first[a:b], second[a:b], vectors[a:b]) for a, b in pairwise(ends)]


def range_parts(name: Hashable, scale: float, pairs: Mapping[float, int], unit: str = "pairs") -> list[Part]:
    """What looking up to the range of a scale needs: each range the pairs that the one before has not.

    Args:
        name: of what looks; those of one name share their pairs.
        pairs: within the range of each scale, ascending.
        unit: of the work, see `training.cost`.
    """
    within = [one for one in pairs if one <= scale]
    fewer = [0, *(pairs[one] for one in within)]
    return [Part((name, one), {unit: pairs[one] - less}) for one, less in zip(within, fewer, strict=False)]
