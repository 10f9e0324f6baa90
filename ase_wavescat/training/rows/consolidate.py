r"""One support for all members: features that many selections agree on, cheap together, nested in size.

Each selection (bootstrap, fold) has its own least-squares problem, given by normal equations with the prior in them.
One support is grown for all: at each step every selection b says by how much each candidate gamma would lower its own
loss L_b, exactly, as in greedy orthogonal least squares; the candidate taken is the one with the largest

    mean_b [gain_b(gamma) / L_b] / (marginal cost of gamma)^power,

and all selections go on with it. So a feature that helps a few selections only, by chance, is not taken, features that
stand for one another are taken once, and those whose maps are there already come cheap. (Selecting apart and counting
votes does far worse: selections that need one of several like features spread their votes over all of them.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.system.errors import DataError
from ase_wavescat.system.progress import step_bar
from ase_wavescat.training.cost import SupportCost
from ase_wavescat.training.linear.greedy import Lockstep, design_of, first_best

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

COST_POWER = 0.5
"""Of the marginal cost. Measured on held-out melts: 0 makes maps until all are there, 1 spends features instead, 0.5
gives the same error for the same time with half the features of 1."""


@dataclass(frozen=True, eq=False)
class Consolidation:
    """Nested supports: the first k features of `order` are the support of size k.

    order (M,): indices of features.
    stability (M,): the share of selections that would themselves have taken the feature, or one as good to within a
        tenth, when it was taken; costs counted.
    unexplained (M,): mean over selections of the loss that is left, over that of no features at all (the loss less its
        minimum over all features, prior included).
    """

    order: IntArray
    stability: Array
    unexplained: Array

    def support(self, size: int) -> IntArray:
        """The features of a nested support, ascending."""
        if not 1 <= size <= len(self.order):
            raise DataError(f"supports have 1 to {len(self.order)} features, got size {size}")
        return np.sort(self.order[:size])


def consolidate(
    selections: Iterable[tuple[Array, Array]],
    size: int,
    cost: SupportCost | None = None,
    cost_power: float = COST_POWER,
) -> Consolidation:
    """Grow one support of up to `size` features for all selections.

    selections: matrix (F, F), prior included, and right-hand side (F,) of each one's normal equations; the unknowns
    scaled alike in all.  cost: what features need (default: all cost the same).
    Memory: 16 F^2 + 8 F size bytes for each selection.

    Raises DataError for no selection at all, a size below 1 and a matrix that is not positive definite.
    """
    if size < 1:
        raise DataError(f"a support has at least one feature, got size {size}")
    locksteps = [_lockstep(matrix, right, size) for matrix, right in selections]
    if not locksteps:
        raise DataError("consolidation needs at least one selection, got none")
    features = locksteps[0].open.shape[1]
    prices = None if cost is None else cost.prices.copy()
    order, stability, unexplained = [], [], []
    start = [_loss(lockstep) for lockstep in locksteps]
    most = min(size, features)
    for _ in step_bar(range(most), "selection of features", most):
        gains = np.array([_relative_gains(lockstep) for lockstep in locksteps])
        if cost is not None and prices is not None:
            gains /= cost.marginal(prices) ** cost_power
        mean = gains.mean(axis=0)
        if mean.max() <= 0:
            break
        chosen = first_best(mean)
        order.append(chosen)
        stability.append(np.mean(gains[:, chosen] >= 0.9 * gains.max(axis=1)))
        for lockstep in locksteps:
            lockstep.take(np.array([chosen]))
        unexplained.append(np.mean([_loss(x) / loss for x, loss in zip(locksteps, start, strict=True) if loss > 0]))
        if cost is not None and prices is not None:
            prices[cost.parts(chosen)] = 0.0
    return Consolidation(np.array(order), np.array(stability), np.array(unexplained))


def _lockstep(matrix: Array, right: Array, size: int) -> Lockstep:
    design, target = design_of(matrix, right)
    rows = np.ascontiguousarray(design.T)
    return Lockstep(rows, target, np.ones((1, len(target))), np.ones(len(rows), dtype=bool), min(size, len(rows)))


def _loss(lockstep: Lockstep) -> float:
    return float(lockstep.squares(lockstep.row_weights)[0])


def _relative_gains(lockstep: Lockstep) -> Array:
    """Gain of each candidate over the loss that is left, (F,); zero for those taken or refused."""
    relative, loss = np.zeros(lockstep.open.shape[1]), _loss(lockstep)
    if loss > 0:
        pool, gains = lockstep.gains(0, np.flatnonzero(lockstep.open[0]))
        relative[pool] = gains / loss
    return relative
