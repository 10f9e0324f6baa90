r"""First- and second-order scattering moduli (S20 sec. II D) and their polynomial twins, for any support.

    order 0   sum_k |f(Z_k)|^q, or integral |rho_f|^q du of a density that is smooth
    order 1   integral sigma_1^q du,  sigma_1 = (sum_m |rho_f * psi_1m|^2)^(1/2)
    order 2   integral sigma_2^q du,  sigma_2 = (sum_m |sigma_1 * psi_2m|^2)^(1/2)        (second_input "modulus")
                                      sigma_2 = (sum_m |sigma_1^2 * psi_2m|^2)^(1/2)      (second_input "squared")

with rho_f a sum of points or of Gaussians (B18, E18), and every feature, on request, over its parent's (B18; see
`normalisation`). A softened modulus is (sigma^2 + epsilon^2 s^2)^(1/2), s the root mean square of that map; its
integrals are those of sigma^q - (epsilon s)^q and the second layer takes sigma - epsilon s, so that vacuum contributes
nothing.

Species are convolved once, as real fields; channels are combined point by point. Each first-order map is transformed
once, on the finest grid that it and its children need; a child takes the reciprocal vectors within its own cutoff.
`grids` says how fine the grids are, `tree` which maps a support needs; `pointwise` does the work on a grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.moduli.needs import moduli_needs
from ase_wavescat.representation.families.moduli.prepared import PreparedModuli
from ase_wavescat.representation.families.moduli.tree import MapRow, ModuliTree
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.protocol import Needs, Plan
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.moduli.family import Moduli

Array = NDArray[np.float64]


class ModuliPlan(ModuliTree, Plan):
    """The tree of a support, ready for any cell."""

    def prepare(self, lattice: ReciprocalLattice, execution: Execution = Execution()) -> PreparedModuli:
        return PreparedModuli(self, lattice, execution)

    def needs(self, structure: Structure) -> list[Needs]:
        return moduli_needs(self, structure)


def map_sizes(spec: ScatteringSpec, family: Moduli, structures: Sequence[Structure]) -> tuple[tuple[str, float], ...]:
    """The root mean square of every map of every path, unsoftened, by the map's name, see `Moduli.measured_on`."""
    orders = tuple(o for o in (1, 2) if max(family.orders) >= o)
    plain = dataclasses.replace(
        family, powers=(Fraction(2),), softening=0.0, softening_rms=(), orders=orders, normalisation="none"
    )
    features = plain.features(spec)
    plan = ModuliPlan(spec, plain, features)
    sums, volume = np.zeros(len(features)), 0.0
    for structure in structures:
        lattice = ReciprocalLattice(structure.cell, plan.cutoff)
        sums += plan.prepare(lattice).forward(Scene(structure, spec.species, lattice), keep=False).values
        volume += lattice.volume
    rms = np.sqrt(sums / volume)
    keys = [MapRow(f.channel, f.path).key for f in features]
    return tuple(zip(keys, rms.tolist(), strict=True))
