"""Surroundings of the training atoms, and the limit beyond which others are unlike them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_wavescat.potentials.environments import Environments, EnvironmentVectors, leverages, moments
from ase_wavescat.training.data.distances import CUTOFF
from ase_wavescat.training.data.frames import Frame

WIDTH = 0.64
"""Of the wavelets, in typical distances of nearest neighbours: they see the first shell and some of the second."""
QUIET = 0.99
"""Share of held-out cells none of whose atoms is to be beyond the limit."""
_ALONE = 2.5  # A, where no two atoms of a training set are neighbours


def collect_environments(frames: Sequence[Frame], species: Sequence[int], fold: np.ndarray) -> Environments:
    """The surroundings of all atoms of the frames.

    fold: (n,) of each frame. The limit is the quantile `QUIET` over the frames of the largest leverage of an atom, each
    fold judged by the atoms of the others. A species that the frames lack has grade 0: the composition speaks for it.
    """
    vectors = EnvironmentVectors(tuple(species), WIDTH * typical_distance(frames))
    values = np.concatenate([vectors(frame.structure) for frame in frames])
    kinds = np.searchsorted(vectors.species, np.concatenate([frame.numbers for frame in frames]))
    frame_of = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    held_out = np.empty(len(values))
    for own in (fold[frame_of] == k for k in np.unique(fold)):
        others = moments(values[~own], kinds[~own], len(species))
        held_out[own] = leverages(values[own], kinds[own], *others)
    worst = np.full(len(frames), -np.inf)
    np.fmax.at(worst, frame_of, held_out)  # atoms of a species that only this fold has cannot be judged
    mean, whitening = map(np.nan_to_num, moments(values, kinds, len(species)))
    judged = worst[np.isfinite(worst)]
    limit = np.quantile(judged, QUIET) if len(judged) else leverages(values, kinds, mean, whitening).max()
    return Environments(vectors, mean, whitening, float(limit))


def typical_distance(frames: Sequence[Frame]) -> float:
    """Median over the atoms of the distance (A) to the nearest neighbour, of those that have one within `CUTOFF`."""
    nearest = []
    for frame in frames:
        first, _, _, distances = frame.structure.neighbours(CUTOFF)
        shortest = np.full(len(frame), np.inf)
        np.minimum.at(shortest, first, distances)
        nearest.append(shortest[np.isfinite(shortest)])
    distances = np.concatenate(nearest)
    return float(np.median(distances)) if len(distances) else _ALONE
