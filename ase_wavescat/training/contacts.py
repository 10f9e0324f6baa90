"""Close contacts: rows that teach a fit to leave short distances to the pair repulsion.

No label reaches below the shortest distances of the data, and a polynomial of many features would go anywhere there,
mostly down. So atoms of some frames, and dimers in vacuum, are pushed together step by step, and the change of the
energy is asked to be that of the screened nuclear repulsion, to within a share of it. The rows carry no labels, so they
belong to every fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ase_wavescat.repulsion import PairRepulsion
from ase_wavescat.scattering.boundary import FULLY_PERIODIC
from ase_wavescat.scattering.neighbours import neighbour_pairs
from ase_wavescat.scattering.transform import Transform
from ase_wavescat.training.dataset import Frame

DISTANCES = (0.92, 0.84, 0.76, 0.68, 0.60, 0.52, 0.44, 0.36, 0.28)  # of the closest distance seen
FRAMES_PER_PAIR = 24
RELATIVE_ERROR, ABSOLUTE_ERROR = 0.15, 0.5  # of the repulsion; eV
_VACUUM = 12.0  # A, side of a dimer's cell
Structure = tuple[np.ndarray, np.ndarray, np.ndarray]


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
    """For each pair of species with a closest distance: dimers and pushed atoms of frames, drawn by seed."""
    bare = PairRepulsion({pair: 2 * cutoff for pair, cutoff in repulsion.cutoffs.items()})  # unswitched at contact
    rows, targets, errors = [], [], []
    for pair, shortest in closest.items():
        for pbc, start, steps in _approaches(pair, shortest, frames, np.random.default_rng([seed, *pair])):
            features = transform.evaluate(*start, pbc=pbc).features
            before = bare.evaluate(*start, pbc)[0], repulsion.evaluate(*start, pbc)[0]
            for structure in steps:
                push = bare.evaluate(*structure, pbc)[0] - before[0]
                rows.append(transform.evaluate(*structure, pbc=pbc).features - features)
                targets.append(push - (repulsion.evaluate(*structure, pbc)[0] - before[1]))
                errors.append(RELATIVE_ERROR * abs(push) + ABSOLUTE_ERROR)
    return Contacts(np.array(rows).reshape(len(rows), len(transform.keys)), np.array(targets), np.array(errors))


def _approaches(
    pair: tuple[int, int], shortest: float, frames: Sequence[Frame], rng: np.random.Generator
) -> Iterator[tuple[Sequence[bool], Structure, list[Structure]]]:
    """Boundaries, a structure and its close contacts: one dimer, then frames that hold the pair.

    The dimer's images are far enough for a change of its own distance; coarse wavelets need not fit into the vacuum.
    """
    cell, numbers = _VACUUM * np.eye(3), np.array(pair)

    def dimer(distance: float) -> Structure:
        return cell, np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]), numbers

    yield FULLY_PERIODIC, dimer(shortest), [dimer(share * shortest) for share in DISTANCES]
    chosen = 0
    for index in rng.permutation(len(frames)).tolist():
        bonds = _bonds(frames[index], pair, 1.6 * shortest)
        if len(bonds) and chosen < FRAMES_PER_PAIR:
            chosen += 1
            yield frames[index].pbc, *_pushed(frames[index], shortest, *bonds[rng.integers(len(bonds))])


def _bonds(frame: Frame, pair: tuple[int, int], cutoff: float) -> list[tuple[int, np.ndarray]]:
    """Second atom and vector to it of each neighbour pair of these species."""
    first, second, vectors = neighbour_pairs(frame.periodic_cell(cutoff), frame.positions, cutoff)
    mine = (frame.numbers[first] == pair[0]) & (frame.numbers[second] == pair[1]) & (first != second)
    return list(zip(second[mine].tolist(), vectors[mine], strict=True))


def _pushed(frame: Frame, shortest: float, atom: int, vector: np.ndarray) -> tuple[Structure, list[Structure]]:
    """The frame, and the frame with the atom moved along its bond."""
    steps = []
    for share in DISTANCES:
        positions = frame.positions.copy()
        positions[atom] += (share * shortest / np.linalg.norm(vector) - 1.0) * vector
        steps.append((frame.cell, positions, frame.numbers))
    return (frame.cell, frame.positions, frame.numbers), steps
