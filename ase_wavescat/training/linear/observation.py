"""One frame as a linear model sees it, and what a model's predictions leave of its labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

_NEGLIGIBLE = 1e-10


@dataclass(frozen=True, eq=False)
class Observation:
    """What a linear model predicts of one frame, and its labels less the baseline.

    Attributes:
        counts: (B,) of the columns that are not penalised, adding up to the number of atoms: atoms of each species, in
            columns of their own for each label source; or the number of atoms alone where the species energies are
            given.
        features: (F,), sums over the cell.
        energy: eV.
        force_rows, forces: (R, F) and (R,), eV/A; None where the frame has no such labels.
        stress_rows, stress: (6, F) and (6,), eV/A^3; None likewise.
        frame_weight: v_k, of the squared errors of the frame.
        component_weights: (R,), c, of the errors of single force components; None for ones.
    """

    counts: np.ndarray
    features: np.ndarray
    energy: float
    force_rows: np.ndarray | None = None
    forces: np.ndarray | None = None
    stress_rows: np.ndarray | None = None
    stress: np.ndarray | None = None
    frame_weight: float = 1.0
    component_weights: np.ndarray | None = None

    @property
    def atoms(self) -> float:
        return float(self.counts.sum())

    @property
    def bytes(self) -> int:
        """Of the rows."""
        return self.features.nbytes + sum(b.nbytes for b in (self.force_rows, self.stress_rows) if b is not None)

    def of(self, columns: np.ndarray) -> Observation:
        """With some features only, by their indices."""
        rows = {name: getattr(self, name) for name in ("force_rows", "stress_rows")}
        kept = {name: block[:, columns] for name, block in rows.items() if block is not None}
        return replace(self, features=self.features[columns], **kept)

    def residuals(self, weights: np.ndarray, species_energies: np.ndarray) -> Residuals:
        """Under K models: weights (K, F), species_energies (K, B)."""
        energy = (weights @ self.features + species_energies @ self.counts - self.energy) / self.atoms
        forces = stress = None
        if self.force_rows is not None and self.forces is not None:
            forces = self.force_rows @ weights.T - self.forces[:, None]
        if self.stress_rows is not None and self.stress is not None:
            stress = self.stress_rows @ weights.T - self.stress[:, None]
        return Residuals(self, energy, forces, stress)


@dataclass(frozen=True)
class LabelWeights:
    """One over the error expected of a label.

    Attributes:
        energy: a_E, atoms/eV.
        forces: a_F, A/eV, of every component.
        stress: a_S, A^3/eV, of every component.

    Raises:
        ValueError: for weights that are negative or not finite, and energies without weight.
    """

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
class Residuals:
    """Predicted less labelled, for K models: energy (K,) eV/atom, forces (R, K) eV/A, stress (6, K) eV/A^3, or None."""

    observation: Observation
    energy: np.ndarray
    forces: np.ndarray | None
    stress: np.ndarray | None

    def of(self, models: slice) -> Residuals:
        """Those of some models."""
        forces, stress = (None if part is None else part[:, models] for part in (self.forces, self.stress))
        return Residuals(self.observation, self.energy[models], forces, stress)

    def loss(self, label_weights: LabelWeights) -> np.ndarray:
        """The frame's part of the data term, (K,)."""
        loss = (label_weights.energy * self.energy) ** 2
        if self.forces is not None:
            given = self.observation.component_weights
            share = np.ones(len(self.forces)) if given is None else given
            loss = loss + label_weights.forces**2 * (share**2 @ self.forces**2)
        if self.stress is not None:
            loss = loss + label_weights.stress**2 * np.einsum("rk,rk->k", self.stress, self.stress)
        return self.observation.frame_weight * loss


@dataclass(frozen=True, eq=False)
class EnergyRows:
    """The energies of all frames, which fit into memory where their derivatives do not.

    Attributes:
        features: (n, F); counts: (n, B); energies: (n,), eV; frame_weights: (n,), as in `Observation`.
    """

    features: np.ndarray
    counts: np.ndarray
    energies: np.ndarray
    frame_weights: np.ndarray

    @classmethod
    def gather(cls, observations: Iterable[Observation]) -> EnergyRows:
        """Reads every observation once."""
        rows = [(o.features, o.counts, o.energy, o.frame_weight) for o in observations]
        return cls(*(np.array(part) for part in zip(*rows, strict=True)))

    @cached_property
    def atoms(self) -> np.ndarray:
        """(n,)"""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def per_atom(self) -> np.ndarray:
        """phi/N, (n, F)."""
        return np.asarray(self.features / self.atoms[:, None])

    @cached_property
    def fractions(self) -> np.ndarray:
        """counts/N, (n, B)."""
        return np.asarray(self.counts / self.atoms[:, None])

    @cached_property
    def composition(self) -> np.ndarray:
        """Least-squares part of phi/N that is linear in the fractions, (B, F)."""
        root = np.sqrt(self.frame_weights)[:, None]
        return np.asarray(np.linalg.lstsq(root * self.fractions, root * self.per_atom, rcond=_NEGLIGIBLE)[0])

    def species_energies(self, multiplicities: np.ndarray) -> np.ndarray:
        """Least-squares energies (B,) of the species alone in frames counted so often (n,), without any feature.

        What these frames leave undetermined is their mean energy.
        """
        root, energies = np.sqrt(self.frame_weights * multiplicities), self.energies / self.atoms
        mean = float(np.average(energies, weights=root**2))
        return mean + np.linalg.lstsq(root[:, None] * self.fractions, root * (energies - mean), _NEGLIGIBLE)[0]

    def of(self, columns: np.ndarray) -> EnergyRows:
        """With some features only, by their indices."""
        return replace(self, features=self.features[:, columns])
