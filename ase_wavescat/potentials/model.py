"""A model: a potential, what it has seen, and how far to trust it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.linear import FeatureRanges, LinearPotential
from ase_wavescat.potentials.protocol import Potential, Prediction, has_domain, has_features, has_members
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.potentials.sum import PotentialSum
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of
from ase_wavescat.system.plain import plain

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

Term = TypeVar("Term")


@dataclass(frozen=True, eq=False)
class Model:
    """What a model file holds. It is a potential itself, whose predictions are judged, and may be part of others.

    Attributes:
        potential: Whatever gives energies and derivatives.
        domain: What the training set covered; None where not recorded.
        calibration: From spreads to expected errors.
        provenance: Where the labels come from and how the model was made; plain data.
    """

    kind: ClassVar[str] = "model"
    potential: Potential
    domain: Domain | None = None
    calibration: Calibration = Calibration()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "provenance", dict(self.provenance))

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, tuple(getattr(self, part.name) for part in dataclasses.fields(self))

    @property
    def species(self) -> tuple[int, ...]:
        return self.potential.species

    @property
    def reach(self) -> float:
        return max(self.potential.reach, self.neighbour_reach)

    @cached_property
    def neighbour_reach(self) -> float:
        return max(self.potential.neighbour_reach, 0.0 if self.domain is None else self.domain.neighbour_reach)

    @cached_property
    def members(self) -> int:
        """1 for a potential without members."""
        return self.potential.members if has_members(self.potential) else 1

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of all that results, spreads and warnings follow from, the same in memory and in a
        file; what is only told of the model (its provenance) does not count."""
        return digest_of({"potential": self.potential.digest, "domain": self.domain, "calibration": self.calibration})

    def term(self, kind: type[Term]) -> Term | None:
        """The potential of this class: the whole one, or a term of a sum; None where there is none."""
        if isinstance(self.potential, kind):
            return self.potential
        return self.potential.term(kind) if isinstance(self.potential, PotentialSum) else None

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> ModelPrediction:
        """The forward pass; energies are ready, derivatives and spreads are computed when asked for.

        Args:
            structure: Along open directions it is alone.
            reference_cell: (3, 3), A, fixes the grids along a strain; its rows along open directions may be zero.
            execution: Threads and precision.

        Raises:
            StructureError: Where the structure cannot be evaluated.
        """
        if self.neighbour_reach > 0:
            structure.neighbours(self.neighbour_reach)
        return ModelPrediction(self, structure, self.potential.predict(structure, reference_cell, execution))

    def card(self) -> list[str]:
        """Lines of the model card, of its potential."""
        own = getattr(self.potential, "card", None)
        return [f"potential   {type(self.potential).__name__}"] if own is None else list(own())

    def store(self, writer: Writer) -> None:
        """All parts; numbers in the provenance that are not finite become null."""
        writer.json("provenance", plain(self.provenance))
        writer.potential("potential", self.potential)
        calibration = writer.group("calibration")
        calibration.value("energy_scale", self.calibration.energy_scale)
        calibration.value("force_scale", self.calibration.force_scale)
        if self.domain is not None:
            self.domain.store(writer.group("domain"))

    @classmethod
    def restore(cls, reader: Reader) -> Model:
        """Raises ValueError for whatever is wrong in the group."""
        reader.expect({"potential", "calibration", "provenance"}, {"domain"})
        calibration = reader.group("calibration")
        calibration.expect(set())
        return cls(
            reader.potential("potential"),
            Domain.restore(reader.group("domain")) if "domain" in reader else None,
            Calibration(calibration.number("energy_scale"), calibration.number("force_scale")),
            reader.json("provenance"),
        )

    def outside(self, prediction: ModelPrediction) -> dict[str, str]:
        """What of a prediction lies outside the domain, a sentence by kind; empty inside."""
        inner = self.potential.outside(prediction.inner) if has_domain(self.potential) else {}
        if self.domain is None:
            return inner
        domain, structure, grades = self.domain, prediction.structure, prediction.grades
        messages = {
            "composition": domain.composition_outside(structure.numbers),
            "distance": domain.distance_outside(structure),
            "boundaries": domain.boundaries_outside(structure.pbc),
            "environments": None if grades is None else domain.environments_outside(grades, structure.numbers),
            **inner,
            "spread": domain.spread_outside(prediction.energy_uncertainty / len(structure)),
        }
        return {kind: message for kind, message in messages.items() if message is not None}


