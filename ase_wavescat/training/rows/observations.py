"""Frames as the fit sees them: stored rows, and labels less what is not fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.labelled_frames import LabelledFrames
from ase_wavescat.training.linear.observation import EnergyRows, Observation
from ase_wavescat.training.rows.store import FeatureStore


class Observations(LabelledFrames, Sequence[Observation]):
    """Read from the store one at a time; labels less the pair repulsion and the references.

    references: energies (eV an atom) of all species, by atomic number, where they are given; one energy an atom (the
        bias of S20) is fitted besides. None: the species' energies are fitted, each zero of energy having its own.
    strong_force: eV/A; the error expected of a force grows as (1 + (|F| / strong_force)^2)^(1/2).
    towards: (F,) weights that the prior prefers; None for zero.

    Raises DataError, before any rows are needed, for missing references and atoms that coincide.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        store: FeatureStore,
        repulsion: PairRepulsion | None,
        references: Mapping[int, float] | None = None,
        strong_force: float = np.inf,
        towards: np.ndarray | None = None,
    ) -> None:
        super().__init__(frames, store.spec.species, repulsion, references)
        self.store, self.strong_force, self.towards = store, strong_force, towards

    @property
    def told(self) -> str:
        return f"{len(self.store.keys)} features, kept in {self.store.root}"

    @property
    def record(self) -> dict[str, Any]:
        return {"settings": {"directions": self.store.directions}}

    def differences(self, model: Model) -> list[str]:
        linear = model.term(LinearPotential)
        return ["other features"] * (linear is None or linear.spec != self.store.spec)

    def fill(self, workers: int | None, progress: bool) -> None:
        self.store.fill(self.frames, workers, progress)

    def leave(self) -> str:
        return f"features, to be used again or deleted: {self.store.root}"

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("observations are read one at a time")
        frame, baseline = self.frames[index], self.baselines[index]
        rows = self.store.load(frame)
        observation = Observation(
            self._columns(frame), rows.features, frame.energy - baseline.energy, frame_weight=frame.weight
        )
        if frame.forces is not None and rows.forces is not None:
            forces, variances = (frame.forces + baseline.gradient).ravel(), self._force_variances(frame.forces)
            if rows.directions is not None:
                forces, variances = rows.directions @ forces, rows.directions**2 @ variances
            observation = replace(observation, force_rows=rows.forces, forces=forces, component_weights=variances**-0.5)
        if frame.stress is not None and rows.strain is not None:
            voigt = baseline.strain_gradient[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            observation = replace(
                observation, stress_rows=rows.strain / frame.volume, stress=frame.stress - voigt / frame.volume
            )
        return observation

    @cached_property
    def energy_rows(self) -> EnergyRows:
        """What concerns the energies, of all frames: the small part of each row, read once and kept."""
        frames, baselines = self.frames, self.baselines
        return EnergyRows(
            np.array([self.store.load_features(frame) for frame in frames]),
            np.array([self._columns(frame) for frame in frames]),
            np.array([frame.energy - own.energy for frame, own in zip(frames, baselines, strict=True)]),
            np.array([frame.weight for frame in frames]),
        )

    def _force_variances(self, forces: np.ndarray) -> np.ndarray:
        """Squared errors expected of the components of forces (N, 3), relative to those of weak forces, (3N,)."""
        return np.repeat(1.0 + (np.linalg.norm(forces, axis=1) / self.strong_force) ** 2, 3)

    def species_energies(self, fitted: np.ndarray) -> np.ndarray:
        """Energies of the species (K, S) in the model's source, from the fitted columns (K, B) of `Observation`."""
        species = self.species
        if self.references is None:
            return fitted[:, : len(species)]
        return fitted[:, :1] + np.array([self.references[z] for z in species])

    def _columns(self, frame: Frame) -> np.ndarray:
        """The counts of the species, or the number of atoms where references are given, in its zero's own columns."""
        counts = frame.count(self.species)
        own = counts if self.references is None else counts.sum(keepdims=True)
        columns = np.zeros((len(self.zeros), len(own)))
        columns[self.zeros.index(frame.zero)] = own
        return columns.ravel()
