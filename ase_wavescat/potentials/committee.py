"""Unlike potentials as one: their mean, and their disagreement as its spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ase_wavescat.potentials.protocol import HasMembers, Potential, Prediction
from ase_wavescat.potentials.sum import outside_of_any
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of


@dataclass(frozen=True, eq=False)
class Committee:
    """E = mean over potentials of E_p; its members are those of the potentials, or these themselves.

    Attributes:
        potentials: Two or more; what has members counts as so many.

    Raises:
        ValueError: For fewer than two.
    """

    potentials: tuple[Potential, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "potentials", tuple(self.potentials))
        if len(self.potentials) < 2:
            raise ValueError(f"a committee has at least two potentials, got {len(self.potentials)}")

    @property
    def species(self) -> tuple[int, ...]:
        """Those that all know."""
        common = set(self.potentials[0].species).intersection(*(one.species for one in self.potentials))
        return tuple(sorted(common))

    @property
    def reach(self) -> float:
        return max(one.reach for one in self.potentials)

    @property
    def neighbour_reach(self) -> float:
        return max(one.neighbour_reach for one in self.potentials)

    @property
    def members(self) -> int:
        return sum(one.members if isinstance(one, HasMembers) else 1 for one in self.potentials)

    @cached_property
    def digest(self) -> str:
        return digest_of({"kind": "committee", "potentials": [one.digest for one in self.potentials]})

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> CommitteePrediction:
        if self.neighbour_reach > 0:
            structure.neighbours(self.neighbour_reach)
        parts = tuple(one.predict(structure, reference_cell, execution) for one in self.potentials)
        return CommitteePrediction(self, parts)

    def outside(self, prediction: CommitteePrediction) -> dict[str, str]:
        """What lies outside for any of the potentials."""
        return outside_of_any(self.potentials, prediction.predictions)


@dataclass(frozen=True, eq=False)
class CommitteePrediction:
    """The predictions of the potentials, and their mean."""

    committee: Committee
    predictions: tuple[Prediction, ...]

    @property
    def energy(self) -> float:
        return float(np.mean([part.energy for part in self.predictions]))

    @property
    def gradient(self) -> np.ndarray:
        return np.mean([part.gradient for part in self.predictions], axis=0)

    @property
    def strain_gradient(self) -> np.ndarray:
        return np.mean([part.strain_gradient for part in self.predictions], axis=0)

    @cached_property
    def member_energies(self) -> np.ndarray:
        return self._of_members(lambda part: part.member_energies, lambda part: part.energy)

    @cached_property
    def member_gradients(self) -> np.ndarray:
        return self._of_members(lambda part: part.member_gradients, lambda part: part.gradient)

    @cached_property
    def member_strain_gradients(self) -> np.ndarray:
        return self._of_members(lambda part: part.member_strain_gradients, lambda part: part.strain_gradient)

    @property
    def gradient_spread(self) -> np.ndarray:
        return self.member_gradients.std(axis=0, ddof=1)

    def _of_members(self, theirs: Callable[[Any], np.ndarray], own: Callable[[Any], Any]) -> np.ndarray:
        """(M, ...), one after the other."""
        both = zip(self.committee.potentials, self.predictions, strict=True)
        found = [theirs(part) if isinstance(one, HasMembers) else np.array([own(part)]) for one, part in both]
        return np.concatenate(found)
