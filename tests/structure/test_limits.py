"""What is refused before any work is done, and what passes as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ase_wavescat.structure.limits import LARGEST_LENGTH, check_cell, check_positions, plain_array, reduced_cell
from ase_wavescat.system.errors import StructureError


def test_arrays_are_copied_as_the_kind_asked_for() -> None:
    given = np.arange(6, dtype=np.float32).reshape(2, 3).T
    array = plain_array(given, int, "numbers")
    assert array.dtype == int and array.flags.c_contiguous and not np.shares_memory(array, given)
    np.testing.assert_array_equal(array, given)
    nothing_masked = plain_array(np.ma.masked_array([1.0, 2.0], [False, False]), float, "positions")
    assert type(nothing_masked) is np.ndarray


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (np.ma.masked_array([1.0, 2.0, 3.0], [True, False, True]), float, "2 values of the cell are masked"),
        ([True, False], int, "the cell must be real numbers, got an array of bool"),
        ([1j], float, "array of complex128"),
        (["1"], float, "array of <U1"),
        ([1.0, 2.5], int, r"the cell must be whole numbers, got \[2.5\]"),
        ([np.nan], int, "whole numbers"),
    ],
)
def test_what_is_no_plain_number_is_refused(values: Any, kind: type, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        plain_array(values, kind, "cell")


def test_a_cell_that_is_nearly_orthogonal_stays_and_a_skewed_one_gets_short_vectors() -> None:
    short = np.array([[3.0, 0.2, 0.0], [-0.3, 4.0, 0.1], [0.4, 0.0, 5.0]])
    assert reduced_cell(short) is short
    skewed = np.array([[1, 0, 0], [7, 1, 0], [-9, 6, 1]]) @ short
    found = reduced_cell(skewed)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1).sum(), np.linalg.norm(short, axis=1).sum(), rtol=1e-9)
    indices = np.linalg.solve(short.T, found.T)  # of the same lattice: whole numbers, and no volume lost
    np.testing.assert_allclose(indices, indices.round(), atol=1e-9)
    assert abs(np.linalg.det(found)) == pytest.approx(np.linalg.det(short))


@pytest.mark.parametrize("third", [(1.0, 1.0, 0.0), (1.0, 1.0, 1e-14), (0.0, 0.0, 0.0)])
def test_a_flat_cell_is_refused(third: tuple[float, float, float]) -> None:
    with pytest.raises(StructureError, match="no volume"):
        reduced_cell(np.array([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), third]))


def test_positions_may_be_as_far_as_the_limit() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, -LARGEST_LENGTH, 0.0]])
    check_positions(positions)
    with pytest.raises(StructureError, match="position of atom 1"):
        check_positions(1.001 * positions)


@pytest.mark.parametrize(
    ("edges", "atoms", "message"),
    [
        ((0.4, 30.0, 30.0), 1, r"repeats after 0\.4 A and has 360 A"),  # too short alone
        ((3.0, 3.0, 3.0), 300, r"repeats after 3 A and has 0\.09 A"),  # too dense alone
        ((1.1 * LARGEST_LENGTH, 3.0, 3.0), 1, "a cell vector is 1.1e[+]07 A long"),
    ],
)
def test_each_limit_of_a_cell_counts_by_itself(edges: tuple[float, ...], atoms: int, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        check_cell(np.diag(edges), atoms)


def test_a_long_cell_of_one_atom_and_a_dense_one_are_taken() -> None:
    check_cell(np.diag([0.6, 0.99 * LARGEST_LENGTH, 3.0]), 1)
    check_cell(np.diag([3.0, 3.0, 3.0]), 250)


def test_the_shortest_vector_is_that_of_the_lattice_not_of_the_cell() -> None:
    with pytest.raises(StructureError, match=r"repeats after 0\.316 A"):
        check_cell(np.array([[3.0, 0.0, 0.0], [2.9, 0.3, 0.0], [0.0, 0.0, 3.0]]), 1)
