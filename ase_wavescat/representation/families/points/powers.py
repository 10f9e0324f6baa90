"""Softened lengths and their powers, at the atoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROUNDING = 1e-12  # a modulus of this part of its unit is an exact zero: its derivative is zero


@dataclass(frozen=True, eq=False)
class SoftPowers:
    """(s + o)^(q/2) - o^(q/2) of M sums of squares s, with o = (epsilon u)^2.

    Attributes:
        exponents: (Q,) q.
        columns: (M, Q) of the features that are sums of these; -1 where there is none.
        units: (M,) u, what one atom alone can make of a map.
        softening: epsilon.
    """

    exponents: tuple[float, ...]
    columns: IntArray
    units: Array
    softening: float

    @cached_property
    def _offsets(self) -> Array:
        return (self.softening * self.units) ** 2

    @cached_property
    def _columns_of(self) -> list[tuple[float, IntArray, IntArray]]:
        """Of each power, q, the maps that have it, and their columns."""
        found = []
        for exponent, columns in zip(self.exponents, self.columns.T, strict=True):
            maps = np.flatnonzero(columns >= 0)
            if len(maps):
                found.append((exponent, maps, columns[maps]))
        return found

    def lengths(self, squares: Array) -> Array:
        """(N, M) from s (N, M): q = 1."""
        return np.sqrt(squares + self._offsets) - np.sqrt(self._offsets)

    def length_slopes(self, squares: Array) -> Array:
        """(N, M), d length / ds."""
        return self._slopes(squares, 1.0, np.arange(squares.shape[1]))

    def _slopes(self, squares: Array, exponent: float, maps: IntArray) -> Array:
        """(q/2) (s + o)^(q/2 - 1) of some maps, zero where the modulus vanishes."""
        total = squares[:, maps] + self._offsets[maps]
        vanishes = total <= (_ROUNDING * self.units[maps]) ** 2
        total[vanishes] = 1.0
        slopes: Array = exponent / 2 * total ** (exponent / 2 - 1)
        slopes[vanishes] = 0.0
        return slopes

    def add_values(self, squares: Array, values: Array) -> None:
        """Put each feature's values at the atoms into its column of values (N, F)."""
        for exponent, maps, columns in self._columns_of:
            offsets = self._offsets[maps]
            values[:, columns] = (squares[:, maps] + offsets) ** (exponent / 2) - offsets ** (exponent / 2)

    def adjoint(self, weights: Array, squares: Array) -> Array:
        """dE/ds (N, M) of E = weights . features, weights (F,) or (N, F)."""
        result = np.zeros_like(squares)
        for exponent, maps, columns in self._columns_of:
            result[:, maps] += weights[..., columns] * self._slopes(squares, exponent, maps)
        return result

    def add_tangent(self, change: Array, squares: Array, derivatives: Array) -> None:
        """Put the derivatives of the features along a change ds (N, M) into their columns of (F,)."""
        for exponent, maps, columns in self._columns_of:
            derivatives[columns] = (self._slopes(squares, exponent, maps) * change[:, maps]).sum(axis=0)
