"""Training of a network by Adam: stages, averaged weights, early stop on held-out groups, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.units import GPa

from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of
from ase_wavescat.system.errors import WaveScatError
from ase_wavescat.training.network.batch import Batch
from ase_wavescat.training.network.checkpoint import Checkpoint
from ase_wavescat.training.network.examples import Array, Example, atom_energies, less_atoms
from ase_wavescat.training.network.loss import Errors, Labels, push_loss
from ase_wavescat.training.network.pushes import Push, drawn
from ase_wavescat.training.network.settings import NetworkSettings, Stage
from ase_wavescat.training.network.standardisation import standardised
from ase_wavescat.training.network.twin import Twin

_DTYPES = {"single": torch.float32, "double": torch.float64}
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_LARGEST_GRADIENT = 2.0  # norm of a step's gradient, in that of usual ones
_USUAL_KEPT = 0.98  # of the mean norm, in a step
_OF_PUSHES = 0.03  # weight beside that of an example; with more, their gradients drown those of the labels


@dataclass(frozen=True)
class Epoch:
    """What one pass through the examples brought.

    Attributes:
        stage: name of the stage.
        epoch: number within it, from 1.
        loss: an example, over the epoch.
        held_out_loss: an example, of the averaged weights.
        held_out: mean absolute errors by name: energy (eV/atom), forces (eV/A), stress (eV/A^3).
    """

    stage: str
    epoch: int
    loss: float
    held_out_loss: float
    held_out: dict[str, float]

    def __str__(self) -> str:
        """As "training, epoch 3: loss 12.3, held out 11.9, energy 6.1 meV/atom, forces 0.0921 eV/Å"."""
        units = {"energy": (1e3, ".1f", "meV/atom"), "forces": (1.0, ".4f", "eV/Å"), "stress": (1 / GPa, ".2f", "GPa")}
        errors = [f"{name} {units[name][0] * x:{units[name][1]}} {units[name][2]}" for name, x in self.held_out.items()]
        head = f"{self.stage}, epoch {self.epoch}: loss {self.loss:.4g}, held out {self.held_out_loss:.4g}"
        return ", ".join([head, *errors])


@dataclass(frozen=True)
class TrainedNetwork:
    """What came out.

    Attributes:
        weights: those with the lowest held-out loss of the last stage.
        atom_energies: (S,) eV, of the species, in the zero of energy of the last stage's first example; to be added.
        history: all epochs.
    """

    weights: NetworkWeights
    atom_energies: Array
    history: tuple[Epoch, ...]


def train_network(
    specification: NetworkSpecification,
    stages: Sequence[Stage],
    settings: NetworkSettings = NetworkSettings(),  # noqa: B008 - frozen
    checkpoint: Path | None = None,
    report: Callable[[Epoch], None] | None = None,
    pushes: Sequence[Push] = (),
) -> TrainedNetwork:
    """Learn from the examples of the stages, one after the other.

    The same data, settings, versions and number of threads give the same bits, and so does a run that was killed and
    goes on from its checkpoint.

    Args:
        specification: of the network.
        stages: at least one; each begins with the best weights of the one before.
        settings: for all stages.
        checkpoint: file that is written after each epoch, and gone on from where it is there.
        report: called after each epoch.
        pushes: close contacts, learned in all stages.

    Raises:
        DataError: for a checkpoint of another training.
        WaveScatError: where the loss is no longer finite.
    """
    run = _Run(specification, stages, settings, checkpoint, pushes)
    for stage in range(run.stage, len(stages)):
        if stage != run.stage:
            run.begin(stage)
        while not run.ended:
            epoch = run.next_epoch()
            if report is not None:
                report(epoch)
    last = stages[-1].examples
    energies = atom_energies(last, specification.species)[last[0].zero]
    return TrainedNetwork(run.best, energies, tuple(run.history))


class _Run:
    """Everything that changes while training goes on."""

    def __init__(
        self,
        specification: NetworkSpecification,
        stages: Sequence[Stage],
        settings: NetworkSettings,
        checkpoint: Path | None,
        pushes: Sequence[Push] = (),
    ) -> None:
        self._stages, self._settings, self._checkpoint, self._pushes = stages, settings, checkpoint, pushes
        self._specification, self._dtype = specification, _DTYPES[settings.precision]
        told = [specification.to_dict(), settings.to_dict(), torch.__version__]
        self._digest = digest_of([*told, *map(_stage_digest, stages), *map(_push_digest, pushes)])
        self.history: list[Epoch] = []
        stored = None if checkpoint is None else Checkpoint.read(checkpoint, self._digest)
        if stored is None:
            self.best = standardised(NetworkWeights.random(specification, settings.seed), stages[0].examples)
            self.begin(0)
        else:
            self._restore(stored)

    @property
    def ended(self) -> bool:
        """Whether this stage is over."""
        return self.epoch >= self._stages[self.stage].epochs or self._stale >= self._settings.patience

    def begin(self, stage: int) -> None:
        """A new stage, from the best weights so far."""
        self.stage, self.epoch, self._stale, self._lowest = stage, 0, 0, math.inf
        self._usual_gradient = 0.0
        self._twin, self._averaged = self._copy(self.best), self._copy(self.best)
        self._prepare()

    def next_epoch(self) -> Epoch:
        """One pass through the examples, the held-out errors after it, and the checkpoint."""
        loss = self._learn()
        held_out = self._held_out_errors()
        self.epoch += 1
        self._stale += 1
        if held_out.loss < self._lowest:
            self._lowest, self._stale, self.best = held_out.loss, 0, self._averaged.weights()
        name = self._stages[self.stage].name
        self.history.append(Epoch(name, self.epoch, loss, held_out.loss, held_out.summary))
        if self._checkpoint is not None:
            self._store().write(self._checkpoint)
        return self.history[-1]

    def _copy(self, weights: NetworkWeights) -> Twin:
        return Twin(weights, self._dtype).to(self._settings.device)

    def _prepare(self) -> None:
        """What follows from the stage alone."""
        stage, species = self._stages[self.stage], self._specification.species
        energies = atom_energies(stage.examples, species)
        self._learned = less_atoms(stage.examples, energies, species)
        self._held = less_atoms(stage.held_out, energies, species)
        self._optimiser = _optimiser(self._twin, self._settings.weight_decay)
        self._steps = math.ceil(len(self._learned) / self._settings.batch)

    def _batches(self, examples: Sequence[Example]) -> Iterator[tuple[Batch, Labels]]:
        size = self._settings.batch
        for start in range(0, len(examples), size):
            some = examples[start : start + size]
            structures = [example.structure for example in some]
            batch = Batch.of(structures, self._specification, self._dtype, self._settings.device)
            yield batch, Labels.of(some, self._settings, self._dtype)

    def _learn(self) -> float:
        """Mean loss of the epoch; the order of examples follows from the seed, the stage and the epoch."""
        stage = self._stages[self.stage]
        order = np.random.default_rng([self._settings.seed, self.stage, self.epoch]).permutation(len(self._learned))
        pushes = drawn(self._pushes, [self._settings.seed, self.stage, self.epoch, 1])
        total = 0.0
        for step, (batch, labels) in enumerate(self._batches([self._learned[index] for index in order])):
            done = (self.epoch * self._steps + step) / (stage.epochs * self._steps)
            for group in self._optimiser.param_groups:
                group["lr"] = stage.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            self._optimiser.zero_grad()
            loss = labels.loss(self._twin.predict(batch, training=True))
            loss.backward()
            if self._pushes:
                (_OF_PUSHES * push_loss(next(pushes), self._twin, self._settings, self._dtype)).backward()
            self._limit_gradient()
            self._optimiser.step()
            self._average(self.epoch * self._steps + step)
            total += float(loss.detach()) * len(batch)
        if not math.isfinite(total):
            raise WaveScatError(
                f"the loss is no longer finite in epoch {self.epoch + 1} of stage {stage.name!r}; take a smaller"
                f" learning rate than {stage.learning_rate:g}, and look for structures with atoms on top of each other"
            )
        return total / len(self._learned)

    def _limit_gradient(self) -> None:
        """A batch with an outlier would move all weights by three learning rates along its own gradient.

        Adam's mean square hardly knows it yet.
        """
        limit = _LARGEST_GRADIENT * self._usual_gradient or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self._twin.parameters(), limit))
        kept = _USUAL_KEPT if self._usual_gradient else 0.0
        self._usual_gradient = kept * self._usual_gradient + (1 - kept) * min(norm, limit)

    def _average(self, step: int) -> None:
        kept = min(self._settings.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, new in zip(self._averaged.parameters(), self._twin.parameters(), strict=True):
                mean.mul_(kept).add_(new, alpha=1 - kept)

    def _held_out_errors(self) -> Errors:
        errors = Errors()
        for batch, labels in self._batches(self._held):
            errors.add(labels, self._averaged.predict(batch))
        return errors

    def _store(self) -> Checkpoint:
        arrays = {f"best/{name}": array for name, array in self.best.arrays.items()}
        for kind, twin in (("twin", self._twin), ("averaged", self._averaged)):
            arrays |= {f"{kind}/{name}": value.detach().cpu().numpy() for name, value in twin.state_dict().items()}
        for name, parameter in self._twin.named_parameters():
            moments = self._optimiser.state[parameter]
            arrays |= {f"{moment}/{name}": moments[moment].cpu().numpy() for moment in _MOMENTS}
        place = {
            "stage": self.stage,
            "epoch": self.epoch,
            "stale": self._stale,
            "lowest": self._lowest,
            "usual_gradient": self._usual_gradient,
            "history": [vars(epoch) for epoch in self.history],
        }
        return Checkpoint(self._digest, arrays, place)

    def _restore(self, stored: Checkpoint) -> None:
        arrays, place = stored.arrays, stored.place
        self.stage, self.epoch = place["stage"], place["epoch"]
        self._stale, self._lowest = place["stale"], place["lowest"]
        self._usual_gradient = place["usual_gradient"]
        self.history = [Epoch(**epoch) for epoch in place["history"]]
        self.best = NetworkWeights(self._specification, _under("best", arrays))
        self._twin, self._averaged = self._copy(self.best), self._copy(self.best)
        for kind, twin in (("twin", self._twin), ("averaged", self._averaged)):
            twin.load_state_dict({name: torch.from_numpy(array) for name, array in _under(kind, arrays).items()})
        self._prepare()
        for name, parameter in self._twin.named_parameters():
            self._optimiser.state[parameter] = {
                moment: torch.from_numpy(arrays[f"{moment}/{name}"]).to(
                    "cpu" if moment == "step" else self._settings.device
                )
                for moment in _MOMENTS
            }


def _optimiser(twin: Twin, weight_decay: float) -> torch.optim.AdamW:
    """The learning rate is set in each step."""
    decaying, kept = (
        [parameter for name, parameter in twin.named_parameters() if ("_bias" in name) is bias]
        for bias in (False, True)
    )
    return torch.optim.AdamW([{"params": decaying, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0}])


def _under(kind: str, arrays: Any) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{kind}/"): array for name, array in arrays.items() if name.startswith(f"{kind}/")}


def _plain(structure: Structure) -> list[Any]:
    return [structure.cell, structure.positions, structure.numbers, list(structure.pbc)]


def _push_digest(push: Push) -> str:
    return digest_of([*map(_plain, push.structures), push.changes, push.errors])


def _stage_digest(stage: Stage) -> str:
    examples = [
        [_plain(e.structure), e.energy, e.forces, e.stress, e.group, e.zero, e.weight]
        for e in (*stage.examples, *stage.held_out)
    ]
    return digest_of([stage.name, stage.epochs, stage.learning_rate, len(stage.held_out), examples])
