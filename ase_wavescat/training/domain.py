"""What a training set covers, for the model to know."""

from __future__ import annotations

import numpy as np

from ase_wavescat.potentials.domain import Domain
from ase_wavescat.training.data.surroundings import collect_environments
from ase_wavescat.training.trainer import Problem


def domain_of(problem: Problem, typical_spread: float | None) -> Domain:
    """Of all frames, whatever their source; typical_spread: eV/atom, of the energy on held-out frames."""
    observations, frames = problem.observations, problem.observations.frames
    species = observations.species
    fractions = np.array([frame.count(species) / len(frame) for frame in frames])
    return Domain(
        fractions={z: (float(x.min()), float(x.max())) for z, x in zip(species, fractions.T, strict=True)},
        closest=observations.closest,
        environments=collect_environments(frames, species, problem.fold[problem.groups]),
        typical_spread=typical_spread,
        periodic_only=all(all(frame.pbc) for frame in frames),
    )
