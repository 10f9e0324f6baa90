"""Loops over neighbour pairs: fields at the atoms, their adjoint and their derivatives.

Fields are stored as (N, columns), column = start_l + (m * species + s) * wavelets_l + w, so that for one l the fields
of an atom are a matrix X (2l+1, species * wavelets_l).
"""

from __future__ import annotations

import numpy as np

from ase_wavescat.representation.direct.wavelets import look, look_scratch
from ase_wavescat.representation.wavelets import solid_harmonics_gradient
from ase_wavescat.system.compiled import compiled


@compiled()
def add_self(fields, species, species_count, at_zero):  # type: ignore[no-untyped-def]
    """The atom's own wavelet at distance zero: only l = 0 has one."""
    for k in range(fields.shape[0]):
        for w in range(at_zero.shape[0]):
            fields[k, species[k] * at_zero.shape[0] + w] += at_zero[w]


@compiled(fastmath=True, nogil=True)
def sum_fields(pairs, species, species_count, offsets, table, fields):  # type: ignore[no-untyped-def]
    """fields[k] += psi(R_k - R_j) over all pairs."""
    first, second, vectors = pairs
    starts, scratch = table[0], look_scratch(table)
    harmonic, value, active = scratch[2], scratch[5], scratch[7]
    for p in range(first.shape[0]):
        look(-vectors[p, 0], -vectors[p, 1], -vectors[p, 2], table, scratch)
        row, s = fields[first[p]], species[second[p]]
        for l in range(active.shape[0]):
            wavelets = starts[l + 1] - starts[l]
            for m in range(2 * l + 1):
                base = offsets[l] + (m * species_count + s) * wavelets
                factor = harmonic[l * l + m]
                for w in range(active[l]):
                    row[base + w] += factor * value[starts[l] + w]


@compiled(fastmath=True, nogil=True)
def sum_gradient(pairs, species, species_count, offsets, table, adjoint, gradient, strain):  # type: ignore[no-untyped-def]
    """Adjoint of `sum_fields`: pair forces f = sum adjoint . grad psi, onto both atoms and the strain (f outer r)."""
    first, second, vectors = pairs
    starts, scratch = table[0], look_scratch(table)
    q, trig, harmonic, value, change, active = scratch[0], scratch[1], scratch[2], scratch[5], scratch[6], scratch[7]
    slopes = np.empty((harmonic.shape[0], 3))
    for p in range(first.shape[0]):
        x, y, z = -vectors[p, 0], -vectors[p, 1], -vectors[p, 2]
        look(x, y, z, table, scratch)
        solid_harmonics_gradient(x, y, z, table[5], q, trig, slopes)
        row, s = adjoint[first[p]], species[second[p]]
        fx, fy, fz, along = 0.0, 0.0, 0.0, 0.0
        for l in range(active.shape[0]):
            wavelets = starts[l + 1] - starts[l]
            for m in range(2 * l + 1):
                base = offsets[l] + (m * species_count + s) * wavelets
                radial = 0.0
                radial_change = 0.0
                for w in range(active[l]):
                    radial += row[base + w] * value[starts[l] + w]
                    radial_change += row[base + w] * change[starts[l] + w]
                lm = l * l + m
                along += radial_change * harmonic[lm]
                fx += radial * slopes[lm, 0]
                fy += radial * slopes[lm, 1]
                fz += radial * slopes[lm, 2]
        force = (fx + along * x, fy + along * y, fz + along * z)
        place = (x, y, z)
        for a in range(3):
            gradient[first[p], a] += force[a]
            gradient[second[p], a] -= force[a]
            for b in range(3):
                strain[a, b] += force[a] * place[b]


@compiled(fastmath=True)
def sum_jacobian(pairs, species, offsets, table, by_atom, by_centre):  # type: ignore[no-untyped-def]
    """Derivatives of the fields at atom k: by_atom[k, j] by R_j of the source alone; by_centre[k, s, :3] by R_k of the
    part that species s makes, by_centre[k, s, 3:] of that part by strain (Voigt)."""
    first, second, vectors = pairs
    starts, scratch = table[0], look_scratch(table)
    q, trig, harmonic, value, change, active = scratch[0], scratch[1], scratch[2], scratch[5], scratch[6], scratch[7]
    slopes = np.empty((harmonic.shape[0], 3))
    for p in range(first.shape[0]):
        x, y, z = -vectors[p, 0], -vectors[p, 1], -vectors[p, 2]
        look(x, y, z, table, scratch)
        solid_harmonics_gradient(x, y, z, table[5], q, trig, slopes)
        source, centre = by_atom[first[p], second[p]], by_centre[first[p], species[second[p]]]
        for l in range(active.shape[0]):
            wavelets = starts[l + 1] - starts[l]
            for m in range(2 * l + 1):
                lm, base = l * l + m, offsets[l] + m * wavelets
                for w in range(active[l]):
                    g, h = value[starts[l] + w], change[starts[l] + w] * harmonic[lm]
                    dx = g * slopes[lm, 0] + h * x
                    dy = g * slopes[lm, 1] + h * y
                    dz = g * slopes[lm, 2] + h * z
                    column = base + w
                    source[0, column] -= dx
                    source[1, column] -= dy
                    source[2, column] -= dz
                    centre[0, column] += dx
                    centre[1, column] += dy
                    centre[2, column] += dz
                    centre[3, column] += dx * x
                    centre[4, column] += dy * y
                    centre[5, column] += dz * z
                    centre[6, column] += 0.5 * (dy * z + dz * y)
                    centre[7, column] += 0.5 * (dx * z + dz * x)
                    centre[8, column] += 0.5 * (dx * y + dy * x)
