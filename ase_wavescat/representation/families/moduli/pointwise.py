r"""Point-wise passes over maps on a grid, compiled: moduli, powers of moduli, their sums and derivatives.

Everything works on s = sigma^2 = sum_m U_m^2 (+ softening). A power with an integer 3q = 6 i + 3 r + 2 c is

    sigma^q = s^i (s^(1/2))^r (s^(1/3))^c,    r in {0, 1}, c in {0, 1, 2},

so that all of them together need one square root and one cube root a point, and even powers none. Powers in between,
with an integer 6q (q = 1/2 of E18), take the square root's root: r in {1/2, 3/2}. Maps are taken in
blocks that stay in the first-level cache. Fields are (rows, 2l+1, points), maps (rows, points).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numba
import numpy as np
from numpy.typing import NDArray

from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]

_BLOCK = 512
_FAST = {"reassoc", "contract", "arcp", "nsz"}  # everything but the assumption that no NaN or infinity occurs
_INVERSE_CUBE_ROOT_OF_ONE = 6142612654157950092  # bits of x^(-1/3) = this - (bits of x) / 3, to 3.5 per cent
_FLOOR = 1e-26  # s below this part of its mean is rounding noise of an exact zero: its modulus has derivative zero


def power_table(powers: Sequence[Fraction]) -> Array:
    """(Q, 8): i, r, c and exponent q/2 of s^(q/2), then the same of its derivative s^(q/2-1); its entry 3 is the
    derivative's factor q/2 too.

    r = -1 marks a power that roots do not give.
    """
    return np.array([[*_exponents(q / 2), *_exponents(q / 2 - 1)] for q in powers]).reshape(-1, 8)


def _exponents(exponent: Fraction) -> tuple[float, float, float, float]:
    if (exponent * 12).denominator != 1:
        return 0.0, -1.0, 0.0, float(exponent)
    for root in (Fraction(0), Fraction(1), Fraction(1, 2), Fraction(3, 2)):
        for cube in (0, 1, 2):
            rest = exponent - root / 2 - Fraction(cube, 3)
            if rest.denominator == 1:
                return float(rest), float(root), float(cube), float(exponent)
    raise AssertionError("every twelfth is i + r/2 + c/3")


@numba.njit
def _blocks(scratch, count):  # type: ignore[no-untyped-def]
    """The rows of a scratch array, cut to the block: s, root, cube, inverse, value, field, slope, change, moved."""
    return (
        scratch[0, :count],
        scratch[1, :count],
        scratch[2, :count],
        scratch[3, :count],
        scratch[4, :count],
        scratch[5, :count],
        scratch[6, :count],
        scratch[7, :count],
        scratch[8, :count],
    )


@numba.njit(fastmath=_FAST)
def _cube_roots(s, floor, out, inverse):  # type: ignore[no-untyped-def]
    """out = s^(1/3), inverse = 1/s or 0 for s <= floor.

    An estimate of s^(-1/3) from the bits of s, then two steps of fourth order without a division.
    """
    bits = s.view(np.int64)
    guess = out.view(np.int64)
    for i in range(s.shape[0]):
        guess[i] = _INVERSE_CUBE_ROOT_OF_ONE - np.int64(np.float64(bits[i]) * (1.0 / 3.0))
    for i in range(s.shape[0]):
        y = out[i]
        h = 1.0 - s[i] * y * y * y
        y *= 1.0 + h * (1.0 / 3.0 + h * (2.0 / 9.0 + h * (14.0 / 81.0)))
        h = 1.0 - s[i] * y * y * y
        y *= 1.0 + h * (1.0 / 3.0 + h * (2.0 / 9.0 + h * (14.0 / 81.0)))
        out[i] = s[i] * y * y
        inverse[i] = y * y * y if s[i] > floor else 0.0


@numba.njit(fastmath=_FAST)
def _roots(s, table, offset, everywhere, floor, root, cube, inverse):  # type: ignore[no-untyped-def]
    """The square root, cube root and inverse of s that the powers need (offset 0: values, 4: derivatives).

    The inverse is zero for s <= floor. everywhere: square root and inverse are needed anyhow.
    """
    need_root, need_cube, need_inverse = everywhere, False, everywhere
    for q in range(table.shape[0]):
        need_inverse |= table[q, offset] < 0
        need_root |= table[q, offset + 1] > 0
        need_cube |= table[q, offset + 2] > 0
    if need_root:
        for i in range(s.shape[0]):
            root[i] = np.sqrt(s[i])
    if need_cube:
        _cube_roots(s, floor, cube, inverse)
    elif need_inverse:
        for i in range(s.shape[0]):
            inverse[i] = 1.0 / (s[i] if s[i] > floor else np.inf)


@numba.njit(fastmath=_FAST)
def _monomial(s, entry, floor, root, cube, inverse, out):  # type: ignore[no-untyped-def]
    """out = s^i root^r cube^c (or s^exponent), negative powers by the inverse."""
    whole = int(entry[0])
    if entry[1] < 0.0:
        for i in range(s.shape[0]):
            out[i] = s[i] ** entry[3] if s[i] > floor else 0.0
        return
    if entry[2] == 2.0:
        for i in range(s.shape[0]):
            out[i] = cube[i] * cube[i]
    elif entry[2] == 1.0:
        out[:] = cube
    else:
        out[:] = 1.0
    if entry[1] >= 1.0:
        for i in range(s.shape[0]):
            out[i] *= root[i]
    if entry[1] % 1.0 != 0.0:
        for i in range(s.shape[0]):
            out[i] *= np.sqrt(root[i])
    for _ in range(-whole):
        for i in range(s.shape[0]):
            out[i] *= inverse[i]
    for _ in range(whole):
        for i in range(s.shape[0]):
            out[i] *= s[i]


@numba.njit(fastmath=_FAST)
def _total(a):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i]
    return total


@numba.njit(fastmath=_FAST)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@numba.njit(fastmath=_FAST)
def _add_sums(s, table, wanted, root, cube, inverse, value, sums):  # type: ignore[no-untyped-def]
    """sums[q] += sum over the block of s^(q/2), last entry += sum of s. The papers' powers go without `value`."""
    _roots(s, table, 0, False, 0.0, root, cube, inverse)
    square = _total(s)
    sums[-1] += square
    for q in range(table.shape[0]):
        if not wanted[q]:
            continue
        whole, half, third = table[q, 0], table[q, 1], table[q, 2]
        if whole == 1.0 and half == 0.0 and third == 0.0:
            sums[q] += square
        elif whole == 0.0 and half == 1.0 and third == 0.0:
            sums[q] += _total(root)
        elif whole == 0.0 and half == 0.0 and third == 2.0:
            sums[q] += _dot(cube, cube)
        elif whole == 0.0 and half == 1.0 and third == 1.0:
            sums[q] += _dot(root, cube)
        else:
            _monomial(s, table[q, :4], 0.0, root, cube, inverse, value)
            sums[q] += _total(value)


