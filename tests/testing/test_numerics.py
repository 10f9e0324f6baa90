"""The kit's own numerics against functions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from ase_wavescat.testing.derivatives import richardson
from ase_wavescat.testing.dimers import largest_jumps
from ase_wavescat.testing.memory import resident
from ase_wavescat.testing.structures import boxed, cluster, usual_structures

NODES = np.geomspace(1.0, 12.0, 25).tolist()


@pytest.mark.parametrize(
    ("function", "slope"), [(np.exp, 1.0), (lambda x: np.sin(3 * x + 1), 3 * np.cos(1)), (lambda x: 1 / (1 + x), -1.0)]
)
def test_richardson_is_exact_to_rounding(function, slope) -> None:
    assert richardson(function, 0.04) == pytest.approx(slope, abs=1e-12)
    plain = (function(0.04) - function(-0.04)) / 0.08
    assert abs(plain - slope) > 1e-4 * abs(slope)


def repulsive(r: float) -> tuple[float, float]:
    return 100 / r**12, -1200 / r**13


def test_a_smooth_curve_has_no_jumps_however_steep() -> None:
    energy, force = largest_jumps(repulsive, NODES, 1e-4, 1e-3)
    assert energy < 1e-4 and force < 1e-3


@pytest.mark.parametrize(("step", "kink"), [(0.01, 0.0), (0.0, 0.02), (-0.003, -0.05)])
def test_jumps_are_measured(step: float, kink: float) -> None:
    def curve(r: float) -> tuple[float, float]:
        energy, slope = repulsive(r)
        beyond = r > 7.3456
        return energy + beyond * (step + kink * (r - 7.3456)), slope + beyond * kink

    energy, force = largest_jumps(curve, NODES, 1e-4, 1e-3)
    assert energy == pytest.approx(abs(step), abs=1e-4)
    assert force == pytest.approx(abs(kink), abs=1e-3)


def test_a_rough_curve_ends_and_fails() -> None:
    rng = np.random.default_rng(0)
    energy, force = largest_jumps(lambda r: (rng.normal(), rng.normal()), NODES, 1e-4, 1e-3)
    assert energy > 0.1 and force > 0.1
    assert np.isnan(largest_jumps(lambda r: (np.nan, 0.0), NODES, 1e-4, 1e-3)).all()


@pytest.mark.parametrize("species", [("Cu", "Au"), ("Li",), ("H", "C", "O")])
def test_usual_structures_are_dense_and_keep_atoms_apart(species: tuple[str, ...]) -> None:
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    structures = usual_structures(species, 0)
    assert [len(atoms) for atoms in structures] == [12, 8, 4, 2, 1]
    assert {symbol for atoms in structures for symbol in atoms.symbols} == set(species)
    for atoms, again in zip(structures, usual_structures(species, 0), strict=True):
        assert atoms == again
        assert len(neighbor_list("d", atoms, 0.7 * covalent_radii[atoms.numbers])) == 0
        assert len(neighbor_list("d", atoms, 1.3 * covalent_radii[atoms.numbers])) > 0


def test_a_box_keeps_the_piece_and_puts_its_images_far_away() -> None:
    piece = cluster(("Cu", "Au"), 0, (True, False, False))
    box = boxed(piece, 25.0)
    assert box.pbc.all()
    np.testing.assert_array_equal(box.cell[0], piece.cell[0])
    np.testing.assert_allclose(box.get_all_distances(), piece.get_all_distances(), atol=1e-12)
    for axis in (1, 2):
        height = box.get_volume() / np.linalg.norm(np.cross(box.cell[(axis + 1) % 3], box.cell[(axis + 2) % 3]))
        assert height > 25.0


def test_the_resident_memory_grows_with_what_is_held() -> None:
    before = resident()
    held = np.ones(4_000_000)
    assert 28 < resident() - before < 40
    assert held.sum() == 4_000_000
