"""Two states of the same atoms, brought into one frame so that a path can lead from one to the other."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.geometry import find_mic
from scipy.optimize import linear_sum_assignment

from ase_wavescat.io.structures import check_structure
from ase_wavescat.system.errors import PathError, warn

SAME = 0.2
"""A: two states none of whose atoms is farther apart are one minimum, relaxed to usual forces."""


def matched(initial: Atoms, final: Atoms) -> Atoms:
    """`final` in the frame of `initial`: every atom at the image nearest to where it begins, common drift taken away.

    An atom that was wrapped at the boundary then does not travel through the cell. Forces on the atoms stay what they
    are. Constraints are those of `initial`; there is no calculator.

    Raises:
        PathError: Where atoms, their order, the cell or fixed atoms differ.
    """
    check_structure(final, "a structure of the path")
    _check_atoms(initial, final)
    _check_cells(initial, final)
    result = initial.copy()
    result.info = dict(final.info)
    result.positions = initial.positions + displacements(initial, final)
    _check_constraints(initial, result)
    return result


def turned(initial: Atoms, final: Atoms) -> Atoms:
    """`final` turned and moved as a whole to be nearest to `initial`, where nothing repeats and nothing is held."""
    result = final.copy()
    if len(initial) > 1 and not initial.pbc.any() and not initial.constraints:
        minimize_rotation_and_translation(initial, result)
    return result


def displacements(initial: Atoms, final: Atoms) -> np.ndarray:
    """(N, 3) A from `initial` to the nearest images of `final`; their median is zero, unless constraints hold atoms.

    The median, not the mean: atoms that do not take part stay where they are.
    """
    difference = final.positions - initial.positions
    if initial.constraints:
        return find_mic(difference, initial.cell, initial.pbc)[0]
    cell = initial.cell.complete()
    fractions = cell.scaled_positions(difference)
    # The mean on a circle needs no images, so that it finds a drift of any length.
    drift = np.angle(np.exp(2j * np.pi * fractions).mean(axis=0)) / (2 * np.pi)
    drift = np.where(initial.pbc, drift, np.median(fractions, axis=0))
    nearest, _ = find_mic((fractions - drift) @ cell.array, initial.cell, initial.pbc)
    return nearest - np.median(nearest, axis=0)


def farthest(initial: Atoms, final: Atoms) -> float:
    """A: how far the atom goes that goes farthest, for two states in one frame."""
    return float(np.linalg.norm(final.positions - initial.positions, axis=1).max())


def warn_of_exchange(initial: Atoms, final: Atoms) -> None:
    """Warn where like atoms of two states in one frame, named otherwise, would have a shorter way."""
    swapped = []
    for number in np.unique(initial.numbers):
        mine = np.flatnonzero(initial.numbers == number)
        difference = (final.positions[mine][None] - initial.positions[mine][:, None]).reshape(-1, 3)
        lengths = find_mic(difference, initial.cell, initial.pbc)[1].reshape(len(mine), len(mine))
        _, partner = linear_sum_assignment(lengths**2)
        # Nearest images that are all but as far are no exchange.
        gained = (lengths.diagonal() ** 2).sum() - (lengths[np.arange(len(mine)), partner] ** 2).sum()
        if gained > SAME**2:
            swapped += list(mine[partner != np.arange(len(mine))])
    if swapped:
        warn(
            f"with the like atoms {', '.join(map(str, sorted(swapped)))} in another order, the way from the initial to"
            " the final structure would be shorter: as they are, these atoms change places; reorder them if that is"
            " not meant",
            stacklevel=3,
        )


def _check_atoms(initial: Atoms, final: Atoms) -> None:
    if len(initial) != len(final):
        raise PathError(
            f"a path needs the same atoms at both ends: {initial.get_chemical_formula()} has {len(initial)},"
            f" {final.get_chemical_formula()} has {len(final)}"
        )
    differ = np.flatnonzero(initial.numbers != final.numbers)
    if len(differ):
        at = differ[0]
        symbols = initial.symbols[at], final.symbols[at]
        remedy = (
            "their atoms are the same in another order: reorder one of them"
            if np.array_equal(np.sort(initial.numbers), np.sort(final.numbers))
            else f"they are {initial.get_chemical_formula()} and {final.get_chemical_formula()}"
        )
        raise PathError(f"atom {at} is {symbols[0]} in the initial structure and {symbols[1]} in the final; {remedy}")


def _check_cells(initial: Atoms, final: Atoms) -> None:
    if not np.array_equal(initial.pbc, final.pbc):
        raise PathError(
            f"a path needs the same pbc at both ends: {initial.pbc.tolist()} is not {final.pbc.tolist()}; set one of"
            " them"
        )
    vectors = initial.cell.array[initial.pbc], final.cell.array[final.pbc]
    if not np.allclose(*vectors, rtol=0, atol=1e-4):
        raise PathError(
            f"a path needs the same cell at both ends: {vectors[0].tolist()} is not {vectors[1].tolist()}; relax both"
            " in one cell"
        )


def _check_constraints(initial: Atoms, final: Atoms) -> None:
    """Where constraints hold atoms of `initial`, these must be at the same places in `final`."""
    allowed = initial.copy()
    allowed.set_positions(final.positions)
    moved = np.linalg.norm(allowed.positions - final.positions, axis=1)
    if moved.max() > 1e-4:
        at = int(np.argmax(moved))
        raise PathError(
            f"the constraints of the initial structure hold atom {at} ({initial.symbols[at]}), which is elsewhere in"
            f" the final one by {moved[at]:.4f} A; give it the same place in both, or free it"
        )
