"""How much vacuum the features of a spec need, so that images of an open structure do not feel each other."""

from __future__ import annotations

import math

from ase_wavescat.representation.families.atoms.plan import DIRECT_TAIL
from ase_wavescat.representation.families.moduli.grids import GridRules
from ase_wavescat.representation.lattice.bands import band_reach
from ase_wavescat.representation.specification import Correlations, Maps, Moduli, ScatteringSpec
from ase_wavescat.representation.wavelets import direct_extent


def reach(spec: ScatteringSpec) -> float:
    """The gap (A) between images beyond which they do not feel each other, to the spec's tolerance.

    It is that of all of the spec's features, whichever are asked for: so a feature does not depend on its company.
    """
    return max(_of_moduli(spec, f) if isinstance(f, Moduli) else _of_correlations(spec, f) for f in spec.families)


def _of_moduli(spec: ScatteringSpec, family: Moduli) -> float:
    rules = GridRules(spec, family)
    return max(map(rules.reach, family.paths(spec)))


def _of_correlations(spec: ScatteringSpec, family: Correlations) -> float:
    """Fields of two images, and the band between them, are all Gaussian-like: their ranges add in squares."""
    pair = band_reach(family.pair) if family.pair else 0.0
    at_atoms = [_extent(spec, maps, DIRECT_TAIL * spec.tolerance) for maps in (family.atom_maps, family.five_body)]
    fields = math.sqrt(2) * _extent(spec, family.grid_maps, spec.tolerance**2)
    between = max((band_reach(bands) for bands in (family.three_body, family.four_body) if bands), default=0.0)
    return max(pair, *at_atoms, math.hypot(fields, between))


def _extent(spec: ScatteringSpec, maps: Maps | None, tolerance: float) -> float:
    """The |r| (A) beyond which all wavelets of the maps are below the tolerance."""
    if maps is None:
        return 0.0
    return spec.beta * 2.0 ** max(maps.scales) * max(direct_extent(n, l, tolerance) for n, l in maps.wavelets)
