"""Grids worked through plane by plane.

A transform between reciprocal space and a grid is taken in two steps: along the first axis, only on the columns
(h2, h3) that hold a reciprocal vector at all; then within each plane of the other two axes. Many fields are stored as
columns, which a sphere leaves few; a plane of all of them fits the cache while products are taken; planes are shared
out among threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.arena import borrowed
from ase_wavescat.representation.lattice.fourier import (
    ColumnWorkspace,
    PlaneWorkspace,
    Shape,
    column_workspace,
    plane_workspace,
)
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CHUNK = 2**16  # grid values taken together, where planes are small: half of a second-level cache


class Columns:
    """The columns (h2, h3) of a grid that hold the first `count` vectors of a lattice.

    count: of the columns; places: of each vector in the flat array (n1, count); half_places: of each column in a plane
    (n2, n3 // 2 + 1).
    """

    def __init__(self, lattice: ReciprocalLattice, count: int, shape: Shape) -> None:
        h = lattice.indices[:count]
        in_plane = (h[:, 1] % shape[1]) * (shape[2] // 2 + 1) + h[:, 2]
        self.half_places, column = np.unique(in_plane, return_inverse=True)
        self.count = len(self.half_places)
        self.places: IntArray = (h[:, 0] % shape[0]) * self.count + column


class GridRows:
    """Several fields, or maps, on one grid: `data` (n1, all columns of all rows), planes (rows, n2, n3) at a time.

    name: tells apart the buffers of rows that are used at the same time.
    """

    def __init__(self, name: str, shape: Shape, columns: Sequence[Columns], execution: Execution) -> None:
        self.name, self.shape, self.columns, self.execution = name, shape, columns, execution
        self.starts: IntArray = np.cumsum([0] + [c.count for c in columns])
        self._half_places = np.concatenate([c.half_places for c in columns])
        self._used = int((self._half_places % (shape[2] // 2 + 1)).max(initial=0)) + 1

    def __len__(self) -> int:
        return len(self.columns)

    def memory(self) -> AbstractContextManager[NDArray[Any]]:
        """An array for `data`, for the time of a `with` block."""
        return borrowed((self.shape[0], int(self.starts[-1])), self.execution.complex)

    def column_space(self, row: int) -> ColumnWorkspace:
        """This thread's buffer for the columns of a row."""
        return column_workspace(self.shape[0], self.columns[row].count, self.execution.complex)

    def store(self, space: ColumnWorkspace, data: NDArray[Any], row: int) -> None:
        """Transform a buffer that holds a row's reciprocal vectors and put it into `data`."""
        space.inverse()
        data[:, self.starts[row] : self.starts[row + 1]] = space.data

    def fetch(self, data: NDArray[Any], row: int) -> NDArray[Any]:
        """The transform of a row of `data`, flat; `columns[row].places` finds the reciprocal vectors in it."""
        space = self.column_space(row)
        space.data[:] = data[:, self.starts[row] : self.starts[row + 1]]
        space.forward()
        return space.flat

    def space(self, part: slice, use: str = "") -> PlaneWorkspace:
        """This thread's buffers for some planes of all rows; those for another use are others."""
        planes = (part.stop - part.start) * len(self)
        return plane_workspace(self.shape[1:], planes, self._used, self.execution.real, self.name + use)

    def planes(self, data: NDArray[Any], part: slice, use: str = "") -> NDArray[Any]:
        """(planes, rows, n2 n3) real values of `data`, in this thread's buffer."""
        space = self.space(part, use)
        half = space.half.reshape(part.stop - part.start, len(self), -1)
        _unpack(data[part], self.starts, self._half_places, half)
        space.inverse()
        return self.values(space, part)

    def values(self, space: PlaneWorkspace, part: slice) -> NDArray[Any]:
        """The buffer's real values, (planes, rows, n2 n3)."""
        return space.real.reshape(part.stop - part.start, len(self), -1)

    def take(self, space: PlaneWorkspace, data: NDArray[Any], part: slice) -> None:
        """Transform the buffer's planes and put their columns into `data`."""
        space.forward()
        half = space.half.reshape(part.stop - part.start, len(self), -1)
        _pack(half, self.starts, self._half_places, data[part])

    def parts(self, rows: int) -> Iterator[slice]:
        """The planes in parts; `rows` grids of each part fit the cache."""
        size = max(1, _CHUNK // (rows * self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], size):
            yield slice(start, min(start + size, self.shape[0]))


@compiled(nogil=True)
def _unpack(data, starts, places, half):  # type: ignore[no-untyped-def]
    """half[plane, row, places] = data[plane, columns of the row]; zero elsewhere."""
    for plane in range(half.shape[0]):
        source = data[plane]
        for row in range(half.shape[1]):
            line = half[plane, row]
            line[:] = 0.0
            for column in range(starts[row], starts[row + 1]):
                line[places[column]] = source[column]


@compiled(nogil=True)
def _pack(half, starts, places, data):  # type: ignore[no-untyped-def]
    """data[plane, columns of the row] = half[plane, row, places]."""
    for plane in range(half.shape[0]):
        target = data[plane]
        for row in range(half.shape[1]):
            line = half[plane, row]
            for column in range(starts[row], starts[row + 1]):
                target[column] = line[places[column]]
