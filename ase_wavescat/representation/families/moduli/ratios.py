"""Ratio normalisation (B18): features of the first and second order over the integral of their parent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.families.moduli.features import ModulusFeature

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Ratios:
    """phi = N I / I_parent, with I = integral sigma^q du, I_parent that of the path less its last wavelet, and N atoms.

    The parent of a first-order feature is the zeroth order of its channel and power, which itself stays as it is.
    N keeps sums of weights times features extensive: I / I_parent does not grow with the cell.
    integrals: what is needed, the features themselves first, then parents that are none.
    """

    def __init__(self, features: Sequence[ModulusFeature]) -> None:
        columns = {f: column for column, f in enumerate(features)}
        parents = []
        for feature in features:
            if feature.path:
                parent = dataclasses.replace(feature, path=feature.path[:-1])
                parents.append(columns.setdefault(parent, len(columns)))
        self.integrals: list[ModulusFeature] = list(columns)
        self.count = len(features)
        self.children: IntArray = np.array([i for i, f in enumerate(features) if f.path], dtype=np.int64)
        self.parents: IntArray = np.array(parents, dtype=np.int64)

    def of(self, integrals: Array, floors: Array, atoms: int) -> RatioValues:
        """The features of one structure. floors (I,): integrals of no more are zero but for rounding."""
        return RatioValues(self, integrals, floors, atoms)


class RatioValues:
    """Features (F,) of one structure, and the derivatives of phi: d phi = (N / I_parent) (dI - I / I_parent dI_parent).

    Where the parent is zero but for rounding, so are phi and its derivative.
    """

    def __init__(self, ratios: Ratios, integrals: Array, floors: Array, atoms: int) -> None:
        self._ratios, self._size = ratios, len(integrals)
        own, above = integrals[ratios.children], integrals[ratios.parents]
        alive = above > floors[ratios.parents]
        divisor = np.where(alive, above, np.inf)
        self._factors = atoms / divisor
        self._quotients = own / divisor
        self.features: Array = integrals[: ratios.count].copy()
        self.features[ratios.children] = atoms * self._quotients

    def adjoint(self, weights: Array) -> Array:
        """Weights (I,) of the integrals from weights (F,) of the features."""
        result = np.zeros(self._size)
        result[: self._ratios.count] = weights
        scaled = weights[self._ratios.children] * self._factors
        result[self._ratios.children] = scaled
        np.subtract.at(result, self._ratios.parents, scaled * self._quotients)
        return result

    def tangent(self, changes: Array) -> Array:
        """Changes (F,) of the features from changes (I,) of the integrals."""
        result = changes[: self._ratios.count].copy()
        ratios = self._ratios
        result[ratios.children] = self._factors * (changes[ratios.children] - self._quotients * changes[ratios.parents])
        return result
