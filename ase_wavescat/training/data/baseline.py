"""What is not fitted: the pair repulsion and the references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.frames import Frame


@dataclass(frozen=True, eq=False)
class Baseline:
    """Energy (eV), dE/dR (N, 3) in eV/A and dE/dstrain (3, 3) in eV of one structure."""

    energy: float
    gradient: np.ndarray
    strain_gradient: np.ndarray


def baseline_of(
    frame: Frame, repulsion: PairRepulsion | None, references: Mapping[int, float] | None = None
) -> Baseline:
    """references: energies of the species by atomic number, eV an atom."""
    own = repulsion_of(frame.structure, repulsion)
    energy = sum((references[int(z)] for z in frame.numbers), start=0.0) if references is not None else 0.0
    return Baseline(own.energy + energy, own.gradient, own.strain_gradient)


def repulsion_of(structure: Structure, repulsion: PairRepulsion | None) -> Baseline:
    """The repulsion alone, nothing where there is none."""
    if repulsion is None:
        return Baseline(0.0, np.zeros((len(structure), 3)), np.zeros((3, 3)))
    known = repulsion.predict(structure)
    return Baseline(known.energy, known.gradient, known.strain_gradient)
