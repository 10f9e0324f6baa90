"""Structures to begin with: random packings at sensible densities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii
from ase.formula import Formula
from ase.neighborlist import neighbor_list
from scipy.optimize import minimize

from ase_wavescat.system.errors import DataError

ALLOYED_LITHIUM = 14.8
"""A^3 an atom that lithium takes in alloys, whatever the other elements, which keep their own volume: 8.9 mL/mol
(M. N. Obrovac, L. Christensen, D. B. Le, J. R. Dahn, J. Electrochem. Soc. 154, A849 (2007))."""
CLOSEST = 0.85
"""Of the sum of two covalent radii: the shortest distance in a random packing."""


def random_packing(
    composition: str | Mapping[str, int],
    atoms: int = 64,
    *,
    seed: int | Sequence[int] = 0,
    volumes: Mapping[str, float] | None = None,
    closest: float = CLOSEST,
) -> Atoms:
    """Atoms at random places of a periodic cube, pushed apart until no two are closer than they should be.

    Args:
        composition: A formula ("Li15Si4") or atoms by element; as many whole formula units are taken as come nearest to
            `atoms`, at least one.
        seed: The same numbers give the same structure.
        volumes: A^3 an atom by element, added up to that of the cell (a linear law of volumes). Default: the volume in
            the element's crystal as ASE builds it, but 14.8 for lithium beside other elements (`ALLOYED_LITHIUM`).
        closest: Shortest distance in units of the sum of two covalent radii.

    Raises:
        DataError: For a composition that is none, an unknown volume, and a cell too small for the distances.
    """
    numbers = numbers_of(composition, atoms)
    side = cell_volume(numbers, volumes) ** (1 / 3)
    if not closest > 0:
        raise DataError(f"closest must be a positive number, got {closest}")
    generator = np.random.default_rng(seed)
    numbers = generator.permutation(numbers)
    packing = Atoms(numbers, side * generator.random((len(numbers), 3)), cell=[side] * 3, pbc=True)
    push_apart(packing, closest)
    packing.wrap()
    return packing


@dataclass(frozen=True)
class RandomPackings:
    """So many random packings of each composition, made one at a time, named in info["name"] ("LiSi-64-seed0-003").

    See `random_packing`. Every packing has random numbers of its own, which do not depend on the others: more
    cells or compositions leave those that were made before as they were.
    """

    compositions: tuple[str, ...]
    cells: int = 10
    atoms: int = 64
    seed: int = 0
    volumes: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise DataError(f"cells must be at least 1, got {self.cells}")
        for composition in self.compositions:  # refused now, not in the middle of a long run
            cell_volume(numbers_of(composition, self.atoms), self.volumes)

    def __len__(self) -> int:
        return self.cells * len(self.compositions)

    def __iter__(self) -> Iterator[Atoms]:
        for composition in self.compositions:
            for index in range(self.cells):
                seed = [self.seed, index, *map(ord, composition)]
                packing = random_packing(composition, self.atoms, seed=seed, volumes=self.volumes)
                packing.info["name"] = f"{composition}-{len(packing)}-seed{self.seed}-{index:03d}"
                yield packing


def random_packings(
    compositions: str | Iterable[str], cells: int = 10, atoms: int = 64, *, seed: int = 0,
    volumes: Mapping[str, float] | None = None,
) -> RandomPackings:  # fmt: skip
    """The pool of a screening: so many random packings of each composition, about so many atoms in each."""
    several = (compositions,) if isinstance(compositions, str) else tuple(compositions)
    return RandomPackings(several, cells, atoms, seed, volumes)


def numbers_of(composition: str | Mapping[str, int], atoms: int) -> np.ndarray:
    """Atomic numbers of whole formula units, about so many atoms."""
    try:
        unit = Formula(composition).count() if isinstance(composition, str) else dict(composition)
        counts = {atomic_numbers[symbol]: int(number) for symbol, number in unit.items()}
        if any(number != counts[atomic_numbers[symbol]] for symbol, number in unit.items()):
            raise ValueError("numbers of atoms are not whole")
    except (ValueError, KeyError) as error:
        raise DataError(f"{composition!r} is no composition ({error}); give a formula such as 'Li15Si4'") from None
    in_unit = sum(counts.values())
    if in_unit < 1 or min(counts.values()) < 0 or atoms < 1:
        raise DataError(f"there are no {atoms} atoms of the composition {composition!r}; both must be positive")
    units_taken = max(1, round(atoms / in_unit))
    return np.repeat(list(counts), [units_taken * number for number in counts.values()])


def cell_volume(numbers: np.ndarray, volumes: Mapping[str, float] | None) -> float:
    """A^3 of the cell."""
    symbols = Atoms(numbers).get_chemical_symbols()
    given = dict(volumes or {})
    for symbol in sorted(set(symbols) - set(given)):
        given[symbol] = _usual_volume(symbol, alone=len(set(symbols)) == 1)
    bad = {symbol: volume for symbol, volume in given.items() if not (np.isfinite(volume) and volume > 0)}
    if bad:
        raise DataError(f"volumes must be positive, in A^3 an atom, got {bad}")
    return float(sum(given[symbol] for symbol in symbols))


def _usual_volume(symbol: str, alone: bool) -> float:
    if symbol == "Li" and not alone:
        return ALLOYED_LITHIUM
    try:
        crystal = bulk(symbol)
    except (KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"ASE does not build a crystal of {symbol} ({error}), so its volume is not known; give it: "
            f"volumes={{{symbol!r}: A^3 an atom}}"
        ) from None
    return float(crystal.get_volume() / len(crystal))


def push_apart(packing: Atoms, closest: float) -> None:
    """Minimise sum (d0 - d)^2 over pairs nearer than d0, `closest` of the sum of their radii; leaves 1 % at most."""
    radii = closest * 1.01 * covalent_radii[packing.numbers]  # a little more, so that the distances end beyond

    def overlap(flat: np.ndarray) -> tuple[float, np.ndarray]:
        packing.positions = flat.reshape(-1, 3)
        first, second, vectors, distances = neighbor_list("ijDd", packing, radii)
        depths = radii[first] + radii[second] - distances
        gradient = np.zeros_like(packing.positions)
        np.add.at(gradient, first, 2 * (depths / np.maximum(distances, 1e-6))[:, None] * vectors)
        return 0.5 * float(depths @ depths), gradient.ravel()

    result = minimize(overlap, packing.positions.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    packing.positions = result.x.reshape(-1, 3)
    left = len(neighbor_list("d", packing, radii / 1.01)) // 2
    if left:
        raise DataError(
            f"{packing.get_chemical_formula()} does not fit into {packing.get_volume():.0f} A^3 with distances of"
            f" {closest} of the sum of covalent radii: {left} pairs stay closer; give larger volumes, or a smaller"
            " closest"
        )
