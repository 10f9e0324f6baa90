"""Powers of moduli from shared roots, and the derivatives of their sums."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from ase_wavescat.representation.families.moduli import pointwise

POWERS = tuple(
    Fraction(q) for q in ("1", "4/3", "5/3", "2", "7/3", "5/2", "3", "10/3", "4", "6", "13/10", "1/2", "5/6", "1/4")
)


def fields_over_many_sizes(points=1300):
    """(2, 3, n) fields whose squares run over 24 orders of magnitude, some of them zero."""
    generator = np.random.default_rng(0)
    fields = generator.normal(size=(2, 3, points)) * 10 ** generator.uniform(-9, 3, size=points)
    fields[:, :, :7] = 0.0
    return fields


@pytest.mark.parametrize("power", POWERS, ids=str)
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_sums_of_powers(power, offset):
    fields = fields_over_many_sizes()
    sums = np.zeros((2, 2))
    pointwise.second_sums(fields, np.full(2, offset), pointwise.power_table([power]), np.ones((2, 1), dtype=bool), sums)
    squares = np.square(fields).sum(axis=1) + offset
    np.testing.assert_allclose(sums[:, 0], (squares ** float(power / 2)).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(sums[:, 1], squares.sum(axis=1), rtol=1e-13)


@pytest.mark.parametrize("power", POWERS, ids=str)
def test_adjoint_at_every_point(power):
    """q sigma^(q-2) U, and zero where the map vanishes."""
    fields = fields_over_many_sizes()
    out = np.empty_like(fields)
    pointwise.second_adjoint(
        fields, np.zeros(2), pointwise.power_table([power]), np.ones((2, 1)), np.full(2, 1e-3), out
    )
    squares = np.square(fields).sum(axis=1, keepdims=True)
    alive = squares > 1e-29
    expected = np.where(alive, float(power) * np.where(alive, squares, 1.0) ** float(power / 2 - 1) * fields, 0.0)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-300)


def test_all_powers_at_once():
    fields = fields_over_many_sizes()
    table = pointwise.power_table(POWERS)
    weights = np.random.default_rng(1).normal(size=(2, len(POWERS)))
    together, single = np.empty_like(fields), np.zeros_like(fields)
    pointwise.second_adjoint(fields, np.zeros(2), table, weights, np.ones(2), together)
    for q in range(len(POWERS)):
        part = np.empty_like(fields)
        pointwise.second_adjoint(fields, np.zeros(2), table[q : q + 1], weights[:, q : q + 1], np.ones(2), part)
        single += part
    scale = np.abs(single).max(axis=(0, 1))
    np.testing.assert_allclose(together / np.maximum(scale, 1e-300), single / np.maximum(scale, 1e-300), atol=1e-11)


def leave_behind(value):
    """Memory of the size that the kernels work in, filled and freed: the next to ask for it finds the values."""
    freed = [np.full((9, 512), value) for _ in range(2)]
    del freed


@pytest.mark.parametrize("power", POWERS, ids=str)
def test_what_memory_held_before_does_not_matter(power):
    fields, table, ones = fields_over_many_sizes(), pointwise.power_table([power]), np.ones((2, 1))
    results = []
    for held in (0.5, np.nan):
        sums, out = np.zeros((2, 2)), np.empty_like(fields)
        leave_behind(held)
        pointwise.second_sums(fields, np.zeros(2), table, ones.astype(bool), sums)
        leave_behind(held)
        pointwise.second_adjoint(fields, np.zeros(2), table, ones, np.ones(2), out)
        results.append((sums, out))
    for before, after in zip(*results, strict=True):
        np.testing.assert_array_equal(before, after)
