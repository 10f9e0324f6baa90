"""Hops of single atoms into voids of a solid: where there is room, and which atom can get there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.cell import Cell
from ase.constraints import FixAtoms
from ase.data import chemical_symbols
from ase.geometry import find_mic, get_distances
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE
from scipy.spatial import Voronoi, cKDTree

from ase_wavescat.io.structures import check_structure
from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.checks import calculator_of, evaluated, with_calculator

APART = 1.0
"""A: voids that near to one with more room are a part of it."""
SETTLING = 0.1
"""eV/A: force on a moved atom at which it is taken to have settled, the others held."""
SETTLING_STEPS = 40
TRIES = 4
"""Times as many atoms settle in voids as hops are asked for: some fall back, some come to the same place."""


@dataclass(frozen=True, eq=False)
class Void:
    """A place with room: as far as can be, nearby, from all atoms.

    Attributes:
        position: (3,) A, in the cell.
        room: A, distance to the nearest atoms.
    """

    position: np.ndarray
    room: float


@dataclass(frozen=True, eq=False)
class Hop:
    """One atom that may move into a void.

    Attributes:
        initial: A copy of the structure, with its calculator.
        final: The same with the atom settled in the void, all others where they were; `neb` relaxes both.
        atom: Index of the atom that moves.
        void: Where it goes.
        length: A, from its place to where it settles.
        opening: A, how near the straight way to the void comes to another atom.
        energy: eV, of `final` less that of `initial`, before the others relax.
    """

    initial: Atoms
    final: Atoms
    atom: int
    void: Void
    length: float
    opening: float
    energy: float


def find_voids(atoms: Atoms, *, room: float = 2.0) -> list[Void]:
    """Voids of a solid with at least `room` (A) to the nearest atom, those with the most room first.

    The corners of the Voronoi cells of all atoms, periodic images counted, are the places that are locally farthest
    from atoms; of corners less than 1 A apart the one with the most room stands for all.

    Raises:
        DataError: For structures that do not repeat in all directions: what is outside would be a void.
    """
    check_structure(atoms, atoms.get_chemical_formula() or "the structure")
    if not atoms.pbc.all():
        raise DataError(f"voids are looked for in solids that repeat in all directions, pbc = {atoms.pbc.tolist()}")
    if not (np.isfinite(room) and room > 0):
        raise DataError(f"room must be a positive number, got {room}")
    reduced = atoms.copy()
    reduced.set_cell(atoms.cell.minkowski_reduce()[0])
    reduced.wrap()
    images = _with_images(reduced)
    corners = Voronoi(images).vertices
    fractions = reduced.cell.scaled_positions(corners)
    # Corners on a face are found on both sides of it, with rounding: one of each goes with those that are too near
    corners = corners[np.all((fractions > -1e-6) & (fractions < 1 + 1e-6), axis=1)]
    distances, _ = cKDTree(images).query(corners)
    corners, distances = corners[distances >= room], distances[distances >= room]
    kept = _apart(corners, distances, reduced.cell)
    places = atoms.cell.cartesian_positions(atoms.cell.scaled_positions(corners) % 1.0)
    return [Void(places[index], float(distances[index])) for index in kept]


def _apart(corners: np.ndarray, distances: np.ndarray, cell: Cell) -> list[int]:
    """Indices of corners, those with the most room first, none near to another one."""
    first, second = neighbor_list("ij", Atoms(f"X{len(corners)}", corners, cell=cell, pbc=True), APART)
    near: list[list[int]] = [[] for _ in corners]
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        near[one].append(other)
    left = np.ones(len(corners), dtype=bool)
    kept = []
    for index in np.argsort(-distances, kind="stable").tolist():
        if left[index]:
            kept.append(index)
            left[near[index]] = False
    return kept


def find_hops(
    atoms: Atoms,
    *,
    species: str = "Li",
    count: int = 5,
    room: float = 2.0,
    reach: float = 4.0,
    opening: float = 1.5,
) -> list[Hop]:
    """The most favourable hops of single atoms into nearby voids, lowest energy first, each ready for `neb`.

    Every atom of `species` is put into every void within `reach` to which a straight way leads. Those of the lowest
    energies (four times `count`) then settle, all others held. An atom that falls back to its place is left out, and
    one that settles at the same place from two voids counts once. What is left is ranked by energy.

    Fewer hops than `count`, or none, are no error.

    Args:
        atoms: A relaxed solid; it stays as it is.
        room: A, least distance of a void from all atoms.
        reach: A, from the atom to the void.
        opening: A, least distance of the straight way from the other atoms.

    Raises:
        DataError: Where nothing of that species is there, for settings that cannot be, and as `find_voids` does.
        CalculatorError: Without a calculator.
    """
    calculator = calculator_of(atoms, "forces")
    _check_settings(atoms, species, count, reach, opening)
    ways = list(_ways(atoms, species, room, reach, opening))
    energy = with_calculator(atoms, calculator).get_potential_energy()
    tried = [_tried(atoms, *way, calculator) for way in ways]
    tried.sort(key=lambda found: found[0])
    hops: list[Hop] = []
    for _, atom, void, near, moved in tried[: TRIES * count]:
        final = _settled(moved, atom, calculator)
        length = float(find_mic(final.positions[atom] - atoms.positions[atom], atoms.cell, atoms.pbc)[1])
        if length > APART and not any(hop.atom == atom and _same(final, hop.final, atom) for hop in hops):
            gained = float(final.get_potential_energy() - energy)
            hops.append(Hop(with_calculator(atoms, atoms.calc), final, atom, void, length, near, gained))
    return sorted(hops, key=lambda hop: hop.energy)[:count]


def _check_settings(atoms: Atoms, species: str, count: int, reach: float, opening: float) -> None:
    if species not in chemical_symbols[1:]:
        raise DataError(f"species must be an element, got {species!r}")
    if species not in set(atoms.symbols):
        raise DataError(f"{atoms.get_chemical_formula()} has no {species} that could hop; name another species")
    if len(atoms) == 1:
        raise DataError("one atom alone has no voids to hop into; give a larger cell")
    if not isinstance(count, Integral) or count < 1:
        raise DataError(f"count must be a whole number, at least 1, got {count}")
    for name, value in (("reach", reach), ("opening", opening)):
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"{name} must be a positive number, got {value}")


def _with_images(atoms: Atoms) -> np.ndarray:
    """(M, 3) A: atoms of the cell and all images as near to it as any atom can be to a void in it.

    No place is farther from the images of one atom than half the root of the sum of the squared cell vectors (Babai's
    bound).
    """
    farthest = 0.5 * np.sqrt((atoms.cell.array**2).sum())
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    margin = farthest / heights
    ranges = [np.arange(-np.ceil(m), np.ceil(m) + 1) for m in margin]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    fractions = (atoms.get_scaled_positions()[None] + shifts).reshape(-1, 3)
    near = np.all((fractions >= -margin) & (fractions <= 1 + margin), axis=1)
    return fractions[near] @ atoms.cell.array


def _nearest_to_way(atoms: Atoms, atom: int, way: np.ndarray) -> float:
    """A: distance of the straight way of an atom from the nearest other atom, images counted."""
    steps = max(2, int(np.ceil(np.linalg.norm(way) / 0.1)) + 1)
    places = atoms.positions[atom] + np.linspace(0, 1, steps)[:, None] * way
    others = np.delete(atoms.positions, atom, axis=0)
    return float(get_distances(places, others, atoms.cell, atoms.pbc)[1].min())


def _ways(
    atoms: Atoms, species: str, room: float, reach: float, opening: float
) -> Iterator[tuple[int, Void, np.ndarray, float]]:
    """Atoms, voids, the way between them and its distance from other atoms, where it is short and open enough."""
    movable = [int(atom) for atom in np.flatnonzero(atoms.symbols == species) if _is_free(atoms, int(atom))]
    for void in find_voids(atoms, room=room):
        for atom in movable:
            way, length = find_mic(void.position - atoms.positions[atom], atoms.cell, atoms.pbc)
            if length <= reach:
                near = _nearest_to_way(atoms, int(atom), way)
                if near >= opening:
                    yield int(atom), void, way, near


def _is_free(atoms: Atoms, atom: int) -> bool:
    """Whether constraints let an atom move."""
    moved = atoms.copy()
    wanted = atoms.positions.copy()
    wanted[atom] += 0.1
    moved.set_positions(wanted)
    return bool(np.linalg.norm(moved.positions[atom] - atoms.positions[atom]) > 0.05)


def _tried(
    atoms: Atoms, atom: int, void: Void, way: np.ndarray, near: float, calculator: BaseCalculator
) -> tuple[float, int, Void, float, Atoms]:
    """Energy (eV) of the structure with the atom in the void, and that structure."""
    moved = with_calculator(atoms, calculator)
    moved.positions[atom] += way
    return float(moved.get_potential_energy()), atom, void, near, moved


def _settled(moved: Atoms, atom: int, calculator: BaseCalculator) -> Atoms:
    """The structure with one atom come to rest, the others held meanwhile."""
    settling = with_calculator(moved, calculator)
    settling.set_constraint(FixAtoms([i for i in range(len(moved)) if i != atom]))
    # Downhill all the way, as an atom would fall; LBFGS jumps where the energy is not convex.
    FIRE(settling, logfile=None).run(fmax=SETTLING, steps=SETTLING_STEPS)
    settling.get_potential_energy()
    result = evaluated(settling)
    result.set_constraint(moved.constraints)
    return result


def _same(one: Atoms, other: Atoms, atom: int) -> bool:
    difference = one.positions[atom] - other.positions[atom]
    return bool(find_mic(difference, one.cell, one.pbc)[1] < 0.5 * APART)
