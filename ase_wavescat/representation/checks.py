"""Checks of what specifications are made of, which come from files and people alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ase_wavescat.system.errors import SpecError, did_you_mean

LARGEST_N = 20  # the Laguerre polynomials of larger n lose their digits
_MOST_SCALES = 100


def require(condition: bool, message: str) -> None:
    """Raise SpecError unless the condition holds."""
    if not condition:
        raise SpecError(message)


def refuse_unknown(data: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise SpecError, with the nearest known one, for a key that is not known."""
    for key in data:
        require(key in known, f"unknown key {key!r} in the {where}{did_you_mean(str(key), known)}")


def is_sequence(value: Any) -> bool:
    """Whether it is a sequence of values, not a text."""
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def whole(value: Any, what: str) -> int:
    """A whole number as int; SpecError for anything else."""
    is_whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    require(is_whole and not isinstance(value, bool), f"{what} must be a whole number, got {value!r}")
    return int(value)


def non_negative(value: Any, name: str, unit: str = "") -> None:
    """Raise SpecError unless the value is a finite number, zero or positive."""
    valid = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    require(valid, f"{name} must be a number{unit}, zero or positive, got {value!r}")


def octaves(value: Any, name: str) -> None:
    """Raise SpecError unless the value is a number of octaves, which may be infinite."""
    valid = isinstance(value, (int, float)) and not math.isnan(value)
    require(valid, f"{name} must be a number of octaves, got {value!r}")


def wavelet_pairs(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """Pairs (n, l) with n > l, each once; SpecError for anything else."""
    paired = is_sequence(pairs) and all(is_sequence(pair) and len(pair) == 2 for pair in pairs)
    require(paired, f"wavelets are a sequence of pairs (n, l), got {pairs!r}")
    pairs = [[whole(value, "n and l of a wavelet") for value in pair] for pair in pairs]
    for n, l in pairs:
        require(l >= 0 and n >= l + 1, f"n must be at least l + 1 and l at least 0, got n = {n}, l = {l}")
        require(n <= LARGEST_N, f"n must be at most {LARGEST_N}, got {n}")
    wavelets = tuple((int(n), int(l)) for n, l in pairs)
    once = len(wavelets) > 0 and len(set(wavelets)) == len(wavelets)
    require(once, f"wavelets must be given once each, got {wavelets}")
    return wavelets


def scale_exponents(values: Sequence[float]) -> tuple[float, ...]:
    """Ascending finite exponents j; SpecError for anything else."""
    require(is_sequence(values), f"scales are a sequence of numbers, got {values!r}")
    scales = tuple(float(j) for j in values)
    require(len(scales) > 0 and all(math.isfinite(j) for j in scales), f"scales must be finite numbers, got {values}")
    require(len(scales) <= _MOST_SCALES, f"there may be {_MOST_SCALES} scales, got {len(scales)}")
    require(list(scales) == sorted(set(scales)), f"scales must ascend, each once, got {values}")
    require(max(map(abs, scales)) <= _MOST_SCALES, f"scales are octaves, got {values}")
    return scales
