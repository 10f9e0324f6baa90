"""What a field sees of each pair: harmonics of its direction and radial functions of its length, and the way back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.wavelets import harmonic_count, solid_harmonics, solid_harmonics_at
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]


def harmonic_gradients(l_max: int) -> Array:
    """(LM, 3 M) for `pull_pairs`: the gradient of a solid harmonic is one of a degree less, at least M = 1 of them."""
    points = np.random.default_rng(0).normal(size=(4 * harmonic_count(l_max), 3))
    values, slopes = solid_harmonics_at(points, l_max, gradient=True)
    assert slopes is not None
    lower = max(1, l_max**2)
    wanted = slopes.transpose(2, 0, 1).reshape(len(points), -1)
    solved: Array = np.linalg.lstsq(values[:lower].T, wanted, rcond=None)[0].astype(np.float64)
    solved[np.abs(solved) < 1e-12] = 0.0
    return solved.reshape(lower, -1, 3).transpose(1, 2, 0).reshape(-1, 3 * lower)


@compiled(fastmath=True, nogil=True)
def look_at_pairs(begin, end, starts, vectors, width, coefficients, factors, solid, harmonics, radial):  # type: ignore[no-untyped-def]
    """Fill harmonics (n, LM) and radial (n, P) of the pairs of rows begin to end; vectors (n, 3), A.

    solid: harmonics S_lm of the vector in A; else C_lm of its direction. coefficients (pieces, degree + 1, P).
    """
    size, degree, count = factors.shape[0], coefficients.shape[1] - 1, coefficients.shape[2]
    q, trig = np.zeros((size, size)), np.zeros((2, size))
    harmonic = np.empty(size * size)
    for k in range(starts[begin, 0], starts[end - 1, -1]):
        x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
        r = np.sqrt(x * x + y * y + z * z)
        scale = 1.0 if solid else 1.0 / r
        solid_harmonics(scale * x, scale * y, scale * z, factors, q, trig, harmonic)
        for lm in range(harmonic.shape[0]):
            harmonics[k, lm] = harmonic[lm]
        piece = min(int(r / width), coefficients.shape[0] - 1)
        t = radial.dtype.type(2.0 * (r / width - piece) - 1.0)
        for p in range(count):
            radial[k, p] = coefficients[piece, degree, p]
        for d in range(degree - 1, -1, -1):
            for p in range(count):
                radial[k, p] = radial[k, p] * t + coefficients[piece, d, p]


@compiled(fastmath=True, nogil=True)
def pull_pairs(  # type: ignore[no-untyped-def]
    begin, end, starts, vectors, width, coefficients, gradients, solid, harmonics, by_harmonics, by_radial, pulls
):
    """Fill pulls (n, 3) with dE/dvector from dE/dharmonics (n, LM) and dE/dradial (n, P), pairs of rows begin to end.

    gradients (LM, 3 M): dS_lm/dx_a = sum_n gradients[lm, a M + n] S_n, over harmonics of lower degree.
    """
    degree, count = coefficients.shape[1] - 1, coefficients.shape[2]
    lower = gradients.shape[1] // 3
    slope = np.empty(count, coefficients.dtype)
    for i in range(begin, end):
        a, b = starts[i, 0], starts[i, -1]
        turned = np.dot(by_harmonics[a:b], gradients)
        for k in range(a, b):
            x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
            inverse = 1.0 / np.sqrt(x * x + y * y + z * z)
            px, py, pz = 0.0, 0.0, 0.0
            for n in range(lower):
                px += harmonics[k, n] * turned[k - a, n]
                py += harmonics[k, n] * turned[k - a, lower + n]
                pz += harmonics[k, n] * turned[k - a, 2 * lower + n]
            place = 1.0 / (inverse * width)
            piece = min(int(place), coefficients.shape[0] - 1)
            t = coefficients.dtype.type(2.0 * (place - piece) - 1.0)
            for p in range(count):
                slope[p] = degree * coefficients[piece, degree, p]
            for d in range(degree - 1, 0, -1):
                for p in range(count):
                    slope[p] = slope[p] * t + d * coefficients[piece, d, p]
            along = 0.0
            for p in range(count):
                along += by_radial[k, p] * slope[p]
            along *= 2.0 * inverse / width
            if not solid:  # the direction turns with the part across the vector alone
                px, py, pz = px * inverse, py * inverse, pz * inverse
                along -= (px * x + py * y + pz * z) * inverse * inverse
            pulls[k, 0] = px + along * x
            pulls[k, 1] = py + along * y
            pulls[k, 2] = pz + along * z


@compiled(nogil=True)
def gather_pulls(pulls, starts, second, vectors, gradient, strain):  # type: ignore[no-untyped-def]
    """Add the pulls of all pairs to gradient (N, 3), by row, and strain (3, 3) = sum pull outer vector."""
    for i in range(starts.shape[0]):
        for k in range(starts[i, 0], starts[i, -1]):
            for a in range(3):
                gradient[i, a] -= pulls[k, a]
                gradient[second[k], a] += pulls[k, a]
                for b in range(3):
                    strain[a, b] += pulls[k, a] * vectors[k, b]


@compiled(nogil=True)
def gather_rows(values, second, sums):  # type: ignore[no-untyped-def]
    """Add values (n, Q) of pairs to the rows of their neighbours, sums (N, Q)."""
    for k in range(second.shape[0]):
        for q in range(values.shape[1]):
            sums[second[k], q] += values[k, q]
