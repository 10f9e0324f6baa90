"""The compiled network: against the formula, against differences, and for all that must not change it."""

from __future__ import annotations

import copy
import pickle
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_wavescat.potentials.network.potential import NetworkPotential
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError
from finite_difference import best_relative_error
from network_formula import reference_energies
from small_networks import SPECIFICATIONS, STRUCTURES, random_weights, structure

ROUNDING = 1e-12


@pytest.fixture(scope="module", params=SPECIFICATIONS)
def potential(request: pytest.FixtureRequest) -> NetworkPotential:
    return NetworkPotential(random_weights(request.param))


@pytest.mark.parametrize("name", STRUCTURES)
def test_site_energies_follow_the_formula(potential: NetworkPotential, name: str) -> None:
    expected = reference_energies(potential.weights[0], STRUCTURES[name])
    prediction = potential.predict(STRUCTURES[name])
    assert np.abs(prediction.atom_energies - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())
    assert prediction.energy == pytest.approx(expected.sum(), rel=1e-12)


@pytest.mark.parametrize("pbc", list(product((False, True), repeat=3)))
def test_all_eight_boundaries_follow_the_formula(pbc: tuple[bool, bool, bool]) -> None:
    potential = NetworkPotential(random_weights("two orders"))
    expected = reference_energies(potential.weights[0], structure(pbc))
    assert np.abs(potential.predict(structure(pbc)).atom_energies - expected).max() < 1e-12


@pytest.mark.parametrize("name", STRUCTURES)
def test_gradients_against_differences(potential: NetworkPotential, name: str) -> None:
    s = STRUCTURES[name]
    prediction, generator = potential.predict(s), np.random.default_rng(2)
    moves, strain = generator.normal(size=s.positions.shape), generator.normal(size=(3, 3))

    def moved(step: float) -> float:
        return potential.predict(Structure(s.cell, s.positions + step * moves, s.numbers, s.pbc)).energy

    def strained(step: float) -> float:
        deformation = np.eye(3) + step * (strain + strain.T) / 2
        return potential.predict(Structure(s.cell @ deformation, s.positions @ deformation, s.numbers, s.pbc)).energy

    if name == "single atom":
        assert not prediction.gradient.any() and not prediction.strain_gradient.any()
        return
    steps = (1e-2, 3e-3, 1e-3, 3e-4)
    assert best_relative_error(moved, float((prediction.gradient * moves).sum()), steps=steps) < 1e-9
    slope = float((prediction.strain_gradient * (strain + strain.T) / 2).sum())
    assert best_relative_error(strained, slope, steps=steps) < 1e-9


@pytest.mark.parametrize("name", ["triclinic", "cluster"])
def test_pullback_of_invariants_against_differences(potential: NetworkPotential, name: str) -> None:
    s = STRUCTURES[name]
    state, generator = potential.predict(s).states[0], np.random.default_rng(3)
    assert state.values.shape == (len(s), sum(potential.specification.invariants))
    by_values = generator.normal(size=state.values.shape) / (1 + np.abs(state.values))
    gradient, strain_gradient = state.pullback(by_values)
    moves, strain = generator.normal(size=s.positions.shape), generator.normal(size=(3, 3))
    deformation = (strain + strain.T) / 2

    def value(step: float) -> float:
        turned = np.eye(3) + step * deformation
        moved = Structure(s.cell @ turned, (s.positions + step * moves) @ turned, s.numbers, s.pbc)
        return float((potential.predict(moved).states[0].values * by_values).sum())

    slope = float((gradient * moves).sum() + (strain_gradient * deformation).sum())
    size = float(np.abs(gradient * moves).sum())
    assert best_relative_error(value, slope, size, steps=(1e-2, 3e-3, 1e-3, 3e-4, 1e-4)) < 1e-9


def test_invariances(potential: NetworkPotential) -> None:
    s, generator = structure(), np.random.default_rng(4)
    rotation = Rotation.random(random_state=5).as_matrix()
    order = generator.permutation(len(s))
    shifts = generator.integers(-2, 3, (len(s), 3)) @ s.cell
    prediction = potential.predict(s)
    scale = np.abs(prediction.gradient).max()

    moved = potential.predict(Structure(s.cell, s.positions + np.array([0.7, -1.3, 2.1]), s.numbers))
    assert np.abs(moved.atom_energies - prediction.atom_energies).max() < ROUNDING
    assert np.abs(moved.gradient - prediction.gradient).max() < ROUNDING * scale * 10

    turned = potential.predict(Structure(s.cell @ rotation, s.positions @ rotation, s.numbers))
    assert np.abs(turned.atom_energies - prediction.atom_energies).max() < ROUNDING
    assert np.abs(turned.gradient - prediction.gradient @ rotation).max() < ROUNDING * scale * 10
    back = rotation @ turned.strain_gradient @ rotation.T
    assert np.abs(back - prediction.strain_gradient).max() < 1e-11 * np.abs(back).max()

    renumbered = potential.predict(Structure(s.cell, s.positions[order], s.numbers[order]))
    assert np.abs(renumbered.atom_energies - prediction.atom_energies[order]).max() < ROUNDING
    assert np.abs(renumbered.gradient - prediction.gradient[order]).max() < ROUNDING * scale * 10

    unwrapped = potential.predict(Structure(s.cell, s.positions + shifts, s.numbers))
    assert np.abs(unwrapped.gradient - prediction.gradient).max() < ROUNDING * scale * 10


