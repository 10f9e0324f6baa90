r"""How unlike the surroundings of single atoms are to those that a training set holds.

Sums over a cell hide a strange atom, and those of a thin structure always lie inside; so each atom is judged by itself.
Its neighbours are seen through solid-harmonic wavelets of one width b, about as wide as a shell of neighbours,

    a_k,zl = (sum_m U_zlm(R_k)^2)^(1/2),   U_zlm(R_k) = sum_{j of z} S_lm((R_j - R_k)/b) exp(-|R_j - R_k|^2/2b^2)

for each species z and l = 0..6, and its grade is their leverage among the training atoms of its own species, with their
mean mu and covariance C, as that of MTP's and ACE's active sets,

    g_k = (a_k - mu)^T C^-1 (a_k - mu) / limit.

The limit is what the worst atom of 99 of 100 held-out cells stays below. The wavelets do not depend on the features of
a model, so that atoms are judged alike by all; the odd l see boundaries, l = 4 and 6 tell close packing from open
networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ase_wavescat.representation.wavelets import harmonic_factors, solid_harmonics
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.arrays import frozen_array
from ase_wavescat.system.compiled import compiled

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

HIGHEST_DEGREE = 6
WIDTHS = (0.1, 10.0)  # A, beyond which no shell of neighbours lies
_REACH = 4.5  # widths
_TAPER_START = 0.8  # of the reach
_RIDGE = 1e-3  # of the spread of each number: directions in which the training atoms do not vary at all
_FACTORS = harmonic_factors(HIGHEST_DEGREE)
_FIRST = [l * l for l in range(HIGHEST_DEGREE + 1)]  # harmonic of each degree


@dataclass(frozen=True)
class EnvironmentVectors:
    """The numbers a_k that describe the surroundings of atoms, (species x degrees) of each.

    species: atomic numbers, ascending; width: of the wavelets, A. Raises ValueError for a width out of range.
    """

    species: tuple[int, ...]
    width: float

    def __post_init__(self) -> None:
        if not WIDTHS[0] <= self.width <= WIDTHS[1]:
            raise ValueError(f"environments are seen through {WIDTHS[0]} to {WIDTHS[1]} A, got {self.width}")

    def __len__(self) -> int:
        return len(self.species) * (HIGHEST_DEGREE + 1)

    @property
    def reach(self) -> float:
        """The distance (A) up to which neighbours count."""
        return _REACH * self.width

    def __call__(self, structure: Structure) -> np.ndarray:
        """(N, species x degrees) of the atoms."""
        first, second, vectors, _ = structure.neighbours(self.reach)
        species = np.searchsorted(self.species, structure.numbers)
        fields = np.zeros((len(structure), len(self.species), len(_FACTORS) ** 2))
        _sum_fields(first, second, vectors, species, self.width, _FACTORS, fields)
        return np.sqrt(np.add.reduceat(fields**2, _FIRST, axis=2)).reshape(len(structure), -1)


@dataclass(frozen=True, eq=False)
class Environments:
    """Surroundings of the atoms of a training set: their means and covariances by species, and the limit.

    mean: (S, D);  whitening: (S, D, D) with C^-1 = whitening whitening^T;  limit: of the leverage, see the module.
    """

    vectors: EnvironmentVectors
    mean: np.ndarray
    whitening: np.ndarray
    limit: float

    def __post_init__(self) -> None:
        species, length = len(self.vectors.species), len(self.vectors)
        shapes = {"mean": (species, length), "whitening": (species, length, length)}
        for name, shape in shapes.items():
            object.__setattr__(self, name, frozen_array(getattr(self, name), shape, f"the environments' {name}"))
        if not (np.isfinite(self.limit) and self.limit > 0):
            raise ValueError(f"the environments' limit must be a positive number, got {self.limit}")

    def store(self, writer: Writer) -> None:
        writer.value("width", self.vectors.width)
        writer.value("limit", self.limit)
        writer.numbers("species", np.array(self.vectors.species, dtype=float))
        writer.numbers("mean", self.mean)
        writer.numbers("whitening", self.whitening)

    @classmethod
    def restore(cls, reader: Reader) -> Environments:
        reader.expect({"species", "mean", "whitening"})
        vectors = EnvironmentVectors(reader.atomic_numbers("species"), reader.number("width"))
        return cls(vectors, reader.numbers("mean"), reader.numbers("whitening"), reader.number("limit"))

    def grades(self, structure: Structure) -> np.ndarray:
        """(N,) of the atoms; beyond 1 an atom has surroundings unlike any seen."""
        vectors = self.vectors(structure)
        species = np.searchsorted(self.vectors.species, structure.numbers)
        return leverages(vectors, species, self.mean, self.whitening) / self.limit


def moments(vectors: np.ndarray, species: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (S, D) and whitening matrices (S, D, D) of the vectors (n, D) of each of `count` species.

    species: (n,) of each vector. A species without vectors has nan.
    """
    length, sizes = vectors.shape[1], np.abs(vectors).max(axis=0)
    least = _RIDGE * np.where(sizes > 0, sizes, sizes.max(initial=_RIDGE))  # a number may be zero for all
    mean, whitening = np.full((count, length), np.nan), np.full((count, length, length), np.nan)
    for s in range(count):
        own = vectors[species == s]
        if len(own) == 0:
            continue
        mean[s] = own.mean(axis=0)
        spread = np.maximum(own.std(axis=0), least)
        scaled = (own - mean[s]) / spread
        covariance = scaled.T @ scaled / len(own) + _RIDGE * np.eye(length)
        whitening[s] = np.linalg.cholesky(np.linalg.inv(covariance)) / spread[:, None]
    return mean, whitening


def leverages(vectors: np.ndarray, species: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """(n,) of vectors (n, D), divided by D, so that it is 1 on average over the vectors that the moments are of."""
    found = np.empty(len(vectors))
    for s in np.unique(species):
        own = species == s
        found[own] = np.mean(((vectors[own] - mean[s]) @ whitening[s]) ** 2, axis=1)
    return found


@compiled(fastmath=True)
def _sum_fields(first, second, vectors, species, width, factors, fields):  # type: ignore[no-untyped-def]
    """fields[k, z] += the tapered wavelets of each neighbour.

    Pairs of two atoms are looked at once: seen from the other end, harmonics of odd degree change their sign.
    """
    size = factors.shape[0]
    q, trig, harmonics = np.zeros((size, size)), np.zeros((2, size)), np.empty(size * size)
    start = _TAPER_START * _REACH
    for p in range(first.shape[0]):
        k, j = first[p], second[p]
        if k > j:
            continue
        x, y, z = vectors[p, 0] / width, vectors[p, 1] / width, vectors[p, 2] / width
        square = x * x + y * y + z * z
        weight = np.exp(-0.5 * square)
        if square > start * start:
            t = (_REACH - np.sqrt(square)) / (_REACH - start)
            weight *= t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
        solid_harmonics(x, y, z, factors, q, trig, harmonics)
        mine, other = fields[k, species[j]], fields[j, species[k]]
        for l in range(size):
            mirrored = 0.0 if k == j else weight * (1.0 - 2.0 * (l % 2))
            for lm in range(l * l, (l + 1) * (l + 1)):
                mine[lm] += weight * harmonics[lm]
                other[lm] += mirrored * harmonics[lm]
