"""Close contacts: rows that teach a fit to leave short distances to the pair repulsion.

No label reaches below the shortest distances of the data, and a polynomial of many features would go anywhere there,
mostly down. So atoms of some frames, and dimers in vacuum, are pushed together step by step, and the change of the
energy is asked to be that of the screened nuclear repulsion, to within a share of it; simple crystals and some frames
shrink as a whole, where half of that repulsion is enough. The rows carry no labels, so they belong to every fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.crystals import crystal, crystals_of
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.baseline import repulsion_of
from ase_wavescat.training.data.frames import Frame

DISTANCES = (0.92, 0.84, 0.76, 0.68, 0.60, 0.52, 0.44, 0.36, 0.28)  # of the closest distance seen
FRAMES_PER_PAIR = 24
RELATIVE_ERROR, ABSOLUTE_ERROR = 0.15, 0.5  # of the repulsion; eV
CROWDED_DISTANCES = (0.92, 0.84, 0.76, 0.68, 0.60)  # of the closest distance seen, of all neighbours at once
CROWDED_FRAMES = 8  # for each pair
CROWDED_RELATIVE, CROWDED_ABSOLUTE = 0.5, 0.2  # of the repulsion; eV an atom
_VACUUM = 12.0  # A, side of a dimer's cell


@dataclass(frozen=True, eq=False)
class Approach:
    """A structure, what it becomes step by step, and how exactly the repulsion is asked for: a share of it, and eV."""

    start: Structure
    steps: list[Structure]
    relative: float = RELATIVE_ERROR
    absolute: float = ABSOLUTE_ERROR

    def asked(self, repulsion: PairRepulsion) -> tuple[np.ndarray, np.ndarray]:
        """Changes of the energy (K,) from the start to each step, less those of the baseline, and their errors, eV."""
        bare = PairRepulsion({pair: 2 * cutoff for pair, cutoff in repulsion.cutoffs.items()})  # unswitched at contact
        structures = (self.start, *self.steps)
        push, known = (
            np.diff([repulsion_of(structure, own).energy for structure in structures]).cumsum()
            for own in (bare, repulsion)
        )
        return push - known, self.relative * np.abs(push) + self.absolute


@dataclass(frozen=True, eq=False)
class Contacts:
    """rows (K, F): change of the features; targets (K,): change of the energy less the baseline's (eV); errors (K,)."""

    rows: np.ndarray
    targets: np.ndarray
    errors: np.ndarray


def close_contacts(
    transform: Transform,
    frames: Sequence[Frame],
    closest: Mapping[tuple[int, int], float],
    repulsion: PairRepulsion,
    seed: int = 0,
) -> Contacts:
    """The rows of all approaches."""
    rows: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    for approach in approaches(frames, closest, seed):
        features = transform.evaluate(approach.start).features
        rows += [transform.evaluate(structure).features - features for structure in approach.steps]
        changes, allowed = approach.asked(repulsion)
        targets.append(changes)
        errors.append(allowed)
    rows_of_all = np.array(rows).reshape(len(rows), len(transform.keys))
    return Contacts(rows_of_all, *(np.concatenate([np.zeros(0), *found]) for found in (targets, errors)))


def approaches(frames: Sequence[Frame], closest: Mapping[tuple[int, int], float], seed: int = 0) -> Iterator[Approach]:
    """For each pair of species with a closest distance: dimers, pushed atoms, crystals and frames, drawn by seed."""
    for pair, shortest in closest.items():
        rng = np.random.default_rng([seed, *pair])
        yield from _collisions(pair, shortest, frames, rng)
        yield from _crowding(pair, shortest, frames, rng)


def _collisions(
    pair: tuple[int, int], shortest: float, frames: Sequence[Frame], rng: np.random.Generator
) -> Iterator[Approach]:
    """Two atoms pushed together: of a dimer, then of frames that hold the pair.

    The dimer's images are far enough for a change of its own distance; coarse wavelets need not fit into the vacuum.
    """
    cell, numbers = _VACUUM * np.eye(3), np.array(pair)

    def dimer(distance: float) -> Structure:
        return Structure(cell, np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]), numbers)

    yield Approach(dimer(shortest), [dimer(share * shortest) for share in DISTANCES])
    chosen = 0
    for index in rng.permutation(len(frames)).tolist():
        bonds = _bonds(frames[index], pair, 1.6 * shortest)
        if len(bonds) and chosen < FRAMES_PER_PAIR:
            chosen += 1
            yield _pushed(frames[index], shortest, *bonds[rng.integers(len(bonds))])


def _crowding(
    pair: tuple[int, int], shortest: float, frames: Sequence[Frame], rng: np.random.Generator
) -> Iterator[Approach]:
    """Simple crystals of the pair and periodic frames that hold it, all of whose distances shrink."""
    for name in crystals_of(pair):
        atoms = crystal(pair, name, shortest)
        yield _shrunk(Structure.from_atoms(atoms))
    chosen = 0
    for index in rng.permutation(len(frames)).tolist():
        frame = frames[index]
        bonds = _bonds(frame, pair, 1.6 * shortest) if all(frame.pbc) and chosen < CROWDED_FRAMES else []
        if bonds:
            chosen += 1
            share = shortest / min(float(np.linalg.norm(vector)) for _, vector in bonds)
            yield _shrunk(Structure(share * frame.cell, share * frame.positions, frame.numbers))


def _shrunk(start: Structure) -> Approach:
    steps = [Structure(share * start.cell, share * start.positions, start.numbers) for share in CROWDED_DISTANCES]
    return Approach(start, steps, CROWDED_RELATIVE, CROWDED_ABSOLUTE * len(start))


def _bonds(frame: Frame, pair: tuple[int, int], cutoff: float) -> list[tuple[int, np.ndarray]]:
    """Second atom and vector to it of each neighbour pair of these species."""
    first, second, vectors, _ = frame.structure.neighbours(cutoff)
    mine = (frame.numbers[first] == pair[0]) & (frame.numbers[second] == pair[1]) & (first != second)
    return list(zip(second[mine].tolist(), vectors[mine], strict=True))


def _pushed(frame: Frame, shortest: float, atom: int, vector: np.ndarray) -> Approach:
    """The frame, and the frame with the atom moved along its bond."""
    steps = []
    for share in DISTANCES:
        positions = frame.positions.copy()
        positions[atom] += (share * shortest / np.linalg.norm(vector) - 1.0) * vector
        steps.append(Structure(frame.cell, positions, frame.numbers, frame.pbc))
    return Approach(frame.structure, steps)
