"""From trained networks to a calibrated model with its domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.potentials.protocol import Potential
from ase_wavescat.potentials.sum import PotentialSum
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.domain import domain_of
from ase_wavescat.training.network.heads import bootstrap_heads
from ase_wavescat.training.network.task import HELD_OUT, NetworkTask
from ase_wavescat.training.network.trainer import TrainedNetwork
from ase_wavescat.training.trainer import Problem, Trained
from ase_wavescat.training.validation import CrossValidation, FrameErrors


def finish(
    problem: Problem[NetworkTask], members: Sequence[TrainedNetwork], held_out: np.ndarray, curves: Mapping[str, Any]
) -> Trained:
    """The held-out errors, the calibration by them, and the model.

    Args:
        problem: What was fitted.
        members: At least one.
        held_out: Indices of the frames that no member has learned from.
        curves: For the report.
    """
    task = problem.observations
    network = NetworkPotential(*_weights(problem, members))
    own = np.array([member.atom_energies for member in members])
    energies = AtomEnergies(network.species, np.broadcast_to(own, (network.members, own.shape[1])))
    terms: list[Potential] = [network, energies]
    if task.repulsion is not None:
        terms.append(task.repulsion)
    potential = PotentialSum(tuple(terms))
    frames = [task.frames[index] for index in held_out.tolist()]
    errors = tuple(_errors(potential, frame) for frame in frames)
    validation = CrossValidation(errors, errors, {})
    calibration = Calibration(validation.energy_scale, validation.force_scale)
    model = Model(potential, domain_of(problem, validation.typical_spread), calibration)
    return Trained(model, frames, validation, dict(curves))


def _weights(problem: Problem[NetworkTask], members: Sequence[TrainedNetwork]) -> list[NetworkWeights]:
    """Those of the members; of a single one heads on its trunk, where they are wanted."""
    task, (first, *others) = problem.observations, members
    if others or task.plan.heads == 1:
        return [member.weights for member in members]
    held = problem.fold[problem.groups] == HELD_OUT
    return bootstrap_heads(first.weights, task.stages(~held, held)[-1], task.plan.heads, task.plan.settings.seed)


def _errors(potential: PotentialSum, frame: Frame) -> FrameErrors:
    """Of the mean over members; a frame lacks what its labels lack."""
    prediction, several = potential.predict(frame.structure), potential.members > 1
    forces = stress = spread = None
    if frame.forces is not None:
        forces = (-prediction.gradient - frame.forces).ravel()
        spread = prediction.gradient_spread.ravel() if several else np.zeros(forces.shape)
    if frame.stress is not None:
        voigt = full_3x3_to_voigt_6_stress(prediction.strain_gradient)
        stress = voigt / frame.volume - frame.stress
    return FrameErrors(
        energy=(prediction.energy - frame.energy) / len(frame),
        forces=forces,
        stress=stress,
        energy_spread=float(prediction.member_energies.std(ddof=1)) / len(frame) if several else 0.0,
        forces_spread=spread,
        frame_weight=frame.weight,
    )
