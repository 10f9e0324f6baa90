"""The ensemble: means, members, spreads, domain, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model, ModelPrediction
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError, StructureError
from linear_models import changed, linear, species_energies, wide_ranges


def predict(ensemble: Model, atoms: Atoms) -> ModelPrediction:
    return ensemble.predict(Structure.from_atoms(atoms))


def test_member_energies_are_sums_of_their_parts(small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    atoms = make_structure()
    prediction = predict(small_ensemble, atoms)
    numbers = list(atoms.numbers)
    repulsion = small_ensemble.term(PairRepulsion).predict(Structure.from_atoms(atoms)).energy
    for member in range(small_ensemble.members):
        baseline = species_energies(small_ensemble)[member] @ [numbers.count(3), numbers.count(14)]
        expected = baseline + repulsion + linear(small_ensemble).weights[member] @ prediction.features
        assert prediction.member_energies[member] == pytest.approx(expected, rel=1e-13)
    assert prediction.energy == pytest.approx(prediction.member_energies.mean(), rel=1e-14)


def test_energy_uncertainty_is_the_calibrated_standard_deviation(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    prediction = predict(small_ensemble, make_structure())
    assert prediction.energy_uncertainty == pytest.approx(1.5 * prediction.member_energies.std(ddof=1), rel=1e-14)


@pytest.mark.parametrize("with_ranges", [False, True])
def test_force_spread_equals_that_of_the_members_own_forces(
    small_ensemble: Model, make_structure: Callable[..., Atoms], with_ranges: bool
) -> None:
    """Five members have four components: all of the variance is kept, however the columns were scaled."""
    ranges = wide_ranges(len(linear(small_ensemble).keys)) if with_ranges else None
    ensemble = changed(small_ensemble, ranges=ranges)
    prediction = predict(ensemble, make_structure())
    expected = 2.0 * prediction.member_gradients.std(axis=0, ddof=1)
    assert linear(ensemble).force_components.share == pytest.approx(1.0)
    np.testing.assert_allclose(prediction.forces_uncertainty, expected, rtol=1e-8, atol=1e-12)


def test_components_are_ranked_by_their_effect(small_spec: ScatteringSpec) -> None:
    """Twenty members that differ in two features only, one of which hardly varies in the data."""
    rng = np.random.default_rng(3)
    keys = small_spec.keys[:30]
    weights = np.zeros((20, len(keys)))
    weights[:, 0] = rng.normal(size=20)
    weights[:, 1] = 3 * rng.normal(size=20)
    std = np.zeros(len(keys))
    std[:2] = (1.0, 1e-3)
    ranges = dataclasses.replace(wide_ranges(len(keys)), std=std)
    components = LinearPotential(small_spec, keys, weights, ranges).force_components
    assert components.weights.shape == (8, len(keys))
    assert abs(components.weights[0, 0]) == pytest.approx(weights[:, 0].std(ddof=1), rel=1e-4)
    assert components.share == pytest.approx(1.0)


def test_one_member_has_no_spread(small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    single = changed(
        small_ensemble,
        weights=linear(small_ensemble).weights[:1],
        species_energies=species_energies(small_ensemble)[:1],
    )
    prediction = predict(single, make_structure())
    assert prediction.energy_uncertainty == 0.0
    assert not prediction.forces_uncertainty.any()


def test_mean_gradient_is_the_derivative_of_the_mean_energy(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    atoms = make_structure()
    gradient = predict(small_ensemble, atoms).gradient
    direction = np.random.default_rng(1).normal(size=gradient.shape)
    step = 1e-4
    moved = [atoms.copy(), atoms.copy()]
    moved[0].positions += step * direction
    moved[1].positions -= step * direction
    difference = (predict(small_ensemble, moved[0]).energy - predict(small_ensemble, moved[1]).energy) / (2 * step)
    assert difference == pytest.approx(float(np.sum(gradient * direction)), rel=1e-5)


def test_a_prediction_outlives_later_ones_of_the_same_transform(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    first, second = make_structure(0), make_structure(1)
    early = small_ensemble.predict(Structure.from_atoms(first))
    shaken = first.copy()
    shaken.rattle(0.2, seed=5)
    for other in (second, shaken):
        later = small_ensemble.predict(Structure.from_atoms(other))
        assert np.isfinite(later.gradient).all()
    alone = predict(small_ensemble, first)
    np.testing.assert_allclose(early.gradient, alone.gradient, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(early.strain_gradient, alone.strain_gradient, rtol=1e-12, atol=1e-14)


def test_atoms_at_one_place_raise_a_named_error(small_ensemble: Model) -> None:
    atoms = Atoms("Li2", [[0, 0, 0], [4, 0, 0]], cell=4 * np.eye(3), pbc=True)
    with pytest.raises(StructureError, match="same place"):
        predict(small_ensemble, atoms)


# ---------------------------------------------------------------- domain


def test_composition_outside_the_domain(wide_domain: Domain) -> None:
    domain = dataclasses.replace(wide_domain, fractions={3: (0.2, 0.8), 14: (0.1, 0.8)})
    assert domain.composition_outside(np.array([3, 3, 3, 3, 14])) is None
    message = domain.composition_outside(np.array([3, 3, 3, 3]))
    assert message == "the fraction of Li is 1.000, the model has seen 0.200 to 0.800"


def test_distance_outside_the_domain(wide_domain: Domain) -> None:
    domain = dataclasses.replace(wide_domain, closest={(3, 3): 2.6, (14, 3): 2.4})
    cell, numbers = 6 * np.eye(3), np.array([3, 14])
    assert domain.distance_outside(Structure(cell, np.array([[0, 0, 0], [2.5, 0, 0.0]]), numbers)) is None
    message = domain.distance_outside(Structure(cell, np.array([[0, 0, 0], [4.0, 0, 0.0]]), numbers))
    assert message is not None and "(Li-Si) are 2.000 A apart" in message and "closer than 2.400 A" in message


def test_features_outside_their_ranges_with_a_margin() -> None:
    keys = tuple(f"feature {i}" for i in range(30))
    ranges = dataclasses.replace(wide_ranges(30), minimum=np.zeros(30), maximum=np.ones(30))
    inside = np.full(30, 1.09)
    assert ranges.outside(inside, keys) is None
    inside[3] = 1.4
    message = ranges.outside(inside, keys)
    assert message is not None and message.startswith("1 of 30 features") and "feature 3" in message


def test_a_few_features_of_many_are_no_news() -> None:
    count = 400
    ranges = dataclasses.replace(wide_ranges(count), minimum=np.zeros(count), maximum=np.ones(count))
    keys = tuple(f"feature {i}" for i in range(count))
    features = np.full(count, 0.5)
    features[:4] = 1.5
    assert ranges.outside(features, keys) is None
    features[4] = 1.6
    message = ranges.outside(features, keys)
    assert message is not None and message.startswith("5 of 400 features") and "feature 4" in message
    features[:5] = 0.5
    features[7] = 2.5
    message = ranges.outside(features, keys)
    assert message is not None and message.startswith("1 of 400 features") and "feature 7" in message


def test_messages_come_by_kind(
    small_ensemble: Model, wide_domain: Domain, make_structure: Callable[..., Atoms]
) -> None:
    assert predict(small_ensemble, make_structure()).domain_messages == {}
    narrow = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.1)}, closest={(3, 3): 9.0})
    wide = wide_ranges(len(linear(small_ensemble).keys))
    low = dataclasses.replace(wide, maximum=wide.minimum)
    for domain, ranges, kinds in (
        (wide_domain, wide, set()),
        (narrow, low, {"composition", "distance", "features"}),
        (None, low, {"features"}),
    ):
        ensemble = changed(small_ensemble, domain=domain, ranges=ranges)
        assert set(predict(ensemble, make_structure()).domain_messages) == kinds


# ---------------------------------------------------------------- copies and refusals


def test_copies_share_the_arrays_and_pickles_keep_the_values(small_ensemble: Model) -> None:
    assert copy.deepcopy(small_ensemble) is small_ensemble
    restored = pickle.loads(pickle.dumps(small_ensemble))
    np.testing.assert_array_equal(linear(restored).weights, linear(small_ensemble).weights)
    assert linear(restored).keys == linear(small_ensemble).keys and linear(restored).spec == linear(small_ensemble).spec
    with pytest.raises(ValueError, match="read-only"):
        linear(restored).weights[0, 0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ()}, "at least one feature"),
        ({"weights": np.zeros((2, 3))}, "member weights must have the shape"),
        ({"weights": np.full((5, 30), np.nan)}, "not finite"),
        ({"weights": np.zeros((0, 30)), "species_energies": np.zeros((0, 2))}, "at least one member"),
        ({"species_energies": np.zeros((5, 3))}, r"species energies must have the shape \(any, 2\), got \(5, 3\)"),
    ],
)
def test_inconsistent_ensembles_are_refused(small_ensemble: Model, changes: dict[str, Any], message: str) -> None:
    if "weights" in changes and changes["weights"].shape[1] == 30:
        shape = (changes["weights"].shape[0], len(linear(small_ensemble).keys))
        changes = {**changes, "weights": np.resize(changes["weights"], shape) if shape[0] else np.zeros(shape)}
    with pytest.raises(ValueError, match=message):
        changed(small_ensemble, **changes)


def test_keys_unknown_to_the_spec_or_named_twice_are_refused(small_ensemble: Model) -> None:
    keys = linear(small_ensemble).keys
    with pytest.raises(SpecError, match="no feature 'pair:Li-Li:99'"):
        changed(small_ensemble, keys=("pair:Li-Li:99", *keys[1:]))
    with pytest.raises(ValueError, match="named twice"):
        changed(small_ensemble, keys=(keys[1], *keys[1:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": {3: (0.5, 0.2)}}, "fractions of Li"),
        ({"fractions": {3: (0.5, 1.2)}}, "fractions of Li"),
        ({"fractions": {0: (0.0, 1.0)}}, "atomic number 0, which is no element"),
        ({"fractions": {119: (0.0, 1.0)}}, "atomic number 119, which is no element"),
        ({"closest": {(3, 14): 0.0}}, "closest Li-Si distance"),
        ({"closest": {(0, 14): 1.0}}, r"atomic numbers \(0, 14\), which are no elements"),
    ],
)
def test_inconsistent_domains_are_refused(wide_domain: Domain, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(wide_domain, **changes)


def test_ranges_upside_down_and_negative_deviations_are_refused() -> None:
    ranges = wide_ranges(5)
    minimum, std = ranges.minimum.copy(), ranges.std.copy()
    minimum[2], std[0] = ranges.maximum[2] + 1.0, -0.1
    with pytest.raises(ValueError, match="the feature range 2 is upside down"):
        dataclasses.replace(ranges, minimum=minimum)
    with pytest.raises(ValueError, match="std must not be negative"):
        dataclasses.replace(ranges, std=std)
    with pytest.raises(ValueError, match="maximum must have the shape"):
        dataclasses.replace(ranges, minimum=np.zeros(2))


def test_ranges_of_other_features_are_refused(small_ensemble: Model) -> None:
    with pytest.raises(ValueError, match="the ranges cover 3 features"):
        changed(small_ensemble, ranges=wide_ranges(3))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_calibrations_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="energy_scale must be a positive number"):
        Calibration(energy_scale=value)
