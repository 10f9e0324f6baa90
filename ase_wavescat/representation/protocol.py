"""What a family of features is: all that the rest of the package asks of one.

A family is a room of `representation/families` and a line in `representation/registry.py`. Its settings are a frozen
dataclass, a `Family`; its numbers are named by `Feature` records; a `Plan` computes some of them:

    plan    what features need, whatever the cell
    prepared = plan.prepare(lattice, execution)      what depends on the cell alone, kept for the next structure in it
    state = prepared.forward(scene)                  of one structure: values, and their derivatives on request

`Transform` does this for all plans of a specification alike.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.checks import refuse_unknown
from ase_wavescat.representation.strains import unit_strains

if TYPE_CHECKING:
    from ase_wavescat.representation.execution import Execution
    from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
    from ase_wavescat.representation.scene import Scene
    from ase_wavescat.representation.specification import ScatteringSpec
    from ase_wavescat.structure.structure import Structure

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_DIRECTIONS = 32  # pushed forward at a time: their changes are held together


class Feature(ABC):
    """The name of one number, a frozen record; `parse(rest)` is the inverse of `key`, which is "kind:rest"."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """What a model file stores."""

    @classmethod
    @abstractmethod
    def parse(cls, rest: str) -> Feature:
        """The feature of a key without its kind; ValueError or KeyError for anything else."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The key in words."""

    @property
    @abstractmethod
    def heading(self) -> str:
        """Under which a model card counts it."""

    @property
    @abstractmethod
    def properties(self) -> Mapping[str, Hashable]:
        """What can be said of it, by title; values of one title can be sorted."""

    @property
    def peers(self) -> str:
        """Features of one such name are comparable: one that varies far less than another is not learnt from.

        Empty: it is always learnt from.
        """
        return ""

    @property
    def steep(self) -> bool:
        """Whether it grows so fast where atoms crowd that the prior charges more for it."""
        return False


class Part(NamedTuple):
    """Something that features are computed from and that all who need it share; work: by unit, see `training.cost`."""

    name: Hashable
    work: Mapping[str, float]


class Needs(NamedTuple):
    """What one feature is computed from: parts, and structure factors of |G| up to a cutoff (1/A)."""

    parts: Sequence[Part]
    cutoff: float = 0.0


class State(ABC):
    """Features of one structure, for the whole cell, and what their derivatives need.

    Attributes:
        scene: the structure.
        values: (F,), sums over the cell.
    """

    scene: Scene
    values: Array

    def atom_values(self) -> Array:
        """(N, F), whose sum over the atoms is `values`; only of plans that have values per atom."""
        raise NotImplementedError(f"{type(self).__name__} has no values per atom: see Plan.has_atom_values")

    @abstractmethod
    def pullback(self, weights: Array) -> tuple[Array, Array]:
        """dE/dR (N, 3) and dE/dstrain (3, 3), symmetric, of E = weights . values.

        Args:
            weights: (F,), or (N, F) where the plan has values per atom: E = sum of weights * atom_values.
        """

    @abstractmethod
    def pushforward(self, displacements: Array, strains: Array) -> Array:
        """Derivatives (D, F) of the values along displacements (D, N, 3) plus strains (D, 3, 3)."""

    def jacobian(self) -> tuple[Array, Array]:
        """Derivatives by positions (F, N, 3) and by strain (F, 6), see `Evaluation.jacobian`.

        Along each direction by itself, unless the plan has a pass of its own for all of them.
        """
        atoms = len(self.scene.structure)
        total = 3 * atoms + 6
        displacements, strains = np.zeros((total, atoms, 3)), np.zeros((total, 3, 3))
        displacements[: 3 * atoms] = np.eye(3 * atoms).reshape(-1, atoms, 3)
        strains[3 * atoms :] = unit_strains()
        parts = [slice(start, start + _DIRECTIONS) for start in range(0, total, _DIRECTIONS)]
        rows = np.concatenate([self.pushforward(displacements[part], strains[part]) for part in parts])
        return rows[: 3 * atoms].T.reshape(-1, atoms, 3), rows[3 * atoms :].T