@dataclass(frozen=True, eq=False)
class ModelPrediction:
    """One structure seen by a model. Everything beyond the energy is computed once, when first asked for."""

    model: Model
    structure: Structure
    inner: Prediction

    @property
    def energy(self) -> float:
        """Mean over members, eV, whole cell."""
        return self.inner.energy

    @property
    def gradient(self) -> np.ndarray:
        """dE/dR (N, 3), eV/A."""
        return self.inner.gradient

    @property
    def strain_gradient(self) -> np.ndarray:
        """dE/dstrain (3, 3), eV."""
        return self.inner.strain_gradient

    @property
    def features(self) -> np.ndarray | None:
        """(F,) sums over the cell that describe the structure; None where the potential has none."""
        return self.inner.features if has_features(self.inner) else None

    @property
    def member_energies(self) -> np.ndarray:
        """(M,) eV, whole cell."""
        return self._of_members("member_energies", "energy")

    @property
    def member_gradients(self) -> np.ndarray:
        """(M, N, 3), eV/A: a reverse pass for each."""
        return self._of_members("member_gradients", "gradient")

    @property
    def member_strain_gradients(self) -> np.ndarray:
        """(M, 3, 3), eV: a reverse pass for each."""
        return self._of_members("member_strain_gradients", "strain_gradient")

    def _of_members(self, theirs: str, common: str) -> np.ndarray:
        if has_members(self.model.potential):
            found: np.ndarray = getattr(self.inner, theirs)
            return found
        return np.array([getattr(self.inner, common)])

    @property
    def energy_uncertainty(self) -> float:
        """Standard deviation over members (0 for a single one) times the calibrated scale, eV, whole cell."""
        if self.model.members == 1:
            return 0.0
        return self.model.calibration.energy_scale * float(self.member_energies.std(ddof=1))

    @cached_property
    def gradient_spread(self) -> np.ndarray:
        """(N, 3) eV/A: standard deviation over members, not calibrated; 0 for a single one."""
        if self.model.members == 1:
            return np.zeros((len(self.structure), 3))
        spread: np.ndarray = getattr(self.inner, "gradient_spread")  # noqa: B009
        return spread

    @property
    def forces_uncertainty(self) -> np.ndarray:
        """(N, 3) eV/A: standard deviation over members times the calibrated scale."""
        return self.model.calibration.force_scale * self.gradient_spread

    @cached_property
    def grades(self) -> np.ndarray | None:
        """(N,) how unlike the surroundings of each atom are to those seen in training, beyond 1: unlike any; None where
        the model has recorded none."""
        domain = self.model.domain
        if domain is None or domain.environments is None:
            return None
        return domain.environments.grades(self.structure)

    @cached_property
    def domain_messages(self) -> dict[str, str]:
        """What lies outside the training domain, by kind: composition, distance, boundaries, environments, features,
        spread. Empty when inside."""
        return self.model.outside(self)


def linear_model(
    spec: ScatteringSpec,
    keys: tuple[str, ...],
    weights: np.ndarray,
    species_energies: np.ndarray,
    repulsion: PairRepulsion | None = None,
    ranges: FeatureRanges | None = None,
    domain: Domain | None = None,
    calibration: Calibration = Calibration(),
    provenance: Mapping[str, Any] | None = None,
) -> Model:
    """A model of a linear potential, the atoms' own energies and, where there is one, the repulsion.

    Args:
        spec: Of the features.
        keys: The features kept.
        weights: (M, F), eV per unit of feature.
        species_energies: (M, S), eV, columns in the order of spec.species.
        repulsion: Below short distances.
        ranges: What the features were in training.
        domain: What else the training set covered.
        calibration: From spreads to expected errors.
        provenance: Where the labels come from.

    Raises:
        ValueError: Where the parts do not fit together.
        SpecError: For a key that the spec does not have.
    """
    linear = LinearPotential(spec, keys, weights, ranges)
    terms: list[Potential] = [linear, AtomEnergies(spec.species, species_energies)]
    if repulsion is not None:
        terms.append(repulsion)
    return Model(PotentialSum(tuple(terms)), domain, calibration, dict(provenance or {}))
