"""Central differences over several steps, to hold derivatives against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

STEPS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)


def central_difference(function: Callable[[float], np.ndarray | float], step: float) -> np.ndarray:
    """d function / dt at t = 0 by the five-point formula, error of order step^4."""
    near = np.asarray(function(step)) - np.asarray(function(-step))
    far = np.asarray(function(2 * step)) - np.asarray(function(-2 * step))
    return (8 * near - far) / (12 * step)


def best_relative_error(
    function: Callable[[float], np.ndarray | float],
    derivative: np.ndarray | float,
    scale: float | None = None,
    steps: Sequence[float] = STEPS,
) -> float:
    """The smallest over steps of max |difference - derivative| / scale; scale: max |derivative| unless given."""
    size = float(np.max(np.abs(derivative))) if scale is None else scale
    return min(float(np.max(np.abs(central_difference(function, h) - derivative))) / size for h in steps)
