"""Frames as every method sees them, less what none of them fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import chemical_symbols

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.baseline import baseline_of
from ase_wavescat.training.data.distances import closest_pairs
from ase_wavescat.training.data.frames import Frame


class LabelledFrames:
    """The pair repulsion and the references of each frame, found once.

    The model is in the energies of the first frame's source.

    Attributes:
        frames: All of them.
        species: Atomic numbers, ascending.
        repulsion: What is subtracted; None for nothing.
        references: Energies (eV an atom) of all species by atomic number, where they are given.
        zeros: The zeros of energy.
        closest: See `closest_pairs`.
        baselines: What is not fitted, of each frame.

    Raises:
        DataError: For missing references and atoms that coincide.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        species: Sequence[int],
        repulsion: PairRepulsion | None,
        references: Mapping[int, float] | None = None,
    ) -> None:
        self.frames, self.species, self.repulsion, self.references = frames, tuple(species), repulsion, references
        self.zeros = tuple(dict.fromkeys(frame.zero for frame in frames))
        self.closest = closest_pairs(frames)
        lost = [chemical_symbols[z] for z in self.species if references is not None and z not in references]
        if lost:
            raise DataError(f"no reference energy for {', '.join(lost)}; give one for every species, or none at all")
        self.baselines = [baseline_of(frame, repulsion, references) for frame in frames]

    @property
    def targets(self) -> np.ndarray:
        """(n,) Which frames have the zero of energy that the model's predictions have."""
        return np.array([frame.zero == self.zeros[0] for frame in self.frames])
