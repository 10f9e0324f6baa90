"""What a method of training is: labels and settings in, potential out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.groups import judged_groups
from ase_wavescat.training.validation import CrossValidation

if TYPE_CHECKING:
    from ase_wavescat.training.linear.observation import LabelWeights
    from ase_wavescat.training.linear.statistics import Statistics
    from ase_wavescat.training.network.plan import NetworkPlan
    from ase_wavescat.training.settings import Settings

Penalty = Callable[["Statistics", "LabelWeights", Sequence[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Request:
    """What a run is asked for beside the settings of the fit, see `ase_wavescat.training.train`.

    Attributes:
        folder: What the method keeps between runs goes here.
        spec: Of the features.
        keys: The features.
        prior: A model to be drawn towards.
        network: What the network is, and how it is trained.
        repulsion: Whether a pair repulsion is subtracted.
    """

    folder: Path
    spec: ScatteringSpec | str | Callable[[Sequence[int]], ScatteringSpec] | None = None
    keys: Sequence[str] | None = None
    prior: Model | None = None
    network: NetworkPlan | None = None
    repulsion: bool = True

    def repulsion_of(self, species: Sequence[int]) -> PairRepulsion | None:
        """None where none is subtracted."""
        return PairRepulsion.from_species(tuple(species)) if self.repulsion else None


class Observed(Protocol):
    """Labelled frames as a method reads them; `LabelledFrames` has what concerns all methods."""

    @property
    def frames(self) -> Sequence[Frame]: ...

    @property
    def species(self) -> tuple[int, ...]: ...

    @property
    def closest(self) -> Mapping[tuple[int, int], float]: ...

    @property
    def targets(self) -> np.ndarray:
        """(n,) Which frames have the zero of energy that the model's predictions have."""

    @property
    def told(self) -> str:
        """What is about to be fitted, in a few words."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What the provenance says of it beside the settings, or in place of some of them."""

    def differences(self, model: Model) -> list[str]:
        """What an earlier model of the same data and settings has that this one will not have; empty for nothing."""

    def fill(self, workers: int | None, progress: bool) -> None:
        """Compute what the frames alone decide."""

    def leave(self) -> str:
        """Tidy up when the model is written; what is told of what stays."""


Seen = TypeVar("Seen", bound=Observed)


@dataclass(frozen=True, eq=False)
class Problem(Generic[Seen]):
    """What is fitted, and how it is judged.

    Attributes:
        observations: Labels of all frames, as the method reads them.
        groups: (n,) the group of each frame, 0..G-1.
        fold: (G,) of each group.
        judged: (n,) whose frames' errors count.
        penalty: What the prior charges for each feature, in place of `prior_scale`.
        progress: Whether to show how far it is.
    """

    observations: Seen
    groups: np.ndarray
    fold: np.ndarray
    judged: np.ndarray
    penalty: Penalty | None = None
    progress: bool = False

    @property
    def judged_groups(self) -> np.ndarray:
        return judged_groups(self.groups, self.judged)

    @property
    def judged_frames(self) -> list[Frame]:
        return [self.observations.frames[i] for i in np.flatnonzero(self.judged).tolist()]


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of it.

    Attributes:
        model: Calibrated, with its domain.
        frames: Those that were held out.
        validation: Errors on them, in their order.
        curves: Errors against the number of frames, of features ..., by name, for the report.
    """

    model: Model
    frames: Sequence[Frame]
    validation: CrossValidation
    curves: dict[str, Any]


class Trainer(Protocol):
    """A method of training; `methods.trainer` finds it by its name.

    Attributes:
        fewest_groups: That it needs of frames that are judged.
        takes_prior: Whether it can be drawn towards another model.
        keeps: Suffix of the folder of what it keeps between runs.
        usual: Settings by name, where they are not given.
        ignores: Names of settings that it has no use for.
    """

    @property
    def fewest_groups(self) -> int: ...

    @property
    def takes_prior(self) -> bool: ...

    @property
    def keeps(self) -> str: ...

    @property
    def usual(self) -> Mapping[str, int]: ...

    @property
    def ignores(self) -> Sequence[str]: ...

    def check(self, settings: Settings) -> None:
        """Raises ValueError for settings that belong to other methods."""

    def observe(self, request: Request, frames: Sequence[Frame], settings: Settings) -> Observed:
        """The labels as it reads them, before any work.

        Raises:
            DataError: For data that it cannot use, and requests of other methods.
        """

    def train(self, problem: Problem, settings: Settings) -> Trained:
        """Raises DataError for data that it cannot use."""
