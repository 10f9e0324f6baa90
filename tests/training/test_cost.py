"""Costs of supports: what features share is paid once, and the estimates follow measured times."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.representation.presets import preset
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError
from ase_wavescat.training.cost import measured_cost, support_cost

SIDE, ATOMS = 9.0, 40


@pytest.fixture(scope="module")
def structure():
    rng = np.random.default_rng(0)
    return Structure(SIDE * np.eye(3), SIDE * rng.uniform(size=(ATOMS, 3)), np.where(np.arange(ATOMS) < 25, 3, 14))


@pytest.fixture(scope="module")
def spec():
    return preset("correlations", ("Li", "Si"))


@pytest.fixture(scope="module")
def cost(spec, structure):
    return support_cost(spec, spec.keys, structure)


def columns(spec, *starts):
    return [i for i, key in enumerate(spec.keys) if key.startswith(starts)]


def test_no_support_costs_the_base(cost):
    assert cost.total([]) == cost.base
    assert np.all(cost.prices >= 0) and cost.needs.shape == (len(cost.marginal(cost.prices)), len(cost.prices))


def test_marginal_costs_add_up_in_any_order(spec, cost):
    rng = np.random.default_rng(1)
    support = rng.choice(len(spec.keys), 60, replace=False)
    for order in (support, support[::-1]):
        prices, paid = cost.prices.copy(), cost.base
        for feature in order:
            paid += prices[cost.parts(feature)].sum()
            prices[cost.parts(feature)] = 0.0
        assert paid == pytest.approx(cost.total(support))


def test_features_of_the_same_maps_are_cheap_together(spec, cost):
    """Bands of one pair of maps share everything."""
    bands = [i for i, key in enumerate(spec.keys) if key.startswith("band:")]
    first = bands[0]
    prices = cost.prices.copy()
    prices[cost.parts(first)] = 0.0
    after = cost.marginal(prices)
    same = spec.keys[first].rsplit(":", 1)[0]
    for i in bands:
        if spec.keys[i].startswith(same + ":"):
            assert after[i] == pytest.approx(1e-3)
    assert after[bands[-1]] > 0.1


def test_kinds_are_ranked_as_they_are_measured(spec, cost, structure):
    """Pairs are cheaper than fields at the atoms, these than maps on grids."""
    supports = [columns(spec, "pair:")[:5], columns(spec, "atom:"), columns(spec, "band:")]
    estimates = [cost.total(support) for support in supports]
    times = [measured_cost(spec, [spec.keys[i] for i in s], structure, repeats=5) for s in supports]
    assert np.argsort(estimates).tolist() == np.argsort(times).tolist() == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["correlations", "sinz2020", "polynomial", "point-scattering"])
def test_estimates_follow_measured_times(name, structure):
    """Ratios of estimated to measured times scatter by a quarter or so about that of this machine."""
    spec = preset(name, ("Li", "Si"))
    cost, rng = support_cost(spec, spec.keys, structure), np.random.default_rng(2)
    ratios = []
    for size in (20, 60, 200):
        support = rng.choice(len(spec.keys), size, replace=False)
        ratios.append(cost.total(support) / measured_cost(spec, [spec.keys[i] for i in support], structure))
    assert np.ptp(np.log(ratios)) < 0.7


def test_moduli_of_order_two_pay_for_their_parents(structure):
    spec = preset("sinz2020", ("Li", "Si"))
    keys = [
        "modulus:Li:2:",
        "modulus:Li:2:1,3,0",
        "modulus:Li:1:1,3,0",
        "modulus:Li:2:1,3,0>2,3,1",
    ]
    cost = support_cost(spec, keys, structure)
    assert cost.total([0]) == cost.base
    assert cost.total([1, 2]) == cost.total([1])
    assert cost.total([3]) > cost.total([1]) > cost.base
    assert cost.total([1, 3]) < cost.total([1]) + cost.total([3]) - cost.base


def test_larger_structures_cost_more(spec, cost, structure):
    cell, positions, numbers = structure.cell, structure.positions, structure.numbers
    doubled = np.concatenate([positions, positions + cell[0]]), np.tile(numbers, 2)
    twice = Structure(np.diag([2.0, 1.0, 1.0]) @ cell, *doubled)
    ratio = support_cost(spec, spec.keys, twice).total(range(len(spec.keys))) / cost.total(range(len(spec.keys)))
    assert 1.6 < ratio < 2.4


def test_refuses_unknown_features(spec, structure):
    with pytest.raises(SpecError, match="no feature"):
        support_cost(spec, ["pair:Li-Li:99"], structure)