class DensityState(State):
    """Features that follow from the densities of the species in reciprocal space, `scene.densities` (S, P)."""

    @abstractmethod
    def adjoint(self, weights: Array) -> tuple[ComplexArray, Array]:
        """Of E = weights . values: A (S, P) with dE = Re sum over the half sphere of conj(A) dS, and dE/dstrain (3, 3)
        at fixed phases G.R."""

    @abstractmethod
    def tangent(self, change: ComplexArray, strain: Array) -> Array:
        """Derivatives (F,) along a change (S, P) of the densities with a strain (3, 3)."""

    def pullback(self, weights: Array) -> tuple[Array, Array]:
        adjoint, strain = self.adjoint(weights)
        return self.scene.pullback(adjoint), strain

    def pushforward(self, displacements: Array, strains: Array) -> Array:
        pairs = zip(displacements, strains, strict=True)
        return np.array([self.tangent(self.scene.pushforward(move), strain) for move, strain in pairs])


class Prepared(Protocol):
    """A plan on one cell."""

    def forward(self, scene: Scene) -> State:
        """The features of a structure in that cell."""


class Plan(ABC):
    """Some features of a specification, in column order, ready for any cell.

    Attributes:
        has_jacobian: whether derivatives along all directions cost far less than along each by itself.
        has_atom_values: whether its features are sums of values per atom, which its states then give.
    """

    has_jacobian: ClassVar[bool] = False
    has_atom_values: ClassVar[bool] = False

    @property
    def cutoff(self) -> float:
        """The largest |G| whose structure factors it needs (1/A)."""
        return 0.0

    @property
    def neighbour_reach(self) -> float:
        """The distance (A) up to which it looks for neighbours."""
        return 0.0

    @abstractmethod
    def prepare(self, lattice: ReciprocalLattice, execution: Execution) -> Prepared:
        """What depends on the cell alone; the lattice reaches to `cutoff` at least."""

    @abstractmethod
    def needs(self, structure: Structure) -> list[Needs]:
        """What each feature needs on a typical structure, for the price of a support."""


@dataclass(frozen=True)
class Family(ABC):
    """Settings of one family in a specification, and all that is known about it.

    Attributes:
        name: of the family in a specification.
        feature_classes: the classes of its features; no other family has them.
    """

    name: ClassVar[str]
    feature_classes: ClassVar[tuple[type[Feature], ...]]

    @classmethod
    @abstractmethod
    def example(cls) -> ScatteringSpec:
        """A specification of lithium and silicon with this family alone, quick on small cells: every test takes it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is its inverse."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Family:
        """Raises SpecError, with the nearest known one, for an unknown key."""
        refuse_unknown(data, [f.name for f in dataclasses.fields(cls)], f"{cls.name} family")
        return cls(**data)

    def check(self, spec: ScatteringSpec) -> None:
        """Raise SpecError where the settings do not fit the specification."""
        return

    @abstractmethod
    def most_features(self, spec: ScatteringSpec) -> int:
        """How many features there can be at most, without making them."""

    @abstractmethod
    def features(self, spec: ScatteringSpec) -> Sequence[Feature]:
        """All of them, in a fixed order."""

    @abstractmethod
    def reach(self, spec: ScatteringSpec) -> float:
        """The gap (A) between two structures beyond which they do not feel each other, to the spec's tolerance."""

    @abstractmethod
    def plans(self, spec: ScatteringSpec, features: Sequence[Feature]) -> list[tuple[IntArray, Plan]]:
        """Plans that together compute some features, all of this family, with their columns among these."""

    def resized(self, finer: float, scales: tuple[float, ...]) -> Family:
        """The family with all its lengths divided by `finer`, for a specification of other scales."""
        return self

    def thinned(self) -> tuple[Family, str]:
        """The family without the features that grow fastest in number, and a text that says which these are, and why.

        Itself and no text where nothing can be left out.
        """
        return self, ""

    @property
    def unmeasured(self) -> bool:
        """Whether it lacks something that `measured_on` finds out."""
        return False

    def measured_on(self, spec: ScatteringSpec, structures: Sequence[Structure]) -> Family:
        """The family with all that it takes from typical structures, fully periodic ones."""
        return self
