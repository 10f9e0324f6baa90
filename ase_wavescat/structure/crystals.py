"""Simple crystals by the distance of their nearest neighbours."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols

_ELEMENTS = {"sc": 1.0, "bcc": np.sqrt(3) / 2, "fcc": np.sqrt(0.5), "diamond": np.sqrt(3) / 4}
_COMPOUNDS = {"cesiumchloride": np.sqrt(3) / 2, "rocksalt": 0.5, "zincblende": np.sqrt(3) / 4}
"""ASE's names, and the distance of nearest neighbours in units of the cubic cell's side."""


def crystals_of(pair: tuple[int, int]) -> tuple[str, ...]:
    """Names of the crystals of an element (twice the same atomic number) or of two."""
    return tuple(_ELEMENTS if pair[0] == pair[1] else _COMPOUNDS)


def crystal(pair: tuple[int, int], name: str, nearest: float) -> Atoms:
    """The primitive cell of a crystal whose nearest neighbours, of the pair, are `nearest` (A) apart."""
    side = nearest / {**_ELEMENTS, **_COMPOUNDS}[name]
    return bulk("".join(chemical_symbols[z] for z in dict.fromkeys(pair)), name, a=side)
