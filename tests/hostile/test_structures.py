"""Odd structures: the energy, forces and stress of the plain equivalent, or a named error; never anything else."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.model import Model
from ase_wavescat.structure.limits import LARGEST_LENGTH, plain_array, reduced_cell
from ase_wavescat.structure.neighbours import neighbour_pairs
from ase_wavescat.system.errors import StructureError
from hostile.structure_attacks import ODD, REFUSED, agree, plain_structure, unimodular
from linear_models import changed, linear

SETTINGS = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def calculator(small_ensemble: Model) -> WaveScatCalculator:
    return WaveScatCalculator(small_ensemble)


@pytest.mark.parametrize("name", ODD)
def test_odd_structures_have_the_results_of_the_plain_one(calculator: WaveScatCalculator, name: str) -> None:
    plain = plain_structure()
    agree(calculator, plain, *ODD[name](plain))


@pytest.mark.parametrize("name", REFUSED)
def test_senseless_structures_are_refused_at_once(calculator: WaveScatCalculator, name: str) -> None:
    atoms = REFUSED[name](plain_structure())
    start = time.process_time()
    for ask in (calculator.get_potential_energy, calculator.get_forces, calculator.get_energy_uncertainty):
        with pytest.raises(StructureError) as caught:
            ask(atoms)
        assert len(str(caught.value)) > 30
    assert time.process_time() - start < 5.0


@SETTINGS
@given(
    operations=st.lists(st.tuples(st.integers(0, 5), st.integers(-300, 300)), max_size=4),
    order=st.permutations([0, 1, 2]),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    shifts=st.integers(-1000, 1000),
)
def test_any_vectors_of_a_lattice_will_do(
    calculator: WaveScatCalculator, operations: list[tuple[int, int]], order: list[int], pbc: tuple[bool], shifts: int
) -> None:
    """Skewed, left-handed and in any order; atoms wrapped or not."""
    plain = plain_structure()
    if all(pbc):
        odd = plain.copy()
        odd.set_cell(unimodular(operations) @ plain.cell.array[order])
    else:  # vectors along open directions do not matter, the others have to stay
        plain.pbc = pbc
        odd = plain.copy()
        odd.cell[~plain.pbc] *= 1 + abs(shifts)
    odd.positions += shifts * (plain.pbc @ plain.cell.array)
    agree(calculator, plain, odd, np.arange(len(plain)), stress=all(pbc))


@SETTINGS
@given(
    st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.complex_numbers()),
        min_size=1,
        max_size=4,
    )
)
def test_arrays_of_anything_are_numbers_or_refused(values: list[object]) -> None:
    try:
        array = plain_array(np.array(values), float, "values")
    except StructureError:
        return
    assert array.dtype == float and array.shape == (len(values),)
    np.testing.assert_array_equal(array, np.array(values, dtype=float))


def test_pairs_of_a_skewed_cell_are_those_of_the_short_one() -> None:
    """In time: the cutoff crosses millions of slices of the cell as it is given."""
    plain = plain_structure()
    skewed = unimodular([(0, 3_000), (3, -2_000)]) @ plain.cell.array
    assert np.linalg.norm(reduced_cell(skewed), axis=1).max() < 10
    lengths = [
        np.sort(np.linalg.norm(neighbour_pairs(cell, plain.positions, 6.0)[2], axis=1))
        for cell in (plain.cell.array, skewed)
    ]
    np.testing.assert_allclose(*lengths, atol=1e-6)


def test_constraints_do_not_reach_the_calculator(calculator: WaveScatCalculator) -> None:
    atoms = plain_structure()
    free = calculator.get_forces(atoms)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = calculator
    np.testing.assert_array_equal(calculator.get_forces(atoms), free)
    assert not atoms.get_forces()[0].any()


def test_masks_are_seen_also_where_results_are_known(calculator: WaveScatCalculator) -> None:
    atoms = plain_structure()
    calculator.get_forces(atoms)
    atoms.arrays["positions"] = np.ma.masked_array(atoms.positions, np.arange(12).reshape(4, 3) == 5)
    for ask in (calculator.get_potential_energy, calculator.get_forces_uncertainty, calculator.get_stress):
        with pytest.raises(StructureError, match="masked"):
            ask(atoms)


def test_the_stress_of_a_cell_that_is_not_finite_is_refused_by_name(calculator: WaveScatCalculator) -> None:
    atoms = plain_structure()
    atoms.cell[2, 2] = np.nan
    for pbc, error in ((True, StructureError), (False, PropertyNotImplementedError)):
        atoms.pbc = pbc
        with pytest.raises(error):
            calculator.get_stress(atoms)


def test_results_that_are_not_finite_are_refused(small_ensemble: Model) -> None:
    weights = np.full_like(linear(small_ensemble).weights, 1e308)
    calculator = WaveScatCalculator(changed(small_ensemble, weights=weights))
    with np.errstate(all="ignore"), pytest.raises(StructureError, match="not finite"):
        calculator.get_forces(plain_structure())


def test_two_atoms_may_be_close_but_not_at_one_place(calculator: WaveScatCalculator) -> None:
    pair = Atoms("Li2", [[0, 0, 0], [1e-5, 0, 0]])
    assert calculator.get_potential_energy(pair) > 1e5
    pair.positions[1, 0] = 1e-7
    with pytest.raises(StructureError, match="same place"):
        calculator.get_potential_energy(pair)


def test_positions_far_away_keep_their_digits(calculator: WaveScatCalculator) -> None:
    plain = plain_structure()
    energy = calculator.get_potential_energy(plain)
    moved = plain.copy()
    moved.positions += np.round(0.9 * LARGEST_LENGTH / plain.cell.lengths()[0] / 2) * plain.cell.array[0]
    assert calculator.get_potential_energy(moved) == pytest.approx(energy, abs=1e-6)
