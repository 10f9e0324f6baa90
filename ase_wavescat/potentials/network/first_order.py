"""Fields of the first order, A_i = sum_s (sum_{k of s} Y_lm g_p) W, their invariants, and the way back.

The sum over neighbours is a matrix product for each atom and species; channels are mixed an atom, not a pair.
"""

from __future__ import annotations

import numpy as np

from ase_wavescat.system.compiled import compiled


@compiled(fastmath=True, nogil=True)
def sum_fields(begin, end, starts, harmonics, radial, mixing, fields):  # type: ignore[no-untyped-def]
    """Fill fields (N, LM, Q) of rows begin to end; mixing (S, l_max + 1, P, Q) of their species."""
    count, channels = mixing.shape[2], mixing.shape[3]
    seen = np.empty((harmonics.shape[1], count), harmonics.dtype)
    for i in range(begin, end):
        fields[i] = 0
        for s in range(mixing.shape[0]):
            a, b = starts[i, s], starts[i, s + 1]
            if a == b:
                continue
            np.dot(harmonics[a:b].T, radial[a:b], seen)
            for l in range(mixing.shape[1]):
                for lm in range(l * l, (l + 1) ** 2):
                    for p in range(count):
                        value = seen[lm, p]
                        for c in range(channels):
                            fields[i, lm, c] += value * mixing[s, l, p, c]


@compiled(fastmath=True, nogil=True)
def squares_of(begin, end, fields, invariants):  # type: ignore[no-untyped-def]
    """Fill the first columns of invariants (end - begin, I): A_q,00; sum_m A_qlm A_q'lm, q <= q', by l."""
    channels = fields.shape[2]
    squares = np.empty((channels, channels), fields.dtype)
    for i in range(begin, end):
        row = invariants[i - begin]
        row[:channels] = fields[i, 0]
        place = channels
        for l in range(int(np.sqrt(fields.shape[1]) + 0.5)):
            squares[:] = 0
            for lm in range(l * l, (l + 1) ** 2):
                for c in range(channels):
                    value = fields[i, lm, c]
                    for d in range(channels):
                        squares[c, d] += value * fields[i, lm, d]
            for c in range(channels):
                for d in range(c, channels):
                    row[place] = squares[c, d]
                    place += 1


@compiled(fastmath=True, nogil=True)
def pull_squares(begin, end, fields, slopes, by_fields):  # type: ignore[no-untyped-def]
    """Add to by_fields (N, LM, Q) what the first columns of slopes (end - begin, I) make of rows begin to end."""
    channels = fields.shape[2]
    coupling = np.empty((channels, channels), fields.dtype)
    for i in range(begin, end):
        row, onto = slopes[i - begin], by_fields[i]
        for c in range(channels):
            onto[0, c] += row[c]
        place = channels
        for l in range(int(np.sqrt(fields.shape[1]) + 0.5)):
            for c in range(channels):
                coupling[c, c] = 2 * row[place]
                for d in range(c + 1, channels):
                    coupling[c, d] = coupling[d, c] = row[place + d - c]
                place += channels - c
            for lm in range(l * l, (l + 1) ** 2):
                for c in range(channels):
                    value = fields[i, lm, c]
                    for d in range(channels):
                        onto[lm, d] += value * coupling[c, d]


@compiled(fastmath=True, nogil=True)
def pull_fields(begin, end, starts, harmonics, radial, mixing, by_fields, by_harmonics, by_radial):  # type: ignore[no-untyped-def]
    """Add to by_harmonics (n, LM) and by_radial (n, P) what by_fields (N, LM, Q) make of the pairs of rows.

    mixing: (S, l_max + 1, Q, P), turned against that of `sum_fields`.
    """
    channels, count = mixing.shape[2], mixing.shape[3]
    by_seen = np.empty((harmonics.shape[1], count), harmonics.dtype)
    for i in range(begin, end):
        for s in range(mixing.shape[0]):
            a, b = starts[i, s], starts[i, s + 1]
            if a == b:
                continue
            by_seen[:] = 0
            for l in range(mixing.shape[1]):
                for lm in range(l * l, (l + 1) ** 2):
                    for c in range(channels):
                        value = by_fields[i, lm, c]
                        for p in range(count):
                            by_seen[lm, p] += value * mixing[s, l, c, p]
            more_harmonics = np.dot(radial[a:b], by_seen.T)
            more_radial = np.dot(harmonics[a:b], by_seen)
            for k in range(a, b):  # += on the slices would copy them
                for lm in range(by_seen.shape[0]):
                    by_harmonics[k, lm] += more_harmonics[k - a, lm]
                for p in range(count):
                    by_radial[k, p] += more_radial[k - a, p]
