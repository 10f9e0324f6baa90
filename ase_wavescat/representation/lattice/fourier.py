"""FFTs: real grids to half-complex ones, and columns along one axis; one workspace a shape and thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pyfftw
from numpy.typing import NDArray

from ase_wavescat.system.forks import hold_at_fork

Shape = tuple[int, int, int]
RealType = type[np.floating[Any]]

# Lengths at which FFTW is fast: between them a longer transform costs less than a shorter one (28 costs more than 32).
_FAST_LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 15, 16, 20, 25, 32, 36, 40, 48, 64, 72, 80, 96, 128)
_WORKSPACES = 64  # kept by each thread

_planner = threading.Lock()  # FFTW plans one at a time
hold_at_fork(_planner)  # so that no child finds FFTW's own tables half changed
_local = threading.local()


def fast_length(points: int) -> int:
    """The smallest well-performing FFT length of at least `points`."""
    for length in _FAST_LENGTHS:
        if length >= points:
            return length
    return 32 * int(pyfftw.next_fast_len(-(-points // 32)))


def _plan(source: NDArray[Any], target: NDArray[Any], axes: tuple[int, ...], direction: str) -> pyfftw.FFTW:
    """Plans are estimated, not measured: the same input gives the same bits in every run."""
    flags = ("FFTW_ESTIMATE", "FFTW_DESTROY_INPUT")
    with _planner:
        return pyfftw.FFTW(source, target, axes=axes, direction=direction, flags=flags)


class Workspace:
    """A pair of buffers, `real` (shape) and `half` (shape with n_last // 2 + 1), and the transforms between them.

    With a batch, both have a leading axis: that many grids are transformed at once, which small grids need.
    """

    def __init__(self, shape: Shape, batch: int | None, real: RealType) -> None:
        self.shape = shape
        self.points = shape[0] * shape[1] * shape[2]
        leading = () if batch is None else (batch,)
        self.real: NDArray[Any] = pyfftw.empty_aligned((*leading, *shape), dtype=real)
        half = (*leading, *shape[:2], shape[2] // 2 + 1)
        self.half: NDArray[Any] = pyfftw.empty_aligned(half, dtype=np.result_type(real, np.complex64))
        self.flat = self.half.reshape(-1)
        self._forward = _plan(self.real, self.half, (-3, -2, -1), "FFTW_FORWARD")
        self._inverse = _plan(self.half, self.real, (-3, -2, -1), "FFTW_BACKWARD")

    def forward(self) -> None:
        """half(G) = sum_u real(u) exp(-iGu); `real` is overwritten."""
        self._forward.execute()

    def inverse(self) -> None:
        """real(u) = sum_G half(G) exp(iGu) over the whole grid, unnormalised; `half` is overwritten."""
        self._inverse.execute()


class PlaneWorkspace:
    """As `Workspace` for many planes (n2, n3), of which only the first `used` of the n3 // 2 + 1 columns are not zero:
    the others are left out of the transforms along the first axis, and must be cleared before `inverse`.
    """

    def __init__(self, shape: tuple[int, int], planes: int, used: int, real: RealType) -> None:
        self.real: NDArray[Any] = pyfftw.empty_aligned((planes, *shape), dtype=real)
        half = (planes, shape[0], shape[1] // 2 + 1)
        self.half: NDArray[Any] = pyfftw.empty_aligned(half, dtype=np.result_type(real, np.complex64))
        part = self.half[:, :, :used]
        self._along_last = _plan(self.real, self.half, (2,), "FFTW_FORWARD")
        self._along_first = _plan(part, part, (1,), "FFTW_FORWARD")
        self._back_along_first = _plan(part, part, (1,), "FFTW_BACKWARD")
        self._back_along_last = _plan(self.half, self.real, (2,), "FFTW_BACKWARD")

    def forward(self) -> None:
        """half(G) = sum_u real(u) exp(-iGu) in the used columns."""
        self._along_last.execute()
        self._along_first.execute()

    def inverse(self) -> None:
        """real(u) = sum_G half(G) exp(iGu), unnormalised; `half` is overwritten."""
        self._back_along_first.execute()
        self._back_along_last.execute()


class ColumnWorkspace:
    """A buffer (length, columns), complex, and its transforms in place along the first axis, unnormalised."""

    def __init__(self, length: int, columns: int, complex_type: type[np.complexfloating[Any, Any]]) -> None:
        self.data: NDArray[Any] = pyfftw.empty_aligned((length, columns), dtype=complex_type)
        self.flat = self.data.reshape(-1)
        self._forward = _plan(self.data, self.data, (0,), "FFTW_FORWARD")
        self._inverse = _plan(self.data, self.data, (0,), "FFTW_BACKWARD")

    def forward(self) -> None:
        self._forward.execute()

    def inverse(self) -> None:
        self._inverse.execute()


def workspace(shape: Shape, batch: int | None = None, real: RealType = np.float64) -> Workspace:
    """This thread's workspace of a shape, batch and type."""
    return _kept(("grid", shape, batch, real), lambda: Workspace(shape, batch, real))


def plane_workspace(shape: tuple[int, int], planes: int, used: int, real: RealType, name: str) -> PlaneWorkspace:
    """This thread's workspace of that many planes; names tell apart those needed at the same time."""
    return _kept(("planes", shape, planes, used, real, name), lambda: PlaneWorkspace(shape, planes, used, real))


def column_workspace(length: int, columns: int, complex_type: type[np.complexfloating[Any, Any]]) -> ColumnWorkspace:
    """This thread's workspace of that many columns."""
    return _kept(("columns", length, columns, complex_type), lambda: ColumnWorkspace(length, columns, complex_type))


def _kept(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What this thread has under the key, made at first use; the least recently used is dropped."""
    spaces: OrderedDict[tuple[Any, ...], Any] = _local.__dict__.setdefault("spaces", OrderedDict())
    if key not in spaces:
        spaces[key] = make()
        if len(spaces) > _WORKSPACES:
            spaces.popitem(last=False)
    spaces.move_to_end(key)
    return spaces[key]
