"""Formation energies, their lower convex hull, and the energies of the elements that both need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import BaseCalculator
from ase.data import atomic_numbers, reference_states
from ase.formula import Formula
from scipy.spatial import ConvexHull

from ase_wavescat.system.errors import CalculatorError, DataError, warn
from ase_wavescat.workflows.checks import calculator_of, with_energy
from ase_wavescat.workflows.members import energies_of, member_energies, spread
from ase_wavescat.workflows.relaxation import relax
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Composition = Atoms | str | Mapping[str, int]
"""A structure, a formula ("Li15Si4"), or atoms by element."""

STABLE = 1e-6  # eV/atom above the hull that count as on it: far above rounding, far below any energy that matters
SUSPECT = 0.01  # eV/atom below the reference of its element that make a structure worth a warning
_FLAT = 1e-8  # facets steeper than this stand on the border of the compositions, they have no energy to give


@dataclass(frozen=True, eq=False)
class References:
    """Energies of the elements, to which formation energies are relative.

    Attributes:
        energies: eV/atom by element.
        sources: Where each comes from, in words, by element.
        members: (M,) eV/atom by element, of the same members as the structures' energies; None where they have none.
    """

    energies: Mapping[str, float]
    sources: Mapping[str, str]
    members: Mapping[str, np.ndarray] | None = None

    @staticmethod
    def given(energies: Mapping[str, float], source: str = "given") -> References:
        """Energies (eV/atom) known from elsewhere.

        Raises:
            DataError: For unknown elements and values not finite.
        """
        for symbol, energy in energies.items():
            if (
                symbol not in atomic_numbers
                or not isinstance(energy, (int, float, np.number))
                or not np.isfinite(energy)
            ):
                raise DataError(f"the reference energy {symbol} = {energy} is not that of an element, in eV/atom")
        values = {symbol: float(energy) for symbol, energy in energies.items()}
        return References(values, dict.fromkeys(values, source))

    def joined(self, more: References) -> References:
        """Of the elements of both, with members where all have them."""
        energies = {**self.energies, **more.energies}
        members = {**(self.members or {}), **(more.members or {})}
        complete = members if members.keys() == energies.keys() else None
        return References(energies, {**self.sources, **more.sources}, complete)


def reference_energies(calculator: BaseCalculator, elements: Iterable[str]) -> References:
    """Energies of the elements' crystals (`ase.build.bulk`: bcc Li, diamond Si ...), their cells relaxed.

    Raises:
        CalculatorError: Where the calculator gives no stress or the relaxation fails.
        DataError: For an element whose crystal ASE does not build.
    """
    if not calculator.implemented_properties:
        raise CalculatorError(
            f"{type(calculator).__name__} only stores results, so it knows no energies of the elements; give references"
        )
    crystals = {symbol: _crystal(symbol) for symbol in sorted(set(elements))}
    energies, sources, members = {}, {}, {}
    for symbol, crystal in crystals.items():
        crystal.calc = calculator
        relaxation = relax(crystal, cell=True, fmax=1e-3, smax=0.01)
        if not relaxation.converged:
            raise CalculatorError(
                f"the crystal of {symbol} does not relax with {type(calculator).__name__} ({relaxation.ending()});"
                " give its reference energy"
            )
        energies[symbol] = float(relaxation.energies[-1]) / len(crystal)
        of_members = member_energies(calculator, [relaxation.structure])
        if of_members is not None:
            members[symbol] = of_members[0] / len(crystal)
        lattice = (reference_states[atomic_numbers[symbol]] or {})["symmetry"]
        sources[symbol] = f"{lattice} {symbol}, relaxed with {type(calculator).__name__}"
    return References(energies, sources, members or None)


def _crystal(symbol: str) -> Atoms:
    try:
        return bulk(symbol)
    except (KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"ASE does not build a crystal of {symbol} ({error}); give its reference energy") from None


def composition_table(compositions: Sequence[Composition]) -> tuple[tuple[str, ...], np.ndarray]:
    """The elements that occur, sorted, and (n, elements) atoms of each.

    Raises:
        DataError: For what has no atoms.
    """
    if not compositions:
        raise DataError("there are no compositions; give at least one")
    counted = [_atoms_by_element(composition) for composition in compositions]
    for composition, atoms in zip(compositions, counted, strict=True):
        if not sum(atoms.values()) > 0:
            raise DataError(f"the composition {composition!r} has no atoms; leave it out")
    elements = tuple(sorted({symbol for atoms in counted for symbol, number in atoms.items() if number}))
    return elements, np.array([[atoms.get(symbol, 0) for symbol in elements] for atoms in counted], dtype=float)


def _atoms_by_element(composition: Composition) -> Mapping[str, int]:
    if isinstance(composition, Atoms):
        return composition.symbols.formula.count()
    try:
        counts = Formula(composition).count() if isinstance(composition, str) else composition
    except ValueError as error:
        raise DataError(f"{composition!r} is no formula; give one such as 'Li15Si4'") from error
    for symbol, number in counts.items():
        if symbol not in atomic_numbers or number < 0:
            raise DataError(f"{composition!r} is no composition: there are no {number} atoms of {symbol!r}")
    return counts


def formation_energies(
    compositions: Sequence[Composition],
    energies: np.ndarray | Sequence[float],
    references: References | Mapping[str, float],
) -> np.ndarray:
    """Energies of formation, (E - sum over elements N_z e_z) / N.

    Args:
        energies: (n,) eV of the whole structures.
        references: e_z, eV/atom by element.

    Returns:
        (n,) eV/atom.

    Raises:
        DataError: For a reference energy that is missing.
    """
    named = references if isinstance(references, References) else References.given(references)
    elements, counts = composition_table(compositions)
    _check_references(named, elements)
    _check_energies(counts, energies)
    zero = counts @ [named.energies[symbol] for symbol in elements]
    return (np.asarray(energies, dtype=float) - zero) / counts.sum(axis=1)


def member_formation_energies(
    compositions: Sequence[Composition], member_energies: np.ndarray, references: References | Mapping[str, float]
) -> np.ndarray:
    """(n, M) eV/atom from (n, M) eV of the members: each less its own references, so that shared errors cancel.

    References that have no members are the same for all.
    """
    named = references if isinstance(references, References) else References.given(references)
    elements, counts = composition_table(compositions)
    _check_references(named, elements)
    of_members = named.energies if named.members is None else named.members
    zero = counts @ np.array([np.broadcast_to(of_members[symbol], member_energies.shape[1]) for symbol in elements])
    return (member_energies - zero) / counts.sum(axis=1)[:, None]


def _check_energies(counts: np.ndarray, energies: np.ndarray | Sequence[float]) -> None:
    if len(energies) != len(counts):
        raise DataError(f"there are {len(counts)} compositions and {len(energies)} energies; give one for each")
    finite = np.isfinite(np.asarray(energies, dtype=float)).reshape(len(counts), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"the energy of entry {int(np.argmin(finite))} is not finite; leave it out")


def _check_references(references: References, elements: Iterable[str]) -> None:
    missing = [symbol for symbol in elements if symbol not in references.energies]
    if missing:
        raise DataError(
            f"there is no reference energy of {', '.join(missing)} (known: {', '.join(references.energies) or 'none'});"
            f" give eV/atom of the same method, or relax the crystals: reference_energies(calculator, {missing})"
        )


def energies_above_hull(compositions: Sequence[Composition], formation: np.ndarray) -> np.ndarray:
    """Energies above the lower convex hull of all entries and the elements, never negative.

    The elements' references are entries of energy zero. Any number of elements.

    Args:
        formation: (n,) eV/atom, or (n, M) of M members, of which each has its own hull.

    Returns:
        eV/atom, shaped as `formation`.
    """
    _, counts = composition_table(compositions)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    formation = np.asarray(formation, dtype=float)
    _check_energies(counts, formation)
    columns = formation.reshape(len(fractions), -1).T
    hulls = np.array([_hull_at(fractions, column) for column in columns]).T.reshape(formation.shape)
    return np.maximum(formation - hulls, 0.0)


def _hull_at(fractions: np.ndarray, formation: np.ndarray) -> np.ndarray:
    """(n,) energy of the lower hull at each entry's composition, (n, elements) fractions.

    Energies are taken from the plane through the elements, where only what lies below can be on the hull: elements
    and one such entry span all dimensions, so that no case is degenerate. The hull is the highest of its facets.
    """
    pure = fractions > 1 - 1e-12
    corners = np.array([min(0.0, formation[entries].min(initial=0.0)) for entries in pure.T])
    plane = fractions @ corners
    depths = formation - plane
    deepest = depths.min()
    if deepest > -STABLE:
        return plane
    below = depths < -1e-9 * abs(deepest)
    elements = np.eye(fractions.shape[1])
    places = np.vstack([elements, fractions[below]])[:, 1:]
    heights = np.concatenate([np.zeros(len(elements)), depths[below] / abs(deepest)])
    equations = ConvexHull(np.column_stack([places, heights])).equations
    lower = equations[equations[:, -2] < -_FLAT]
    facets = -(fractions[:, 1:] @ lower[:, :-2].T + lower[:, -1]) / lower[:, -2]
    return plane + abs(deepest) * facets.max(axis=1)


@dataclass(frozen=True, eq=False)
class Hull(Result):
    """Formation energies and the lower convex hull of entries and elements.

    Attributes:
        entries: The structures.
        elements: The elements that occur, sorted.
        fractions: (n, elements) atomic fractions.
        energies: (n,) eV, whole structures.
        formation: (n,) eV/atom relative to `references`.
        above_hull: (n,) eV/atom above the hull, not negative.
        stable: (n,) whether the entry is on the hull.
        formation_spread, above_hull_spread: (n,) eV/atom, calibrated spread over members, each with its own references
            and hull; None for calculators without members.
        references: Energies of the elements, named.
    """

    entries: list[Atoms]
    elements: tuple[str, ...]
    fractions: np.ndarray
    energies: np.ndarray
    formation: np.ndarray
    above_hull: np.ndarray
    stable: np.ndarray
    formation_spread: np.ndarray | None
    above_hull_spread: np.ndarray | None
    references: References

    @property
    def structures(self) -> list[Atoms]:
        return self.entries

    def summary(self) -> str:
        lines = [f"{symbol}: {self.references.energies[symbol]:.4f} eV/atom, {self.references.sources[symbol]}"
                 for symbol in self.elements]  # fmt: skip
        lines.append(f"{np.count_nonzero(self.stable)} of {len(self.entries)} entries on the hull (meV/atom)")
        for index in np.argsort(self.above_hull, kind="stable")[:10]:
            formation, above = 1e3 * self.formation[index], 1e3 * self.above_hull[index]
            text = (
                f"{self.entries[index].get_chemical_formula():<12} formation {formation:8.1f}  above hull {above:6.1f}"
            )
            if self.above_hull_spread is not None:
                text += f" ± {1e3 * self.above_hull_spread[index]:.1f}"
            lines.append(text)
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Formation energies against the fraction of the first element; of two elements, with the hull."""
        from matplotlib.figure import Figure

        from ase_wavescat.system.plotting import BLUE, GREY, ORANGE

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        places, energies = self.fractions[:, 0], 1e3 * self.formation
        errors = None if self.formation_spread is None else 1e3 * self.formation_spread
        axes.errorbar(places, energies, yerr=errors, fmt="o", color=BLUE, ecolor=GREY, markersize=4, label="entries")
        if len(self.elements) == 2:
            hull = np.unique(np.column_stack([places, energies - 1e3 * self.above_hull]), axis=0)
            ends = [(end, 0.0) for end in (0.0, 1.0) if end not in hull[:, 0]]
            hull = np.array(sorted([*map(tuple, hull), *ends]))
            axes.plot(hull[:, 0], hull[:, 1], color=ORANGE, label="hull")
        axes.plot(places[self.stable], energies[self.stable], "s", color=ORANGE, markersize=6, label="on the hull")
        axes.set_xlabel(f"fraction of {self.elements[0]}")
        axes.set_ylabel("formation energy (meV/atom)")
        axes.legend(frameon=False)
        return figure


