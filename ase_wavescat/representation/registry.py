"""The only list of families of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase_wavescat.representation.checks import require
from ase_wavescat.representation.families.correlations.family import Correlations
from ase_wavescat.representation.families.moduli.family import Moduli
from ase_wavescat.representation.families.points.family import Points
from ase_wavescat.representation.protocol import Family, Feature

FAMILIES: tuple[type[Family], ...] = (
    Correlations,
    Moduli,
    Points,
)


def family_from_dict(data: Mapping[str, Any]) -> Family:
    """A family from plain data, `{"family": name, **settings}`; SpecError for an unknown name or setting."""
    data = dict(data)
    name, known = data.pop("family", None), {family.name: family for family in FAMILIES}
    require(name in known, f"unknown feature family {name!r}; known are {sorted(known)}")
    return known[name].from_dict(data)


def parse_key(key: str) -> Feature:
    """The feature that a key names; ValueError on anything else. `parse_key(feature.key) == feature` for every one."""
    known = {feature.kind: feature for family in FAMILIES for feature in family.feature_classes}
    kind, _, rest = key.partition(":")
    if kind not in known:
        raise ValueError(f"cannot read the feature key {key!r}: unknown kind {kind!r}, known are {', '.join(known)}")
    try:
        return known[kind].parse(rest)
    except (ValueError, KeyError) as error:
        raise ValueError(f"cannot read the feature key {key!r}: {error}") from None
