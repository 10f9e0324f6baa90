"""Energies along a strain on the same grids, so that they are comparable to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_wavescat.calculator import WaveScatCalculator


@contextmanager
def same_grids(calculator: BaseCalculator, atoms: Atoms) -> Iterator[None]:
    """Inside, a WaveScatCalculator keeps the grids of this structure's cell; after, all is as it was.

    Other calculators, and one whose reference_cell is set already, are left alone.
    """
    if not isinstance(calculator, WaveScatCalculator) or calculator.parameters["reference_cell"] is not None:
        yield
        return
    calculator.set(reference_cell=atoms.cell.array)
    try:
        yield
    finally:
        calculator.set(reference_cell=None)
