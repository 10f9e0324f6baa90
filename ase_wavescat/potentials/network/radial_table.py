"""Radial functions as polynomials by piece, exact to rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ase_wavescat.potentials.network.specification import NetworkSpecification

Array = NDArray[np.float64]

# An interpolation of degree 7 over a tenth of a Gaussian's width errs by 1e-15 of its height, below the rounding of
# the polynomials; those of higher degree round worse.
DEGREE = 7
_PIECE = 0.1


@dataclass(frozen=True)
class RadialTable:
    """g_p(r) = sum_d coefficients[piece, d, p] t^d, t from -1 to 1 along each piece.

    Attributes:
        width: of a piece (A).
        coefficients: (pieces, degree + 1, P).
    """

    width: float
    coefficients: Array

    @classmethod
    def build(cls, specification: NetworkSpecification) -> RadialTable:
        """Interpolates in the Chebyshev points of each piece, from 0 to the cutoff."""
        cutoff, radial = specification.cutoff, specification.radial
        pieces = math.ceil(cutoff / (_PIECE * radial.finest(cutoff)))
        width = cutoff / pieces
        points = chebyshev.chebpts1(DEGREE + 1)
        distances = width * (np.arange(pieces)[:, None] + (points + 1) / 2)
        values = radial.values(distances.reshape(-1), cutoff).reshape(pieces, DEGREE + 1, radial.count)
        powers = np.zeros((DEGREE + 1, DEGREE + 1))
        for degree in range(DEGREE + 1):
            powers[degree, : degree + 1] = chebyshev.cheb2poly(np.eye(DEGREE + 1)[degree])[: degree + 1]
        to_chebyshev = np.linalg.inv(chebyshev.chebvander(points, DEGREE))
        return cls(width, np.einsum("ed,ec,ncp->ndp", powers, to_chebyshev, values, optimize=True))
