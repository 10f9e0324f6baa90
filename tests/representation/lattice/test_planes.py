"""Transforms in two steps against dense ones."""

import itertools

import numpy as np
import pytest

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.planes import Columns, GridRows
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice

CELL = np.array([[6.0, 0, 0], [1.2, 5.4, 0], [-0.8, 0.7, 5.9]])
CUTOFFS = (5.0, 3.0, 5.0)


@pytest.fixture(scope="module", params=["double", "single"])
def rows(request):
    lattice = ReciprocalLattice(CELL, max(CUTOFFS))
    shape = lattice.shape(2 * max(CUTOFFS))
    columns = [Columns(lattice, lattice.count(cutoff), shape) for cutoff in CUTOFFS]
    return lattice, GridRows("rows", shape, columns, Execution(precision=request.param))


def dense(lattice, shape, coefficients):
    """Half-complex arrays that hold the coefficients at the vectors' places."""
    half = np.zeros((len(coefficients), shape[0] * shape[1] * (shape[2] // 2 + 1)), dtype=complex)
    for line, values in zip(half, coefficients, strict=True):
        line[lattice.places(shape, len(values))] = values
    return half.reshape(-1, shape[0], shape[1], shape[2] // 2 + 1)


def test_planes_are_those_of_a_dense_transform_and_back(rows):
    lattice, rows = rows
    rng = np.random.default_rng(0)
    grids = rng.normal(size=(len(rows), *rows.shape))
    spectra = [
        grid.reshape(-1)[lattice.places(rows.shape, lattice.count(cutoff))]
        for grid, cutoff in zip(np.fft.rfftn(grids, axes=(1, 2, 3)), CUTOFFS, strict=True)
    ]
    expected = np.fft.irfftn(dense(lattice, rows.shape, spectra), rows.shape, axes=(1, 2, 3), norm="forward")
    tolerance = 1e-12 if rows.execution.precision == "double" else 1e-5
    with rows.memory() as data, rows.memory() as back:
        for row, values in enumerate(spectra):
            space = rows.column_space(row)
            space.data[:] = 0.0
            space.flat[rows.columns[row].places] = values
            rows.store(space, data, row)
        for part in rows.parts(len(rows)):
            values = rows.planes(data, part)
            wanted = expected[:, part].transpose(1, 0, 2, 3).reshape(values.shape)
            np.testing.assert_allclose(values, wanted, atol=tolerance * np.abs(expected).max())
            space = rows.space(part)
            rows.values(space, part)[:] = grids[:, part].transpose(1, 0, 2, 3).reshape(values.shape)
            rows.take(space, back, part)
        for row, values in enumerate(spectra):
            found = rows.fetch(back, row)[rows.columns[row].places]
            np.testing.assert_allclose(found, values, atol=tolerance * np.abs(values).max())


def test_small_spheres_have_few_columns(rows):
    lattice, rows = rows
    vectors = lattice.vectors[: lattice.count(CUTOFFS[1])]
    assert rows.columns[1].count == len(np.unique(lattice.indices[: len(vectors), 1:], axis=0))
    assert rows.columns[1].count < rows.columns[0].count


def test_parts_cover_every_plane_once(rows):
    _, rows = rows
    for count in (1, 7, 10**6):
        covered = [plane for part in rows.parts(count) for plane in range(part.start, part.stop)]
        assert covered == list(range(rows.shape[0]))


def test_rows_of_another_name_or_use_have_other_buffers(rows):
    _, rows = rows
    others = GridRows("others", rows.shape, rows.columns, rows.execution)
    part = next(rows.parts(len(rows)))
    buffers = [rows.space(part), rows.space(part, "moved"), others.space(part)]
    for first, second in itertools.combinations(buffers, 2):
        assert not np.shares_memory(first.real, second.real) and not np.shares_memory(first.half, second.half)
    assert rows.space(part) is buffers[0]
