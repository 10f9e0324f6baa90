"""Random small cells: compositions, symmetry, room for every atom, and the same numbers for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows import RandomCells


def test_elements_with_more_weight_have_larger_shares() -> None:
    cells = RandomCells({"Li": 1.0, "Si": 3.0}, atoms=(8, 12), symmetric=0)
    made = [cells.cell(index) for index in range(40)]
    assert all(8 <= len(atoms) <= 12 for atoms in made)
    assert {len(atoms) for atoms in made} == {8, 9, 10, 11, 12}
    shares = np.array([np.mean(atoms.numbers == 14) for atoms in made])
    assert shares.mean() == pytest.approx(0.75, abs=0.1)  # spread 0.19 of one, 0.03 of the mean
    assert shares.min() < 0.5 and shares.max() > 0.9


def test_compositions_are_whole_formula_units_as_often_as_they_count() -> None:
    cells = RandomCells(compositions={"Li2Si": 1.0, "LiSi3": 9.0}, atoms=(5, 9), symmetric=0)
    made = [cells.cell(index).get_chemical_formula() for index in range(30)]
    assert set(made) <= {"Li4Si2", "Li6Si3", "Li2Si6"}
    assert made.count("Li2Si6") > 20
    assert cells.symbols == ("Li", "Si")


def test_no_two_atoms_are_too_close_and_volumes_are_sensible() -> None:
    cells = RandomCells(["Li", "Si"], atoms=(8, 16), symmetric=0.5)
    for index in range(12):
        atoms = cells.cell(index)
        first, second, distances = neighbor_list("ijd", atoms, 4.0)
        radii = covalent_radii[atoms.numbers]
        assert (distances / (radii[first] + radii[second])).min() >= 0.85 - 1e-9
        assert 12 < atoms.get_volume() / len(atoms) < 45


def test_a_share_has_the_symmetry_of_its_group() -> None:
    spglib = pytest.importorskip("spglib")
    cells = RandomCells(["Li", "Si"], atoms=(8, 16), symmetric=1.0)
    drawn = held = 0
    for index in range(12):
        atoms = cells.cell(index)
        description = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
        operations = len(spglib.get_symmetry(description, symprec=1e-3)["rotations"])
        drawn += atoms.info["space_group"] > 1
        held += atoms.info["space_group"] > 1 and operations > 1
    assert drawn >= 10 and held >= 8  # some numbers suit no group drawn, and pushing apart may take symmetry away
    assert {RandomCells(["Si"], symmetric=0).cell(index).info["space_group"] for index in range(5)} == {1}


def test_a_cell_depends_on_the_seed_and_its_number_alone() -> None:
    cells = RandomCells(["Li", "Si"], atoms=(4, 8), seed=3)
    again, other = RandomCells(["Li", "Si"], atoms=(4, 8), seed=3), RandomCells(["Li", "Si"], atoms=(4, 8), seed=4)
    cells.cell(0)
    assert cells.cell(5) == again.cell(5)
    assert cells.cell(5) != other.cell(5) and cells.cell(5) != cells.cell(6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give elements or compositions, one of them"),
        ({"elements": ["Si"], "compositions": ["LiSi"]}, "one of them"),
        ({"elements": ["Li", "Xx"]}, "'Xx': no such element"),
        ({"elements": {"Si": 0.0}}, "the weight of Si must be a positive number, got 0.0"),
        ({"elements": ["Si"], "atoms": (9, 8)}, r"got \(9, 8\)"),
        ({"elements": ["Si"], "symmetric": 1.5}, "from 0 to 1, got 1.5"),
        ({"elements": ["Si"], "seed": -1}, "seed must not be negative, got -1"),
        ({"elements": ["I"]}, "its volume is not known; give it"),
        ({"elements": ["Si"], "volumes": {"Si": -1.0}}, "volumes must be positive"),
        ({"compositions": ["LiSi3", "nonsense"]}, "'nonsense' is no composition"),
        (
            {"compositions": ["Li15Si4"], "atoms": (8, 18)},
            "no whole number of Li15Si4, which has 19 atoms, has 8 to 18",
        ),
    ],
)
def test_what_makes_no_cell_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RandomCells(**settings)
