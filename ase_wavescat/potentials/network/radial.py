"""Radial functions of learned point scattering: what a field at an atom sees of a neighbour's distance.

Every function is multiplied by f(r) = (1 - (r/cutoff)^2)^3, which goes to zero with its first and second derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_genlaguerre

from ase_wavescat.representation.checks import refuse_unknown
from ase_wavescat.system.errors import SpecError

Array = NDArray[np.float64]

MOST_RADIAL_FUNCTIONS = 64
_FIRST_CENTRE = 0.5  # A; no two atoms come closer
_WIDTHS = (0.1, 10.0)  # A


def cutoff_function(distances: Array, cutoff: float) -> Array:
    """f(r) = (1 - (r/cutoff)^2)^3, zero from the cutoff on; any shape, A."""
    return np.maximum(0.0, 1.0 - (distances / cutoff) ** 2) ** 3


@dataclass(frozen=True)
class Gaussians:
    """g_p(r) = exp(-(r - c_p)^2 / 2w^2) f(r), centres c_p evenly from 0.5 A to the cutoff, w their distance.

    Attributes:
        count: number of functions, 2 to 64.

    Raises:
        SpecError: for any other count.
    """

    count: int = 12

    solid = False
    """The angular part is C_lm of a direction."""

    def __post_init__(self) -> None:
        whole = isinstance(self.count, int) and not isinstance(self.count, bool)
        if not whole or not 2 <= self.count <= MOST_RADIAL_FUNCTIONS:
            raise SpecError(f"the count of Gaussians is 2 to {MOST_RADIAL_FUNCTIONS}, got {self.count!r}")

    def finest(self, cutoff: float) -> float:
        """Length (A) over which the functions change."""
        return (cutoff - _FIRST_CENTRE) / (self.count - 1)

    def centres(self, cutoff: float) -> Array:
        """c_p (count,), A."""
        return np.linspace(_FIRST_CENTRE, cutoff, self.count)

    def values(self, distances: Array, cutoff: float) -> Array:
        """g_p (n, count) at distances (n,), A."""
        t = (distances[:, None] - self.centres(cutoff)) / self.finest(cutoff)
        return np.exp(-(t**2) / 2) * cutoff_function(distances, cutoff)[:, None]


@dataclass(frozen=True)
class RadialWavelets:
    """The wavelets' own radial parts: g_jk(r) = L_k^(1/2)(s^2/2) exp(-s^2/2) f(r), s = r / (beta 2^j).

    With the solid harmonics S_lm(r/A) as angular part, and k below `orders`, they span the radial parts of psi_nlm with
    n - l up to `orders`, at every l (see `ase_wavescat.representation.wavelets`).

    Attributes:
        beta: width of the finest (A), 0.1 to 10.
        scales: exponents j, ascending.
        orders: how many k a scale, at least 1.

    Raises:
        SpecError: for values out of range.
    """

    beta: float = 0.6
    scales: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    orders: int = 3

    solid = True
    """The angular part is S_lm of a vector in A."""

    def __post_init__(self) -> None:
        if not isinstance(self.scales, (tuple, list)) or not all(isinstance(j, (int, float)) for j in self.scales):
            raise SpecError(f"scales are a sequence of numbers, got {self.scales!r}")
        object.__setattr__(self, "scales", tuple(map(float, self.scales)))
        if not self.scales or list(self.scales) != sorted(set(self.scales)):
            raise SpecError(f"scales must ascend, each once, at least one; got {self.scales}")
        if isinstance(self.beta, bool) or not isinstance(self.beta, (int, float)):
            raise SpecError(f"beta must be a number, got {self.beta!r}")
        if not max(map(abs, self.scales)) < 100 or not math.isfinite(self.beta):
            raise SpecError(f"beta and scales must be finite, got beta = {self.beta}, scales = {self.scales}")
        narrow, wide = (self.beta * 2.0**j for j in (self.scales[0], self.scales[-1]))
        if not _WIDTHS[0] <= narrow <= wide <= _WIDTHS[1]:
            raise SpecError(f"wavelets are {_WIDTHS[0]} to {_WIDTHS[1]} A wide, beta 2^j is {narrow:g} to {wide:g} A")
        if not isinstance(self.orders, int) or isinstance(self.orders, bool) or self.orders < 1:
            raise SpecError(f"orders must be a whole number of at least 1, got {self.orders!r}")
        if self.count > MOST_RADIAL_FUNCTIONS:
            raise SpecError(f"there may be {MOST_RADIAL_FUNCTIONS} radial functions, got {self.count}")

    @property
    def count(self) -> int:
        """Number of functions."""
        return len(self.scales) * self.orders

    def finest(self, cutoff: float) -> float:
        """Length (A) over which the functions change."""
        return min(cutoff, self.beta * 2.0 ** self.scales[0] / math.sqrt(2 * self.orders))

    def values(self, distances: Array, cutoff: float) -> Array:
        """g_jk (n, count) at distances (n,), A; k runs fastest."""
        columns = []
        for j in self.scales:
            half_square = (distances / (self.beta * 2.0**j)) ** 2 / 2
            columns += [eval_genlaguerre(k, 0.5, half_square) * np.exp(-half_square) for k in range(self.orders)]
        return np.stack(columns, axis=1) * cutoff_function(distances, cutoff)[:, None]


Radial = Gaussians | RadialWavelets
_KINDS: dict[str, Callable[..., Radial]] = {"gaussians": Gaussians, "wavelets": RadialWavelets}


def radial_to_dict(radial: Radial) -> dict[str, Any]:
    """Plain data, JSON-ready; `radial_from_dict` is its inverse."""
    if isinstance(radial, Gaussians):
        return {"kind": "gaussians", "count": radial.count}
    return {"kind": "wavelets", "beta": radial.beta, "scales": list(radial.scales), "orders": radial.orders}


def radial_from_dict(data: Mapping[str, Any]) -> Radial:
    """Raises SpecError for unknown kinds and keys."""
    if not isinstance(data, Mapping):
        raise SpecError(f"radial functions are a table with a kind, got {data!r}")
    values = dict(data)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise SpecError(f"unknown kind of radial functions {kind!r}; known are {', '.join(_KINDS)}")
    known = ["count"] if kind == "gaussians" else ["beta", "scales", "orders"]
    refuse_unknown(values, known, "radial functions")
    return _KINDS[kind](**values)