@numba.njit(fastmath=_FAST)
def _slopes(s, table, weights, linear, floor, root, cube, inverse, value, out):  # type: ignore[no-untyped-def]
    """out = sum_q weights[q] (q/2) s^(q/2-1). The papers' powers take one pass together.

    linear: the derivative of the modulus itself is needed too.
    """
    _roots(s, table, 4, linear, floor, root, cube, inverse)
    constant, by_root, by_square, by_product = 0.0, 0.0, 0.0, 0.0
    out[:] = 0.0
    for q in range(table.shape[0]):
        factor = weights[q] * table[q, 3]
        whole, half, third = table[q, 4], table[q, 5], table[q, 6]
        if factor == 0.0:
            continue
        if whole == 0.0 and half == 0.0 and third == 0.0:
            constant = factor
        elif whole == -1.0 and half == 1.0 and third == 0.0:
            by_root = factor
        elif whole == -1.0 and half == 0.0 and third == 2.0:
            by_square = factor
        elif whole == -1.0 and half == 1.0 and third == 1.0:
            by_product = factor
        else:
            _monomial(s, table[q, 4:], floor, root, cube, inverse, value)
            for i in range(s.shape[0]):
                out[i] += factor * value[i]
    if by_product != 0.0 or (by_square != 0.0 and by_root != 0.0):
        for i in range(s.shape[0]):
            out[i] += inverse[i] * (root[i] * (by_root + by_product * cube[i]) + by_square * cube[i] * cube[i])
    elif by_square != 0.0:  # there may be no roots: `root` holds anything
        for i in range(s.shape[0]):
            out[i] += by_square * inverse[i] * cube[i] * cube[i]
    elif by_root != 0.0:
        for i in range(s.shape[0]):
            out[i] += by_root * inverse[i] * root[i]
    for i in range(s.shape[0]):
        out[i] += constant


