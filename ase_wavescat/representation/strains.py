"""Strains in ASE's Voigt order xx yy zz yz xz xy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def unit_strains() -> Array:
    """The six symmetric strains, (6, 3, 3), along which derivatives are Voigt components of stress x volume."""
    strains = np.zeros((6, 3, 3))
    for row, (a, b) in zip(strains, _VOIGT, strict=True):
        row[a, b] += 0.5
        row[b, a] += 0.5
    return strains


def voigt_components(strains: Array) -> Array:
    """Strains (D, 3, 3) as sums of `unit_strains`, (D, 6); antisymmetric parts count nothing."""
    symmetric = (strains + np.swapaxes(strains, 1, 2)) / 2
    return np.stack([symmetric[:, a, b] * (1 if a == b else 2) for a, b in _VOIGT], axis=1)
