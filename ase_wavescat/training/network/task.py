"""Labelled frames as networks learn them: which frames, of which stage, for which member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.system.errors import DataError, did_you_mean
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.labelled_frames import LabelledFrames
from ase_wavescat.training.network.examples import Example
from ase_wavescat.training.network.plan import NetworkPlan
from ase_wavescat.training.network.pushes import Push, pushes_of
from ase_wavescat.training.network.settings import Stage
from ase_wavescat.training.trainer import Request

HELD_OUT = 0
"""The fold that no member learns from."""


class NetworkTask(LabelledFrames):
    """The examples of the stages.

    Attributes:
        plan: What was asked for.
        specification: The network, for the species of the frames.
        folder: Where checkpoints go.

    Raises:
        DataError: For stages of sources that are not there, and for what only features have.
    """

    def __init__(self, request: Request, frames: Sequence[Frame]) -> None:
        if request.spec is not None or request.keys is not None:
            raise DataError("a network has no features; leave out preset, spec and keys")
        species = sorted({int(z) for frame in frames for z in frame.numbers})
        super().__init__(frames, species, request.repulsion_of(species))
        self.plan, self.folder = request.network or NetworkPlan(), request.folder
        self.specification = self.plan.of_species(species)
        known = list(dict.fromkeys(frame.source for frame in frames))
        for stage in self.plan.stages:
            for name in stage.sources:
                if name not in known:
                    raise DataError(
                        f"a stage wants the source {name!r}, which is not among the data{did_you_mean(name, known)}"
                    )

    @property
    def told(self) -> str:
        return f"a network of {self.specification.parameters} parameters; checkpoints are kept in {self.folder}"

    @property
    def record(self) -> dict[str, Any]:
        return {"network": self.plan.to_dict()}

    def differences(self, model: Model) -> list[str]:
        network = model.term(NetworkPotential)
        return ["another network"] * (network is None or network.specification != self.specification)

    def fill(self, workers: int | None, progress: bool) -> None:
        """Nothing follows from the frames alone."""
        self.folder.mkdir(exist_ok=True)

    @cached_property
    def pushes(self) -> list[Push]:
        """Close contacts, which all members learn."""
        return pushes_of(self.frames, self.closest, self.repulsion)

    def checkpoint(self, member: int) -> Path:
        return self.folder / f"member-{member}.npz"

    def leave(self) -> str:
        """Checkpoints have served."""
        for path in self.folder.glob("member-*.npz"):
            path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
        return ""

    def stages(self, learned: np.ndarray, held_out: np.ndarray) -> list[Stage]:
        """For one member.

        Args:
            learned: (n,) From which frames it learns.
            held_out: (n,) Which frames choose the weights to keep; in the last stage those that are judged.
        """
        stages = []
        for number, plan in enumerate(self.plan.stages, 1):
            last = number == len(self.plan.stages)
            examples = self._examples(plan.sources)
            own = [one for one, mine in zip(examples, learned, strict=True) if mine and one is not None]
            zeros = {example.zero for example in own}
            judged = held_out & self.targets if last else held_out
            held = [one for one, mine in zip(examples, judged, strict=True) if mine and one is not None]
            held = [example for example in held if example.zero in zeros]
            name = f"stage {number}" if len(self.plan.stages) > 1 else "training"
            stages.append(Stage(name, own, held, plan.epochs, plan.learning_rate))
        return stages

    def _examples(self, sources: Mapping[str, float]) -> list[Example | None]:
        """Of all frames; None for those of other sources."""
        found: list[Example | None] = []
        for frame, baseline in zip(self.frames, self.baselines, strict=True):
            if sources and frame.source not in sources:
                found.append(None)
                continue
            example = Example.of(frame, baseline)
            found.append(replace(example, weight=example.weight * sources.get(frame.source, 1.0)))
        return found
