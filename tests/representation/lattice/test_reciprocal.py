"""Reciprocal lattice and structure factors."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell

from ase_wavescat.representation.lattice.fourier import fast_length
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import Phases

SKEWED = np.array([[5.0, 0, 0], [13, 6, 0], [-2, 4, 7]])
RNG = np.random.default_rng(0)


def test_the_half_sphere_with_its_weights_is_the_sphere():
    lattice = ReciprocalLattice(SKEWED, 4.0)
    reciprocal = 2 * np.pi * np.linalg.inv(SKEWED).T
    h = np.stack(np.meshgrid(*[np.arange(-30, 31)] * 3), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(h @ reciprocal, axis=1)
    assert lattice.weights.sum() == (lengths <= 4.0).sum()
    doubled = np.repeat(lattice.lengths, lattice.weights.astype(int))
    np.testing.assert_allclose(np.sort(doubled), np.sort(lengths[lengths <= 4.0]), atol=1e-12)
    assert (np.diff(lattice.lengths) >= -1e-12).all()
    assert lattice.count(2.0) == (lattice.lengths <= 2.0).sum()


def test_structure_factor_tangent_and_gradient():
    positions = RNG.random((7, 3)) @ SKEWED
    lattice = ReciprocalLattice(SKEWED, 6.0)
    phases = Phases(lattice, positions)
    direct = np.exp(-1j * lattice.vectors @ positions.T)
    np.testing.assert_allclose(phases.structure_factor(), direct.sum(axis=1), atol=1e-11)
    np.testing.assert_allclose(phases.by_atom(), direct.T, atol=1e-11)
    moves = RNG.normal(size=(7, 3))
    tangent = (-1j * (lattice.vectors @ moves.T) * direct).sum(axis=1)
    np.testing.assert_allclose(phases.tangent(moves), tangent, atol=1e-10)
    adjoint = RNG.normal(size=len(lattice)) + 1j * RNG.normal(size=len(lattice))
    expected = (adjoint.conj() @ tangent).real
    assert (phases.gradient(adjoint) * moves).sum() == pytest.approx(expected, rel=1e-11)


def test_no_atoms_of_a_species_is_zero():
    phases = Phases(ReciprocalLattice(SKEWED, 3.0), np.zeros((0, 3)))
    assert not phases.structure_factor().any()
    assert phases.gradient(np.ones(5, dtype=complex)).shape == (0, 3)


def test_equivalent_cells_share_grid_and_vectors():
    """A badly skewed cell is reduced: the same lattice gives the same grid."""
    cube = Atoms("Li", cell=4 * np.eye(3), pbc=True)
    skewed = make_supercell(cube, [[1, 0, 0], [7, 1, 0], [-5, 3, 1]])
    plain, reduced = ReciprocalLattice(cube.cell.array, 5.0), ReciprocalLattice(skewed.cell.array, 5.0)
    assert plain.shape(10.0) == reduced.shape(10.0)
    np.testing.assert_allclose(plain.lengths, reduced.lengths, atol=1e-12)


def test_reference_cell_keeps_vectors_and_grids_along_a_strain():
    strained = SKEWED @ (np.eye(3) + 0.08 * np.diag([1, -1, 0.5]))
    plain, kept = ReciprocalLattice(SKEWED, 5.0), ReciprocalLattice(strained, 5.0, reference_cell=SKEWED)
    np.testing.assert_array_equal(plain.indices, kept.indices)
    assert plain.shape(9.0) == kept.shape(9.0)
    assert kept.volume == pytest.approx(abs(np.linalg.det(strained)))
    np.testing.assert_allclose(kept.vectors @ kept.cell.T / (2 * np.pi), kept.indices, atol=1e-9)


def test_grids_resolve_the_bandwidth():
    lattice = ReciprocalLattice(SKEWED, 6.0)
    shape = lattice.shape(12.0)
    places = lattice.places(shape, len(lattice))
    assert len(np.unique(places)) == len(places)


@pytest.mark.parametrize("points", [1, 7, 33, 65, 127, 129, 250, 1000])
def test_fast_lengths_are_long_enough(points):
    assert fast_length(points) >= points
    assert fast_length(points) <= max(8, 1.5 * points)
