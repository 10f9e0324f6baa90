"""Regularised least squares for many selections of groups at once: folds, bootstraps, the full set.

For one selection, with multiplicities n_g of the groups, the weights w (F,) and energies e (S,) of the species minimise

    sum_g n_g sum_{frames k of g} v_k [ a_E^2 ((E_pred - E) / N)^2 + a_F^2 |F_pred - F|_c^2 + a_S^2 |s_pred - s|^2 ]
        + sum_{contacts} [(change of E_pred - target) / error]^2
        + strength * sum_gamma penalty_gamma (w_gamma - w0_gamma)^2

(B21 eq. 5.16, with stresses s and a prior), where |.|^2 sums over components: every force component is one datum, so
1/a are the errors expected of one label; |.|_c^2 weighs each by c^2 <= 1, because large forces are predicted less
exactly; v_k are the frames' weights and w0 the weights of another model, or zero.
Everything that a selection needs is a sum of Gram matrices X_g^T X_g over its groups, with X_g the weighted rows of the
group: features, species, target. They are computed once a group, in one stream through the rows, and added into all
selections together by a matrix product. Memory: one packed triangle, 4 P^2 bytes with P = F + S + 1, for each selection
and for each of `_GROUPS_AT_ONCE` groups; selections beyond `memory_limit` are taken in further streams.

Energies are fitted after their part linear in the composition is removed from the features: the species energies
are not penalised, so this changes no minimum, but it removes most of the size of the energy columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import blas, cho_solve, cholesky, eigh, lapack
from tqdm import tqdm

from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.contacts import Contacts

_GROUPS_AT_ONCE = 8
_COLUMNS_AT_ONCE = 1 << 18
_ROWS_AT_ONCE = 256
_NEGLIGIBLE = 1e-10
_INVISIBLE = 1e-12
MEMORY_LIMIT = 4 << 30


@dataclass(frozen=True, eq=False)
class Observation:
    """One frame as seen by a linear model: what it predicts, and the labels less the baseline.

    counts (S,): the columns that are not penalised, adding up to the number of atoms: atoms of each species, in columns
        of their own for each label source; or the number of atoms alone where the species energies are given.
    features (F,), energy: eV.
    force_rows (R, F), forces (R,): eV/A; None where the frame has no such labels.
    stress_rows (6, F), stress (6,): eV/A^3; None likewise.
    weight: v_k, of the squared errors; force_weights (R,): c, None for ones.
    """

    counts: np.ndarray
    features: np.ndarray
    energy: float
    force_rows: np.ndarray | None = None
    forces: np.ndarray | None = None
    stress_rows: np.ndarray | None = None
    stress: np.ndarray | None = None
    weight: float = 1.0
    force_weights: np.ndarray | None = None

    @property
    def atoms(self) -> float:
        return float(self.counts.sum())

    def of(self, columns: np.ndarray) -> Observation:
        """With some features only, by their indices."""
        rows = {name: getattr(self, name) for name in ("force_rows", "stress_rows")}
        kept = {name: block[:, columns] for name, block in rows.items() if block is not None}
        return replace(self, features=self.features[columns], **kept)


@dataclass(frozen=True)
class LabelWeights:
    """a_E (atoms/eV), a_F (A/eV), a_S (A^3/eV): one over the error expected of a label."""

    energy: float
    forces: float
    stress: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"the weight of the {name} must be finite and not negative, got {value}")
        if self.energy == 0:
            raise ValueError("the weight of the energy must not be zero: it alone fixes the species energies")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sizes of the features' columns over all frames, by weight.

    std (F,): standard deviation over frames of phi/N.
    composition (S, F): least-squares part of phi/N linear in the fractions of the species.
    energy_std (F,): root mean square over frames of phi/N less that part.
    force_rms, stress_rms (F,): root mean square of the force and stress rows.
    counts: numbers of energy, force and stress rows, by weight.
    fractions (n, S), energies (n,), shares (n,): of each frame, counts/N, energy/N (eV/atom) and weight.
    active (F,): whether a feature varies, and more than 1e-12 of the one that varies most; the others get no weight.
    """

    std: np.ndarray
    composition: np.ndarray
    energy_std: np.ndarray
    force_rms: np.ndarray
    stress_rms: np.ndarray
    counts: tuple[float, float, float]
    active: np.ndarray
    fractions: np.ndarray
    energies: np.ndarray
    shares: np.ndarray

    def species_energies(self, multiplicities: np.ndarray) -> np.ndarray:
        """Least-squares energies (S,) of the species alone in frames counted so often (n,), without any feature.

        What these frames leave undetermined is their mean energy.
        """
        root = np.sqrt(self.shares * multiplicities)
        mean = float(np.average(self.energies, weights=root**2))
        return mean + np.linalg.lstsq(root[:, None] * self.fractions, root * (self.energies - mean), _NEGLIGIBLE)[0]

    def scale(self, weights: LabelWeights) -> np.ndarray:
        """Norm of each column of the weighted design of all frames, (F,); 1 for features that do not vary."""
        sizes = (self.energy_std, self.force_rms, self.stress_rms)
        factors = (weights.energy, weights.forces, weights.stress)
        square = sum(n * (a * size) ** 2 for n, a, size in zip(self.counts, factors, sizes, strict=True))
        return np.where(self.active & (square > 0), np.sqrt(square), 1.0)

    def of(self, columns: np.ndarray) -> Statistics:
        """Those of some features, by their indices."""
        sizes = ("std", "energy_std", "force_rms", "stress_rms", "active")
        return replace(
            self, composition=self.composition[:, columns], **{name: getattr(self, name)[columns] for name in sizes}
        )


