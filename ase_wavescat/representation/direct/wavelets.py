"""All wavelets of a table at one point, compiled: what the loops over neighbour pairs are made of."""

from __future__ import annotations

import numpy as np

from ase_wavescat.representation.wavelets import solid_harmonics
from ase_wavescat.system.compiled import compiled

_TAPER_START = 0.9  # of a scale's range


@compiled(fastmath=True)
def _tapered_gauss(r, widths, cutoffs, gauss, slope):  # type: ignore[no-untyped-def]
    """T(r) exp(-r^2/2b^2) of each scale and its derivative divided by r; zero beyond the scale's range."""
    for j in range(widths.shape[0]):
        gauss[j] = 0.0
        slope[j] = 0.0
        if r < cutoffs[j]:
            inverse = 1.0 / (widths[j] * widths[j])
            gauss[j] = np.exp(-0.5 * r * r * inverse)
            slope[j] = -inverse * gauss[j]
            start = _TAPER_START * cutoffs[j]
            if r > start:
                x = (cutoffs[j] - r) / (cutoffs[j] - start)
                taper = x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
                fall = -30.0 * x * x * (1.0 - x) * (1.0 - x) / ((cutoffs[j] - start) * r)
                slope[j] = slope[j] * taper + gauss[j] * fall
                gauss[j] *= taper


@compiled()
def look_scratch(table):  # type: ignore[no-untyped-def]
    """Work arrays of `look`: q, trig, harmonic, gauss, slope, value, change, active."""
    _, scale_of, widths, _, _, factors = table
    size, count = factors.shape[0], scale_of.shape[0]
    return (
        np.zeros((size, size)),
        np.zeros((2, size)),
        np.empty(size * size),
        np.empty(widths.shape[0]),
        np.empty(widths.shape[0]),
        np.empty(count),
        np.empty(count),
        np.empty(size, np.int64),
    )


@compiled(fastmath=True)
def look(x, y, z, table, scratch):  # type: ignore[no-untyped-def]
    """All wavelets at (x, y, z): solid harmonics, radial factors g (value) and g'(r)/r (change) of those within reach.

    active[l] counts the wavelets of l within reach, which come first, as the widest do.
    """
    starts, scale_of, widths, cutoffs, coefficients, factors = table
    q, trig, harmonic, gauss, slope, value, change, active = scratch
    r = np.sqrt(x * x + y * y + z * z)
    solid_harmonics(x, y, z, factors, q, trig, harmonic)
    _tapered_gauss(r, widths, cutoffs, gauss, slope)
    for l in range(starts.shape[0] - 1):
        active[l] = 0
        for w in range(starts[l], starts[l + 1]):
            j = scale_of[w]
            if r >= cutoffs[j]:
                break
            active[l] += 1
            inverse = 1.0 / (widths[j] * widths[j])
            t = 0.5 * r * r * inverse
            polynomial = 0.0
            derivative = 0.0
            for c in range(coefficients.shape[1] - 1, -1, -1):
                derivative = derivative * t + polynomial
                polynomial = polynomial * t + coefficients[w, c]
            value[w] = polynomial * gauss[j]
            change[w] = derivative * inverse * gauss[j] + polynomial * slope[j]
