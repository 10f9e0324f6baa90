"""Shortest distances by pair of species, over boundaries and over frames."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.distances import closest_pairs, shortest_distances
from ase_wavescat.training.data.frames import Frame


def distances(atoms: Atoms, cutoff: float = 4.0) -> dict[tuple[int, int], float]:
    return shortest_distances(Structure(atoms.cell.array, atoms.positions, atoms.numbers, atoms.pbc), cutoff)


def frame(atoms: Atoms) -> Frame:
    return Frame(Structure.from_atoms(atoms), 0.0, None, None, group="", config_type="", name="")


def test_an_atom_and_its_own_images() -> None:
    assert distances(bulk("Si")) == {(14, 14): pytest.approx(5.43 * np.sqrt(3) / 4)}
    assert distances(bulk("Li", "bcc", a=3.4)) == {(3, 3): pytest.approx(3.4 * np.sqrt(3) / 2)}


def test_open_directions_have_no_images() -> None:
    chain = Atoms("LiSiLi", [[0, 0, 0], [0, 0, 2.5], [0, 0, 6.0]], cell=[3, 3, 7.0], pbc=[False, False, True])
    assert distances(chain) == {(3, 3): pytest.approx(1.0), (3, 14): pytest.approx(2.5)}
    chain.pbc = False
    assert distances(chain) == {(3, 14): pytest.approx(2.5)}
    assert distances(chain, cutoff=2.0) == {}


def test_the_least_over_frames() -> None:
    far, near = Atoms("SiLi", [[0, 0, 0], [0, 0, 2.9]]), Atoms("LiLiSi", [[0, 0, 0], [0, 0, 3.0], [0, 2.4, 0]])
    closest = closest_pairs([frame(far), frame(near)])
    assert list(closest) == [(3, 3), (3, 14)]
    assert closest == {(3, 3): pytest.approx(3.0), (3, 14): pytest.approx(2.4)}
    assert closest_pairs([]) == {}
