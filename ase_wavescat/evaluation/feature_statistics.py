"""What a model is made of: its selected features by channel, power, scale, body order (B18 figures 4 to 6)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ase_wavescat.potentials.linear import LinearPotential


@dataclass(frozen=True)
class Part:
    """Features that share a property: how many a member has of them, on average, and their share of its weight."""

    label: str
    count: float
    share: float


@dataclass(frozen=True)
class Breakdown:
    """All features that have a property, by its values."""

    title: str
    parts: tuple[Part, ...]


def feature_breakdowns(potential: LinearPotential) -> tuple[Breakdown, ...]:
    """Counts and shares of the features by their properties, over the members.

    A member has a feature where its weight is not zero. Its importance is |weight| times the standard deviation of the
    feature per atom over the training set, eV/atom, or |weight| alone where its ranges are not recorded; shares are
    of the sum over all features.
    """
    weights = np.abs(potential.weights)
    counts = (weights > 0).mean(axis=0)
    importance = (weights if potential.ranges is None else weights * potential.ranges.std).mean(axis=0)
    total = float(importance.sum())
    shares = importance / total if total > 0 else importance
    sums: dict[str, dict[Any, np.ndarray]] = {}
    for key, count, share in zip(potential.keys, counts, shares, strict=True):
        for title, value in potential.spec.features[potential.spec.index(key)].properties.items():
            sums.setdefault(title, {}).setdefault(value, np.zeros(2))[:] += count, share
    return tuple(
        Breakdown(title, tuple(Part(_label(value), *map(float, found[value])) for value in sorted(found)))
        for title, found in sums.items()
    )


def _label(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_label(inner) for inner in value)
    return str(value) if isinstance(value, (str, int, Fraction)) else f"{value:g}"