@numba.njit(fastmath=_FAST)
def _square_sum(fields, start, stop, offset, s):  # type: ignore[no-untyped-def]
    """s = offset + sum_m fields[m]^2 on points start..stop."""
    s[:] = offset
    for m in range(fields.shape[0]):
        part = fields[m, start:stop]
        for i in range(stop - start):
            s[i] += part[i] * part[i]


@numba.njit(fastmath=_FAST)
def _channel_field(fields, weights, m, start, stop, out):  # type: ignore[no-untyped-def]
    """out = sum_z weights[z] fields[z, m]: the field of a channel."""
    out[:] = 0.0
    for z in range(fields.shape[0]):
        _add_scaled(fields[z, m, start:stop], weights[z], out)


@numba.njit(fastmath=_FAST)
def _channel_square(fields, weights, start, stop, offset, field, s):  # type: ignore[no-untyped-def]
    """s = offset + sum_m (channel field m)^2."""
    s[:] = offset
    for m in range(fields.shape[1]):
        _channel_field(fields, weights, m, start, stop, field)
        for i in range(stop - start):
            s[i] += field[i] * field[i]


@compiled(fastmath=_FAST, nogil=True)
def second_sums(fields, offsets, table, wanted, sums):  # type: ignore[no-untyped-def]
    """sums (R, Q + 1) += sums over the points of s^(q/2) and of s, of fields (R, M, n)."""
    points = fields.shape[2]
    scratch = np.empty((9, _BLOCK))
    for row in range(fields.shape[0]):
        for start in range(0, points, _BLOCK):
            stop = min(start + _BLOCK, points)
            s, root, cube, inverse, value, _, _, _, _ = _blocks(scratch, stop - start)
            _square_sum(fields[row], start, stop, offsets[row], s)
            _add_sums(s, table, wanted[row], root, cube, inverse, value, sums[row])


@compiled(fastmath=_FAST, nogil=True)
def second_adjoint(fields, offsets, table, weights, means, out):  # type: ignore[no-untyped-def]
    """out (R, M, n) = dE/dfields for E = sum over points of sum_q weights[row, q] s^(q/2); out may be fields."""
    points = fields.shape[2]
    scratch = np.empty((9, _BLOCK))
    for row in range(fields.shape[0]):
        for start in range(0, points, _BLOCK):
            stop = min(start + _BLOCK, points)
            s, root, cube, inverse, value, _, slope, _, _ = _blocks(scratch, stop - start)
            _square_sum(fields[row], start, stop, offsets[row], s)
            _slopes(s, table, weights[row], False, _FLOOR * means[row], root, cube, inverse, value, slope)
            for m in range(fields.shape[1]):
                part, adjoint = fields[row, m, start:stop], out[row, m, start:stop]
                for i in range(stop - start):
                    adjoint[i] = 2.0 * slope[i] * part[i]


@compiled(fastmath=_FAST, nogil=True)
def second_tangent(fields, tangents, offsets, table, wanted, means, sums):  # type: ignore[no-untyped-def]
    """sums (R, Q) += derivative of the sums of s^(q/2) along tangents (R, M, n)."""
    points = fields.shape[2]
    scratch = np.empty((9, _BLOCK))
    for row in range(fields.shape[0]):
        for start in range(0, points, _BLOCK):
            stop = min(start + _BLOCK, points)
            s, root, cube, inverse, value, _, _, change, _ = _blocks(scratch, stop - start)
            _square_sum(fields[row], start, stop, offsets[row], s)
            change[:] = 0.0
            for m in range(fields.shape[1]):
                part, moved = fields[row, m, start:stop], tangents[row, m, start:stop]
                for i in range(stop - start):
                    change[i] += 2.0 * part[i] * moved[i]
            _add_changes(
                s, change, table, wanted[row], False, _FLOOR * means[row], root, cube, inverse, value, sums[row]
            )


