"""How much vacuum the features of a spec need, so that images of an open structure do not feel each other."""

from __future__ import annotations

from ase_wavescat.representation.specification import ScatteringSpec


def reach(spec: ScatteringSpec) -> float:
    """The gap (A) between images beyond which they do not feel each other, to the spec's tolerance.

    It is that of all of the spec's features, whichever are asked for: so a feature does not depend on its company.
    """
    return max(family.reach(spec) for family in spec.families)
