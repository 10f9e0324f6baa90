"""Two structures brought into one frame, and what is said of those that do not match."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from ase_wavescat.system.errors import PathError, WaveScatWarning
from ase_wavescat.workflows.endpoints import matched, warn_of_exchange


def test_atoms_across_the_boundary_do_not_travel_through_the_cell(make_structure: Callable[..., Atoms]) -> None:
    initial = make_structure(3, atoms=8)
    moved = initial.positions.copy()
    moved[2] += (0.9, -0.4, 0.2)
    final = initial.copy()
    final.positions = moved + np.array([4.0, -1.3, 2.2])  # more than half of the cell
    final.wrap()
    shift = matched(initial, final).positions - initial.positions
    assert shift[2] == pytest.approx((0.9, -0.4, 0.2), abs=1e-9)
    assert np.abs(np.delete(shift, 2, axis=0)).max() < 1e-9


def test_endpoints_that_do_not_match_are_named(make_structure: Callable[..., Atoms]) -> None:
    initial = make_structure(3, atoms=8)
    initial.calc = EMT()
    with pytest.raises(PathError, match=r"same atoms at both ends: \w+ has 8, \w+ has 7"):
        matched(initial, initial[:-1])
    with pytest.raises(PathError, match=r"atom 0 is Si in the initial structure and Li in the final; their atoms are"):
        matched(
            initial, initial[::-1][[1, *range(1, 8)]] if initial[-1].symbol == "Si" else initial[[1, 0, *range(2, 8)]]
        )
    other = initial.copy()
    other.symbols[1] = "Si"
    with pytest.raises(PathError, match=r"atom 1 is Li in the initial structure and Si in the final; they are"):
        matched(initial, other)
    other = initial.copy()
    other.set_cell(1.01 * other.cell, scale_atoms=True)
    with pytest.raises(PathError, match="same cell at both ends"):
        matched(initial, other)
    other = initial.copy()
    other.pbc = (True, True, False)
    with pytest.raises(PathError, match="same pbc at both ends"):
        matched(initial, other)


def test_like_atoms_that_change_places_are_warned_of(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    warn_of_exchange(initial, final)  # another way of one atom is no exchange
    final = final.copy()
    free = [atom.index for atom in initial if atom.symbol == "Al" and atom.tag == 1][:2]
    final.positions[free] = final.positions[free[::-1]]
    with pytest.warns(WaveScatWarning, match=f"like atoms {free[0]}, {free[1]} in another order"):
        warn_of_exchange(initial, final)
