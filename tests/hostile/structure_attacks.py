"""Structures that are odd, but mean the same as a plain one, and structures that mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from ase_wavescat import WaveScatCalculator

CELL = np.array([[4.6, 0.3, 0.0], [1.4, 4.9, -0.5], [-0.8, 0.7, 5.2]])
PLACES = np.array([[0.0, 0.0, 0.0], [0.5, 0.45, 0.1], [0.1, 0.55, 0.5], [0.55, 0.05, 0.6]])


def plain_structure() -> Atoms:
    """Three Li and one Si in a triclinic cell."""
    return Atoms("Li2SiLi", scaled_positions=PLACES, cell=CELL, pbc=True)


def unimodular(operations: Sequence[tuple[int, int]]) -> np.ndarray:
    """The product of elementary matrices: `factor` times one vector added to another."""
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    matrix = np.eye(3)
    for which, factor in operations:
        one = np.eye(3)
        one[pairs[which]] = factor
        matrix = one @ matrix
        if np.abs(matrix).max() > 1e5:
            break
    return matrix


def agree(calculator: WaveScatCalculator, plain: Atoms, odd: Atoms, origins: np.ndarray, stress: bool = True) -> None:
    """Assert that an odd structure has the results of the plain one; `origins` (N,): the plain atom of each of its."""
    cells = len(odd) / len(plain)
    energy, forces = calculator.get_potential_energy(plain), calculator.get_forces(plain)
    np.testing.assert_allclose(calculator.get_potential_energy(odd), cells * energy, atol=1e-6 * cells)
    np.testing.assert_allclose(calculator.get_forces(odd), forces[origins], atol=1e-6)
    if stress:
        expected = calculator.get_stress(plain)
        np.testing.assert_allclose(calculator.get_stress(odd), expected, atol=1e-8)


class Subclass(Atoms):
    """With an attribute and a method of its own."""

    flavour = "other"

    def get_positions(self, wrap: bool = False, **options: object) -> np.ndarray:
        return super().get_positions(wrap=wrap, **options) + 1.0


Odd = Callable[[Atoms], tuple[Atoms, np.ndarray]]


def _same_atoms(change: Callable[[Atoms], Atoms | None]) -> Odd:
    def odd(plain: Atoms) -> tuple[Atoms, np.ndarray]:
        atoms = plain.copy()
        changed = change(atoms)
        return (atoms if changed is None else changed), np.arange(len(plain))

    return odd


def _array(name: str, convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Atoms], None]:
    def change(atoms: Atoms) -> None:
        atoms.arrays[name] = convert(atoms.arrays[name])

    return change


def _skewed(*operations: tuple[int, int]) -> Callable[[Atoms], None]:
    return lambda atoms: atoms.set_cell(unimodular(operations) @ atoms.cell.array)


def _tripled(plain: Atoms) -> tuple[Atoms, np.ndarray]:
    return plain.repeat((1, 3, 1)), np.tile(np.arange(len(plain)), 3)


def _permuted(plain: Atoms) -> tuple[Atoms, np.ndarray]:
    order = np.array([2, 0, 3, 1])
    return plain[order], order


ODD: dict[str, Odd] = {
    "a subclass": _same_atoms(lambda atoms: Subclass(atoms)),
    "left-handed": _same_atoms(lambda atoms: atoms.set_cell(atoms.cell.array[[1, 0, 2]])),
    "inverted vectors": _same_atoms(lambda atoms: atoms.set_cell(-atoms.cell.array)),
    "skewed ten thousand times": _same_atoms(_skewed((1, 10_000))),
    "skewed twice": _same_atoms(_skewed((0, 300), (4, -250))),
    "pbc as ints": _same_atoms(lambda atoms: atoms.set_pbc([1, 1, 2])),
    "Fortran order": _same_atoms(_array("positions", np.asfortranarray)),
    "every second row": _same_atoms(_array("positions", lambda a: np.repeat(a, 2, axis=0)[::2])),
    "backwards in memory": _same_atoms(_array("positions", lambda a: a[::-1].copy()[::-1])),
    "read-only": _same_atoms(_array("positions", lambda a: np.broadcast_to(a, a.shape))),
    "big-endian": _same_atoms(_array("positions", lambda a: a.astype(">f8"))),
    "long double": _same_atoms(_array("positions", lambda a: a.astype(np.longdouble))),
    "a mask that hides nothing": _same_atoms(_array("positions", np.ma.masked_array)),
    "a matrix": _same_atoms(_array("positions", np.asmatrix)),
    "numbers as floats": _same_atoms(_array("numbers", lambda a: a.astype(float))),
    "numbers as bytes": _same_atoms(_array("numbers", lambda a: a.astype(np.uint8))),
    "cell displaced": _same_atoms(lambda atoms: atoms.set_celldisp([1.0, 2.0, 3.0])),
    "a million cells away": _same_atoms(lambda atoms: atoms.translate(1e6 * atoms.cell.array[0])),
    "a billionth outside": _same_atoms(lambda atoms: atoms.translate(-1e-12)),
    "tripled": _tripled,
    "permuted": _permuted,
}
"""Changes that change nothing."""


def _with(**changes: object) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        for name, value in changes.items():
            atoms.arrays[name] = np.array(value)
        return atoms

    return change


def _celled(cell: object, pbc: object = True) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        atoms.set_cell(cell)
        atoms.pbc = pbc
        return atoms

    return change


def _placed(value: float, pbc: bool = True) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        atoms.positions[1, 2] = value
        atoms.pbc = pbc
        return atoms

    return change


def _masked(atoms: Atoms) -> Atoms:
    atoms.arrays["positions"] = np.ma.masked_greater(atoms.positions, 3.0)
    return atoms


def _rewritten(name: str, kind: type | str) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        atoms.arrays[name] = atoms.arrays[name].astype(kind)
        return atoms

    return change


REFUSED: dict[str, Callable[[Atoms], Atoms]] = {
    "no atoms": lambda atoms: atoms[:0],
    "NaN": _placed(np.nan),
    "infinity": _placed(np.inf),
    "an atom at 10^15 A": _placed(1e15),
    "a molecule spread over 10^15 A": _placed(1e15, pbc=False),
    "a molecule spread over 10^6 A": _placed(1e6, pbc=False),
    "a box of 10^6 A": _celled([1e6] * 3),
    "a needle of 10^9 A": _celled([1e9, 5.0, 5.0]),
    "a sheet of 10^5 A": _celled([1e5, 1e5, 5.0]),
    "a box of 10^300 A": _celled([1e300] * 3),
    "no cell": _celled(np.zeros((3, 3))),
    "a flat cell": _celled([[5.0, 0, 0], [0, 5.0, 0], [5.0, 5.0, 0]]),
    "a flat cell of long vectors": _celled([[1e5, 3e4, 7e3], [2e4, 1e5, 9e3], [1.2e5, 1.3e5, 1.6e4]]),
    "a cell of 0.01 A": _celled([0.01] * 3),
    "a cell in nm": _celled(CELL / 10),
    "fractional coordinates": _celled([1.0, 0.4, 1.0]),
    "a wire of 0.001 A": _celled([0.001, 5.0, 5.0], pbc=[True, False, False]),
    "a ghost": lambda atoms: atoms[:3] + Atoms("X", [[1.0, 3.0, 4.0]]),
    "gold": lambda atoms: atoms[:3] + Atoms("Au", [[1.0, 3.0, 4.0]]),
    "element 1000": _with(numbers=[3, 3, 14, 1000]),
    "negative elements": _with(numbers=[3, 3, 14, -3]),
    "elements in between": _with(numbers=[3.0, 3.0, 14.0, 3.7]),
    "NaN elements": _with(numbers=[3.0, 3.0, 14.0, np.nan]),
    "masked": _masked,
    "complex positions": _rewritten("positions", complex),
    "positions of texts": _rewritten("positions", str),
    "positions of objects": _rewritten("positions", object),
    "positions in a plane": lambda atoms: _with(positions=atoms.positions[:, :2])(atoms),
    "an atom too few": lambda atoms: _with(positions=atoms.positions[:3])(atoms),
}
"""Structures without sense."""
