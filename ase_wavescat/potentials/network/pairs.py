"""What a field sees of each pair: harmonics of its direction and radial functions of its length, and the way back."""

from __future__ import annotations

import math

import numpy as np

from ase_wavescat.potentials.network.radial_table import DEGREE
from ase_wavescat.representation.wavelets import solid_harmonics, solid_harmonics_gradient
from ase_wavescat.system.compiled import compiled

# Up to this degree harmonics are written out: the recursions of `representation.wavelets` take five times as long.
_WRITTEN_OUT = 3
_A, _B, _C, _D = math.sqrt(3), math.sqrt(5 / 8), math.sqrt(15), math.sqrt(3 / 8)


@compiled(fastmath=True, nogil=True)
def look_at_pairs(begin, end, starts, vectors, width, coefficients, factors, solid, harmonics, radial):  # type: ignore[no-untyped-def]
    """Fill harmonics (n, LM) and radial (n, P) of the pairs of rows begin to end; vectors (n, 3), A.

    solid: harmonics S_lm of the vector in A; else C_lm of its direction. coefficients (pieces, DEGREE + 1, P).
    """
    size = factors.shape[0]
    q, trig = np.zeros((size, size)), np.zeros((2, size))
    harmonic = np.empty(max(size, _WRITTEN_OUT + 1) ** 2)
    for k in range(starts[begin, 0], starts[end - 1, -1]):
        x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
        r = np.sqrt(x * x + y * y + z * z)
        scale = 1.0 if solid else 1.0 / r
        if size <= _WRITTEN_OUT + 1:
            _low_harmonics(scale * x, scale * y, scale * z, harmonic)
        else:
            solid_harmonics(scale * x, scale * y, scale * z, factors, q, trig, harmonic)
        for lm in range(size * size):
            harmonics[k, lm] = harmonic[lm]
        place = r * (1.0 / width)
        piece = min(int(place), coefficients.shape[0] - 1)
        t = radial.dtype.type(2.0 * (place - piece) - 1.0)
        for p in range(radial.shape[1]):
            value = coefficients[piece, DEGREE, p]
            for d in range(DEGREE - 1, -1, -1):
                value = value * t + coefficients[piece, d, p]
            radial[k, p] = value


@compiled(fastmath=True, nogil=True)
def pull_pairs(  # type: ignore[no-untyped-def]
    begin, end, starts, vectors, width, coefficients, factors, solid, by_harmonics, by_radial, pulls
):
    """Fill pulls (n, 3), dE/dvector, from dE/dharmonics (n, LM) and dE/dradial (n, P), pairs of rows begin to end."""
    size = factors.shape[0]
    q, trig = np.zeros((size, size)), np.zeros((2, size))
    slopes = np.empty((size * size, 3))
    weights = np.zeros(max(size, _WRITTEN_OUT + 1) ** 2)
    for k in range(starts[begin, 0], starts[end - 1, -1]):
        x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
        inverse = 1.0 / np.sqrt(x * x + y * y + z * z)
        scale = 1.0 if solid else inverse
        for lm in range(size * size):
            weights[lm] = by_harmonics[k, lm]
        if size <= _WRITTEN_OUT + 1:
            px, py, pz = _low_gradient(scale * x, scale * y, scale * z, weights)
        else:
            solid_harmonics(scale * x, scale * y, scale * z, factors, q, trig, slopes[:, 0])
            solid_harmonics_gradient(scale * x, scale * y, scale * z, factors, q, trig, slopes)
            px, py, pz = 0.0, 0.0, 0.0
            for lm in range(size * size):
                px += weights[lm] * slopes[lm, 0]
                py += weights[lm] * slopes[lm, 1]
                pz += weights[lm] * slopes[lm, 2]
        place = 1.0 / (inverse * width)
        piece = min(int(place), coefficients.shape[0] - 1)
        t = coefficients.dtype.type(2.0 * (place - piece) - 1.0)
        along = 0.0
        for p in range(by_radial.shape[1]):
            slope = DEGREE * coefficients[piece, DEGREE, p]
            for d in range(DEGREE - 1, 0, -1):
                slope = slope * t + d * coefficients[piece, d, p]
            along += by_radial[k, p] * slope
        along *= 2.0 * inverse / width
        if not solid:  # the direction turns with the part across the vector alone
            px, py, pz = px * inverse, py * inverse, pz * inverse
            along -= (px * x + py * y + pz * z) * inverse * inverse
        pulls[k, 0] = px + along * x
        pulls[k, 1] = py + along * y
        pulls[k, 2] = pz + along * z


@compiled(fastmath=True)
def _low_harmonics(x, y, z, out):  # type: ignore[no-untyped-def]
    """S_lm (16,) up to l = 3, as `solid_harmonics` gives them."""
    xx, yy, zz = x * x, y * y, z * z
    ring = 4 * zz - xx - yy
    out[0] = 1.0
    out[1], out[2], out[3] = y, z, x
    out[4], out[5], out[7] = _A * x * y, _A * y * z, _A * x * z
    out[6] = zz - 0.5 * (xx + yy)
    out[8] = 0.5 * _A * (xx - yy)
    out[9], out[15] = _B * y * (3 * xx - yy), _B * x * (xx - 3 * yy)
    out[10], out[14] = _C * x * y * z, 0.5 * _C * z * (xx - yy)
    out[11], out[13] = _D * y * ring, _D * x * ring
    out[12] = z * (zz - 1.5 * (xx + yy))


@compiled(fastmath=True)
def _low_gradient(x, y, z, w):  # type: ignore[no-untyped-def]
    """Gradient of sum w_lm S_lm, w (16,), up to l = 3."""
    xx, yy, zz = x * x, y * y, z * z
    xy, yz, xz = x * y, y * z, x * z
    px = w[3] + _A * (w[4] * y + w[7] * z + w[8] * x) - w[6] * x
    py = w[1] + _A * (w[4] * x + w[5] * z - w[8] * y) - w[6] * y
    pz = w[2] + _A * (w[5] * y + w[7] * x) + 2 * w[6] * z
    px += _B * (6 * w[9] * xy + 3 * w[15] * (xx - yy)) + _C * (w[10] * yz + w[14] * xz)
    py += _B * (3 * w[9] * (xx - yy) - 6 * w[15] * xy) + _C * (w[10] * xz - w[14] * yz)
    pz += _C * (w[10] * xy + 0.5 * w[14] * (xx - yy)) + 8 * _D * (w[11] * yz + w[13] * xz)
    px += _D * (w[13] * (4 * zz - 3 * xx - yy) - 2 * w[11] * xy) - 3 * w[12] * xz
    py += _D * (w[11] * (4 * zz - xx - 3 * yy) - 2 * w[13] * xy) - 3 * w[12] * yz
    pz += w[12] * (3 * zz - 1.5 * (xx + yy))
    return px, py, pz


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
