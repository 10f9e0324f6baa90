"""Specifications as JSON files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import SpecError


def write_spec(spec: ScatteringSpec, path: str | os.PathLike[str]) -> None:
    """Write `spec.to_dict()`; the file appears complete or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(spec.to_dict(), indent=1) + "\n", encoding="utf-8")


def read_spec(path: str | os.PathLike[str]) -> ScatteringSpec:
    """The specification that `write_spec` wrote, or that was written by hand.

    Raises:
        FileNotFoundError: Where there is no such file.
        SpecError: For what is no specification; it names the file.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{path} is not JSON ({error}); `wavescat suggest --json` writes such a file") from error
    if not isinstance(data, dict):
        raise SpecError(f"{path} holds a {type(data).__name__}, not the fields of a specification")
    try:
        return ScatteringSpec.from_dict(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SpecError(f"{path} is no specification: {error}") from error