@dataclass(frozen=True, eq=False)
class Solutions:
    """Fits of D selections: weights (D, F), species_energies (D, S), and how well posed each was.

    condition (D,): condition number (1-norm) of the scaled matrix that was solved.
    indefinite (D,): the Cholesky factorisation failed, and the solution is from the positive eigenvalues only.
    """

    weights: np.ndarray
    species_energies: np.ndarray
    condition: np.ndarray
    indefinite: np.ndarray


@dataclass(frozen=True, eq=False)
class Residuals:
    """Predicted less labelled, for K models: energy (K,) eV/atom, forces (R, K) eV/A, stress (6, K) eV/A^3, or None."""

    observation: Observation
    energy: np.ndarray
    forces: np.ndarray | None
    stress: np.ndarray | None

    def loss(self, weights: LabelWeights) -> np.ndarray:
        """The frame's part of the data term, (K,)."""
        loss = (weights.energy * self.energy) ** 2
        if self.forces is not None:
            given = self.observation.force_weights
            share = np.ones(len(self.forces)) if given is None else given
            loss = loss + weights.forces**2 * (share**2 @ self.forces**2)
        if self.stress is not None:
            loss = loss + weights.stress**2 * np.einsum("rk,rk->k", self.stress, self.stress)
        return self.observation.weight * loss


