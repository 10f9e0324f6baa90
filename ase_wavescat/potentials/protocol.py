"""What a potential is, and what it may know beyond energies: all that the rest of the package asks of one.

E(structure), its gradient dE/dR and its strain gradient dE/dstrain; forces are -gradient, the stress is the strain
gradient over the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeGuard, runtime_checkable

import numpy as np

from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer


class Prediction(Protocol):
    """A structure seen by a potential. Derivatives may be computed when they are first asked for."""

    @property
    def energy(self) -> float:
        """Of the whole cell, eV."""

    @property
    def gradient(self) -> np.ndarray:
        """dE/dR (N, 3), eV/A."""

    @property
    def strain_gradient(self) -> np.ndarray:
        """dE/dstrain (3, 3), symmetric, eV."""


class MemberPrediction(Prediction, Protocol):
    """That of a potential with members; energy and gradients are the means over them."""

    @property
    def member_energies(self) -> np.ndarray:
        """(M,), eV."""

    @property
    def member_gradients(self) -> np.ndarray:
        """(M, N, 3), eV/A."""

    @property
    def member_strain_gradients(self) -> np.ndarray:
        """(M, 3, 3), eV."""

    @property
    def gradient_spread(self) -> np.ndarray:
        """(N, 3), eV/A: standard deviation over the members, or what comes near to it at less cost."""


class Potential(Protocol):
    """What maps structures to energies; frozen, so that threads and copies share it.

    Attributes:
        species: Atomic numbers that it knows, ascending.
        reach: Distance (A) between images along open directions beyond which they do not feel each other.
        neighbour_reach: Distance (A) up to which it looks for neighbours; 0 where it looks for none.
        digest: Hexadecimal digits that all its results follow from.
    """

    @property
    def species(self) -> tuple[int, ...]: ...

    @property
    def reach(self) -> float: ...

    @property
    def neighbour_reach(self) -> float: ...

    @property
    def digest(self) -> str: ...

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> Prediction:
        """The energy, and the way to its derivatives.

        Args:
            structure: Along open directions it is alone, whatever its cell.
            reference_cell: (3, 3), A: of potentials on grids, the cell whose grids are kept along a strain; its rows
                along open directions do not matter.
            execution: Threads and precision.

        Raises:
            StructureError: Where the structure cannot be evaluated.
        """


class Stored(Protocol):
    """What model files can hold; potentials that they can are named in `potentials.registry`."""

    kind: ClassVar[str]

    def card(self) -> list[str]:
        """Lines of the model card."""

    def store(self, writer: Writer) -> None:
        """Write all that `restore` reads."""

    @classmethod
    def restore(cls, reader: Reader) -> Any:
        """What `store` wrote; whatever is missing, unknown or senseless is a ValueError."""


@runtime_checkable
class HasMembers(Protocol):
    """Potentials whose predictions are `MemberPrediction`."""

    @property
    def members(self) -> int: ...


@runtime_checkable
class HasDomain(Protocol):
    """Potentials that know what they have seen."""

    def outside(self, prediction: Any) -> dict[str, str]:
        """What of a prediction of its own lies outside, a sentence by kind; empty inside."""


@runtime_checkable
class HasFeatures(Protocol):
    """Predictions that describe a structure by numbers."""

    @property
    def features(self) -> np.ndarray:
        """(F,) sums over the cell."""


def has_members(potential: object) -> TypeGuard[HasMembers]:
    """Whether it is one of these."""
    return _is(potential, HasMembers)


def has_domain(potential: object) -> TypeGuard[HasDomain]:
    """Whether it is one of these."""
    return _is(potential, HasDomain)


def has_features(prediction: object) -> TypeGuard[HasFeatures]:
    """Whether it is one of these."""
    return _is(prediction, HasFeatures)


_KNOWN: dict[tuple[type, type], bool] = {}


def _is(thing: object, protocol: type) -> bool:
    """Asked once of each class: Python before 3.12 takes a good part of a fast potential's time to answer."""
    key = type(thing), protocol
    if key not in _KNOWN:
        _KNOWN[key] = isinstance(thing, protocol)
    return _KNOWN[key]


@dataclass(frozen=True, eq=False)
class WholePrediction:
    """The prediction of a potential that computes everything at once."""

    energy: float
    gradient: np.ndarray
    strain_gradient: np.ndarray
