"""Voids where geometry knows them, and hops that lead there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCom
from ase.geometry import get_distances

from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.workflows import find_hops, find_voids, neb


@pytest.mark.parametrize("skewed", [False, True])
def test_voids_of_fcc_are_its_octahedral_sites(skewed: bool) -> None:
    atoms = bulk("Al", cubic=True, a=4.0)
    if skewed:  # the same crystal in a long, thin cell
        atoms.set_cell(atoms.cell.array @ np.eye(3), scale_atoms=True)
        cell = atoms.cell.array.copy()
        cell[2] += 3 * cell[0] + 2 * cell[1]
        atoms.set_cell(cell)
        atoms.wrap()
    voids = find_voids(atoms, room=1.9)
    expected = bulk("Al", cubic=True, a=4.0).positions + np.array([2.0, 0, 0])
    assert len(voids) == 4 and all(void.room == pytest.approx(2.0) for void in voids)
    distances = get_distances(expected, [void.position for void in voids], atoms.cell, True)[1]
    assert distances.min(axis=0) == pytest.approx(np.zeros(4), abs=1e-9)
    assert len({int(i) for i in distances.argmin(axis=0)}) == 4


def test_every_void_is_a_place_with_the_room_it_says(make_structure: Callable[..., Atoms]) -> None:
    """Against a fine grid: no place of the cell has more room, and none with as much is far from a void."""
    atoms = make_structure(5, atoms=7, side=6.0)
    voids = find_voids(atoms, room=1.0)
    places = np.array([void.position for void in voids])
    rooms = np.array([void.room for void in voids])
    assert get_distances(places, atoms.positions, atoms.cell, True)[1].min(axis=1) == pytest.approx(rooms)
    assert np.all(np.diff(rooms) <= 1e-12)
    apart = get_distances(places, places, atoms.cell, True)[1] + 9 * np.eye(len(places))
    assert apart.min() > 1.0
    axis = (np.arange(24) + 0.5) / 24
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3) @ atoms.cell.array
    free = get_distances(grid, atoms.positions, atoms.cell, True)[1].min(axis=1)
    assert free.max() <= rooms[0] + 1e-9
    assert free.max() > rooms[0] - 0.25  # half of the diagonal of a voxel


class Wells(Calculator):
    """Atoms of one species feel wells at given places; the energy of a hop is known."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, number: int, places: np.ndarray, depths: np.ndarray) -> None:
        super().__init__()
        self.number, self.places, self.depths = number, places, depths

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(self.atoms), 3))
        energy = 0.0
        for i in np.flatnonzero(self.atoms.numbers == self.number):
            vectors, lengths = get_distances(self.atoms.positions[i], self.places, self.atoms.cell, True)
            wells = self.depths * np.exp(-(lengths[0] ** 2))
            energy -= wells.sum()
            forces[i] = 2 * (wells[:, None] * vectors[0]).sum(axis=0)
        self.results = {"energy": energy, "forces": forces}


@pytest.fixture
def lithium() -> Atoms:
    """Silicon with lithium at an interstitial site; its calculator has wells at all such sites, some deeper."""
    host = bulk("Si", cubic=True, a=5.4)
    sites = np.concatenate([host.positions + np.array([shift, 0, 0]) for shift in (2.7, -2.7)])
    sites = sites[get_distances(sites, host.positions, host.cell, True)[1].min(axis=1) > 2]
    sites = sites[np.unique((host.cell.scaled_positions(sites) % 1).round(3), axis=0, return_index=True)[1]]
    start = 0
    near = get_distances(sites[start], sites, host.cell, True)[1][0]
    depths = np.where((near > 0.1) & (near < 2.5), 1.2 + 0.1 * np.arange(len(sites)), 1.0)
    atoms = host + Atoms("Li", [sites[start]])
    atoms.calc = Wells(3, sites, depths)
    return atoms


