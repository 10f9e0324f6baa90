"""Structure factors and their adjoint: separable phases, non-uniform FFTs, the plain sum."""

import numpy as np
import pytest

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice import structure_factor
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import NonuniformPhases, Phases, structure_phases

CELL = np.array([[6.0, 0, 0], [1.2, 5.4, 0], [-0.8, 0.7, 5.9]])
LATTICE = ReciprocalLattice(CELL, 6.0)
POSITIONS = np.random.default_rng(0).uniform(-1, 2, (40, 3)) @ CELL  # wrapped and not


def both():
    pytest.importorskip("finufft")
    return [Phases(LATTICE, POSITIONS), NonuniformPhases(LATTICE, POSITIONS)]


def plain():
    return np.exp(-1j * POSITIONS @ LATTICE.vectors.T)


def test_structure_factors_against_the_sum():
    expected = plain().sum(axis=0)
    for phases in both():
        assert np.abs(phases.structure_factor() - expected).max() < 1e-11 * np.abs(expected).max()
        np.testing.assert_allclose(phases.by_atom(), plain(), atol=1e-11)


def test_tangents_against_the_sum():
    moves = np.random.default_rng(1).normal(size=POSITIONS.shape)
    expected = (-1j * (moves @ LATTICE.vectors.T) * plain()).sum(axis=0)
    for phases in both():
        assert np.abs(phases.tangent(moves) - expected).max() < 1e-11 * np.abs(expected).max()


def test_gradients_against_the_sum():
    count = len(LATTICE) // 2  # an adjoint may cover a smaller sphere
    adjoint = np.random.default_rng(2).normal(size=(count, 2)).view(complex)[:, 0]
    terms = (adjoint.conj() * -1j * plain()[:, :count]).real
    expected = terms @ LATTICE.vectors[:count]
    for phases in both():
        assert np.abs(phases.gradient(adjoint) - expected).max() < 1e-11 * np.abs(expected).max()


def test_nonuniform_transforms_are_for_large_cells_and_optional(monkeypatch):
    pytest.importorskip("finufft")
    assert isinstance(structure_phases(LATTICE, POSITIONS, Execution()), Phases)
    monkeypatch.setattr(structure_factor, "_CROSSOVER", 1)
    assert isinstance(structure_phases(LATTICE, POSITIONS, Execution()), NonuniformPhases)
    monkeypatch.setattr(structure_factor, "find_spec", lambda name: None)
    assert isinstance(structure_phases(LATTICE, POSITIONS, Execution()), Phases)


def test_no_atoms_and_parts_of_one_plane(monkeypatch):
    empty = Phases(LATTICE, np.empty((0, 3)))
    np.testing.assert_array_equal(empty.structure_factor(), np.zeros(len(LATTICE)))
    assert empty.gradient(np.ones(len(LATTICE), dtype=complex)).shape == (0, 3)
    whole = Phases(LATTICE, POSITIONS).structure_factor()
    monkeypatch.setattr(structure_factor, "_CHUNK", 1)
    np.testing.assert_allclose(Phases(LATTICE, POSITIONS).structure_factor(), whole, rtol=1e-12)
