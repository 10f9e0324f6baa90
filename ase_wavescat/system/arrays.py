"""Arrays of frozen records: read-only, of a known shape, finite."""

from __future__ import annotations

from typing import Any

import numpy as np


def frozen_array(values: Any, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """A read-only float array of the given shape (None: any length); ValueError names what is wrong."""
    array = np.array(values, dtype=float)
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} must have the shape ({wanted}), got {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds {np.count_nonzero(~np.isfinite(array))} values that are not finite")
    array.setflags(write=False)
    return array
