r"""Greedy orthogonal least squares (S20 sec. II C): many members in lockstep, exact, by re-orthogonalised vectors.

Member b has row weights m_b and the inner product <u, v>_b = sum_i m_bi u_i v_i. One step takes, among the candidates
x, the one that lowers the squared error |r|_b^2 most once it is made orthogonal to those already taken,

    gain = <x_perp, r>_b^2 / |x_perp|_b^2,        x_perp = x - sum_k <q_k, x>_b q_k,

appends q = x_perp / |x_perp|_b, and takes q <q, r>_b from the residual r. Instead of x_perp, its norm and its
correlation with r are kept for every candidate of every member: with p = <q, x>_b they change by -p^2 and -p <q, r>_b,
and the p of all candidates and members are one matrix product. The vector that is taken is made orthogonal explicitly,
twice; a norm that has lost eight digits is computed anew from the vectors, as LAPACK's pivoted QR does, and a candidate
of which nothing is left (1e-6 of its length) depends on those taken and is refused.

Vectors extend over all rows, those of weight zero as well, so that the error on rows left out follows after each step.

The papers' feature bagging: at each step a member sees round(sqrt(F + 1)) candidates only, drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular

from ase_wavescat.system.errors import DataError
from ase_wavescat.system.progress import step_bar

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

MEMORY_LIMIT = 1 << 30
_DRAINED = 1e-8  # of a squared norm: below, it is computed anew
_DEPENDENT = 1e-12  # of a squared norm: below, the candidate is refused
_CONSTANT = 1e-10  # spread of a column over its largest value
_EXACT = 1e-26  # of the squared target: below, nothing is left to explain
_TIE = 1e-9  # gains as close as this are equal, and the first candidate is taken


@dataclass(frozen=True, eq=False)
class GreedyPaths:
    """What B members took, in order, and the fit of each at its best size.

    order (B, M): features in the order they were taken, -1 once nothing was left to take.
    training_error, validation_error (B, M + 1): weighted mean squared errors after 0, 1, ... M features; the last is
        NaN where there are no validation rows.
    sizes (B,): M*, the size with the lowest validation error; all that was taken where there are no validation rows.
    weights (B, F), biases (B,): the least-squares fit on the first M* features.
    """

    order: IntArray
    training_error: Array
    validation_error: Array
    sizes: IntArray
    weights: Array
    biases: Array

    @property
    def support(self) -> IntArray:
        """The features that any member uses at its best size, ascending."""
        return np.flatnonzero(self.weights.any(axis=0))


def bag_size(features: int) -> int:
    """Candidates that a member sees at each step under the papers' feature bagging: round(sqrt(F + 1))."""
    return round(float(np.sqrt(features + 1)))


