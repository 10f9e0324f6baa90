"""Voids where geometry knows them, hops that lead there, and the commands from structures to barriers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.geometry import get_distances
from ase.io import read, write
from click.testing import CliRunner

from ase_wavescat import save_model
from ase_wavescat.cli import main
from ase_wavescat.ensemble import Ensemble
from ase_wavescat.errors import CalculatorError, DataError
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
    with pytest.raises(DataError, match="count must be at least 1, got 0"):
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


# ------------------------------------------------------------ commands


@pytest.fixture
def folder(tmp_path: Path, small_ensemble: Ensemble) -> Path:
    save_model(tmp_path / "small.h5", small_ensemble)
    initial = bulk("Si", cubic=True, a=5.4) + Atoms("Li", [(2.7, 2.7, 2.7)])
    final = initial.copy()
    final.positions[-1] = (4.05, 4.05, 4.05)
    middle = initial.copy()
    middle.positions[-1] = (3.4, 3.3, 3.4)
    write(tmp_path / "a.extxyz", initial)
    write(tmp_path / "b.extxyz", final)
    write(tmp_path / "path.extxyz", [initial, middle, final])
    return tmp_path


def _run(folder: Path, *arguments: str) -> tuple[int, str]:
    names = {name: str(folder / name) for name in ("a.extxyz", "b.extxyz", "path.extxyz", "small.h5", "out")}
    result = CliRunner().invoke(main, [names.get(argument, argument) for argument in arguments])
    return result.exit_code, result.output


def test_wavescat_neb_writes_a_band_and_keeps_it(folder: Path) -> None:
    command = ("neb", "a.extxyz", "b.extxyz", "--model", "small.h5", "-o", "out", "--images", "3", "--steps", "1")
    code, output = _run(folder, *command, "--keep-ends")
    assert code == 0 and "barrier forward" in output and "not converged after 1 steps" in output, output
    figures = json.loads((folder / "out" / "a-to-b.json").read_text())
    assert figures["steps"] == 1 and figures["forward_spread"] > 0 and len(figures["energies"]) == 3
    assert len(read(folder / "out" / "a-to-b.extxyz", ":")) == 3 and (folder / "out" / "a-to-b.png").exists()
    assert "a-to-b: kept" in _run(folder, *command, "--keep-ends")[1]
    assert "kept" not in _run(folder, *command, "--keep-ends", "--no-climb")[1]


def test_wavescat_neb_along_a_given_path(folder: Path) -> None:
    code, output = _run(folder, "neb", "path.extxyz", "--path", "--model", "small.h5", "-o", "out")
    assert code == 0 and "3 images over" in output, output
    images = read(folder / "out" / "path-0-to-path-2.extxyz", ":")
    assert np.array_equal(images[1].positions.round(6), read(folder / "path.extxyz", "1").positions.round(6))
    code, output = _run(folder, "neb", "a.extxyz", "b.extxyz", "--path", "--model", "small.h5", "-o", "out")
    assert code == 1 and "give at least three images" in output
    code, output = _run(folder, "neb", "a.extxyz", "--model", "small.h5", "-o", "out")
    assert code == 1 and "give the initial and the final structure" in output
    missing = _run(folder, "neb", "a.extxyz", "nowhere.extxyz", "--model", "small.h5", "-o", "out")
    assert missing[0] == 1 and "nowhere.extxyz" in missing[1] and "Traceback" not in missing[1]


def test_wavescat_hops_writes_a_table_and_goes_on_where_it_was(folder: Path) -> None:
    command = (
        "hops", "a.extxyz", "--model", "small.h5", "-o", "out", "--count", "2", "--images", "3", "--steps", "1",
        "--reach", "3.0", "--quiet",
    )  # fmt: skip
    code, output = _run(folder, *command)
    assert code == 0 and "a: 2 hops" in output, output
    table = json.loads((folder / "out" / "a-hops.json").read_text())["hops"]
    assert [row["name"] for row in table] == ["a-hop-0", "a-hop-1"] and all(row["atom"] == 8 for row in table)
    assert all("failed" in row or {"forward", "backward", "converged"} <= set(row) for row in table)
    assert "a: kept" in _run(folder, *command)[1]
    # As if it had been killed before the last hop
    (folder / "out" / "a-hops.json").unlink()
    (folder / "out" / "a-hop-1.json").unlink()
    first = (folder / "out" / "a-hop-0.json").stat().st_mtime_ns
    assert _run(folder, *command)[0] == 0
    assert (folder / "out" / "a-hop-0.json").stat().st_mtime_ns == first
    again = json.loads((folder / "out" / "a-hops.json").read_text())["hops"]
    assert [row.get("forward") for row in again] == pytest.approx([row.get("forward") for row in table], abs=1e-9)


def test_wavescat_hops_names_what_fails(folder: Path) -> None:
    code, output = _run(
        folder, "hops", "a.extxyz", "--model", "small.h5", "-o", "out", "--species", "Na", "--steps", "0"
    )
    assert code == 1 and "has no Na that could hop" in output and "1 of 1 structures failed: a" in output
    code, output = _run(folder, "hops", "a.extxyz", "--model", "small.h5", "-o", "out", "--room", "9", "--steps", "0")
    assert code == 0 and "a: no hops; try a smaller --room" in output
