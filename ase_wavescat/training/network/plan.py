"""What a network is to be, and the stages of its training: the section [network] of a run file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.network.settings import NetworkSettings

_EXAMPLE = (1,)  # a species to try the fields with


@dataclass(frozen=True)
class StagePlan:
    """One stage of the training.

    Attributes:
        sources: Names of label sources, and factors of their frames' weights; empty for all.
        epochs: Passes through them, at most.
        learning_rate: At the beginning; it falls to zero along half a cosine.

    Raises:
        DataError: For no epochs, and learning rates and factors that are not positive.
    """

    sources: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 100
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 1:
            raise DataError(f"a stage needs at least one epoch, got {self.epochs!r}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise DataError(f"the learning rate of a stage must be positive, got {self.learning_rate}")
        for name, factor in self.sources.items():
            if not (math.isfinite(factor) and factor > 0):
                raise DataError(f"the factor of source {name!r} must be positive, got {factor}; leave the source out")


@dataclass(frozen=True)
class NetworkPlan:
    """A network and its training.

    Attributes:
        specification: Fields of `NetworkSpecification` but for the species, which the data tell, as its `to_dict`
            writes them.
        settings: For all stages.
        stages: One after the other, each from the best weights of the one before; the model is in the energies of the
            first label source.
        heads: On the trunk of a single network, which give it a spread; 1 for none. Several networks need none.

    Raises:
        DataError: For no stages, and no whole number of heads.
        SpecError: For fields of the specification that make no sense.
    """

    specification: Mapping[str, Any] = field(default_factory=dict)
    settings: NetworkSettings = field(default_factory=NetworkSettings)
    stages: tuple[StagePlan, ...] = (StagePlan(),)
    heads: int = 8

    def __post_init__(self) -> None:
        if not self.stages:
            raise DataError("a network is trained in one stage at least, got none")
        if isinstance(self.heads, bool) or not isinstance(self.heads, int) or self.heads < 1:
            raise DataError(f"heads must be a whole number of at least 1, got {self.heads!r}")
        self.of_species(_EXAMPLE)

    def of_species(self, species: Sequence[int]) -> NetworkSpecification:
        """The network for these."""
        return NetworkSpecification.from_dict({**self.specification, "species": list(species)})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the provenance."""
        return {
            "specification": dict(self.specification),
            "settings": self.settings.to_dict(),
            "heads": self.heads,
            "stages": [{**asdict(stage), "sources": dict(stage.sources)} for stage in self.stages],
        }