def test_hops_lead_from_an_interstitial_site_to_its_neighbours(lithium: Atoms) -> None:
    """Four of them, tetrahedrally, sqrt(3)/4 a away; the energies are those of the wells, the deepest first."""
    before = lithium.positions.copy()
    hops = find_hops(lithium, count=9, reach=3.0)
    assert len(hops) == 4 and np.array_equal(lithium.positions, before)
    assert [hop.atom for hop in hops] == [8] * 4
    assert [hop.length for hop in hops] == pytest.approx([5.4 * np.sqrt(3) / 4] * 4, abs=0.05)
    assert all(hop.void.room == pytest.approx(5.4 * np.sqrt(3) / 4, abs=0.01) for hop in hops)
    assert all(hop.opening == pytest.approx(2.24, abs=0.05) for hop in hops)  # the ring of six between two sites
    energies = [hop.energy for hop in hops]
    assert energies == sorted(energies) and energies[0] < -0.2
    assert [hop.energy for hop in find_hops(lithium, count=2, reach=3.0)] == pytest.approx(energies[:2])


def test_a_hop_is_ready_for_a_band(lithium: Atoms) -> None:
    (hop,) = find_hops(lithium, count=1, reach=3.0)
    band = neb(hop.initial, hop.final, images=5)
    assert band.converged and band.movers == [8] and band.minima == []
    assert band.reaction == pytest.approx(hop.energy, abs=0.02) and band.forward > 0.1


def test_ways_through_other_atoms_are_none(lithium: Atoms) -> None:
    assert find_hops(lithium, reach=3.0, opening=2.3) == []
    assert find_hops(lithium, reach=1.5) == []


def test_atoms_that_fall_back_are_no_hops(lithium: Atoms) -> None:
    """With one wide well at its place only."""
    start = lithium.positions[8]
    lithium.calc = Wells(3, start[None], np.array([50.0]))
    assert find_hops(lithium, reach=2.5) == []


def test_named_errors(lithium: Atoms) -> None:
    with pytest.raises(DataError, match="has no Na that could hop"):
        find_hops(lithium, species="Na")
    with pytest.raises(DataError, match="species must be an element, got 'Lithium'"):
        find_hops(lithium, species="Lithium")
    with pytest.raises(DataError, match="at least 1, got 0"):
        find_hops(lithium, count=0)
    for name in ("room", "reach", "opening"):
        with pytest.raises(DataError, match=f"{name} must be a positive number, got -1"):
            find_hops(lithium, **{name: -1})
    slab = lithium.copy()
    slab.pbc = (True, True, False)
    slab.calc = EMT()
    with pytest.raises(DataError, match="repeat in all directions"):
        find_hops(slab)
    slab.calc = None
    with pytest.raises(CalculatorError, match="no calculator"):
        find_hops(slab)


@pytest.mark.parametrize("seed", range(6))
def test_no_void_on_a_face_of_the_cell_is_lost(seed: int) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.positions += 1e-9 * np.random.default_rng(seed).normal(size=3) * atoms.cell.lengths()
    assert len(find_voids(atoms, room=1.7)) == 4  # one octahedral void for each atom


def test_what_cannot_hop_or_be_looked_at() -> None:
    atoms = bulk("Cu", cubic=True) * 2
    del atoms[0]
    atoms.calc = EMT()
    near = [hop.atom for hop in find_hops(atoms, species="Cu", count=3)]
    atoms.set_constraint(FixAtoms(near))
    assert near and not set(near) & {hop.atom for hop in find_hops(atoms, species="Cu", count=3)}
    with pytest.raises(DataError, match="whole number"):
        find_hops(atoms, species="Cu", count=2.5)
    atoms.positions[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        find_voids(atoms)
    with pytest.raises(DataError, match="no atoms"):
        find_voids(Atoms(cell=np.eye(3), pbc=True))


def test_a_fixed_centre_of_mass_holds_no_atom() -> None:
    atoms = bulk("Cu", cubic=True) * 2
    del atoms[0]
    atoms.calc = EMT()
    atoms.set_constraint(FixCom())
    assert find_hops(atoms, species="Cu", count=1)
