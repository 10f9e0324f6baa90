"""Hexadecimal digits that stand for content: equal content has equal digits, in memory and read from a file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

DIGITS = 16
SHORT = 8
"""Digits enough to tell the models of one folder apart, where there is little room."""


def digest_of(value: Any) -> str:
    """`DIGITS` of the SHA-256 of arrays, texts, numbers, None, and sequences, mappings and dataclasses of such.

    The order of a mapping and the kind of a sequence or of a number do not matter. Raises TypeError for other values.
    """
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
    return digest.hexdigest()[:DIGITS]


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"there is no digest of an array of {value.dtype}")
        yield f"array {value.shape} ".encode()
        yield np.ascontiguousarray(value, dtype="<f8").tobytes()
    elif isinstance(value, Mapping):
        entries = sorted((digest_of(key), item) for key, item in value.items())
        yield f"mapping {len(entries)} ".encode()
        for key, item in entries:
            yield key.encode()
            yield from _parts(item)
    elif isinstance(value, (list, tuple)):
        yield f"sequence {len(value)} ".encode()
        for item in value:
            yield from _parts(item)
    elif dataclasses.is_dataclass(value):
        yield from _parts({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, str):
        yield f"text {len(value)} {value} ".encode()
    elif isinstance(value, (int, float)):
        yield f"number {float(value)!r} ".encode()
    elif value is None:
        yield b"nothing "
    else:
        raise TypeError(f"there is no digest of a {type(value).__name__}")
