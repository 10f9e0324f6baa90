"""Structures in files.  Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.io.extended_xyz import write_extended_xyz as write_extended_xyz
    from ase_wavescat.io.structures import files_of as files_of
    from ase_wavescat.io.structures import structures_of as structures_of

_MODULE_OF: dict[str, str] = {
    "files_of": "structures",
    "structures_of": "structures",
    "write_extended_xyz": "extended_xyz",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
