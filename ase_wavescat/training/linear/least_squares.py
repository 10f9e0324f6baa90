"""Regularised least squares for many selections of groups at once: folds, bootstraps, the full set.

For one selection, with multiplicities n_g of the groups, the weights w (F,) and energies e (B,) of the species minimise

    sum_g n_g sum_{frames k of g} v_k [ a_E^2 ((E_pred - E) / N)^2 + a_F^2 |F_pred - F|_c^2 + a_S^2 |s_pred - s|^2 ]
        + sum_{contacts} [(change of E_pred - target) / error]^2
        + strength * sum_gamma penalty_gamma (w_gamma - w0_gamma)^2

(B21 eq. 5.16, with stresses s and a prior), where |.|^2 sums over components: every force component is one datum, so
1/a are the errors expected of one label; |.|_c^2 weighs each by c^2 <= 1, because large forces are predicted less
exactly; v_k are the frames' weights and w0 the weights of another model, or zero.
Everything that a selection needs is a sum of Gram matrices X_g^T X_g over its groups, with X_g the weighted rows of the
group: features, species, target. They are computed once a group, in one stream through the rows, and added into all
selections together by a matrix product; the sizes of the features' columns, which the prior's prices are made of, come
out of the same stream, since prices and strength enter only afterwards. The loss on held-out frames is a quadratic form
of such a sum, so no rows are read to choose the strength.
Memory: one packed triangle, 4 P^2 bytes with P = F + B + 1, for each selection and for each of `_BLOCKS_AT_ONCE` blocks
of rows; selections beyond `memory_limit` are taken in further streams.

Energies are fitted after their part linear in the composition is removed from the features: the species energies
are not penalised, so this changes no minimum, but it removes most of the size of the energy columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import blas, cho_solve, cholesky, eigh, lapack
from tqdm import tqdm

from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.contacts import Contacts
from ase_wavescat.training.linear.observation import EnergyRows, LabelWeights, Observation
from ase_wavescat.training.linear.statistics import RowSquares, Statistics

_BLOCKS_AT_ONCE = 8
_COLUMNS_AT_ONCE = 1 << 18
_ROWS_AT_ONCE = 256
_NEGLIGIBLE = 1e-10
MEMORY_LIMIT = 4 << 30


@dataclass(frozen=True, eq=False)
class Selections:
    """The groups of each of D problems.

    Attributes:
        multiplicities: (D, G) how often each group counts.
        drawn_from: (D, G) what each was drawn from. Energies of species that a selection leaves undetermined are those
            of `EnergyRows.species_energies` there: never taken from groups that are held out.
        held_out: (D,) whether it serves to evaluate losses: of judged frames alone, without the close contacts.
    """

    multiplicities: np.ndarray
    drawn_from: np.ndarray
    held_out: np.ndarray

    @classmethod
    def fits(cls, multiplicities: np.ndarray, drawn_from: np.ndarray | None = None) -> Selections:
        """To be solved; drawn from themselves by default."""
        origin = multiplicities if drawn_from is None else drawn_from
        return cls(multiplicities, origin, np.zeros(len(multiplicities), dtype=bool))

    @classmethod
    def losses(cls, multiplicities: np.ndarray) -> Selections:
        """To evaluate losses with."""
        return cls(multiplicities, multiplicities, np.ones(len(multiplicities), dtype=bool))

    def __len__(self) -> int:
        return len(self.multiplicities)

    def __add__(self, other: Selections) -> Selections:
        return Selections(*(np.concatenate(pair) for pair in zip(_parts(self), _parts(other), strict=True)))

    def __getitem__(self, part: slice) -> Selections:
        return Selections(*(array[part] for array in _parts(self)))


def _parts(selections: Selections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return selections.multiplicities, selections.drawn_from, selections.held_out


@dataclass(frozen=True, eq=False)
class Solutions:
    """Fits of D selections: weights (D, F), species_energies (D, B), and how well posed each was.

    condition (D,): condition number (1-norm) of the scaled matrix that was solved.
    indefinite (D,): the Cholesky factorisation failed, and the solution is from the positive eigenvalues only.
    """

    weights: np.ndarray
    species_energies: np.ndarray
    condition: np.ndarray
    indefinite: np.ndarray


class NormalEquations:
    """The problem of one selection, in unknowns u scaled so that the prior is strength |u|^2: (A + strength) u = b.

    gram: (P, P), symmetric, of the weighted rows: features, species, target.
    start: (B,) the species energies, less those subtracted already, that stay where nothing determines them.
    """

    def __init__(self, problem: LeastSquares, gram: np.ndarray, start: np.ndarray) -> None:
        self.problem, self.gram, self.start = problem, gram, start
        features, species = len(problem.penalty), len(start)
        self._features, self._species = slice(0, features), slice(features, features + species)
        self._target = features + species

    @cached_property
    def _eliminated(self) -> tuple[np.ndarray, np.ndarray]:
        """The species energies (B,) without features, and what the features take from them, (B, F).

        By the pseudo-inverse, which serves absent species and compositions on one line.
        """
        gram, w, e, y = self.gram, self._features, self._species, self._target
        inverse = np.linalg.pinv(gram[e, e], rcond=_NEGLIGIBLE, hermitian=True)
        return self.start + inverse @ (gram[e, y] - gram[e, e] @ self.start), inverse @ gram[e, w]

    @cached_property
    def matrix(self) -> np.ndarray:
        """A, (F, F)."""
        w, e, units = self._features, self._species, self.problem.units
        matrix = self.gram[w, w] - self.gram[w, e] @ self._eliminated[1]
        matrix *= units[:, None] * units
        return matrix

    @cached_property
    def right(self) -> np.ndarray:
        """b, (F,)."""
        gram, w, e, y = self.gram, self._features, self._species, self._target
        return np.asarray(self.problem.units * (gram[w, y] - self._eliminated[1].T @ gram[e, y]))

    def with_prior(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """A + strength and b, as selections of features take them."""
        return self.matrix + strength * np.eye(len(self.right)), self.right

    def solve(self, strength: float, support: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float, bool]:
        """Weights (F,), species energies (B,), condition number, whether eigenvalues were left out.

        support: indices of the features that may have weight; all of them by default.
        """
        problem = self.problem
        chosen = slice(None) if support is None else np.asarray(support)
        matrix = self.matrix.copy() if support is None else self.matrix[np.ix_(support, support)]
        matrix[np.diag_indices(len(matrix))] += strength
        solution, condition, indefinite = _solve_symmetric(matrix, self.right[chosen])
        scaled = np.zeros(len(self.right))
        scaled[chosen] = solution
        weights = problem.units * scaled
        constant, linear = self._eliminated
        deviations = constant - linear @ weights - problem.energy_rows.composition @ weights
        return weights + problem.towards, problem.species_energies + deviations, condition, indefinite

    def loss(self, weights: np.ndarray, species_energies: np.ndarray) -> np.ndarray:
        """The data term of the selection's rows, (K,), for weights (K, F) and species energies (K, B)."""
        problem = self.problem
        moved = (weights - problem.towards) * problem.statistics.active
        energies = species_energies - problem.species_energies + moved @ problem.energy_rows.composition.T
        unknowns = np.concatenate([moved, energies, -np.ones((len(weights), 1))], axis=1)
        return np.einsum("kp,kp->k", unknowns @ self.gram, unknowns)


