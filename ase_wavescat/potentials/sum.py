"""A sum of potentials is a potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from ase_wavescat.potentials.protocol import Potential, Prediction, has_domain, has_features, has_members
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

Term = TypeVar("Term")


@dataclass(frozen=True, eq=False)
class PotentialSum:
    """E = sum_t E_t; member m of the sum is the sum of the members m of its terms, and of those that have none.

    Attributes:
        terms: The potentials. The first says which species the sum knows.

    Raises:
        ValueError: For no terms, and for terms of different numbers of members.
    """

    terms: tuple[Potential, ...]

    kind: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        if not self.terms:
            raise ValueError("a sum of potentials needs at least one")
        counts = {term.members for term in self.terms if has_members(term)}
        if len(counts) > 1:
            raise ValueError(f"the terms of a sum have different numbers of members: {sorted(counts)}")

    @property
    def species(self) -> tuple[int, ...]:
        return self.terms[0].species

    @property
    def reach(self) -> float:
        return max(term.reach for term in self.terms)

    @property
    def neighbour_reach(self) -> float:
        return max(term.neighbour_reach for term in self.terms)

    @cached_property
    def members(self) -> int:
        return max((term.members for term in self.terms if has_members(term)), default=1)

    @cached_property
    def digest(self) -> str:
        return digest_of({"kind": self.kind, "terms": [term.digest for term in self.terms]})

    def term(self, kind: type[Term]) -> Term | None:
        """The first term of a class, None where there is none."""
        return next((term for term in self.terms if isinstance(term, kind)), None)

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> SumPrediction:
        """Neighbours are searched for once, as far as any term looks."""
        if self.neighbour_reach > 0:
            structure.neighbours(self.neighbour_reach)
        predictions = tuple(term.predict(structure, reference_cell, execution) for term in self.terms)
        return SumPrediction(self, predictions)

    def outside(self, prediction: SumPrediction) -> dict[str, str]:
        """What lies outside for any of the terms."""
        return outside_of_any(self.terms, prediction.predictions)

    def card(self) -> list[str]:
        """Lines of the model card, of each term."""
        return [line for term in self.terms for line in term.card()]  # type: ignore[attr-defined]

    def store(self, writer: Writer) -> None:
        writer.potentials("terms", self.terms)

    @classmethod
    def restore(cls, reader: Reader) -> PotentialSum:
        reader.expect({"terms"})
        return cls(reader.potentials("terms"))


def outside_of_any(potentials: Sequence[Potential], predictions: Sequence[Prediction]) -> dict[str, str]:
    """What lies outside for potentials that know what they have seen, of their own predictions, a sentence by kind."""
    both = zip(potentials, predictions, strict=True)
    found = [one.outside(part) for one, part in both if has_domain(one)]
    return {kind: message for messages in found for kind, message in messages.items()}


@dataclass(frozen=True, eq=False)
class SumPrediction:
    """The predictions of the terms, added up."""

    potential: PotentialSum
    predictions: tuple[Prediction, ...]

    @property
    def energy(self) -> float:
        return float(sum(part.energy for part in self.predictions))

    @cached_property
    def gradient(self) -> np.ndarray:
        return np.sum([part.gradient for part in self.predictions], axis=0)

    @cached_property
    def strain_gradient(self) -> np.ndarray:
        return np.sum([part.strain_gradient for part in self.predictions], axis=0)

    @cached_property
    def member_energies(self) -> np.ndarray:
        return self._of_members(lambda part: part.member_energies, lambda part: part.energy)

    @property
    def member_gradients(self) -> np.ndarray:
        return self._of_members(lambda part: part.member_gradients, lambda part: part.gradient)

    @property
    def member_strain_gradients(self) -> np.ndarray:
        return self._of_members(lambda part: part.member_strain_gradients, lambda part: part.strain_gradient)

    @property
    def gradient_spread(self) -> np.ndarray:
        """That of the one term whose members differ in their gradients, else over the sums of the members."""
        spreads = [part.gradient_spread for part in self._with_members()]
        varying = [spread for spread in spreads if spread.any()]
        if len(varying) > 1:
            return self.member_gradients.std(axis=0, ddof=1)
        return varying[0] if varying else np.zeros_like(self.gradient)

    @property
    def features(self) -> np.ndarray | None:
        """Of the first term that has features."""
        return next((part.features for part in self.predictions if has_features(part)), None)

    def _with_members(self) -> list[Any]:
        both = zip(self.potential.terms, self.predictions, strict=True)
        return [part for term, part in both if has_members(term)]

    def _of_members(self, mine: Callable[[Any], np.ndarray], common: Callable[[Prediction], Any]) -> np.ndarray:
        """(M, ...) sums over the terms; (1, ...) where none has members."""
        theirs = self._with_members()
        rest = np.asarray(sum(common(part) for part in self.predictions if not any(part is own for own in theirs)))
        return sum((mine(part) for part in theirs), start=np.zeros((1, *rest.shape))) + rest
