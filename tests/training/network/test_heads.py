"""Heads on the trunk of a network: their mean is the network, their spread tells of the groups."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.prepared import HEAD
from ase_wavescat.training.network.examples import Example
from ase_wavescat.training.network.heads import _changed, _fitted, _problem, bootstrap_heads
from ase_wavescat.training.network.settings import Stage
from small_networks import random_weights, structure

WEIGHTS = random_weights("two orders", 1)
LAST = sum(WEIGHTS[name].size for name in HEAD)


def labelled(change: np.ndarray, count: int = 24) -> list[Example]:
    """Energies of the same trunk with other last layers; two structures a group."""
    teacher = NetworkPotential(_changed(WEIGHTS, change))
    structures = [structure(seed=index) for index in range(count)]
    return [
        Example(one, teacher.predict(one).energy, group=f"melt {index // 2}") for index, one in enumerate(structures)
    ]


def stage(seed: int = 0) -> Stage:
    examples = labelled(np.random.default_rng(seed).normal(size=LAST))
    return Stage("good", examples[6:], examples[:6], 1)


def test_energies_are_linear_in_the_last_layers() -> None:
    """So that the fit finds a network's energies to rounding."""
    examples = labelled(np.random.default_rng(3).normal(size=LAST))
    rows, targets = _problem(WEIGHTS, examples)
    assert np.ptp(targets) > 1e-3
    again = NetworkPotential(_changed(WEIGHTS, _fitted(rows, targets, np.ones(len(rows)), 1e-13)))
    found = [again.predict(example.structure).energy - example.energy for example in examples]
    assert np.abs(found).max() < 1e-3 * np.ptp(targets)


def test_the_mean_of_the_heads_is_the_network() -> None:
    one, many = NetworkPotential(WEIGHTS), NetworkPotential(*bootstrap_heads(WEIGHTS, stage(), 5, seed=0))
    expected, found = one.predict(structure()), many.predict(structure())
    assert many.members == 5 and any("heads on one trunk" in line for line in many.card())
    assert found.energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(found.gradient, expected.gradient, atol=1e-9)
    assert found.member_energies.std() > 1e-4 and found.gradient_spread.max() > 1e-4


def test_heads_follow_from_the_seed() -> None:
    one, same, other = (bootstrap_heads(WEIGHTS, stage(), 3, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(one, same, strict=True) for name in HEAD)
    assert not np.array_equal(one[0][HEAD[0]], other[0][HEAD[0]])
