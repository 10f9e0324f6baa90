"""The method "network": members trained one after the other, and a model of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ase_wavescat.system.errors import DataError, WaveScatError

try:
    import torch  # noqa: F401
except ImportError:
    raise WaveScatError(
        'training networks needs torch, which is not installed; pip install "ase_wavescat[learn]"'
    ) from None

from tqdm import tqdm

from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.network.model import finish
from ase_wavescat.training.network.settings import NetworkSettings
from ase_wavescat.training.network.task import HELD_OUT, NetworkTask
from ase_wavescat.training.network.trainer import Epoch, TrainedNetwork, train_network
from ase_wavescat.training.trainer import Problem, Request, Trained, Trainer

if TYPE_CHECKING:
    from ase_wavescat.training.settings import Settings


class Network:
    """One fold of the groups is held out of everything; errors and calibration are found there.

    A single network learns from all other groups and is stopped by the held-out ones. Of several, each leaves out
    another fold, by which it is stopped.
    """

    fewest_groups = 2
    takes_prior = False
    keeps = ".checkpoints"
    usual = {"members": 1, "folds": 10}  # noqa: RUF012
    ignores: Sequence[str] = (
        "size", "bagging", "energy_weight", "force_weight", "stress_weight", "strong_force", "references",
        "directions", "strengths",
    )  # fmt: skip

    def check(self, settings: Settings) -> None:
        pass

    def observe(self, request: Request, frames: Sequence[Frame], settings: Settings) -> NetworkTask:
        return NetworkTask(request, frames)

    def train(self, problem: Problem[NetworkTask], settings: Settings) -> Trained:
        task = problem.observations
        fold = problem.fold[problem.groups]
        members = []
        for member, own in enumerate(_stopped_by(int(fold.max()) + 1, settings.members)):
            stages = task.stages((fold != HELD_OUT) & (fold != own), fold == own)
            with _Told(problem.progress, member, settings.members, sum(stage.epochs for stage in stages)) as told:
                members.append(
                    train_network(
                        task.specification, stages, _seeded(task.plan.settings, settings.seed, member),
                        task.checkpoint(member), told, task.pushes,
                    )
                )  # fmt: skip
        return finish(problem, members, np.flatnonzero((fold == HELD_OUT) & problem.judged), _curves(members))


def _stopped_by(folds: int, members: int) -> list[int]:
    """The fold that tells each member when to stop; it learns from all but this and the one held out of all.

    Raises:
        DataError: For several members and two folds.
    """
    if members == 1:
        return [HELD_OUT]
    if folds < 3:
        raise DataError(f"there are {folds} folds; each of several members leaves out two, so that three are needed")
    return [1 + member % (folds - 1) for member in range(members)]


def _seeded(settings: NetworkSettings, seed: int, member: int) -> NetworkSettings:
    own = int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
    return settings.with_seed(own)


def _curves(members: Sequence[TrainedNetwork]) -> dict[str, Any]:
    """The epochs of each member, for the provenance."""
    return {"epochs": [[vars(epoch) for epoch in member.history] for member in members]}


class _Told:
    """A line an epoch, and a bar on terminals."""

    def __init__(self, progress: bool, member: int, members: int, epochs: int) -> None:
        self._name = f"member {member + 1} of {members}, " if members > 1 else ""
        self._progress = progress
        self._bar = tqdm(total=epochs, desc="epochs", unit="epoch", leave=False, disable=hidden(progress))

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, epoch: Epoch) -> None:
        self._bar.update()
        if self._progress:
            tqdm.write(self._name + str(epoch))


TRAINER: Trainer = Network()
