"""What a method of training is: rows and settings in, potential out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ase_wavescat.potentials.model import Model
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.groups import judged_groups
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.validation import CrossValidation

if TYPE_CHECKING:
    from ase_wavescat.training.linear.observation import LabelWeights
    from ase_wavescat.training.linear.statistics import Statistics
    from ase_wavescat.training.settings import Settings

Penalty = Callable[["Statistics", "LabelWeights", Sequence[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted, and how it is judged.

    Attributes:
        observations: Rows and labels of all frames.
        groups: (n,) the group of each frame, 0..G-1.
        fold: (G,) of each group.
        judged: (n,) whose frames' errors count.
        penalty: What the prior charges for each feature, in place of `prior_scale`.
        towards: (F,) weights that the prior prefers; None for zero.
        progress: Whether to show how far it is.
    """

    observations: Observations
    groups: np.ndarray
    fold: np.ndarray
    judged: np.ndarray
    penalty: Penalty | None = None
    towards: np.ndarray | None = None
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
        validation: Errors on held-out groups of frames that are judged, in their order.
        curves: Errors against the number of frames, of features ..., by name, for the report.
    """

    model: Model
    validation: CrossValidation
    curves: dict[str, Any]


class Trainer(Protocol):
    """A method of training; `methods.trainer` finds it by its name.

    Attributes:
        fewest_groups: That it needs of frames that are judged.
        takes_prior: Whether it can be drawn towards another model.
    """

    @property
    def fewest_groups(self) -> int: ...

    @property
    def takes_prior(self) -> bool: ...

    def check(self, settings: Settings) -> None:
        """Raises ValueError for settings that belong to other methods."""

    def directions(self, settings: Settings) -> int | None:
        """The force rows that it wants of each frame: None for all, 0 for energies alone."""

    def train(self, problem: Problem, settings: Settings) -> Trained:
        """Raises DataError for data that it cannot use."""