def test_a_supercell_repeats_energies_and_forces(potential: NetworkPotential) -> None:
    s = STRUCTURES["tiny"]
    prediction = potential.predict(s)
    shifts = np.array(list(np.ndindex(2, 1, 3))) @ s.cell
    positions = (s.positions + shifts[:, None]).reshape(-1, 3)
    repeated = potential.predict(Structure(s.cell * [[2], [1], [3]], positions, np.tile(s.numbers, 6)))
    assert repeated.energy == pytest.approx(6 * prediction.energy, rel=1e-12)
    assert np.abs(repeated.gradient - np.tile(prediction.gradient, (6, 1))).max() < 1e-11
    assert np.abs(repeated.strain_gradient - 6 * prediction.strain_gradient).max() < 1e-10


def test_net_force_is_zero_and_the_stress_symmetric(potential: NetworkPotential) -> None:
    prediction = potential.predict(structure())
    assert np.abs(prediction.gradient.sum(axis=0)).max() < 1e-12
    assert np.array_equal(prediction.strain_gradient, prediction.strain_gradient.T)


def test_second_derivatives_are_continuous_at_the_cutoff(potential: NetworkPotential) -> None:
    """The third derivative may jump, so that curvatures on both sides differ by an amount that goes with the step."""
    numbers, cutoff = np.array([3, 14]), potential.neighbour_reach

    def slope(distance: float) -> float:
        pair = Structure(np.zeros((3, 3)), np.array([[0.0, 0, 0], [distance, 0, 0]]), numbers, (False,) * 3)
        return float(potential.predict(pair).gradient[1, 0])

    for step in (1e-2, 1e-3):
        inside = (slope(cutoff) - slope(cutoff - step)) / step
        outside = (slope(cutoff + step) - slope(cutoff)) / step
        assert outside == 0.0 and slope(cutoff) == 0.0
        assert abs(inside) < 30 * step * abs(slope(0.5 * cutoff))


def test_threads_change_nothing_and_single_precision_little(potential: NetworkPotential) -> None:
    generator = np.random.default_rng(6)
    s = structure()
    cells = np.array(list(np.ndindex(5, 5, 5))) @ s.cell
    positions = (s.positions + cells[:, None]).reshape(-1, 3) + generator.normal(scale=0.05, size=(625, 3))
    large = Structure(5 * s.cell, positions, np.tile(s.numbers, 125))
    one, two = (potential.predict(large, execution=Execution(threads)) for threads in (1, 2))
    assert one.energy == two.energy
    assert np.array_equal(one.gradient, two.gradient)
    single = potential.predict(large, execution=Execution(precision="single"))
    assert np.abs(single.atom_energies - one.atom_energies).max() < 1e-5
    assert np.abs(single.gradient - one.gradient).max() < 1e-5 * max(1.0, np.abs(one.gradient).max())


def test_what_it_says_of_itself() -> None:
    potential = NetworkPotential(random_weights("two orders"))
    assert potential.species == (3, 14)
    assert (potential.neighbour_reach, potential.reach) == (4.0, 8.0)
    assert NetworkPotential(random_weights("one order")).reach == 4.0
    for other in (pickle.loads(pickle.dumps(potential)), copy.deepcopy(potential)):
        assert other.digest == potential.digest
        assert other.predict(structure()).energy == potential.predict(structure()).energy
    assert potential.digest != NetworkPotential(random_weights("two orders", 1)).digest


def test_reach_is_where_atoms_stop_to_matter() -> None:
    """A chain of three: the third atom is seen through the second, up to twice the cutoff."""
    potential = NetworkPotential(random_weights("two orders"))

    def first_of_chain(last: float) -> float:
        chain = Structure(np.zeros((3, 3)), np.array([[0, 0, 0], [3, 0, 0], [last, 0, 0]]), [3, 14, 3], (False,) * 3)
        return float(potential.predict(chain).atom_energies[0])

    assert abs(first_of_chain(5.0) - first_of_chain(5.5)) > 1e-7
    assert first_of_chain(7.1) == first_of_chain(7.9)


def test_structures_that_cannot_be_evaluated_are_named() -> None:
    potential = NetworkPotential(random_weights("two orders"))
    with pytest.raises(StructureError, match="knows Li, Si, not O"):
        potential.predict(Structure(10 * np.eye(3), np.zeros((1, 3)), np.array([8])))
    with pytest.raises(StructureError, match="lie at the same place"):
        potential.predict(Structure(10 * np.eye(3), np.zeros((2, 3)), np.array([3, 3])))


def test_the_full_size_follows_the_formula() -> None:
    """The usual network, with deviations as large as its invariants."""
    specification = NetworkSpecification((3, 14))
    weights = NetworkWeights.random(specification, 5)
    values = NetworkPotential(weights).predict(structure()).states[0].values
    ends = np.split(values.std(axis=0) + 0.1, [specification.invariants[0]])
    deviations = {f"{order}_deviation": np.tile(x, (2, 1)) for order, x in zip(("first", "second"), ends, strict=True)}
    weights = NetworkWeights(specification, {**weights.arrays, **deviations})
    expected = reference_energies(weights, structure())
    found = NetworkPotential(weights).predict(structure()).atom_energies
    assert np.abs(found - expected).max() < 1e-11 * np.abs(expected).max()
