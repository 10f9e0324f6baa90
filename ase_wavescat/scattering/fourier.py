"""Real-to-complex FFTs on three-dimensional grids, one or a batch at a time: one workspace a shape and thread."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import pyfftw
from numpy.typing import NDArray

Shape = tuple[int, int, int]

# Lengths at which FFTW is fast: between them a longer transform costs less than a shorter one (28 costs more than 32).
_FAST_LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 15, 16, 20, 25, 32, 36, 40, 48, 64, 72, 80, 96, 128)
_WORKSPACES = 64  # shapes kept by each thread

_planner = threading.Lock()  # FFTW plans one at a time
_local = threading.local()


def fast_length(points: int) -> int:
    """The smallest well-performing FFT length of at least `points`."""
    for length in _FAST_LENGTHS:
        if length >= points:
            return length
    return 32 * int(pyfftw.next_fast_len(-(-points // 32)))


class Workspace:
    """An in-place pair of buffers, `real` (shape) and `half` (shape with n3 // 2 + 1), and the transforms between them.

    With a batch, both have a leading axis: that many grids are transformed at once, which small grids need.
    Plans are estimated, not measured: the same input gives the same bits in every run.
    """

    def __init__(self, shape: Shape, batch: int | None = None) -> None:
        self.shape = shape
        self.points = shape[0] * shape[1] * shape[2]
        leading = () if batch is None else (batch,)
        self.real: NDArray[np.float64] = pyfftw.empty_aligned((*leading, *shape), dtype="float64")
        half = (*leading, *shape[:2], shape[2] // 2 + 1)
        self.half: NDArray[np.complex128] = pyfftw.empty_aligned(half, dtype="complex128")
        self.flat = self.half.reshape(-1)
        flags = ("FFTW_ESTIMATE", "FFTW_DESTROY_INPUT")
        with _planner:
            self._forward = pyfftw.FFTW(self.real, self.half, axes=(-3, -2, -1), flags=flags)
            self._inverse = pyfftw.FFTW(self.half, self.real, axes=(-3, -2, -1), direction="FFTW_BACKWARD", flags=flags)

    def forward(self) -> None:
        """half(G) = sum_u real(u) exp(-iGu)."""
        self._forward.execute()

    def inverse(self) -> None:
        """real(u) = sum_G half(G) exp(iGu) over the whole grid, unnormalised; `half` is overwritten."""
        self._inverse.execute()


def workspace(shape: Shape, batch: int | None = None) -> Workspace:
    """This thread's workspace of a shape and batch, made at first use, the least recently used dropped."""
    spaces: OrderedDict[tuple[Shape, int | None], Workspace] = _local.__dict__.setdefault("spaces", OrderedDict())
    key = (shape, batch)
    if key not in spaces:
        spaces[key] = Workspace(shape, batch)
        if len(spaces) > _WORKSPACES:
            spaces.popitem(last=False)
    spaces.move_to_end(key)
    return spaces[key]
