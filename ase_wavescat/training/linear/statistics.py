"""Sizes of the features' columns over a data set: what prices are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ase_wavescat.training.linear.observation import EnergyRows, LabelWeights, Observation

_NEGLIGIBLE = 1e-10
_INVISIBLE = 1e-12


class RowSquares:
    """Sums of squares of the derivative rows, gathered while these are read for something else."""

    def __init__(self, features: int) -> None:
        self.squares = {name: np.zeros(features) for name in ("force_rows", "stress_rows")}
        self.rows = dict.fromkeys(self.squares, 0.0)

    def add(self, observation: Observation) -> None:
        for name, squares in self.squares.items():
            block = getattr(observation, name)
            if block is not None:
                squares += observation.frame_weight * np.einsum("rf,rf->f", block, block)
                self.rows[name] += observation.frame_weight * len(block)

    @classmethod
    def gather(cls, observations: Iterable[Observation], features: int) -> RowSquares:
        """Reads every observation once."""
        found = cls(features)
        for observation in observations:
            found.add(observation)
        return found


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sizes of the features' columns over all frames, by weight.

    Attributes:
        std: (F,) standard deviation over frames of phi/N.
        energy_std: (F,) root mean square over frames of phi/N less its part linear in the composition.
        force_rms, stress_rms: (F,) root mean square of the force and stress rows.
        counts: numbers of energy, force and stress rows, by weight.
        active: (F,) whether a feature may have weight, varies, and more than 1e-12 of the one that varies most.
    """

    std: np.ndarray
    energy_std: np.ndarray
    force_rms: np.ndarray
    stress_rms: np.ndarray
    counts: tuple[float, float, float]
    active: np.ndarray

    @classmethod
    def of_rows(cls, energy_rows: EnergyRows, squares: RowSquares, usable: np.ndarray) -> Statistics:
        """From the energies of all frames, the sums over all of their derivatives and which features may be active."""
        phi, weights = energy_rows.per_atom, energy_rows.frame_weights
        rest = phi - energy_rows.fractions @ energy_rows.composition
        energy_std = np.sqrt(weights @ rest**2 / weights.sum())
        force_rms, stress_rms = (np.sqrt(squares.squares[name] / (rows or 1.0)) for name, rows in squares.rows.items())
        size = np.abs(phi).max(axis=0)
        spread = np.maximum(np.maximum(energy_std, force_rms), stress_rms)
        # so small are maps of wavelets too wide for these cells: a weight learnt here would explode in a larger cell
        active = usable & (spread > _NEGLIGIBLE * size) & (spread > _INVISIBLE * spread.max())
        counts = (float(weights.sum()), squares.rows["force_rows"], squares.rows["stress_rows"])
        return cls(phi.std(axis=0), energy_std, force_rms, stress_rms, counts, active)

    def scale(self, label_weights: LabelWeights) -> np.ndarray:
        """Norm of each column of the weighted design of all frames, (F,); 1 for features that do not vary."""
        sizes = (self.energy_std, self.force_rms, self.stress_rms)
        factors = (label_weights.energy, label_weights.forces, label_weights.stress)
        square = sum(n * (a * size) ** 2 for n, a, size in zip(self.counts, factors, sizes, strict=True))
        return np.where(self.active & (square > 0), np.sqrt(square), 1.0)

    def of(self, columns: np.ndarray) -> Statistics:
        """Those of some features, by their indices."""
        sizes = ("std", "energy_std", "force_rms", "stress_rms", "active")
        return replace(self, **{name: getattr(self, name)[columns] for name in sizes})