@numba.njit(fastmath=_FAST)
def _add_changes(s, change, table, wanted, linear, floor, root, cube, inverse, value, sums):  # type: ignore[no-untyped-def]
    """sums[q] += sum over the block of (q/2) s^(q/2-1) ds."""
    _roots(s, table, 4, linear, floor, root, cube, inverse)
    for q in range(table.shape[0]):
        if wanted[q]:
            _monomial(s, table[q, 4:], floor, root, cube, inverse, value)
            sums[q] += table[q, 3] * _dot(value, change)


@compiled(fastmath=_FAST, nogil=True)
def first_sums(fields, channels, offsets, table, wanted, squared, sums, inputs):  # type: ignore[no-untyped-def]
    """Channel maps of species fields (S, M, n), channels (C, S): sums (C, Q + 1) of s^(q/2) and s, as `second_sums`.

    inputs (C, n): what the second layer takes, s if `squared` else its root, less its value where the field vanishes;
    of the first maps only.
    """
    points = fields.shape[2]
    scratch = np.empty((9, _BLOCK))
    for start in range(0, points, _BLOCK):
        stop = min(start + _BLOCK, points)
        for row in range(channels.shape[0]):
            s, root, cube, inverse, value, field, _, _, _ = _blocks(scratch, stop - start)
            _channel_square(fields, channels[row], start, stop, offsets[row], field, s)
            _add_sums(s, table, wanted[row], root, cube, inverse, value, sums[row])
            if row < inputs.shape[0]:
                entry = inputs[row, start:stop]
                if squared:
                    for i in range(stop - start):
                        entry[i] = s[i] - offsets[row]
                else:
                    vacuum = np.sqrt(offsets[row])
                    for i in range(stop - start):
                        entry[i] = np.sqrt(s[i]) - vacuum


@compiled(fastmath=_FAST, nogil=True)
def first_adjoint(fields, channels, offsets, table, weights, means, squared, inputs, out):  # type: ignore[no-untyped-def]
    """out (S, M, n) = dE/dfields for E = sum of sum_q weights[c, q] s_c^(q/2) + the second layer's part.

    inputs (C, n): dE/d(input of the second layer), of the first maps only. With s_c = sum_m (sum_z f_cz U_zm)^2,
    dE/dU_zm = sum_z' form_zz' U_z'm,  form_zz' = 2 sum_c f_cz f_cz' dE/ds_c: channels are done with before m begins.
    """
    species, components, points = fields.shape
    scratch = np.empty((9, _BLOCK))
    forms = np.empty((species, species, _BLOCK))
    for start in range(0, points, _BLOCK):
        stop = min(start + _BLOCK, points)
        forms[:] = 0.0
        for row in range(channels.shape[0]):
            floor, linear = _FLOOR * means[row], row < inputs.shape[0] and not squared
            s, root, cube, inverse, value, field, slope, _, _ = _blocks(scratch, stop - start)
            _channel_square(fields, channels[row], start, stop, offsets[row], field, s)
            _slopes(s, table, weights[row], linear, floor, root, cube, inverse, value, slope)
            if row < inputs.shape[0]:
                _add_input_slope(inputs[row, start:stop], squared, root, inverse, slope)
            for first in range(species):
                for second in range(species):
                    _add_scaled(slope, 2.0 * channels[row, first] * channels[row, second], forms[first, second])
        for first in range(species):
            for m in range(components):
                adjoint = out[first, m, start:stop]
                adjoint[:] = 0.0
                for second in range(species):
                    _add_product(forms[first, second], fields[second, m, start:stop], adjoint)


@numba.njit(fastmath=_FAST)
def _add_scaled(a, factor, out):  # type: ignore[no-untyped-def]
    """out += factor a, on the length of a."""
    if factor != 0.0:
        for i in range(a.shape[0]):
            out[i] += factor * a[i]


@numba.njit(fastmath=_FAST)
def _add_product(a, b, out):  # type: ignore[no-untyped-def]
    """out += a b, on the length of out."""
    for i in range(out.shape[0]):
        out[i] += a[i] * b[i]