class LeastSquares:
    """The least-squares problem of a set of observations: set up once, solved for any selections of its groups.

    Args:
        observations: read one after the other, once a stream.
        groups: (n,) the group of each observation, 0..G-1.
        label_weights: of the squared errors of energies, forces and stresses.
        energy_rows: of the observations, where they are known already.
        judged: (n,) whose errors count where groups are held out; all by default.
        usable: (F,) which features may have weight; all by default.
        prices: what makes the penalty, (F,) positive numbers, from the statistics; default `Statistics.scale` squared.
        contacts: rows without labels that belong to every fit.
        towards: (F,) w0, the weights that the prior prefers.
        memory_limit: bytes of Gram matrices held at once.
        progress: show how far rows are read and problems solved.
    """

    def __init__(
        self,
        observations: Sequence[Observation],
        groups: np.ndarray,
        label_weights: LabelWeights,
        *,
        energy_rows: EnergyRows | None = None,
        judged: np.ndarray | None = None,
        usable: np.ndarray | None = None,
        prices: Prices | None = None,
        contacts: Contacts | None = None,
        towards: np.ndarray | None = None,
        memory_limit: int = MEMORY_LIMIT,
        progress: bool = False,
    ) -> None:
        self.observations, self.groups, self.label_weights = observations, np.asarray(groups), label_weights
        self.energy_rows = EnergyRows.gather(observations) if energy_rows is None else energy_rows
        self.judged = np.ones(len(self.groups), dtype=bool) if judged is None else judged
        features = self.energy_rows.features.shape[1]
        self.usable = np.ones(features, dtype=bool) if usable is None else usable
        self.prices, self.contacts = prices, contacts
        self.towards = np.zeros(features) if towards is None else np.asarray(towards, dtype=float)
        self.species_energies = self.energy_rows.species_energies(np.ones(len(self.groups)))
        self.memory_limit, self.progress = memory_limit, progress

    @cached_property
    def statistics(self) -> Statistics:
        """Of all observations; in a stream of its own where none has been through all of them."""
        squares = RowSquares.gather(self.observations, len(self.towards))
        return Statistics.of_rows(self.energy_rows, squares, self.usable)

    @cached_property
    def penalty(self) -> np.ndarray:
        """(F,). Raises ValueError for prices that are not positive, finite numbers."""
        prices = self.prices or (lambda statistics: statistics.scale(self.label_weights) ** 2)
        penalty = np.asarray(prices(self.statistics), dtype=float)
        if penalty.shape != self.towards.shape or not (np.isfinite(penalty) & (penalty > 0)).all():
            raise ValueError(f"the penalty must be {len(self.towards)} positive finite numbers, one a feature")
        return penalty

    @cached_property
    def units(self) -> np.ndarray:
        """Weight of each feature at u = 1, (F,); zero for those that do not vary."""
        return np.where(self.statistics.active, 1.0 / np.sqrt(self.penalty), 0.0)

    def of(self, columns: np.ndarray) -> LeastSquares:
        """The same problem with some features only, by their indices: for supports among them, in far less time.

        Rows of these are kept once they are read, as far as half of the memory allows.
        """
        contacts, penalty, statistics = self.contacts, self.penalty[columns], self.statistics.of(columns)
        half = self.memory_limit // 2
        problem = LeastSquares(
            _Columns(self.observations, columns, half),
            self.groups,
            self.label_weights,
            energy_rows=self.energy_rows.of(columns),
            judged=self.judged,
            usable=self.usable[columns],
            prices=lambda _: penalty,
            contacts=None if contacts is None else replace(contacts, rows=contacts.rows[:, columns]),
            towards=self.towards[columns],
            memory_limit=half,
            progress=self.progress,
        )
        problem.statistics = statistics
        return problem

    def solve(self, multiplicities: np.ndarray, strengths: Sequence[float]) -> Solutions:
        """Fit every selection, multiplicities (D, G), with every strength (K,): D K solutions, strengths innermost."""
        equations = self.normal_equations(Selections.fits(multiplicities))
        return collect(problem.solve(strength) for problem in equations for strength in strengths)

    def normal_equations(self, selections: Selections) -> Iterator[NormalEquations]:
        """The problem of every selection, one after the other."""
        columns = len(self.towards) + len(self.species_energies) + 1
        at_once = max(1, self.memory_limit // (4 * columns**2) - _BLOCKS_AT_ONCE)
        for first in range(0, len(selections), at_once):
            batch = selections[first : first + at_once]
            sums = self._accumulate(batch)
            shown = tqdm(sums, desc="fits", unit="fit", leave=False, disable=hidden(self.progress))
            for packed, origin in zip(shown, batch.drawn_from, strict=True):
                start = self.energy_rows.species_energies(origin[self.groups]) - self.species_energies
                gram, _ = lapack.dtpttr(columns, packed, uplo="U")
                yield NormalEquations(self, np.triu(gram) + np.triu(gram, 1).T, start)

    def _accumulate(self, selections: Selections) -> np.ndarray:
        """Packed upper triangles of the Gram matrices of each selection, (D, P (P + 1) / 2)."""
        group_of, judged_of, block_of = _blocks(self.groups, self.judged)
        counted = selections.multiplicities[:, group_of] * (judged_of | ~selections.held_out[:, None])
        used = np.flatnonzero(counted.any(axis=0))
        columns = len(self.towards) + len(self.species_energies) + 1
        length = columns * (columns + 1) // 2
        total = np.zeros((len(selections), length))
        if self.contacts is not None:
            gram = _packed_gram([self._contact_rows(self.contacts)], columns)
            for index in np.flatnonzero(~selections.held_out):  # one by one: a copy of all would double the memory
                total[index] += gram
        grams = np.empty((_BLOCKS_AT_ONCE, length))
        squares = RowSquares(len(self.towards))
        starts = range(0, len(used), _BLOCKS_AT_ONCE)
        for start in tqdm(starts, desc="rows", unit="block", leave=False, disable=hidden(self.progress)):
            blocks = used[start : start + _BLOCKS_AT_ONCE]
            for slot, block in enumerate(blocks):
                grams[slot] = _packed_gram(self._rows_of(np.flatnonzero(block_of == block), squares), columns)
            factors = counted[:, blocks].astype(float)
            for left in range(0, length, _COLUMNS_AT_ONCE):  # in pieces: the product needs as much room again
                part = slice(left, left + _COLUMNS_AT_ONCE)
                total[:, part] += factors @ grams[: len(blocks), part]
        if len(used) == len(group_of) and "statistics" not in self.__dict__:
            self.statistics = Statistics.of_rows(self.energy_rows, squares, self.usable)
        return total

    def _rows_of(self, indices: np.ndarray, squares: RowSquares) -> Iterator[np.ndarray]:
        """Weighted rows of observations, some hundred at a time: a product of few rows is slow."""
        waiting: list[np.ndarray] = []
        for index in indices.tolist():
            observation = self.observations[index]
            squares.add(observation)
            waiting.append(self._weighted(observation))
            if sum(map(len, waiting)) >= _ROWS_AT_ONCE:
                yield np.concatenate(waiting)
                waiting = []
        if waiting:
            yield np.concatenate(waiting)

    def _weighted(self, frame: Observation) -> np.ndarray:
        """Rows of one observation: (rows, F + B + 1)."""
        a = self.label_weights
        x = frame.counts / frame.atoms
        phi = frame.features / frame.atoms - x @ self.energy_rows.composition
        known = frame.features @ self.towards + frame.counts @ self.species_energies
        energy = (frame.energy - known) / frame.atoms
        blocks = [a.energy * np.concatenate([phi, x, [energy]])[None]]
        derivatives = (frame.force_rows, frame.forces, a.forces), (frame.stress_rows, frame.stress, a.stress)
        for rows, label, weight in derivatives:
            if rows is not None and label is not None and weight > 0:
                nothing, target = np.zeros((len(rows), len(x))), label - rows @ self.towards
                blocks.append(weight * np.concatenate([rows, nothing, target[:, None]], axis=1))
                if rows is frame.force_rows and frame.component_weights is not None:
                    blocks[-1] *= frame.component_weights[:, None]
        return np.asarray(np.sqrt(frame.frame_weight) * np.concatenate(blocks))

    def _contact_rows(self, contacts: Contacts) -> np.ndarray:
        """Rows of the close contacts: (K, F + B + 1); the species' energies cancel in a change."""
        nothing = np.zeros((len(contacts.rows), len(self.species_energies)))
        targets = contacts.targets - contacts.rows @ self.towards
        rows = np.concatenate([contacts.rows, nothing, targets[:, None]], axis=1)
        return np.asarray(rows / contacts.errors[:, None])


Prices = Callable[[Statistics], np.ndarray]


def _blocks(groups: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows are summed by group and by whether they are judged: both of each block, and the block of each frame."""
    kinds, block_of = np.unique(2 * groups + judged, return_inverse=True)
    return kinds // 2, kinds % 2 == 1, block_of


def _packed_gram(parts: Iterable[np.ndarray], columns: int) -> np.ndarray:
    """Packed upper triangle of the Gram matrix of rows that come in parts."""
    gram = np.zeros((columns, columns), order="F")
    for rows in parts:
        gram = blas.dsyrk(1.0, rows.T, beta=1.0, c=gram, overwrite_c=True)
    return np.asarray(lapack.dtrttp(gram, uplo="U")[0])


class _Columns(Sequence[Observation]):
    """Observations with some of their features; kept once they are read, as far as the memory allows (bytes)."""

    def __init__(self, observations: Sequence[Observation], columns: np.ndarray, memory_limit: int) -> None:
        self._observations, self._columns = observations, columns
        self._kept: dict[int, Observation] = {}
        self._room = memory_limit

    def __len__(self) -> int:
        return len(self._observations)

    def __getitem__(self, index: Any) -> Any:
        if index in self._kept:
            return self._kept[index]
        observation = self._observations[index].of(self._columns)
        if observation.bytes <= self._room:
            self._room -= observation.bytes
            self._kept[index] = observation
        return observation


def collect(found: Iterable[tuple[np.ndarray, np.ndarray, float, bool]]) -> Solutions:
    """Several results of `NormalEquations.solve` in one record."""
    weights, species, condition, indefinite = (np.array(part) for part in zip(*found, strict=True))
    return Solutions(weights, species, condition, indefinite)


def _solve_symmetric(matrix: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """Solution, condition number, and whether eigenvalues had to be left out."""
    norm = float(np.abs(matrix).sum(axis=0).max())
    try:
        factor = cholesky(matrix, lower=False)
    except np.linalg.LinAlgError:
        values, vectors = eigh(matrix)
        kept = values > values[-1] * len(values) * np.finfo(float).eps
        solution = vectors[:, kept] @ (vectors[:, kept].T @ right / values[kept])
        return solution, float(values[-1] / values[kept][0]), True
    reciprocal, _ = lapack.dpocon(factor, norm)
    return cho_solve((factor, False), right), 1.0 / reciprocal if reciprocal > 0 else float("inf"), False
