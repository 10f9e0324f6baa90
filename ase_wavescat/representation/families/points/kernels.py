"""Loops over neighbour pairs: point convolutions, their adjoint and their tangent.

Maps (N, M) are sorted by wavelet, those of wavelet w from maps[w] on. Their fields are (N, columns), those of wavelet w
from columns[w] on, as (2l+1, maps of w).
"""

from __future__ import annotations

import numpy as np

from ase_wavescat.representation.direct.wavelets import look, look_scratch
from ase_wavescat.representation.wavelets import solid_harmonics_gradient
from ase_wavescat.system.compiled import compiled


@compiled(fastmath=True, nogil=True)
def convolve(pairs, table, maps, columns, sources, fields):  # type: ignore[no-untyped-def]
    """fields[i] += sources[k] psi(R_i - R_k) over all pairs."""
    first, second, vectors = pairs
    starts, scratch = table[0], look_scratch(table)
    harmonic, value, active = scratch[2], scratch[5], scratch[7]
    for p in range(first.shape[0]):
        look(-vectors[p, 0], -vectors[p, 1], -vectors[p, 2], table, scratch)
        row, there = fields[first[p]], sources[second[p]]
        for l in range(active.shape[0]):
            for w in range(starts[l], starts[l] + active[l]):
                start, count = maps[w], maps[w + 1] - maps[w]
                for m in range(2 * l + 1):
                    base, factor = columns[w] + m * count, harmonic[l * l + m] * value[w]
                    for c in range(count):
                        row[base + c] += factor * there[start + c]


@compiled(fastmath=True, nogil=True)
def pull(pairs, table, maps, columns, sources, adjoint, source_adjoint, gradient, strain):  # type: ignore[no-untyped-def]
    """Adjoint of `convolve`: pair forces sum adjoint . sources grad psi, onto both atoms and the strain.

    source_adjoint[i] += adjoint[k] . psi(R_k - R_i): every pair is there in both orders, so that threads with first
    atoms of their own do not meet. Nothing where it is empty.
    """
    first, second, vectors = pairs
    starts, scratch = table[0], look_scratch(table)
    q, trig, harmonic, value, change, active = scratch[0], scratch[1], scratch[2], scratch[5], scratch[6], scratch[7]
    slopes = np.empty((harmonic.shape[0], 3))
    wanted = source_adjoint.shape[0] > 0
    for p in range(first.shape[0]):
        x, y, z = -vectors[p, 0], -vectors[p, 1], -vectors[p, 2]
        look(x, y, z, table, scratch)
        solid_harmonics_gradient(x, y, z, table[5], q, trig, slopes)
        row, other, there = adjoint[first[p]], adjoint[second[p]], sources[second[p]]
        fx, fy, fz, along = 0.0, 0.0, 0.0, 0.0
        parity = 1.0
        for l in range(active.shape[0]):
            for m in range(2 * l + 1):
                lm = l * l + m
                radial = 0.0
                radial_change = 0.0
                for w in range(starts[l], starts[l] + active[l]):
                    start, count = maps[w], maps[w + 1] - maps[w]
                    base = columns[w] + m * count
                    product, factor = 0.0, parity * harmonic[lm] * value[w]
                    if wanted:
                        mine = source_adjoint[first[p]]
                        for c in range(count):
                            product += row[base + c] * there[start + c]
                            mine[start + c] += factor * other[base + c]
                    else:
                        for c in range(count):
                            product += row[base + c] * there[start + c]
                    radial += product * value[w]
                    radial_change += product * change[w]
                along += radial_change * harmonic[lm]
                fx += radial * slopes[lm, 0]
                fy += radial * slopes[lm, 1]
                fz += radial * slopes[lm, 2]
            parity = -parity
        force = (fx + along * x, fy + along * y, fz + along * z)
        place = (x, y, z)
        for a in range(3):
            gradient[first[p], a] += force[a]
            gradient[second[p], a] -= force[a]
            for b in range(3):
                strain[a, b] += force[a] * place[b]


@compiled(fastmath=True, nogil=True)
def push(pairs, table, maps, columns, sources, source_change, displacements, strain, fields):  # type: ignore[no-untyped-def]
    """Tangent of `convolve`: fields[i] += source_change[k] psi + sources[k] dpsi along displacements and a strain."""
    first, second, vectors = pairs
    starts, scratch = table[0], look_scratch(table)
    q, trig, harmonic, value, change, active = scratch[0], scratch[1], scratch[2], scratch[5], scratch[6], scratch[7]
    slopes = np.empty((harmonic.shape[0], 3))
    for p in range(first.shape[0]):
        i, k = first[p], second[p]
        x, y, z = -vectors[p, 0], -vectors[p, 1], -vectors[p, 2]
        look(x, y, z, table, scratch)
        solid_harmonics_gradient(x, y, z, table[5], q, trig, slopes)
        dx = displacements[i, 0] - displacements[k, 0] + x * strain[0, 0] + y * strain[1, 0] + z * strain[2, 0]
        dy = displacements[i, 1] - displacements[k, 1] + x * strain[0, 1] + y * strain[1, 1] + z * strain[2, 1]
        dz = displacements[i, 2] - displacements[k, 2] + x * strain[0, 2] + y * strain[1, 2] + z * strain[2, 2]
        along = x * dx + y * dy + z * dz
        row, there, moved = fields[i], sources[k], source_change[k]
        for l in range(active.shape[0]):
            for w in range(starts[l], starts[l] + active[l]):
                start, count = maps[w], maps[w + 1] - maps[w]
                for m in range(2 * l + 1):
                    lm, base = l * l + m, columns[w] + m * count
                    turned = slopes[lm, 0] * dx + slopes[lm, 1] * dy + slopes[lm, 2] * dz
                    factor = harmonic[lm] * value[w]
                    factor_change = value[w] * turned + change[w] * along * harmonic[lm]
                    for c in range(count):
                        row[base + c] += factor * moved[start + c] + factor_change * there[start + c]
