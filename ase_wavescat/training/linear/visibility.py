"""Which features the training structures can tell anything about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_wavescat.representation.features import ModulusFeature, parse_key

VISIBLE = 1e-3


def visible_features(keys: Sequence[str], spread: np.ndarray) -> np.ndarray:
    """(F,) Moduli that vary by a thousandth at least of the one that varies most of its channel, power and order.

    spread (F,): standard deviation of each feature per atom. The widest wavelets of `sinz2020` do not fit into cells of
    ten angstrom: their maps are all but constant there and a million times as large in a cell of twice the side, where
    a weight learnt on them predicts anything at all. Features of other kinds are all visible.
    """
    kinds = np.array([_kind(key) for key in keys])
    visible = np.ones(len(keys), dtype=bool)
    for kind in set(kinds.tolist()) - {""}:
        mine = kinds == kind
        visible[mine] = spread[mine] > VISIBLE * spread[mine].max()
    return visible


def _kind(key: str) -> str:
    feature = parse_key(key)
    if isinstance(feature, ModulusFeature):
        return f"{feature.channel} {feature.power} {len(feature.path)}"
    return ""