def convex_hull(structures: Sequence[Atoms], references: References | Mapping[str, float] | None = None) -> Hull:
    """Formation energies and energies above hull of structures, each with a calculator; they are not relaxed here.

    Args:
        references: Energies of the elements, eV/atom of the same method; None: the elements' crystals, relaxed with the
            calculator of the first structure.

    Raises:
        DataError: Without structures and for missing references.
        CalculatorError: Without calculators.

    Warns:
        WaveScatWarning: Where a structure of one element lies below its reference.
    """
    energies, members = energies_of(structures)
    elements, counts = composition_table(structures)
    calculator = calculator_of(structures[0], stored=True)
    named = references_of(references, calculator, elements)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    formation = formation_energies(structures, energies, named)
    _warn_of_elements(elements, fractions, formation, named)
    above = energies_above_hull(structures, formation)
    formation_spread = above_spread = None
    if members is not None:
        of_members = member_formation_energies(structures, members, named)
        formation_spread = spread(calculator, of_members)
        above_spread = spread(calculator, energies_above_hull(structures, of_members))
    return Hull(
        entries=[with_energy(*pair) for pair in zip(structures, energies, strict=True)],
        elements=elements,
        fractions=fractions,
        energies=energies,
        formation=formation,
        above_hull=above,
        stable=above < STABLE,
        formation_spread=formation_spread,
        above_hull_spread=above_spread,
        references=named,
    )


