"""Products of fields on planes of a grid, and sums over bands."""

from __future__ import annotations

from ase_wavescat.system.compiled import compiled


@compiled(fastmath=True)
def add_banded(band, rows, out):  # type: ignore[no-untyped-def]
    """out[k, p] += band[p] rows[k, p]."""
    for k in range(out.shape[0]):
        for p in range(band.shape[0]):
            out[k, p] += band[p] * rows[k, p]


@compiled(fastmath=True, nogil=True)
def products_of(fields, table, out):  # type: ignore[no-untyped-def]
    """out[:, i] = sum_m fields[:, first + m] fields[:, second + m] with (first, second, components) = table[i]."""
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            first, second, components = table[i]
            line = out[plane, i]
            one, other = fields[plane, first], fields[plane, second]
            for u in range(line.shape[0]):
                line[u] = one[u] * other[u]
            for m in range(1, components):
                one, other = fields[plane, first + m], fields[plane, second + m]
                for u in range(line.shape[0]):
                    line[u] += one[u] * other[u]


@compiled(fastmath=True, nogil=True)
def product_changes(fields, moved, table, out):  # type: ignore[no-untyped-def]
    """The change of `products_of` along a change of the fields."""
    for plane in range(out.shape[0]):
        for i in range(out.shape[1]):
            first, second, components = table[i]
            line = out[plane, i]
            line[:] = 0.0
            for m in range(components):
                one, other = fields[plane, first + m], fields[plane, second + m]
                one_moved, other_moved = moved[plane, first + m], moved[plane, second + m]
                for u in range(line.shape[0]):
                    line[u] += one[u] * other_moved[u] + one_moved[u] * other[u]


@compiled(fastmath=True, nogil=True)
def combine_slopes(slopes, fields, starts, couplings, out):  # type: ignore[no-untyped-def]
    """Adjoint of `products_of`: out[:, row] = sum over couplings of times slopes[:, map] fields[:, partner]."""
    for plane in range(out.shape[0]):
        for row in range(out.shape[1]):
            line = out[plane, row]
            line[:] = 0.0
            for c in range(starts[row], starts[row + 1]):
                slot, partner, times = couplings[c]
                slope, field = slopes[plane, slot], fields[plane, partner]
                for u in range(line.shape[0]):
                    line[u] += times * slope[u] * field[u]
