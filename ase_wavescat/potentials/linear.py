"""The linear ensemble: members that weigh the same features."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.arrays import frozen_array
from ase_wavescat.system.digest import digest_of

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer
    from ase_wavescat.representation.transform import Evaluation, Transform

FORCE_COMPONENTS = 8
# Leave the range by more than this share of it, and this share of the features must, before it is worth a warning:
# of structures like the training set's own one in twenty-five does.
FEATURE_MARGIN = 0.1
FEATURE_SHARE = 0.01
FAR_OUTSIDE = 1.0  # of the range: so far, one feature is enough
STATISTICS = ("minimum", "maximum", "mean", "std")


@dataclass(frozen=True, eq=False)
class FeatureRanges:
    """What the features, per atom (phi / N), were over a training set; each (F,).

    Raises:
        ValueError: For arrays of different shapes, a range upside down, a negative deviation.
    """

    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        count = len(np.atleast_1d(self.minimum))
        for name in STATISTICS:
            object.__setattr__(self, name, frozen_array(getattr(self, name), (count,), f"the features' {name}"))
        if np.any(self.minimum > self.maximum):
            raise ValueError(f"the feature range {int(np.argmax(self.minimum > self.maximum))} is upside down")
        if np.any(self.std < 0):
            raise ValueError("the features' std must not be negative")

    @classmethod
    def restore(cls, reader: Reader) -> FeatureRanges:
        """From the arrays `STATISTICS` of a group."""
        return cls(*(reader.numbers(name) for name in STATISTICS))

    def __len__(self) -> int:
        return len(self.minimum)

    def outside(self, per_atom: np.ndarray, keys: tuple[str, ...]) -> str | None:
        """A sentence about features (F,) per atom beyond their range by `FEATURE_MARGIN`, if they are many enough."""
        width = self.maximum - self.minimum
        scale = np.maximum(width, 1e-6 * np.maximum(1.0, np.abs(self.maximum)))  # features that never vary: no noise
        beyond = np.maximum(self.minimum - per_atom, per_atom - self.maximum) / scale
        outside = int(np.count_nonzero(beyond > FEATURE_MARGIN))
        if outside <= FEATURE_SHARE * len(keys) and beyond.max() <= FAR_OUTSIDE:
            return None
        at = int(np.argmax(beyond))
        return (
            f"{outside} of {len(keys)} features lie outside the range seen in training, the furthest is {keys[at]} = "
            f"{per_atom[at]:.4g} per atom against {self.minimum[at]:.4g} to {self.maximum[at]:.4g}"
        )


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
class LinearPotential:
    """E_member = sum_gamma w[member, gamma] phi_gamma (S20 eq 22); the potential is the mean.

    Attributes:
        spec: Of the features.
        keys: The features kept, columns of `weights`, all known to `spec`.
        weights: (M, F), eV per unit of feature; read-only, so that copies share them.
        ranges: What the features were in training; None where not recorded.

    Raises:
        ValueError: For misshapen weights, no or repeated features, no members.
        SpecError: For a key that the spec does not have.
    """

    spec: ScatteringSpec
    keys: tuple[str, ...]
    weights: np.ndarray
    ranges: FeatureRanges | None = None

    kind: ClassVar[str] = "linear"

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
        if self.ranges is not None and len(self.ranges) != len(keys):
            raise ValueError(f"the ranges cover {len(self.ranges)} features, the model has {len(keys)}")
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "weights", weights)

    def __deepcopy__(self, memo: dict[int, Any]) -> LinearPotential:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return LinearPotential, (self.spec, self.keys, self.weights, self.ranges)

    @property
    def species(self) -> tuple[int, ...]:
        return self.spec.species

    @property
    def members(self) -> int:
        return len(self.weights)

    @property
    def reach(self) -> float:
        return self.transform().reach

    @property
    def neighbour_reach(self) -> float:
        return self.transform().neighbour_reach

    @cached_property
    def digest(self) -> str:
        ranges = None if self.ranges is None else [getattr(self.ranges, name) for name in STATISTICS]
        content = {"spec": self.spec.to_dict(), "keys": self.keys, "weights": self.weights, "ranges": ranges}
        return digest_of({"kind": self.kind, **content})

    @cached_property
    def mean_weights(self) -> np.ndarray:
        """(F,)."""
        return self.weights.mean(axis=0)

    @cached_property
    def force_components(self) -> ForceComponents:
        """Ranked by their effect: the centred weights are scaled by each feature's spread before the decomposition."""
        centred = self.weights - self.mean_weights
        scaled = centred if self.ranges is None else centred * self.ranges.std
        kept = min(FORCE_COMPONENTS, self.members - 1)
        if kept == 0:
            return ForceComponents(np.zeros((0, len(self.keys))), 1.0)
        rotation, singular, _ = np.linalg.svd(scaled, full_matrices=False)
        kept = min(kept, rotation.shape[1])
        total = float(np.sum(singular**2))
        share = float(np.sum(singular[:kept] ** 2)) / total if total > 0 else 1.0
        return ForceComponents(rotation[:, :kept].T @ centred / np.sqrt(self.members - 1), share)

    def transform(self, execution: Execution = Execution()) -> Transform:
        """The transform that computes the features of this potential and nothing else, with its grids of the last
        cells; threads and calculators share it."""
        from ase_wavescat.representation.transform import Transform

        known: dict[Execution, Transform] = self.__dict__.setdefault("_transforms", {})
        if execution not in known:
            known[execution] = Transform(self.spec, self.keys, execution=execution)
        return known[execution]

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> LinearPrediction:
        """The forward pass; derivatives take a reverse pass each when they are asked for."""
        return LinearPrediction(self, self.transform(execution).evaluate(structure, reference_cell), structure)

    def outside(self, prediction: LinearPrediction) -> dict[str, str]:
        """Features beyond what they were in training."""
        if self.ranges is None:
            return {}
        message = self.ranges.outside(prediction.features / len(prediction.structure), self.keys)
        return {} if message is None else {"features": message}

    def card(self) -> list[str]:
        """Lines of the model card."""
        spec = self.spec
        kinds = Counter(spec.features[spec.index(key)].heading for key in self.keys)
        scales = ", ".join(f"{scale:g}" for scale in spec.scales)
        wavelets = ", ".join(f"({n}, {degree})" for n, degree in spec.wavelets)
        share = self.force_components.share
        varying = "" if self.ranges is None else f"; {np.count_nonzero(self.ranges.std > 0)} vary in training"
        return [
            f"features    {len(self.keys)} of the {len(spec.keys)} of its specification{varying}",
            *(f"    {count:5d}  {kind}" for kind, count in kinds.items()),
            f"wavelets    (n, l) = {wavelets}; scales {scales}; beta {spec.beta:g} Å; tolerance {spec.tolerance:g}",
            f"members     {self.members}, force spread from components carrying {100 * share:.1f} % of the variance",
        ]

    def store(self, writer: Writer) -> None:
        writer.json("spec", self.spec.to_dict())
        labels = [self.spec.features[self.spec.index(key)].label for key in self.keys]
        writer.keys("features", self.keys, labels)
        writer.numbers("weights", self.weights)
        if self.ranges is not None:
            for name in STATISTICS:
                writer.numbers(f"ranges/{name}", getattr(self.ranges, name))

    @classmethod
    def restore(cls, reader: Reader) -> LinearPotential:
        reader.expect({"spec", "features", "weights"}, {"ranges"})
        spec, keys = ScatteringSpec.from_dict(reader.json("spec")), reader.keys("features")
        ranges = None
        if "ranges" in reader:
            part = reader.group("ranges")
            part.expect(set(STATISTICS))
            ranges = FeatureRanges.restore(part)
        return cls(spec, keys, reader.numbers("weights"), ranges)


