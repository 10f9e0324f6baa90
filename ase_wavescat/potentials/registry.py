"""The kinds of potentials that a model file can hold; this is the only list."""

from __future__ import annotations

from ase_wavescat.potentials.committee import Committee
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.protocol import Stored
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.potentials.sum import PotentialSum

POTENTIALS: dict[str, type[Stored]] = {
    one.kind: one
    for one in (AtomEnergies, Committee, LinearPotential, Model, NetworkPotential, PairRepulsion, PotentialSum)
}
"""By the name that files have for each."""
