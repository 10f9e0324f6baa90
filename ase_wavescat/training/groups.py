"""Groups of frames: how they are held out and drawn."""

from __future__ import annotations

import numpy as np


def assign_folds(groups: np.ndarray, folds: int, seed: int, judged: np.ndarray | None = None) -> np.ndarray:
    """The fold (0..folds-1) of each group, from the group of each frame: shuffled, then each to the emptiest fold.

    judged (n,): only these frames fill a fold; the others are spread over the folds just as evenly.
    """
    judged = np.ones(len(groups), dtype=bool) if judged is None else judged
    own, sizes = np.bincount(groups, weights=judged), np.bincount(groups)
    fold, order = np.empty(len(sizes), dtype=int), np.random.default_rng(seed).permutation(len(sizes))
    for mine, weights in ((order[own[order] > 0], own), (order[own[order] == 0], sizes)):
        frames = np.zeros(folds)
        for group in mine:
            fold[group] = np.argmin(frames)
            frames[fold[group]] += weights[group]
    return fold


def bootstrap(
    groups: np.ndarray, total: int, members: int, rng: np.random.Generator, judged: np.ndarray | None = None
) -> np.ndarray:
    """Multiplicities (members, total) of draws of len(groups) among `groups` with replacement.

    judged (total,): groups that are and groups that are not are drawn apart, as many as there are, so that a small
    source of labels beside a large one is in every draw.
    """
    judged = np.ones(total, dtype=bool) if judged is None else judged
    strata = [own for own in (groups[judged[groups]], groups[~judged[groups]]) if len(own)]
    draws = np.concatenate([rng.choice(own, size=(members, len(own))) for own in strata], axis=1)
    return np.array([np.bincount(draw, minlength=total) for draw in draws])


def judged_groups(groups: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """(G,) Which groups hold a frame that is judged, from the group and the judgement of each frame."""
    return np.bincount(groups, weights=judged) > 0


def training_sets(fold: np.ndarray) -> np.ndarray:
    """(folds, G) multiplicities of the groups: all folds but one."""
    return np.array([fold != k for k in range(int(fold.max()) + 1)], dtype=int)
