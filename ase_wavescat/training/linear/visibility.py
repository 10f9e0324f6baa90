"""Which features the training structures can tell anything about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ase_wavescat.representation.registry import parse_key

VISIBLE = 1e-3


def visible_features(keys: Sequence[str], spread: np.ndarray) -> np.ndarray:
    """(F,) Features that vary by a thousandth at least of the one that varies most among their peers.

    spread (F,): standard deviation of each feature per atom. Features without peers (`Feature.peers`) are all visible.
    """
    peers = np.array([parse_key(key).peers for key in keys])
    visible = np.ones(len(keys), dtype=bool)
    for name in set(peers.tolist()) - {""}:
        mine = peers == name
        visible[mine] = spread[mine] > VISIBLE * spread[mine].max()
    return visible