def measure(observations: Sequence[Observation]) -> Statistics:
    """One stream through the rows. Keeps phi/N of all frames, (frames, F), in memory."""
    per_atom, fractions, energies, shares = [], [], [], []
    squares: dict[str, np.ndarray | float] = {"force_rows": 0.0, "stress_rows": 0.0}
    rows = dict.fromkeys(squares, 0.0)
    for observation in observations:
        per_atom.append(observation.features / observation.atoms)
        fractions.append(observation.counts / observation.atoms)
        energies.append(observation.energy / observation.atoms)
        shares.append(observation.weight)
        for name in squares:
            block = getattr(observation, name)
            if block is not None:
                squares[name] = squares[name] + observation.weight * np.einsum("rf,rf->f", block, block)
                rows[name] += observation.weight * len(block)
    phi, x, share = np.array(per_atom), np.array(fractions), np.array(shares)
    root = np.sqrt(share)[:, None]
    composition = np.linalg.lstsq(root * x, root * phi, rcond=_NEGLIGIBLE)[0]
    energy_std = np.sqrt(share @ (phi - x @ composition) ** 2 / share.sum())
    force_rms, stress_rms = (
        np.sqrt(np.broadcast_to(squares[name], energy_std.shape) / (rows[name] or 1.0)) for name in squares
    )
    size = np.abs(phi).max(axis=0)
    spread = np.maximum(np.maximum(energy_std, force_rms), stress_rms)
    # so small are maps of wavelets too wide for these cells: a weight learnt here would explode in a larger cell
    active = (spread > _NEGLIGIBLE * size) & (spread > _INVISIBLE * spread.max())
    counts = (float(share.sum()), rows["force_rows"], rows["stress_rows"])
    sizes = phi.std(axis=0), composition, energy_std, force_rms, stress_rms
    return Statistics(*sizes, counts, active, x, np.array(energies), share)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The problem of one selection, in unknowns u scaled so that the prior is strength |u|^2: (A + strength) u = b.

    matrix (F, F): A; right (F,): b; the species energies are eliminated.
    """

    fit: Fit
    matrix: np.ndarray
    right: np.ndarray
    eliminated: tuple[np.ndarray, np.ndarray]

    def with_prior(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """A + strength and b, as selections of features take them."""
        return self.matrix + strength * np.eye(len(self.right)), self.right

    def solve(self, strength: float, support: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float, bool]:
        """Weights (F,), species energies (S,), condition number, whether eigenvalues were left out.

        support: indices of the features that may have weight; all of them by default.
        """
        fit = self.fit
        chosen = slice(None) if support is None else np.asarray(support)
        matrix = self.matrix.copy() if support is None else self.matrix[np.ix_(support, support)]
        matrix[np.diag_indices(len(matrix))] += strength
        solution, condition, indefinite = _solve_symmetric(matrix, self.right[chosen])
        scaled = np.zeros(len(self.right))
        scaled[chosen] = solution
        standard = fit.root * scaled
        constant, linear = self.eliminated
        weights = np.where(fit.statistics.active, standard / fit.scale, 0.0)
        deviations = constant - linear @ standard - fit.statistics.composition @ weights
        return weights + fit.towards, fit.species_energies + deviations, condition, indefinite


class Fit:
    """The least-squares problem of a set of observations: set up once, solved for any selections of its groups.

    groups (n,): the group of each observation, 0..G-1.  penalty (F,): positive, default `Statistics.scale` squared.
    contacts: rows without labels that belong to every selection.  towards (F,): w0, the weights that the prior prefers.
    progress: show how far rows are read and problems solved.
    """

    def __init__(
        self,
        observations: Sequence[Observation],
        groups: np.ndarray,
        weights: LabelWeights,
        statistics: Statistics | None = None,
        penalty: np.ndarray | None = None,
        contacts: Contacts | None = None,
        towards: np.ndarray | None = None,
        memory_limit: int = MEMORY_LIMIT,
        progress: bool = False,
    ) -> None:
        self.observations = observations
        self.groups = np.asarray(groups)
        self.weights = weights
        self.statistics = measure(observations) if statistics is None else statistics
        self.scale = self.statistics.scale(weights)
        self.penalty = self.scale**2 if penalty is None else np.asarray(penalty, dtype=float)
        if self.penalty.shape != self.scale.shape or not (np.isfinite(self.penalty) & (self.penalty > 0)).all():
            raise ValueError(f"the penalty must be {len(self.scale)} positive finite numbers, one a feature")
        self.root = self.scale / np.sqrt(self.penalty)
        self.contacts = contacts
        self.towards = np.zeros(len(self.scale)) if towards is None else np.asarray(towards, dtype=float)
        self.species_energies = self.statistics.species_energies(np.ones(len(self.groups)))
        self.memory_limit, self.progress = memory_limit, progress

    def of(self, columns: np.ndarray) -> Fit:
        """The same problem with some features only, by their indices: for supports among them, in far less time."""
        contacts = self.contacts
        return Fit(
            _Columns(self.observations, columns),
            self.groups,
            self.weights,
            self.statistics.of(columns),
            self.penalty[columns],
            None if contacts is None else replace(contacts, rows=contacts.rows[:, columns]),
            self.towards[columns],
            self.memory_limit,
            self.progress,
        )

    def solve(self, multiplicities: np.ndarray, strengths: Sequence[float]) -> Solutions:
        """Fit every selection, multiplicities (D, G), with every strength (K,): D K solutions, strengths innermost."""
        equations = self.normal_equations(multiplicities)
        return collect(problem.solve(strength) for problem in equations for strength in strengths)

    def normal_equations(
        self, multiplicities: np.ndarray, within: np.ndarray | None = None
    ) -> Iterator[NormalEquations]:
        """The problem of every selection, multiplicities (D, G), one after the other.

        within (D, G): what each was drawn from, itself by default. Energies of species that a selection leaves
        undetermined are those of `Statistics.species_energies` there: never taken from groups that are held out.
        """
        within = multiplicities if within is None else within
        for batch in self._batches(len(multiplicities)):
            grams = self._accumulate(multiplicities[batch])
            shown = tqdm(grams, desc="fits", unit="fit", leave=False, disable=hidden(self.progress))
            for packed, row in zip(shown, within[batch], strict=True):
                yield self._reduce(packed, self.statistics.species_energies(row[self.groups]) - self.species_energies)

    def residuals(self, index: int, weights: np.ndarray, species_energies: np.ndarray) -> Residuals:
        """Of one observation under K models: weights (K, F), species_energies (K, S)."""
        frame = self.observations[index]
        energy = (weights @ frame.features + species_energies @ frame.counts - frame.energy) / frame.atoms
        forces = stress = None
        if frame.force_rows is not None and frame.forces is not None:
            forces = frame.force_rows @ weights.T - frame.forces[:, None]
        if frame.stress_rows is not None and frame.stress is not None:
            stress = frame.stress_rows @ weights.T - frame.stress[:, None]
        return Residuals(frame, energy, forces, stress)

    def _batches(self, count: int) -> Iterator[slice]:
        columns = len(self.scale) + len(self.statistics.composition) + 1
        fitting = max(1, self.memory_limit // (4 * columns**2) - _GROUPS_AT_ONCE)
        return (slice(start, start + fitting) for start in range(0, count, fitting))

    def _weighted_rows(self, index: int) -> np.ndarray:
        """Rows of one observation, scaled: (rows, F + S + 1)."""
        frame, a = self.observations[index], self.weights
        x = frame.counts / frame.atoms
        phi = frame.features / frame.atoms - x @ self.statistics.composition
        known = frame.features @ self.towards + frame.counts @ self.species_energies
        energy = (frame.energy - known) / frame.atoms
        blocks = [a.energy * np.concatenate([phi / self.scale, x, [energy]])[None]]
        derivatives = (frame.force_rows, frame.forces, a.forces), (frame.stress_rows, frame.stress, a.stress)
        for rows, label, weight in derivatives:
            if rows is not None and label is not None and weight > 0:
                nothing, target = np.zeros((len(rows), len(x))), label - rows @ self.towards
                blocks.append(weight * np.concatenate([rows / self.scale, nothing, target[:, None]], axis=1))
                if rows is frame.force_rows and frame.force_weights is not None:
                    blocks[-1] *= frame.force_weights[:, None]
        return self._without_inactive(np.sqrt(frame.weight) * np.concatenate(blocks))

    def _blocks(self, group: int) -> Iterator[np.ndarray]:
        """Weighted rows of a group, some hundred at a time: a product of few rows is slow."""
        waiting: list[np.ndarray] = []
        for index in np.flatnonzero(self.groups == group).tolist():
            waiting.append(self._weighted_rows(index))
            if sum(map(len, waiting)) >= _ROWS_AT_ONCE:
                yield np.concatenate(waiting)
                waiting = []
        if waiting:
            yield np.concatenate(waiting)

    def _contact_rows(self, contacts: Contacts) -> np.ndarray:
        """Rows of the close contacts, scaled: (K, F + S + 1); the species' energies cancel in a change."""
        nothing = np.zeros((len(contacts.rows), len(self.statistics.composition)))
        targets = contacts.targets - contacts.rows @ self.towards
        rows = np.concatenate([contacts.rows / self.scale, nothing, targets[:, None]], axis=1)
        return self._without_inactive(rows / contacts.errors[:, None])

    def _without_inactive(self, rows: np.ndarray) -> np.ndarray:
        rows[:, : len(self.scale)][:, ~self.statistics.active] = 0.0
        return rows

    def _accumulate(self, multiplicities: np.ndarray) -> np.ndarray:
        """Packed upper triangles of the Gram matrices of each selection, (D, P (P + 1) / 2)."""
        used = np.flatnonzero(multiplicities.any(axis=0))
        columns = len(self.scale) + len(self.statistics.composition) + 1
        length = columns * (columns + 1) // 2
        total = np.zeros((len(multiplicities), length))
        if self.contacts is not None:
            total += lapack.dtrttp(blas.dsyrk(1.0, self._contact_rows(self.contacts).T), uplo="U")[0]
        grams = np.empty((_GROUPS_AT_ONCE, length))
        starts = range(0, len(used), _GROUPS_AT_ONCE)
        for start in tqdm(starts, desc="rows", unit="block", leave=False, disable=hidden(self.progress)):
            block = used[start : start + _GROUPS_AT_ONCE]
            for slot, group in enumerate(block):
                gram = np.zeros((columns, columns), order="F")
                for rows in self._blocks(group):
                    gram = blas.dsyrk(1.0, rows.T, beta=1.0, c=gram, overwrite_c=True)
                grams[slot] = lapack.dtrttp(gram, uplo="U")[0]
            factors = multiplicities[:, block].astype(float)
            for left in range(0, length, _COLUMNS_AT_ONCE):  # in pieces: the product needs as much room again
                part = slice(left, left + _COLUMNS_AT_ONCE)
                total[:, part] += factors @ grams[: len(block), part]
        return total

    def _reduce(self, packed: np.ndarray, start: np.ndarray) -> NormalEquations:
        """start (S,): the species energies, less those subtracted already, that stay where nothing determines them."""
        features, species = len(self.scale), len(self.statistics.composition)
        gram, _ = lapack.dtpttr(features + species + 1, packed, uplo="U")
        gram = np.triu(gram) + np.triu(gram, 1).T
        w, e, y = slice(0, features), slice(features, features + species), features + species
        # Species energies are eliminated; the pseudo-inverse serves absent species and compositions on one line.
        eliminate = np.linalg.pinv(gram[e, e], rcond=_NEGLIGIBLE, hermitian=True)
        matrix = gram[w, w] - gram[w, e] @ eliminate @ gram[e, w]
        right = gram[w, y] - gram[w, e] @ eliminate @ gram[e, y]
        matrix *= self.root[:, None] * self.root
        constant = start + eliminate @ (gram[e, y] - gram[e, e] @ start)
        return NormalEquations(self, matrix, self.root * right, (constant, eliminate @ gram[e, w]))


class _Columns(Sequence[Observation]):
    """Observations with some of their features."""

    def __init__(self, observations: Sequence[Observation], columns: np.ndarray) -> None:
        self._observations, self._columns = observations, columns

    def __len__(self) -> int:
        return len(self._observations)

    def __getitem__(self, index: Any) -> Any:
        return self._observations[index].of(self._columns)


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