@dataclass(frozen=True, eq=False)
class LinearPrediction:
    """One structure's features, and what follows from them."""

    potential: LinearPotential
    evaluation: Evaluation
    structure: Structure

    @property
    def features(self) -> np.ndarray:
        """(F,) sums over the cell."""
        return self.evaluation.features

    @cached_property
    def member_energies(self) -> np.ndarray:
        return self.potential.weights @ self.features

    @property
    def energy(self) -> float:
        return float(self.member_energies.mean())

    @property
    def gradient(self) -> np.ndarray:
        return self._gradients[0]

    @property
    def strain_gradient(self) -> np.ndarray:
        return self._gradients[1]

    @cached_property
    def _gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """One reverse pass of the mean."""
        return self.evaluation.gradient(self.potential.mean_weights)

    @property
    def member_gradients(self) -> np.ndarray:
        return self._member_gradients[0]

    @property
    def member_strain_gradients(self) -> np.ndarray:
        return self._member_gradients[1]

    @cached_property
    def _member_gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """A reverse pass for each member."""
        positions, strains = zip(*map(self.evaluation.gradient, self.potential.weights), strict=True)
        return np.array(positions), np.array(strains)

    @cached_property
    def gradient_spread(self) -> np.ndarray:
        """Through the leading components of the members' weights."""
        variance = np.zeros((len(self.structure), 3))
        for weights in self.potential.force_components.weights:
            variance += self.evaluation.gradient(weights)[0] ** 2
        return np.sqrt(variance)
