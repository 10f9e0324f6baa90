"""Spreads over members: shared errors cancel, other calculators have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.workflows.members import energies_of, member_energies, spread
from linear_models import changed, linear, species_energies


def test_member_energies_have_the_models_mean_and_spread(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    calculator = WaveScatCalculator(small_ensemble)
    structures = [make_structure(seed) for seed in range(2)]
    members = member_energies(calculator, structures)
    assert members is not None and members.shape == (2, 5)
    for atoms, row in zip(structures, members, strict=True):
        assert calculator.get_potential_energy(atoms) == pytest.approx(row.mean())
        assert calculator.get_energy_uncertainty(atoms) == pytest.approx(float(spread(calculator, row)))


def test_shared_errors_cancel_in_differences(small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    """Members that differ by a constant per atom agree on every difference of equal atoms."""
    shifted = changed(
        small_ensemble,
        weights=np.tile(linear(small_ensemble).weights[0], (5, 1)),
        species_energies=np.linspace(-8, -7, 5)[:, None] * np.ones(2),
    )
    calculator = WaveScatCalculator(shifted)
    members = member_energies(calculator, [make_structure(0), make_structure(1)])
    assert members is not None
    assert spread(calculator, members)[0] > 1.0
    assert spread(calculator, members[1] - members[0]) < 1e-9


def test_calculators_without_members_have_no_spread(small_ensemble: Model) -> None:
    assert member_energies(EMT(), [bulk("Cu")]) is None
    single = changed(
        small_ensemble,
        weights=linear(small_ensemble).weights[:1],
        species_energies=species_energies(small_ensemble)[:1],
    )
    assert member_energies(WaveScatCalculator(single), []) is None


def test_energies_of_structures(small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    shared, other = WaveScatCalculator(small_ensemble), WaveScatCalculator(small_ensemble)
    structures = [make_structure(0), make_structure(1)]
    for atoms in structures:
        atoms.calc = shared
    energies, members = energies_of(structures)
    assert members is not None and energies == pytest.approx(members.mean(axis=1))
    structures[1].calc = other
    again, same = energies_of(structures)
    assert same == pytest.approx(members) and again == pytest.approx(energies)
    structures[1].calc = WaveScatCalculator(changed(small_ensemble, weights=2 * linear(small_ensemble).weights))
    assert energies_of(structures)[1] is None
    copper = bulk("Cu")
    copper.calc = EMT()
    energies, none = energies_of([copper])
    assert none is None and energies == pytest.approx([copper.get_potential_energy()])
    with pytest.raises(DataError, match="no structures"):
        energies_of([])
    with pytest.raises(CalculatorError, match="no calculator"):
        energies_of([copper, bulk("Cu")])
