"""Fields of the second order, A2_i,qlm = sum_k h_k,q R_ql(r_ik) Y_lm, their invariants, and the way back."""

from __future__ import annotations

import numpy as np

from ase_wavescat.system.compiled import compiled


@compiled(fastmath=True, nogil=True)
def sum_second_fields(begin, end, starts, second, harmonics, radial, scalars, mixing, fields):  # type: ignore[no-untyped-def]
    """Fill fields (N, LM, Q2) of rows begin to end.

    scalars: h (N, (l_max + 1) Q2), repeated for each l; mixing: (S, P, (l_max + 1) Q2) of the rows' species.
    """
    channels, width = fields.shape[2], mixing.shape[2]
    seen = np.empty((harmonics.shape[1], width), harmonics.dtype)
    for i in range(begin, end):
        a, b = starts[i, 0], starts[i, -1]
        if a == b:
            fields[i] = 0
            continue
        mixed = np.empty((b - a, width), harmonics.dtype)
        _mix(starts[i], radial, mixing, mixed)
        for k in range(a, b):
            for c in range(width):
                mixed[k - a, c] *= scalars[second[k], c]
        np.dot(harmonics[a:b].T, mixed, seen)  # of which only equal l are needed: still faster than loops
        for l in range(width // channels):
            for lm in range(l * l, (l + 1) ** 2):
                for c in range(channels):
                    fields[i, lm, c] = seen[lm, l * channels + c]


@compiled(fastmath=True, nogil=True)
def _mix(starts, radial, mixing, mixed):  # type: ignore[no-untyped-def]
    """Fill mixed (pairs of one row, (l_max + 1) Q2) with R_ql(r)."""
    for s in range(mixing.shape[0]):
        a, b = starts[s], starts[s + 1]
        if a < b:
            np.dot(radial[a:b], mixing[s], mixed[a - starts[0] : b - starts[0]])


@compiled(fastmath=True, nogil=True)
def second_invariants_of(begin, end, first, fields, invariants):  # type: ignore[no-untyped-def]
    """Fill invariants (end - begin, I2): by l, sum_m A2_q A2_q' for q <= q', then sum_m A2_q A_q'; first (N, LM, Q)."""
    channels, others = fields.shape[2], first.shape[2]
    own, crossed = np.empty((channels, channels), fields.dtype), np.empty((channels, others), fields.dtype)
    for i in range(begin, end):
        row, place = invariants[i - begin], 0
        for l in range(int(np.sqrt(fields.shape[1]) + 0.5)):
            own[:] = 0
            crossed[:] = 0
            for lm in range(l * l, (l + 1) ** 2):
                for c in range(channels):
                    value = fields[i, lm, c]
                    for d in range(channels):
                        own[c, d] += value * fields[i, lm, d]
                    for d in range(others):
                        crossed[c, d] += value * first[i, lm, d]
            for c in range(channels):
                for d in range(c, channels):
                    row[place] = own[c, d]
                    place += 1
            for c in range(channels):
                for d in range(others):
                    row[place] = crossed[c, d]
                    place += 1


@compiled(fastmath=True, nogil=True)
def pull_second_invariants(begin, end, first, fields, slopes, by_first, by_fields):  # type: ignore[no-untyped-def]
    """From slopes (end - begin, I2): add to by_first (N, LM, Q) and fill by_fields (N, LM, Q2), rows begin to end."""
    channels, others = fields.shape[2], first.shape[2]
    own, crossed = np.empty((channels, channels), fields.dtype), np.empty((others, channels), fields.dtype)
    for i in range(begin, end):
        row, place = slopes[i - begin], 0
        by_fields[i] = 0
        for l in range(int(np.sqrt(fields.shape[1]) + 0.5)):
            for c in range(channels):
                own[c, c] = 2 * row[place]
                for d in range(c + 1, channels):
                    own[c, d] = own[d, c] = row[place + d - c]
                place += channels - c
            across = place
            for c in range(channels):
                for d in range(others):
                    crossed[d, c] = row[across + c * others + d]
            place += channels * others
            for lm in range(l * l, (l + 1) ** 2):
                for d in range(channels):
                    value = fields[i, lm, d]
                    for c in range(channels):
                        by_fields[i, lm, c] += value * own[d, c]
                    for c in range(others):
                        by_first[i, lm, c] += value * row[across + d * others + c]
                for d in range(others):
                    value = first[i, lm, d]
                    for c in range(channels):
                        by_fields[i, lm, c] += value * crossed[d, c]


@compiled(fastmath=True, nogil=True)
def pull_second_fields(  # type: ignore[no-untyped-def]
    begin, end, starts, second, harmonics, radial, scalars, mixing, by_fields, by_harmonics, by_radial, by_scalars
):
    """Fill by_harmonics (n, LM), by_radial (n, P) and by_scalars (n, Q2), of the neighbour's h, pairs of the rows."""
    channels, width = by_fields.shape[2], mixing.shape[2]
    spread = np.zeros((harmonics.shape[1], width), harmonics.dtype)
    products = np.empty(width, harmonics.dtype)
    for i in range(begin, end):
        for l in range(width // channels):
            for lm in range(l * l, (l + 1) ** 2):
                for c in range(channels):
                    spread[lm, l * channels + c] = by_fields[i, lm, c]
        a, b = starts[i, 0], starts[i, -1]
        if a == b:
            continue
        mixed = np.empty((b - a, width), harmonics.dtype)
        _mix(starts[i], radial, mixing, mixed)
        by_mixed = np.dot(harmonics[a:b], spread)
        for k in range(a, b):
            ours, by_ours, h, onto = mixed[k - a], by_mixed[k - a], scalars[second[k]], by_scalars[k]
            for c in range(width):
                products[c] = by_ours[c] * ours[c]
            for c in range(width):
                by_ours[c] *= h[c]
            for c in range(width):
                ours[c] *= h[c]
            for c in range(channels):
                onto[c] = products[c]
            for l in range(1, width // channels):
                for c in range(channels):
                    onto[c] += products[l * channels + c]
        np.dot(mixed, spread.T, by_harmonics[a:b])
        for s in range(mixing.shape[0]):
            first, last = starts[i, s], starts[i, s + 1]
            if first < last:
                np.dot(by_mixed[first - a : last - a], mixing[s].T, by_radial[first:last])
