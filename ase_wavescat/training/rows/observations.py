"""Frames as the fit sees them: stored rows, and labels less what is not fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.distances import closest_pairs
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.linear.least_squares import Observation
from ase_wavescat.training.rows.store import FeatureStore


class Observations(Sequence[Observation]):
    """Read from the store one at a time; labels less the pair repulsion and the references.

    references: energies (eV an atom) of all species, by atomic number, where they are given; one energy an atom (the
        bias of S20) is fitted besides. None: the species' energies are fitted, each zero of energy having its own.
    strong_force: eV/A; the error expected of a force grows as (1 + (|F| / strong_force)^2)^(1/2).
    The model is in the energies of the first frame's source. closest: see `closest_pairs`.

    Raises DataError, before any rows are needed, for missing references and atoms that coincide.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        store: FeatureStore,
        repulsion: PairRepulsion | None,
        references: Mapping[int, float] | None = None,
        strong_force: float = np.inf,
    ) -> None:
        self.frames, self.store, self.repulsion, self.references = frames, store, repulsion, references
        self.strong_force = strong_force
        self.zeros = tuple(dict.fromkeys(frame.zero for frame in frames))
        self.closest = closest_pairs(frames)
        species = store.spec.species
        lost = [chemical_symbols[z] for z in species if references is not None and z not in references]
        if lost:
            raise DataError(f"no reference energy for {', '.join(lost)}; give one for every species, or none at all")

    @property
    def targets(self) -> np.ndarray:
        """(n,) Which frames have the zero of energy that the model's predictions have."""
        return np.array([frame.zero == self.zeros[0] for frame in self.frames])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("observations are read one at a time")
        frame = self.frames[index]
        rows = self.store.load(frame)
        energy, gradient, strain = self._baseline(frame)
        observation = Observation(self._columns(frame), rows.features, frame.energy - energy, weight=frame.weight)
        if frame.forces is not None and rows.forces is not None:
            forces, variances = (frame.forces + gradient).ravel(), self._force_variances(frame.forces)
            if rows.directions is not None:
                forces, variances = rows.directions @ forces, rows.directions**2 @ variances
            observation = replace(observation, force_rows=rows.forces, forces=forces, force_weights=variances**-0.5)
        if frame.stress is not None and rows.strain is not None:
            voigt = strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            observation = replace(
                observation, stress_rows=rows.strain / frame.volume, stress=frame.stress - voigt / frame.volume
            )
        return observation

    def _force_variances(self, forces: np.ndarray) -> np.ndarray:
        """Squared errors expected of the components of forces (N, 3), relative to those of weak forces, (3N,)."""
        return np.repeat(1.0 + (np.linalg.norm(forces, axis=1) / self.strong_force) ** 2, 3)

    def species_energies(self, fitted: np.ndarray) -> np.ndarray:
        """Energies of the species (K, S) in the model's source, from the fitted columns (K, B) of `Observation`."""
        species = self.store.spec.species
        if self.references is None:
            return fitted[:, : len(species)]
        return fitted[:, :1] + np.array([self.references[z] for z in species])

    def _columns(self, frame: Frame) -> np.ndarray:
        """The counts of the species, or the number of atoms where references are given, in its zero's own columns."""
        counts = frame.count(self.store.spec.species)
        own = counts if self.references is None else counts.sum(keepdims=True)
        columns = np.zeros((len(self.zeros), len(own)))
        columns[self.zeros.index(frame.zero)] = own
        return columns.ravel()

    def _baseline(self, frame: Frame) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, derivative by positions and by strain that are not fitted."""
        energy, gradient, strain = 0.0, np.zeros((len(frame), 3)), np.zeros((3, 3))
        if self.repulsion is not None:
            known = self.repulsion.predict(frame.structure)
            energy, gradient, strain = known.energy, known.gradient, known.strain_gradient
        if self.references is not None:
            energy += sum(self.references[int(z)] for z in frame.numbers)
        return energy, gradient, strain
