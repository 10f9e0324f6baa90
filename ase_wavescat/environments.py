r"""How unlike the surroundings of single atoms are to those that a training set holds.

Sums over a cell hide a strange atom, and those of a thin structure always lie inside; so each atom is judged by itself.
Its surroundings are seen through solid-harmonic wavelets of one width, about as wide as a shell of neighbours,

    a_k,zl = (sum_m U_zlm(R_k)^2)^(1/2),   U_zlm = rho_z * psi_lm,   l = 0..6,   for each species z,

and its grade is their leverage among the training atoms of its own species (of mean mu and covariance C), as that of
MTP's and ACE's active sets,

    g_k = (a_k - mu)^T C^-1 (a_k - mu) / limit.

The limit is what the worst atom of 99 of 100 held-out cells stays below. The wavelets do not depend on the features of
a model, so that atoms are judged alike by all; the odd l see boundaries, l = 4 and 6 tell close packing from open
networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ase_wavescat.arrays import frozen_array
from ase_wavescat.scattering.atomic import AtomPlan
from ase_wavescat.scattering.execution import Execution
from ase_wavescat.scattering.features import AtomFeature, Map, SpeciesWavelet, Wavelet
from ase_wavescat.scattering.spec import Correlations, Maps, ScatteringSpec

DEGREES = range(7)
_WAVELETS = tuple((l + 1, l) for l in DEGREES)
_TOLERANCE = 0.1  # the tails of the wavelets are cut at a thousandth of their peaks
_RIDGE = 1e-3  # of the variance of each number: directions in which the training atoms do not vary at all


@dataclass(frozen=True)
class EnvironmentVectors:
    """The numbers a_k that describe the surroundings of atoms: (species x degrees) of each.

    species: atomic numbers, ascending; width: of the wavelets, A. Raises SpecError for what is neither.
    """

    species: tuple[int, ...]
    width: float

    def __post_init__(self) -> None:
        _ = self._plan  # refuses what it cannot be made of

    def __len__(self) -> int:
        return len(self.species) * len(DEGREES)

    @cached_property
    def _plan(self) -> AtomPlan:
        maps = Maps(wavelets=_WAVELETS, scales=(0.0,))
        spec = ScatteringSpec(
            species=self.species, wavelets=_WAVELETS, scales=(0.0,), beta=self.width,
            families=(Correlations(atom_maps=maps),), tolerance=_TOLERANCE,
        )  # fmt: skip
        fields = [SpeciesWavelet(spec.species[0], Wavelet(0.0, n, l)) for n, l in _WAVELETS]
        return AtomPlan(spec, [AtomFeature(spec.species[0], (Map(field, field),)) for field in fields])

    @property
    def reach(self) -> float:
        """The distance (A) up to which neighbours count."""
        return float(self._plan.table.cutoffs.max())

    def __call__(
        self, cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, execution: Execution = Execution()
    ) -> np.ndarray:
        """(N, species x degrees) of the atoms of a fully periodic cell (3, 3), A; open directions padded by `reach`."""
        state = self._plan.forward(cell, positions, np.searchsorted(self.species, numbers), execution)
        norms = [np.linalg.norm(self._plan.matrix(state.fields, l), axis=1) for l in DEGREES]
        return np.concatenate(norms, axis=1)


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

    def grades(
        self, cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, execution: Execution = Execution()
    ) -> np.ndarray:
        """(N,) of the atoms of a fully periodic cell; beyond 1 an atom has surroundings unlike any seen."""
        vectors = self.vectors(cell, positions, numbers, execution)
        species = np.searchsorted(self.vectors.species, numbers)
        return leverages(vectors, species, self.mean, self.whitening) / self.limit


def moments(vectors: np.ndarray, species: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (S, D) and whitening matrices (S, D, D) of the vectors (n, D) of each of `count` species.

    species: (n,) of each vector. A species without vectors has nan.
    """
    length = vectors.shape[1]
    mean, whitening = np.full((count, length), np.nan), np.full((count, length, length), np.nan)
    for s in range(count):
        own = vectors[species == s]
        if len(own) == 0:
            continue
        mean[s] = own.mean(axis=0)
        spread = np.maximum(own.std(axis=0), _RIDGE * np.abs(vectors).max(axis=0) + 1e-300)
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
