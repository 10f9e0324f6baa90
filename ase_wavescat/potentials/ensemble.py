"""A sparse linear ensemble on scattering features: mean, members and spread."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.arrays import frozen_array
from ase_wavescat.system.digest import digest_of

if TYPE_CHECKING:
    from ase_wavescat.representation.transform import Evaluation, Transform

FORCE_COMPONENTS = 8


@dataclass(frozen=True)
class Calibration:
    """Factors that turn the spread over members into an expected error, found on held-out groups."""

    energy_scale: float = 1.0
    force_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("energy_scale", "force_scale"):
            value = float(getattr(self, name))
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"the calibration's {name} must be a positive number, got {value}")
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ForceComponents:
    """Leading principal components of the members' weights about their mean.

    Attributes:
        weights: (K, F) and species-free: the force variance is sum_k (weights_k . dphi/dR)^2.
        share: Part of the members' variance (features scaled by their spread over the training set) that they carry.
    """

    weights: np.ndarray
    share: float


@dataclass(frozen=True, eq=False)
class Ensemble:
    """E_member = sum_k e[member, Z_k] + E_repulsion + sum_gamma w[member, gamma] phi_gamma; the model is the mean.

    Arrays are read-only, so that copies of a model share them.

    Attributes:
        keys: The features kept, columns of `weights`, all known to `spec`.
        weights: (M, F) in eV per unit of feature.
        species_energies: (M, S) in eV, columns in the order of spec.species.

    Raises:
        ValueError: For arrays that do not fit one another; a SpecError for an unknown key.
    """

    spec: ScatteringSpec
    keys: tuple[str, ...]
    weights: np.ndarray
    species_energies: np.ndarray
    repulsion: PairRepulsion | None = None
    domain: Domain | None = None
    calibration: Calibration = Calibration()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = tuple(self.keys)
        if not keys:
            raise ValueError("a model needs at least one feature, got none")
        ((most, times),) = Counter(keys).most_common(1)
        if times > 1:
            raise ValueError(f"the feature {most!r} is named twice")
        for key in keys:
            self.spec.index(key)
        weights = frozen_array(self.weights, (None, len(keys)), "the member weights")
        if len(weights) == 0:
            raise ValueError("a model needs at least one member, got none")
        shape = (len(weights), len(self.spec.species))
        energies = frozen_array(self.species_energies, shape, "the species energies")
        if self.domain is not None and len(self.domain.minimum) != len(keys):
            raise ValueError(f"the domain covers {len(self.domain.minimum)} features, the model has {len(keys)}")
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "species_energies", energies)
        object.__setattr__(self, "provenance", dict(self.provenance))

    def __deepcopy__(self, memo: dict[int, Any]) -> Ensemble:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Ensemble, tuple(getattr(self, part.name) for part in dataclasses.fields(self))

    @property
    def members(self) -> int:
        """How many."""
        return len(self.weights)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that results, spreads and warnings follow from, the same in memory and in a
        file; what is only told of the model (its provenance) does not count."""
        counting = {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}
        return digest_of({**counting, "spec": self.spec.to_dict(), "provenance": None})

    @cached_property
    def mean_weights(self) -> np.ndarray:
        """(F,) eV per unit of feature."""
        return self.weights.mean(axis=0)

    @cached_property
    def force_components(self) -> ForceComponents:
        """Ranked by their effect; the centred weights are scaled by each feature's spread before the decomposition."""
        centred = self.weights - self.mean_weights
        scaled = centred if self.domain is None else centred * self.domain.std
        kept = min(FORCE_COMPONENTS, self.members - 1)
        if kept == 0:
            return ForceComponents(np.zeros((0, len(self.keys))), 1.0)
        rotation, singular, _ = np.linalg.svd(scaled, full_matrices=False)
        kept = min(kept, rotation.shape[1])
        total = float(np.sum(singular**2))
        share = float(np.sum(singular[:kept] ** 2)) / total if total > 0 else 1.0
        return ForceComponents(rotation[:, :kept].T @ centred / np.sqrt(self.members - 1), share)

    def transform(self, execution: Execution = Execution()) -> Transform:
        """A transform that computes this model's features and nothing else; one for each thread or process."""
        from ase_wavescat.representation.transform import Transform

        return Transform(self.spec, self.keys, execution=execution)

    def predict(
        self, transform: Transform, structure: Structure, reference_cell: np.ndarray | None = None
    ) -> Prediction:
        """The forward pass; energies are ready, forces and spreads are computed when asked for.

        Args:
            reference_cell: (3, 3), A, fixes the grids along a strain; its rows along open directions may be zero.

        Raises:
            StructureError: For a structure that cannot be evaluated.
        """
        evaluation = transform.evaluate(structure, reference_cell)
        energy, gradient, strain_gradient = 0.0, np.zeros((len(structure), 3)), np.zeros((3, 3))
        if self.repulsion is not None:
            energy, gradient, strain_gradient = self.repulsion.evaluate(structure)
        return Prediction(self, evaluation, structure, energy, gradient, strain_gradient)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One structure seen by an ensemble. Everything beyond the features is computed once, when first asked for."""

    ensemble: Ensemble
    evaluation: Evaluation
    structure: Structure
    repulsion_energy: float
    repulsion_gradient: np.ndarray
    repulsion_strain_gradient: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """(F,) sums over the cell."""
        return self.evaluation.features

    @cached_property
    def member_energies(self) -> np.ndarray:
        """(M,) eV, whole cell."""
        counts = self.structure.count(self.ensemble.spec.species)
        linear = self.ensemble.weights @ self.features + self.ensemble.species_energies @ counts
        return linear + self.repulsion_energy

    @property
    def energy(self) -> float:
        """Mean over members, eV, whole cell."""
        return float(self.member_energies.mean())

    @cached_property
    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """dE/dR (N, 3) in eV/A and dE/dstrain (3, 3) in eV of the mean: one reverse pass."""
        positions, strain = self.evaluation.gradient(self.ensemble.mean_weights)
        return positions + self.repulsion_gradient, strain + self.repulsion_strain_gradient

    @cached_property
    def member_strain_gradients(self) -> np.ndarray:
        """(M, 3, 3) dE/dstrain in eV of each member: a reverse pass for each."""
        own = np.array([self.evaluation.gradient(weights)[1] for weights in self.ensemble.weights])
        return own + self.repulsion_strain_gradient

    @property
    def energy_uncertainty(self) -> float:
        """Standard deviation over members (0 for a single one) times the calibrated scale, eV, whole cell."""
        if self.ensemble.members == 1:
            return 0.0
        return self.ensemble.calibration.energy_scale * float(self.member_energies.std(ddof=1))

    @cached_property
    def forces_uncertainty(self) -> np.ndarray:
        """(N, 3) eV/A: standard deviation over members through the leading components, times the calibrated scale."""
        variance = np.zeros((len(self.structure), 3))
        for weights in self.ensemble.force_components.weights:
            variance += self.evaluation.gradient(weights)[0] ** 2
        return self.ensemble.calibration.force_scale * np.sqrt(variance)

    @cached_property
    def grades(self) -> np.ndarray | None:
        """(N,) how unlike the surroundings of each atom are to those seen in training, beyond 1: unlike any; None where
        the model has recorded none."""
        domain = self.ensemble.domain
        if domain is None or domain.environments is None:
            return None
        return domain.environments.grades(self.structure)

    @cached_property
    def domain_messages(self) -> dict[str, str]:
        """What lies outside the training domain, by kind: composition, distance, boundaries, environments, features,
        spread. Empty when inside."""
        domain, atoms, numbers = self.ensemble.domain, len(self.structure), self.structure.numbers
        if domain is None:
            return {}
        messages = {
            "composition": domain.composition_outside(numbers),
            "distance": domain.distance_outside(self.structure),
            "boundaries": domain.boundaries_outside(self.structure.pbc),
            "environments": None if self.grades is None else domain.environments_outside(self.grades, numbers),
            "features": domain.features_outside(self.features / atoms, self.ensemble.keys),
            "spread": domain.spread_outside(self.energy_uncertainty / atoms),
        }
        return {kind: message for kind, message in messages.items() if message is not None}
