"""Unlike potentials as one: their weighted mean, and their disagreement as its spread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ase_wavescat.potentials.protocol import Potential, Prediction, has_members
from ase_wavescat.potentials.sum import outside_of_any
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer


@dataclass(frozen=True, eq=False)
class Committee:
    """E = sum over potentials of w_p E_p; its members are those of the potentials, or these themselves.

    Attributes:
        potentials: Two or more; what has members counts as so many.
        weights: One for each, positive, divided by their sum; empty for equal ones. Spreads are over all members alike.

    Raises:
        ValueError: For fewer than two, and for weights that do not fit.
    """

    kind: ClassVar[str] = "committee"
    potentials: tuple[Potential, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "potentials", tuple(self.potentials))
        count = len(self.potentials)
        if count < 2:
            raise ValueError(f"a committee has at least two potentials, got {count}")
        given = tuple(map(float, self.weights)) or (1.0,) * count
        if len(given) != count or not all(math.isfinite(weight) and weight > 0 for weight in given):
            raise ValueError(f"a committee of {count} needs as many positive weights, got {given}")
        object.__setattr__(self, "weights", tuple(weight / sum(given) for weight in given))

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

    @cached_property
    def members(self) -> int:
        return sum(one.members if has_members(one) else 1 for one in self.potentials)

    @cached_property
    def digest(self) -> str:
        return digest_of(
            {"kind": self.kind, "potentials": [one.digest for one in self.potentials], "weights": self.weights}
        )

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

    def card(self) -> list[str]:
        """Lines of the model card, of each potential."""
        lines = []
        for number, (one, weight) in enumerate(zip(self.potentials, self.weights, strict=True), 1):
            lines += [f"part {number}      weight {weight:.3g}", *one.card()]  # type: ignore[attr-defined]
        return lines

    def store(self, writer: Writer) -> None:
        """Potentials that files can hold."""
        writer.potentials("potentials", self.potentials)
        writer.numbers("weights", np.array(self.weights))

    @classmethod
    def restore(cls, reader: Reader) -> Committee:
        """Raises ValueError for whatever is wrong in the group."""
        reader.expect({"potentials", "weights"})
        potentials, weights = reader.potentials("potentials"), reader.numbers("weights")
        if weights.shape != (len(potentials),):
            raise ValueError(f"the weights have the shape {weights.shape}, expected one for each of {len(potentials)}")
        return cls(potentials, tuple(weights.tolist()))


@dataclass(frozen=True, eq=False)
class CommitteePrediction:
    """The predictions of the potentials, and their weighted mean."""

    committee: Committee
    predictions: tuple[Prediction, ...]

    @property
    def energy(self) -> float:
        return float(self._mean([part.energy for part in self.predictions]))

    @property
    def gradient(self) -> np.ndarray:
        return self._mean([part.gradient for part in self.predictions])

    @property
    def strain_gradient(self) -> np.ndarray:
        return self._mean([part.strain_gradient for part in self.predictions])

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

    def _mean(self, values: list[Any]) -> np.ndarray:
        return np.tensordot(self.committee.weights, np.array(values), 1)

    def _of_members(self, theirs: Callable[[Any], np.ndarray], own: Callable[[Any], Any]) -> np.ndarray:
        """(M, ...), one after the other."""
        both = zip(self.committee.potentials, self.predictions, strict=True)
        found = [theirs(part) if has_members(one) else np.array([own(part)]) for one, part in both]
        return np.concatenate(found)
