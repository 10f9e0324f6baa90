"""Random packings: volumes, distances, and the same numbers for the same seed."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from ase.build import bulk
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows import random_packing, random_packings


@pytest.mark.parametrize("formula", ["Li15Si4", "Si", "CuAu"])
def test_no_two_atoms_are_closer_than_asked_images_counted(formula: str) -> None:
    for closest in (0.6, 0.85):
        packing = random_packing(formula, 32, seed=3, closest=closest)
        first, second, distances = neighbor_list("ijd", packing, 4.0)
        radii = covalent_radii[packing.numbers]
        assert (distances / (radii[first] + radii[second])).min() >= closest


def test_whole_formula_units_nearest_to_the_atoms_asked_for() -> None:
    assert random_packing("Li15Si4", 64).get_chemical_formula() == "Li45Si12"
    assert random_packing({"Li": 1, "Si": 1}, 7).get_chemical_formula() == "Li4Si4"
    assert random_packing("Li15Si4", 1).get_chemical_formula() == "Li15Si4"


def test_volumes_add_up_and_may_be_given() -> None:
    packing = random_packing("Li3Si", 16)
    silicon = bulk("Si").get_volume() / 2
    assert packing.get_volume() == pytest.approx(12 * 14.8 + 4 * silicon)
    assert packing.get_volume() / 16 == pytest.approx(16.1, abs=0.1)  # near glasses of that composition, 16.5
    assert random_packing("Li", 16).get_volume() == pytest.approx(16 * bulk("Li").get_volume())
    given = random_packing("Li3Si", 16, volumes={"Li": 20.0})
    assert given.get_volume() == pytest.approx(12 * 20 + 4 * silicon)


def test_cells_repeat_by_seed_and_do_not_depend_on_how_many_are_asked_for() -> None:
    few = list(random_packings(["LiSi"], 2, 8, seed=1))
    many = list(random_packings(["Si", "LiSi"], 3, 8, seed=1))
    named = {packing.info["name"]: packing for packing in many}
    assert len(named) == len(random_packings(["Si", "LiSi"], 3, 8)) == 6
    for packing in few:
        assert np.array_equal(packing.positions, named[packing.info["name"]].positions)
    other = next(iter(random_packings(["LiSi"], 1, 8, seed=2)))
    assert not np.allclose(other.positions, few[0].positions)
    assert not np.allclose(few[0].positions, few[1].positions)


def test_packings_are_made_one_at_a_time() -> None:
    assert len(list(islice(random_packings(["LiSi"], 10**9, 8), 2))) == 2


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nonsense",), {}, "no composition"),
        (({"Xq": 1},), {}, "no composition"),
        (({},), {}, "no 64 atoms"),
        (("Li", 0), {}, "no 0 atoms"),
        (("SiO2",), {}, "crystal of O"),
        (("Li",), {"volumes": {"Li": -1.0}}, "volumes must be positive"),
        (("Li",), {"closest": 0.0}, "closest"),
        (("Li", 16), {"volumes": {"Li": 5.0}}, "does not fit"),
    ],
)
def test_refusals(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        random_packing(*arguments, **options)


def test_no_cells_are_refused() -> None:
    with pytest.raises(DataError, match="cells"):
        next(iter(random_packings(["Li"], 0)))


def test_half_atoms_and_one_formula_alone() -> None:
    with pytest.raises(DataError, match="not whole"):
        random_packing({"Li": 1.5, "Si": 1})
    assert [atoms.info["name"] for atoms in random_packings("LiSi", 2, 8)] == ["LiSi-8-seed0-000", "LiSi-8-seed0-001"]


def test_all_compositions_are_checked_at_once() -> None:
    with pytest.raises(DataError, match="no composition"):
        random_packings(["LiSi", "Xy2"], 2, 8)