def greedy_paths(
    design: Array,
    target: Array,
    row_weights: Array,
    validation: Array | None = None,
    *,
    max_features: int,
    bag: int | None = None,
    seeds: Sequence[Sequence[int]] | None = None,
    candidates: NDArray[np.bool_] | None = None,
    intercept: bool = True,
    memory_limit: int = MEMORY_LIMIT,
) -> GreedyPaths:
    """Select features for B members by greedy orthogonal least squares.

    design (n, F), target (n,): shared by the members.  row_weights (B, n): of the squared errors in each member's fit;
    validation (B, n): of those in its validation error (0: not a validation row), or None.
    max_features: where to stop.  bag: candidates a step, drawn by `seeds` (one sequence of integers a member); None:
    all.  candidates (F,): which features may be taken (default: all).  intercept: a constant comes first and is free.
    memory_limit: bytes of vectors held at once; members are taken in blocks, which changes no result.

    Raises DataError for values that are not finite, rows without weight and shapes that do not fit.
    """
    design, target = np.asarray(design, dtype=float), np.asarray(target, dtype=float)
    row_weights = np.atleast_2d(np.asarray(row_weights, dtype=float))
    _check(design, target, row_weights, validation, max_features, bag, seeds)
    steps = min(max_features, design.shape[1])
    centre = design.mean(axis=0) if intercept else np.zeros(design.shape[1])
    rows = np.ascontiguousarray((design - centre).T)
    scale = np.sqrt(np.mean(rows**2, axis=1))
    varies = scale > _CONSTANT * np.abs(design).max(axis=0, initial=0.0)
    if candidates is not None:
        varies &= candidates
    scale = np.where(varies, scale, 1.0)
    rows /= scale[:, None]
    size = max(1, int(memory_limit // (8 * (steps + 1) * len(target))))
    parts = []
    for start in range(0, len(row_weights), size):
        part = slice(start, start + size)
        lockstep = Lockstep(rows, target, row_weights[part], varies, steps + 1)
        selection = _Selection(lockstep, bag, None if seeds is None else seeds[part])
        parts.append(selection.run(steps, intercept, None if validation is None else validation[part]))
    paths = [np.concatenate(values) for values in zip(*parts, strict=True)]
    order, training, left_out, sizes, standard, biases = paths
    solution = standard / scale
    return GreedyPaths(order, training, left_out, sizes, solution, biases - solution @ centre)


def design_of(matrix: Array, right: Array) -> tuple[Array, Array]:
    """A design (F, F) and target (F,) with the given normal equations: matrix = X^T X, right = X^T y.

    By Cholesky, so that greedy selection serves any quadratic loss: energies, forces and stresses together, with the
    prior in `matrix`. The squared error on them is the loss less its minimum over all features. A matrix that rounding
    has made indefinite is taken without its smallest eigenvalues; the design has fewer rows then.
    Raises DataError for a matrix that is not positive definite beyond rounding.
    """
    try:
        upper = cholesky(matrix, lower=False)
        return upper, solve_triangular(upper, right, trans="T")
    except np.linalg.LinAlgError:
        values, vectors = eigh(matrix)
    rounding = len(values) * np.finfo(float).eps * values[-1]
    if not values[0] > -1e2 * rounding:
        raise DataError(
            f"the matrix of the normal equations, {np.shape(matrix)}, has eigenvalues from {values[0]:.3g} to"
            f" {values[-1]:.3g} and must be positive definite; give the prior a greater strength"
        )
    kept = values > rounding
    roots = np.sqrt(values[kept])
    return roots[:, None] * vectors[:, kept].T, vectors[:, kept].T @ right / roots


def _check(
    design: Array,
    target: Array,
    row_weights: Array,
    validation: Array | None,
    max_features: int,
    bag: int | None,
    seeds: Sequence[Sequence[int]] | None,
) -> None:
    count = len(target)
    if design.ndim != 2 or design.shape[0] != count or target.ndim != 1 or design.size == 0:
        raise DataError(f"the design {design.shape} and the target {target.shape} must have the same, non-zero rows")
    if row_weights.shape[1] != count or (validation is not None and np.shape(validation) != row_weights.shape):
        shapes = f"{row_weights.shape} and {None if validation is None else np.shape(validation)}"
        raise DataError(f"row_weights and validation must have the shape (members, {count}), got {shapes}")
    for name, values in (("design", design), ("target", target), ("weights", row_weights)):
        if not np.isfinite(values).all():
            raise DataError(f"the {name} of a greedy fit holds values that are not finite; leave those rows out")
    for name, of_rows in (("training", row_weights), ("validation", validation)):
        if of_rows is not None and ((of_rows < 0).any() or (np.sum(of_rows, axis=1) <= 0).any()):
            raise DataError(f"every member needs {name} rows, with weights that are not negative")
    if max_features < 1 or (bag is not None and bag < 1):
        raise DataError(f"max_features and bag must be at least 1, got {max_features} and {bag}")
    if bag is not None and (seeds is None or len(seeds) != len(row_weights)):
        raise DataError(f"feature bagging needs seeds, one sequence of integers for each of {len(row_weights)} members")


class Lockstep:
    """Members in lockstep: their vectors and residuals, and what is left of every candidate.

    rows (F, n): candidates of about the same size; target (n,); row_weights (B, n); varies (F,): which rows are
    candidates; steps: vectors there is room for.  open (B, F): candidates neither taken nor refused.
    """

    def __init__(self, rows: Array, target: Array, row_weights: Array, varies: NDArray[np.bool_], steps: int) -> None:
        members, count = row_weights.shape
        self.rows, self.row_weights = rows, row_weights
        self.vectors = np.zeros((members, steps, count))
        self.triangles = np.zeros((members, steps, steps))  # x_taken = triangle^T vectors
        self.projections = np.zeros((members, steps))  # <q, target>
        self.taken = 0  # vectors so far
        self.residuals = np.tile(target, (members, 1))
        self.norms = row_weights @ (rows**2).T
        self.correlations = (row_weights * self.residuals) @ rows.T
        self.original, self.reference = self.norms.copy(), self.norms.copy()
        self.open = np.tile(varies, (members, 1))

    def squares(self, weights: Array) -> Array:
        """Sums over rows of weights (B, n) times squared residuals, (B,)."""
        return np.asarray((weights * self.residuals**2).sum(axis=1))

    def gains(self, b: int, pool: IntArray) -> tuple[IntArray, Array]:
        """What each candidate of a pool would take from the squared error of a member; less those refused."""
        self._renew(b, pool[self.norms[b, pool] <= _DRAINED * self.reference[b, pool]])
        pool = pool[self.open[b, pool]]
        return pool, self.correlations[b, pool] ** 2 / self.norms[b, pool]

    def take(self, chosen: IntArray) -> None:
        """One candidate for each member, (B,); -1 for none: a vector of zeros, which changes nothing."""
        going = np.flatnonzero(chosen >= 0)
        self.append(np.where((chosen >= 0)[:, None], self.rows[chosen], 0.0))
        self.open[going, chosen[going]] = False

    def append(self, x: Array) -> None:
        """Make columns x (B, n), one a member, orthogonal, and take them from residuals and candidates."""
        k, q = self.taken, self.vectors[:, : self.taken]
        x = x[:, None, :]
        total = np.zeros((len(x), 1, k))
        for _ in range(2):
            part = np.matmul(x * self.row_weights[:, None], q.swapaxes(1, 2))
            x = x - np.matmul(part, q)
            total += part
        x = x[:, 0]
        norms = np.sqrt((self.row_weights * x**2).sum(axis=1))
        x /= np.where(norms > 0, norms, 1.0)[:, None]
        self.vectors[:, k] = x
        self.triangles[:, :k, k] = total[:, 0]
        self.triangles[:, k, k] = norms
        weighted = self.row_weights * x
        along = (weighted * self.residuals).sum(axis=1)
        self.projections[:, k] = along
        self.residuals -= along[:, None] * x
        products = weighted @ self.rows.T
        self.norms -= products**2
        self.correlations -= along[:, None] * products
        self.taken += 1

    def solution(self, b: int, size: int) -> Array:
        """Least-squares weights of the first `size` columns of a member."""
        return solve_triangular(self.triangles[b, :size, :size], self.projections[b, :size])

    def _renew(self, b: int, drained: IntArray) -> None:
        """Norms and correlations of candidates from the vectors themselves; refuses those of which nothing is left."""
        if not drained.size:
            return
        x, q, m = self.rows[drained], self.vectors[b, : self.taken], self.row_weights[b]
        for _ in range(2):
            x = x - ((x * m) @ q.T) @ q
        self.norms[b, drained] = self.reference[b, drained] = (x**2) @ m
        self.correlations[b, drained] = x @ (m * self.residuals[b])
        self.open[b, drained] &= self.norms[b, drained] > _DEPENDENT * self.original[b, drained]


class _Selection:
    """The choices of members in lockstep: the candidates they see."""

    def __init__(self, lockstep: Lockstep, bag: int | None, seeds: Sequence[Sequence[int]] | None) -> None:
        self.lockstep, self.bag = lockstep, bag
        self.generators = [np.random.default_rng(list(seed)) for seed in seeds or ()]
        self.smallest = _EXACT * lockstep.squares(lockstep.row_weights)

    def run(self, steps: int, intercept: bool, validation: Array | None) -> tuple[Array, ...]:
        """Take features until the last step; what `GreedyPaths` holds, weights of the scaled columns."""
        lockstep = self.lockstep
        members, features = lockstep.open.shape
        order = np.full((members, steps), -1)
        if intercept:
            lockstep.append(np.ones_like(lockstep.residuals))
        first = lockstep.taken
        errors = [self._errors(validation)]
        for step in step_bar(range(steps), "greedy selection", steps):
            left = lockstep.squares(lockstep.row_weights) > self.smallest
            order[:, step] = [self._choose(b) if left[b] else -1 for b in range(members)]
            lockstep.take(order[:, step])
            errors.append(self._errors(validation))
        training, left_out = (np.array(values).T for values in zip(*errors, strict=True))
        sizes = np.count_nonzero(order >= 0, axis=1) if validation is None else np.argmin(left_out, axis=1)
        weights, biases = np.zeros((members, features)), np.zeros(members)
        for b, size in enumerate(sizes.tolist()):
            solution = lockstep.solution(b, first + size)
            weights[b, order[b, :size]] = solution[first:]
            biases[b] = solution[:first].sum()
        return order, training, left_out, sizes, weights, biases

    def _errors(self, validation: Array | None) -> tuple[Array, Array]:
        """Weighted mean squared residuals of each member: in training, in validation."""
        weights = self.lockstep.row_weights
        training = self.lockstep.squares(weights) / weights.sum(axis=1)
        if validation is None:
            return training, np.full(len(training), np.nan)
        return training, self.lockstep.squares(validation) / validation.sum(axis=1)

    def _choose(self, b: int) -> int:
        """The next feature of a member, -1 if there is none."""
        while (pool := np.flatnonzero(self.lockstep.open[b])).size:
            if self.bag is not None and self.bag < len(pool):
                pool = np.sort(self.generators[b].choice(pool, self.bag, replace=False, shuffle=False))
            pool, gains = self.lockstep.gains(b, pool)
            if pool.size:
                return int(pool[first_best(gains)])
        return -1


def first_best(gains: Array) -> int:
    """The first of the largest, up to rounding: the same on every machine."""
    return int(np.argmax(gains >= (1 - _TIE) * gains.max()))
