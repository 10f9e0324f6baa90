"""Energies as atoms come closer: what is a fall, what is a hole, for calculators of any kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from ase.data import covalent_radii

from ase_wavescat import WaveScatCalculator
from ase_wavescat.evaluation.short_range import (
    Approach,
    check_short_range,
    compression_approach,
    contacts,
    crystal_approach,
    dimer_approach,
)
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model


class PairPotential(Calculator):
    """A sum of f(r) over all pairs within 6 A, images included."""

    implemented_properties: ClassVar[list[str]] = ["energy"]

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.function = function

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        from ase.neighborlist import neighbor_list

        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.5 * float(self.function(neighbor_list("d", atoms, 6.0)).sum())}


def repulsive(r: np.ndarray) -> np.ndarray:
    return 20.0 / r**4


def holed(r: np.ndarray) -> np.ndarray:
    """Repulsive, but with a well of 30 eV around 1.2 A."""
    return repulsive(r) - 30.0 * np.exp(-(((r - 1.2) / 0.15) ** 2))


def test_a_repulsive_dimer_rises_down_to_the_shortest_distance() -> None:
    found = dimer_approach(PairPotential(repulsive), (3, 14), 2.0)
    assert found.name == "Li-Si" and found.is_safe and found.first_fall is None
    assert found.coordinates[0] == 6.0 and found.coordinates[-1] == pytest.approx(0.8)
    assert all(a > b for a, b in pairwise(found.coordinates)) and np.any(np.isclose(found.coordinates, 2.0))
    expected = repulsive(found.coordinates)
    # beyond 6 A the potential of these tests ends
    np.testing.assert_allclose(found.energies[1:] - found.energies[1], expected[1:] - expected[1], atol=1e-9)
    assert found.deepest_fall == 0 and found.lowest > 0


def test_short_contacts_are_looked_at_below_0_8_angstrom() -> None:
    found = dimer_approach(PairPotential(repulsive), (1, 1), 0.74)
    assert found.coordinates[-1] < 0.47 and np.count_nonzero(found.judged) > 4


def test_a_hole_is_found_with_its_place_and_depth() -> None:
    found = dimer_approach(PairPotential(holed), (14, 14), 2.0)
    assert not found.is_safe
    assert 1.2 < found.first_fall < 1.7
    below = found.coordinates[found.judged]
    energies = holed(below)
    assert found.lowest == pytest.approx(energies[1:].min() - energies[0])
    assert found.deepest_fall == pytest.approx((np.maximum.accumulate(energies) - energies).max())


def test_what_happens_above_the_contact_is_not_judged() -> None:
    """A well is what a bond is."""
    lj = LennardJones(sigma=2.0, epsilon=1.0, rc=8.0)
    found = dimer_approach(lj, (3, 3), 2.0)
    assert found.energies.min() < -0.9 and found.is_safe
    assert dimer_approach(PairPotential(holed), (14, 14), 1.1).is_safe


def test_energies_that_are_not_finite_are_a_fall() -> None:
    coordinates = np.array([3.0, 2.0, 1.5, 1.0])
    for bad in (np.nan, np.inf):
        found = Approach("x", coordinates, np.array([0.0, 1.0, bad, 5.0]), 2.0)
        assert found.first_fall == 1.5
    assert Approach("x", coordinates, np.array([0.0, 1.0, 2.0, 2.0 - 5e-4]), 2.0).is_safe  # less than a meV


def test_coordinates_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no coordinate of x is below 0\.5"):
        Approach("x", np.array([2.0, 1.0]), np.zeros(2), 0.5)
    with pytest.raises(ValueError, match="must descend"):
        Approach("x", np.array([1.0, 2.0]), np.zeros(2), 2.0)


def test_crystals_have_the_nearest_neighbours_they_are_said_to_have() -> None:
    """With a potential that only counts bonds shorter than r the energy jumps to half the coordination number."""
    neighbours = {"sc": 6, "bcc": 8, "fcc": 12, "diamond": 4}
    for crystal, count in neighbours.items():
        for distance in (2.5, 3.1):
            counting = PairPotential(lambda r, edge=distance + 1e-3: (r < edge).astype(float))
            found = crystal_approach(counting, (14, 14), crystal, distance, shares=(1.1, 0.95))
            assert found.name == f"Si {crystal}"
            np.testing.assert_allclose(found.coordinates, distance * np.array([1.1, 1.0, 0.95]))
            assert found.energies[1] == count / 2
    for crystal, count in {"cesiumchloride": 8, "rocksalt": 6, "zincblende": 4}.items():
        counting = PairPotential(lambda r: (r < 2.401).astype(float))
        found = crystal_approach(counting, (3, 14), crystal, 2.4, shares=(1.1, 0.95))
        assert found.name == f"LiSi {crystal}" and found.energies[1] == count / 2


def test_a_compressed_structure_is_judged_from_95_percent_of_its_side() -> None:
    atoms = bulk("Li", "bcc", a=3.5, cubic=True)
    calculator = PairPotential(repulsive)
    found = compression_approach(calculator, atoms, "bcc lithium")
    assert found.is_safe and found.contact == 0.95 and found.coordinates[-1] == pytest.approx(0.6)
    smaller = atoms.copy()
    smaller.set_cell(0.7 * atoms.cell, scale_atoms=True)
    expected = (calculator.get_potential_energy(smaller) - calculator.get_potential_energy(atoms)) / len(atoms)
    assert found.energies[np.argmin(np.abs(found.coordinates - 0.7))] == pytest.approx(expected)
    attracted = compression_approach(PairPotential(lambda r: -repulsive(r)), atoms, "wrong")
    assert attracted.first_fall == pytest.approx(0.925)


def test_a_molecule_is_compressed_as_well() -> None:
    pair = Atoms("Li2", [[0, 0, 0], [0, 0, 3.0]])
    found = compression_approach(PairPotential(repulsive), pair, "dimer")
    np.testing.assert_allclose(found.energies, (repulsive(3.0 * found.coordinates) - repulsive(3.0)) / 2)


def test_contacts_are_those_seen_or_the_covalent_radii() -> None:
    found = contacts((14, 3), {(14, 3): 1.9, (3, 3): 2.2})
    assert list(found) == [(3, 3), (3, 14), (14, 14)]
    assert found[3, 14] == 1.9 and found[14, 14] == 2 * covalent_radii[14]


def test_everything_is_checked_for_a_model(small_ensemble: Model, wide_domain: Domain, recwarn: Any) -> None:
    """Without a warning that the structures are outside the domain, which is the point of them."""
    none = dataclasses.replace(wide_domain, closest={(3, 3): 2.0, (14, 14): 2.1})
    ensemble = dataclasses.replace(small_ensemble, domain=none)
    calculator = WaveScatCalculator(ensemble)
    lithium = bulk("Li", "bcc", a=3.4, cubic=True)
    found = check_short_range(calculator, (3, 14), none.closest, [("lithium", lithium)])
    assert [approach.name for approach in found.dimers] == ["Li-Li", "Li-Si", "Si-Si"]
    assert len(found.crystals) == 4 + 3 + 4 and found.compressed[0].name == "lithium"
    everything = (*found.dimers, *found.compressed, *found.crystals)
    assert found.is_safe == all(approach.is_safe for approach in everything)
    assert found.contacts[3, 14] == covalent_radii[3] + covalent_radii[14]
    assert not [warning for warning in recwarn if "training domain" in str(warning.message)]
    # the atoms of the dimers are where they are said to be
    pair = Atoms("Si2", [[0, 0, 0], [0, 0, 1.0]], cell=[14, 14, 14], pbc=True)
    far = Atoms("Si2", [[0, 0, 0], [0, 6.0, 0]], cell=[14, 14, 14], pbc=True)
    silicon = found.dimers[2]
    at = np.argmin(np.abs(silicon.coordinates - 1.0))
    expected = calculator.get_potential_energy(pair) - calculator.get_potential_energy(far)
    assert silicon.energies[at] == pytest.approx(expected, abs=1e-6)
