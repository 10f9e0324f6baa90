"""Triple products of fields at several atoms at once: loops over all their channels are long enough for vectors."""

from __future__ import annotations

import numpy as np

from ase_wavescat.system.compiled import compiled

_ATOMS = 16  # whose fields and slopes, turned, fit into the fastest memory


@compiled(fastmath=True, nogil=True)
def triples_of(begin, end, fields, starts, components, coefficients, invariants):  # type: ignore[no-untyped-def]
    """Fill the last columns of invariants (end - begin, I), by triple and channel; fields (N, LM, Q)."""
    channels, count = fields.shape[2], starts.shape[0] - 1
    first_column = invariants.shape[1] - count * channels
    turned = np.empty((fields.shape[1], _ATOMS * channels), fields.dtype)
    sums = np.empty(_ATOMS * channels, fields.dtype)
    for block in range(begin, end if count else begin, _ATOMS):
        atoms = min(_ATOMS, end - block)
        _turn(block, atoms, fields, turned)
        for t in range(count):
            sums[:] = 0
            for n in range(starts[t], starts[t + 1]):
                i, j, k = components[n, 0], components[n, 1], components[n, 2]
                for x in range(atoms * channels):
                    sums[x] += coefficients[n] * turned[i, x] * turned[j, x] * turned[k, x]
            column = first_column + t * channels
            for a in range(atoms):
                for c in range(channels):
                    invariants[block - begin + a, column + c] = sums[a * channels + c]


@compiled(fastmath=True, nogil=True)
def pull_triples(begin, end, fields, starts, components, coefficients, slopes, by_fields):  # type: ignore[no-untyped-def]
    """Add to by_fields (N, LM, Q) what the last columns of slopes (end - begin, I) make of rows begin to end."""
    channels, count = fields.shape[2], starts.shape[0] - 1
    first_column = slopes.shape[1] - count * channels
    turned = np.empty((fields.shape[1], _ATOMS * channels), fields.dtype)
    by_turned = np.empty_like(turned)
    slope = np.empty(_ATOMS * channels, fields.dtype)
    for block in range(begin, end if count else begin, _ATOMS):
        atoms = min(_ATOMS, end - block)
        _turn(block, atoms, fields, turned)
        by_turned[:] = 0
        for t in range(count):
            column = first_column + t * channels
            for a in range(atoms):
                for c in range(channels):
                    slope[a * channels + c] = slopes[block - begin + a, column + c]
            for n in range(starts[t], starts[t + 1]):
                i, j, k = components[n, 0], components[n, 1], components[n, 2]
                # one loop each: rows that may be the same keep the compiler from vectors
                for x in range(atoms * channels):
                    by_turned[i, x] += coefficients[n] * slope[x] * turned[j, x] * turned[k, x]
                for x in range(atoms * channels):
                    by_turned[j, x] += coefficients[n] * slope[x] * turned[i, x] * turned[k, x]
                for x in range(atoms * channels):
                    by_turned[k, x] += coefficients[n] * slope[x] * turned[i, x] * turned[j, x]
        for a in range(atoms):
            for lm in range(fields.shape[1]):
                for c in range(channels):
                    by_fields[block + a, lm, c] += by_turned[lm, a * channels + c]


@compiled(nogil=True)
def _turn(begin, atoms, fields, turned):  # type: ignore[no-untyped-def]
    """turned[lm, a Q + q] = fields[begin + a, lm, q]."""
    channels = fields.shape[2]
    for a in range(atoms):
        for lm in range(fields.shape[1]):
            for c in range(channels):
                turned[lm, a * channels + c] = fields[begin + a, lm, c]