def _warn_of_elements(
    elements: Sequence[str], fractions: np.ndarray, formation: np.ndarray, references: References
) -> None:
    """An element below its own reference: that is of another method, or not the ground state of this one."""
    for symbol, shares in zip(elements, fractions.T, strict=True):
        lowest = formation[shares == 1].min(initial=0.0)
        if lowest < -SUSPECT:
            warn(
                f"a structure of {symbol} lies {-1e3 * lowest:.0f} meV/atom below the reference"
                f" ({references.sources[symbol]}): is that of the same method, and its ground state?",
                stacklevel=3,
            )


def references_among(structures: Sequence[Atoms]) -> References:
    """Of each element that has cells of its own among the structures, the lowest energy of an atom in these."""
    cells: dict[str, list[Atoms]] = {}
    for atoms in structures:
        if len(set(atoms.symbols)) == 1:
            cells.setdefault(str(atoms.symbols[0]), []).append(atoms)
    energies, sources, members = {}, {}, {}
    for symbol, own in cells.items():
        counts = np.array([len(atoms) for atoms in own])
        whole, of_members = energies_of(own)
        lowest = int(np.argmin(whole / counts))
        energies[symbol] = float(whole[lowest] / counts[lowest])
        chosen = f"the lowest of {len(own)} cells" if len(own) > 1 else "the cell"
        sources[symbol] = f"{chosen} of {symbol} among the structures ({own[lowest].get_chemical_formula()})"
        if of_members is not None:
            members[symbol] = of_members[lowest] / counts[lowest]
    return References(energies, sources, members or None)


def references_of(
    references: References | Mapping[str, float] | None, calculator: BaseCalculator, elements: Iterable[str],
    structures: Sequence[Atoms] = (),
) -> References:  # fmt: skip
    """Named references of the elements: those given; else cells of one element among the structures and, of elements
    that have none, crystals relaxed with the calculator."""
    if references is None:
        found = references_among(structures)
        missing = set(elements) - set(found.energies)
        if not missing:
            return found
        return found.joined(reference_energies(calculator, missing))
    named = references if isinstance(references, References) else References.given(references)
    _check_references(named, elements)
    return named
