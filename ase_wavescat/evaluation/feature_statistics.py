"""What a model is made of: its selected features by channel, power, scale, body order (B18 figures 4 to 6)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.representation.features import AtomFeature, BandFeature, Feature, Map, ModulusFeature, PairFeature


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
        for title, value in _properties(potential.spec.features[potential.spec.index(key)]).items():
            sums.setdefault(title, {}).setdefault(value, np.zeros(2))[:] += count, share
    return tuple(
        Breakdown(title, tuple(Part(_label(value), *map(float, found[value])) for value in sorted(found)))
        for title, found in sums.items()
    )


def _properties(feature: Feature) -> Mapping[str, Hashable]:
    """Values of what can be said of a feature; values of one property can be sorted."""
    if isinstance(feature, ModulusFeature):
        return _modulus_properties(feature)
    species = set(_species(feature))
    found: dict[str, Hashable] = {
        "correlations: body order": f"{feature.body_order}-body",
        "correlations: species": "-".join(chemical_symbols[z] for z in sorted(species)),
    }
    maps = list(_maps(feature))
    if maps:
        fields = [field.wavelet for m in maps for field in (m.first, m.second)]
        found["maps: scales j"] = tuple(sorted({wavelet.scale for wavelet in fields}))
        found["maps: degrees l"] = tuple(sorted(m.first.wavelet.l for m in maps))
    if isinstance(feature, AtomFeature):
        found["features at the atoms: central species"] = chemical_symbols[feature.centre]
    else:
        found[f"{feature.body_order}-body: radial band"] = feature.band
    return found


def _modulus_properties(feature: ModulusFeature) -> Mapping[str, Hashable]:
    found: dict[str, Hashable] = {
        "moduli: order": len(feature.path),
        "moduli: channel": feature.channel,
        "moduli: power q": feature.power,
    }
    if len(feature.path) == 1:
        found["first order: scale j"] = feature.path[0].scale
        found["first order: (n, l)"] = (feature.path[0].n, feature.path[0].l)
    if len(feature.path) == 2:
        first, second = feature.path
        found["second order: scales (j1, j2)"] = (first.scale, second.scale)
        found["second order: (n1, l1)"] = (first.n, first.l)
        found["second order: (n2, l2)"] = (second.n, second.l)
    return found


def _maps(feature: PairFeature | AtomFeature | BandFeature) -> Iterator[Map]:
    if isinstance(feature, AtomFeature):
        yield from feature.maps
    elif isinstance(feature, BandFeature):
        if isinstance(feature.first, Map):
            yield feature.first
        yield feature.second


def _species(feature: PairFeature | AtomFeature | BandFeature) -> Iterator[int]:
    if isinstance(feature, PairFeature):
        yield from feature.species
    elif isinstance(feature, AtomFeature):
        yield feature.centre
    elif not isinstance(feature.first, Map):
        yield feature.first
    for m in _maps(feature):
        yield from (m.first.number, m.second.number)


def _label(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_label(inner) for inner in value)
    return str(value) if isinstance(value, (str, int, Fraction)) else f"{value:g}"