@numba.njit(fastmath=_FAST)
def _add_input_slope(adjoint, squared, root, inverse, slope):  # type: ignore[no-untyped-def]
    """slope += adjoint d(input)/ds with input = s or its root."""
    if squared:
        for i in range(adjoint.shape[0]):
            slope[i] += adjoint[i]
    else:
        for i in range(adjoint.shape[0]):
            slope[i] += 0.5 * adjoint[i] * root[i] * inverse[i]


@compiled(fastmath=_FAST, nogil=True)
def first_tangent(  # type: ignore[no-untyped-def]
    fields, tangents, channels, offsets, table, wanted, means, squared, sums, inputs
):
    """sums (C, Q) += derivative of the sums along tangents (S, M, n); inputs (C, n) = that of the layer's output."""
    points = fields.shape[2]
    scratch = np.empty((9, _BLOCK))
    for start in range(0, points, _BLOCK):
        stop = min(start + _BLOCK, points)
        for row in range(channels.shape[0]):
            floor, linear = _FLOOR * means[row], row < inputs.shape[0] and not squared
            s, root, cube, inverse, value, field, _, change, moved = _blocks(scratch, stop - start)
            s[:] = offsets[row]
            change[:] = 0.0
            for m in range(fields.shape[1]):
                _channel_field(fields, channels[row], m, start, stop, field)
                _channel_field(tangents, channels[row], m, start, stop, moved)
                for i in range(stop - start):
                    s[i] += field[i] * field[i]
                    change[i] += 2.0 * field[i] * moved[i]
            _add_changes(s, change, table, wanted[row], linear, floor, root, cube, inverse, value, sums[row])
            if row < inputs.shape[0]:
                out = inputs[row, start:stop]
                out[:] = 0.0
                _add_input_slope(change, squared, root, inverse, out)


@compiled(nogil=True)
def scatter(sources, rows, value, harmonics, phase, places, half):  # type: ignore[no-untyped-def]
    """Fields in reciprocal space: half (>= R M, points of a half-complex grid) = phase value harmonics sources[rows].

    sources (any, >= P), rows (R,), value (P,), harmonics (M, P), places (P,); zero everywhere else.
    """
    half[:] = 0.0
    components = harmonics.shape[0]
    for r in range(rows.shape[0]):
        source = sources[rows[r]]
        for m in range(components):
            out, harmonic = half[r * components + m], harmonics[m]
            for p in range(places.shape[0]):
                out[places[p]] = phase * (source[p] * (value[p] * harmonic[p]))


@compiled(nogil=True)
def scatter_more(sources, rows, factors, phase, places, half):  # type: ignore[no-untyped-def]
    """Adds phase factors (M, P) sources[rows] to what `scatter` has put there."""
    components = factors.shape[0]
    for r in range(rows.shape[0]):
        source = sources[rows[r]]
        for m in range(components):
            out, factor = half[r * components + m], factors[m]
            for p in range(places.shape[0]):
                out[places[p]] += phase * (source[p] * factor[p])


@compiled(nogil=True)
def gather(half, sources, rows, value, harmonics, phase, places, adjoint, products):  # type: ignore[no-untyped-def]
    """Adjoint of `scatter`: from transforms of dE/dfield to the sources and to the filters.

    adjoint (R, P) = conj(phase) value harmonics half;
    products (M, P) += Re conj(conj(phase) half) sources: dE/d(value harmonics), but for the half sphere's weights.
    """
    components = harmonics.shape[0]
    back = phase.conjugate()
    for r in range(rows.shape[0]):
        source, target = sources[rows[r]], adjoint[r]
        target[:] = 0.0
        for m in range(components):
            line, harmonic, product = half[r * components + m], harmonics[m], products[m]
            for p in range(places.shape[0]):
                h = back * line[places[p]]
                target[p] += h * (value[p] * harmonic[p])
                product[p] += h.real * source[p].real + h.imag * source[p].imag


@compiled(nogil=True)
def add_rows(part, rows, total):  # type: ignore[no-untyped-def]
    """total[rows] += part (R, P), on its first P columns."""
    for r in range(rows.shape[0]):
        source, target = part[r], total[rows[r]]
        for p in range(part.shape[1]):
            target[p] += source[p]
