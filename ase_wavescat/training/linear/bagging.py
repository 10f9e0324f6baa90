"""Members by greedy selection on bootstraps of the groups, each validated by the groups that it did not draw (S20)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.groups import bootstrap
from ase_wavescat.training.linear.greedy import MEMORY_LIMIT, GreedyPaths, greedy_paths

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def bootstrap_leaving_out(groups: int, members: int, rng: np.random.Generator) -> IntArray:
    """Multiplicities (members, groups) of bootstrap draws, each of which leaves out a group at least.

    Draws that hold every group, one in e^(groups / 3) or so, are drawn again: nothing would validate them.
    Raises DataError for a single group.
    """
    if groups < 2:
        raise DataError(f"members by bootstrap need at least two groups, got {groups}: nothing would be left out")
    draws = bootstrap(np.arange(groups), groups, members, rng)
    while (full := draws.all(axis=1)).any():
        draws[full] = bootstrap(np.arange(groups), groups, int(full.sum()), rng)
    return draws


def greedy_members(
    design: Array,
    target: Array,
    groups: IntArray,
    frame_weights: Array | None = None,
    *,
    members: int = 100,
    max_features: int,
    bag: int | None = None,
    candidates: NDArray[np.bool_] | None = None,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
) -> GreedyPaths:
    """Members of an ensemble as in S20 sec. II C.

    design (n, F): features per atom; target (n,): energies per atom (eV); groups (n,): of each row, any integers.
    frame_weights (n,): of the squared errors (default 1).  bag: candidates a step, see `greedy.bag_size`; None: all.
    candidates (F,): features that may be taken (default: all). Leave out those that hardly vary here beside others of
    their kind, such as maps of wavelets too wide for these cells: their weights explode in other cells.
    Member b fits the rows of the groups in its bootstrap draw, a group drawn twice counting twice; its size M* is the
    one with the lowest error on the groups that it did not draw. Reproducible by seed, whatever the memory limit.

    Raises DataError for a single group, shapes that do not fit and values that are not finite.
    """
    names, rows = np.unique(groups, return_inverse=True)
    if len(rows) != len(target):
        raise DataError(f"there are {len(rows)} groups for {len(target)} rows; give the group of every row")
    ones = np.ones(len(target)) if frame_weights is None else np.asarray(frame_weights, dtype=float)
    draws = bootstrap_leaving_out(len(names), members, np.random.default_rng([seed, 0]))[:, rows]
    return greedy_paths(
        design,
        target,
        draws * ones,
        (draws == 0) * ones,
        max_features=max_features,
        bag=bag,
        candidates=candidates,
        seeds=[(seed, 1, member) for member in range(members)],
        memory_limit=memory_limit,
    )
