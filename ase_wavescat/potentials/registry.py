"""The kinds of potentials that a model file can hold; this is the only list."""

from __future__ import annotations

from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.potentials.sum import PotentialSum

Stored = AtomEnergies | LinearPotential | PairRepulsion | PotentialSum

POTENTIALS: dict[str, type[Stored]] = {
    one.kind: one for one in (AtomEnergies, LinearPotential, PairRepulsion, PotentialSum)
}
"""By the name that files have for each. A kind has `kind`, `card()`, `store(writer)` and `restore(reader)`."""
