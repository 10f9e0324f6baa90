"""Warnings in tests: all count, but for ASE's own deprecations, which are not ours to act on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def ignore_deprecations_of_ase() -> None:
    """To be called inside `warnings.catch_warnings`, after its other filters."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ase\.")


@contextmanager
def no_warnings() -> Iterator[None]:
    """Any warning inside the block is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignore_deprecations_of_ase()
        yield
