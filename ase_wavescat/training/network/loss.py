"""What training makes small, and the errors that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ase_wavescat.training.network.batch import Batch
from ase_wavescat.training.network.examples import Example
from ase_wavescat.training.network.pushes import Push
from ase_wavescat.training.network.settings import NetworkSettings
from ase_wavescat.training.network.twin import Prediction, Twin


@dataclass(frozen=True)
class Labels:
    """Of a batch of B examples with N atoms, and their weights; weight 0 where there is no label.

    Attributes:
        energies: (B,) eV.
        atoms: (B,).
        forces: (N, 3) eV/A.
        stresses: (B, 3, 3) eV/A^3.
        energy_weights: (B,).
        force_weights: (N, 1).
        stress_weights: (B, 1, 1).
    """

    energies: Tensor
    atoms: Tensor
    forces: Tensor
    stresses: Tensor
    energy_weights: Tensor
    force_weights: Tensor
    stress_weights: Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], settings: NetworkSettings, dtype: torch.dtype) -> Labels:
        """Squared errors have the weights of `ase_wavescat.training.linear.least_squares`."""
        forces, force_weights = [], []
        for example in examples:
            known = np.zeros(example.structure.positions.shape) if example.forces is None else example.forces
            expected = 1 + (np.linalg.norm(known, axis=1) / settings.strong_force) ** 2
            weight = 0.0 if example.forces is None else example.weight * settings.force_weight**2
            forces.append(known)
            force_weights.append(weight / expected)
        stresses = [np.zeros((3, 3)) if e.stress is None else e.stress for e in examples]
        stress_weights = [0.0 if e.stress is None else e.weight * settings.stress_weight**2 for e in examples]

        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=dtype, device=settings.device)

        return cls(
            tensor([e.energy for e in examples]),
            tensor([len(e.structure) for e in examples]),
            tensor(np.concatenate(forces)),
            tensor(stresses),
            tensor([e.weight * settings.energy_weight**2 for e in examples]),
            tensor(np.concatenate(force_weights))[:, None],
            tensor(stress_weights)[:, None, None],
        )

    def loss(self, prediction: Prediction) -> Tensor:
        """Sum of the weighted squared errors over all components, six of a stress, divided by B."""
        energies = self.energy_weights * ((prediction.energies - self.energies) / self.atoms) ** 2
        forces = self.force_weights * (prediction.forces - self.forces) ** 2
        upper = torch.triu(torch.ones(3, 3, dtype=self.stresses.dtype, device=self.stresses.device))
        stresses = self.stress_weights * upper * (prediction.stresses - self.stresses) ** 2
        return (energies.sum() + forces.sum() + stresses.sum()) / len(self.energies)


def push_loss(push: Push, twin: Twin, settings: NetworkSettings, dtype: torch.dtype) -> Tensor:
    """Mean over the steps of the squared errors of the changes, each divided by the error allowed."""
    batch = Batch.of(push.structures, twin.specification, dtype, settings.device)
    energies = twin.energies(batch, batch.vectors)
    changes, errors = (
        torch.as_tensor(array, dtype=dtype, device=settings.device) for array in (push.changes, push.errors)
    )
    return (((energies[1:] - energies[0] - changes) / errors) ** 2).mean()


class Errors:
    """Mean absolute errors over batches: of energies (eV/atom), forces (eV/A) and stresses (eV/A^3)."""

    def __init__(self) -> None:
        self._sums, self._counts, self._loss, self._examples = np.zeros(3), np.zeros(3), 0.0, 0

    def add(self, labels: Labels, prediction: Prediction) -> None:
        """One batch more."""
        energies = ((prediction.energies - labels.energies) / labels.atoms).abs()
        forces = (prediction.forces - labels.forces).abs().sum(dim=1)[labels.force_weights[:, 0] > 0]
        stresses = (prediction.stresses - labels.stresses).abs().sum(dim=(1, 2))[labels.stress_weights[:, 0, 0] > 0]
        parts = (energies, forces, stresses)
        self._sums += [float(part.sum()) for part in parts]
        self._counts += np.array([1, 3, 9]) * [len(part) for part in parts]
        self._loss += float(labels.loss(prediction)) * len(labels.energies)
        self._examples += len(labels.energies)

    @property
    def loss(self) -> float:
        """An example."""
        return self._loss / self._examples

    @property
    def summary(self) -> dict[str, float]:
        """By name; without those of which there is no label."""
        names = ("energy", "forces", "stress")
        return {
            name: float(total / count)
            for name, total, count in zip(names, self._sums, self._counts, strict=True)
            if count > 0
        }
