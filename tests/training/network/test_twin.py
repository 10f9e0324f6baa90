"""The twin in torch and the compiled network agree to rounding."""

# ruff: noqa: E402 - what follows torch needs it

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.training.network.batch import Batch
from ase_wavescat.training.network.twin import Twin
from small_networks import SPECIFICATIONS, STRUCTURES, random_weights, structure


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_energies_forces_and_stresses_agree_to_rounding(name: str) -> None:
    weights = random_weights(name)
    potential, twin = NetworkPotential(weights), Twin(weights)
    structures = list(STRUCTURES.values())
    prediction = twin.predict(Batch.of(structures, weights.specification))
    ends = np.cumsum([len(s) for s in structures])[:-1]
    forces = np.split(prediction.forces.numpy(), ends)
    for index, s in enumerate(structures):
        expected = potential.predict(s)
        assert float(prediction.energies[index]) == pytest.approx(expected.energy, rel=1e-12, abs=1e-12)
        assert np.abs(forces[index] + expected.gradient).max() < 1e-12 * max(1.0, np.abs(expected.gradient).max())
        volume = s.volume if s.periodic else 1.0
        stress = prediction.stresses[index].numpy() * volume
        size = max(1.0, np.abs(expected.strain_gradient).max())
        assert np.abs(stress - expected.strain_gradient).max() < 1e-11 * size


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_invariants_agree_and_weights_survive(name: str) -> None:
    weights = random_weights(name)
    twin = Twin(weights)
    found = np.concatenate(twin.invariants(Batch.of([structure()], weights.specification)), axis=1)
    expected = NetworkPotential(weights).predict(structure()).states[0].values
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()
    assert twin.weights().digest == weights.digest


def test_the_full_size_agrees() -> None:
    weights = NetworkWeights.random(NetworkSpecification((3, 14)), 2)
    means = Twin(weights).invariants(Batch.of([structure()], weights.specification))
    changed = dict(weights.arrays)
    for order, values in zip(("first", "second"), means, strict=True):
        changed[f"{order}_deviation"] = np.tile(values.std(dim=0).numpy() + 0.1, (2, 1))
    weights = NetworkWeights(weights.specification, changed)
    prediction = Twin(weights).predict(Batch.of([structure()], weights.specification))
    expected = NetworkPotential(weights).predict(structure())
    assert float(prediction.energies[0]) == pytest.approx(expected.energy, rel=1e-12)
    assert np.abs(prediction.forces.numpy() + expected.gradient).max() < 1e-11 * np.abs(expected.gradient).max()


def test_forces_have_derivatives_by_the_weights() -> None:
    """Against differences of a weight, through the squared forces."""
    weights = random_weights("two orders")
    batch = Batch.of([structure()], weights.specification)
    twin = Twin(weights)
    (twin.predict(batch, training=True).forces ** 2).sum().backward()
    for name, place in (("first_mixing", (0, 1, 2, 3, 1)), ("second_weight_0", (1, 4, 2)), ("scalar_bias", (0, 1))):
        parameter = getattr(twin, name)
        slope, values = float(parameter.grad[place]), []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                parameter[place] += step
            values.append(float((twin.predict(batch).forces ** 2).sum()))
            with torch.no_grad():
                parameter[place] -= step
        assert (values[0] - values[1]) / 2e-4 == pytest.approx(slope, rel=1e-6)
