"""Triple products of a field's components that do not depend on the orientation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.specification import Triple
from ase_wavescat.representation.wavelets import solid_harmonics_at

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ZERO = 1e-12


@dataclass(frozen=True)
class TripleTerms:
    """T_t = sum over terms n from starts[t] to starts[t + 1] of coefficients[n] A_i A_j A_k, (i, j, k) = components[n].

    Attributes:
        starts: (T + 1,).
        components: (n, 3), indices l^2 + l + m.
        coefficients: (n,).
    """

    starts: IntArray
    components: IntArray
    coefficients: Array


def triple_terms(triples: Sequence[Triple]) -> TripleTerms:
    """All terms of the triples, each unordered product once."""
    starts, components, coefficients = [0], [], []
    for l1, l2, l3 in triples:
        sums: dict[tuple[int, ...], float] = defaultdict(float)
        for m, value in np.ndenumerate(gaunt(l1, l2, l3)):
            if abs(value) > _ZERO:
                sums[tuple(sorted(l * l + index for l, index in zip((l1, l2, l3), m, strict=True)))] += float(value)
        components += list(sums)
        coefficients += list(sums.values())
        starts.append(len(components))
    return TripleTerms(np.array(starts), np.array(components, dtype=np.int64).reshape(-1, 3), np.array(coefficients))


@cache
def gaunt(l1: int, l2: int, l3: int) -> Array:
    """Mean over the sphere of C_l1m1 C_l2m2 C_l3m3, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1): exact by quadrature."""
    degree = l1 + l2 + l3
    cosines, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angles = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    points = [
        (np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z)
        for z, angle in product(cosines, angles)
    ]
    values, _ = solid_harmonics_at(np.array(points), max(l1, l2, l3))
    first, second, third = (values[l * l : (l + 1) ** 2] for l in (l1, l2, l3))
    mean = np.repeat(weights / 2, len(angles)) / len(angles)
    return np.einsum("n,in,jn,kn->ijk", mean, first, second, third)
