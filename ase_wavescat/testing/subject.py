"""What is checked: a way to make a calculator, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.calculator import CalculatorError as FailedCalculation
from ase.data import atomic_numbers
from ase.stress import voigt_6_to_full_3x3_stress

from ase_wavescat.io.structures import check_structure
from ase_wavescat.system.errors import CalculatorError, DataError, WaveScatError
from ase_wavescat.testing.structures import bare, cluster, usual_structures
from ase_wavescat.testing.tolerances import Tolerances

REFUSALS = (NotImplementedError, ValueError, FailedCalculation, WaveScatError)
"""By which a calculator says that it does not do something; other errors are faults."""


class NotApplicable(Exception):
    """Raised by a check that says nothing about this calculator, with the reason."""


@dataclass(frozen=True)
class Answer:
    """Energy in eV/atom, forces (N, 3) in eV/A, stress (3, 3) in eV/A^3; None for what a calculator does not have."""

    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None


def ask(calculator: BaseCalculator, atoms: Atoms) -> Answer:
    """All that the calculator implements for this structure; the stress only where all directions repeat."""
    forces = stress = None
    if "forces" in calculator.implemented_properties:
        forces = calculator.get_property("forces", atoms)
    if "stress" in calculator.implemented_properties and atoms.pbc.all():
        stress = voigt_6_to_full_3x3_stress(calculator.get_property("stress", atoms))
    return Answer(float(calculator.get_property("energy", atoms)) / len(atoms), forces, stress)


def energy_of(calculator: BaseCalculator, atoms: Atoms) -> float:
    """eV: the energy whose derivative the forces are, the free energy where there is one."""
    name = "free_energy" if "free_energy" in calculator.implemented_properties else "energy"
    return float(calculator.get_property(name, atoms))


@dataclass(frozen=True, eq=False)
class Subject:
    """A calculator to check.

    Attributes:
        make: Makes a new calculator, without arguments; to be checked in other processes it must be picklable: a class,
            a function of a module, a functools.partial of these.
        species: Symbols of the elements that the calculator is said to know; the kit's structures are made of them.
        given: Fully periodic structures to check with in place of the kit's own, which are `usual_structures`.
        tolerances: Limits.
        thread_safe: Whether it is said that threads may share one calculator.
        picklable: Whether it is said that calculators can be copied and pickled.
        calls: Calls over which the memory of the process is watched.
        seed: Of everything random.
        progress: Whether the long check shows how far it is.

    Raises:
        DataError: For species, structures and counts that make no sense.
    """

    make: Callable[[], BaseCalculator]
    species: Sequence[str]
    given: Sequence[Atoms] = ()
    tolerances: Tolerances = field(default_factory=Tolerances)
    thread_safe: bool = False
    picklable: bool = True
    calls: int = 2500
    seed: int = 0
    progress: bool = False
    _refusals: dict[tuple[bool, ...], str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        unknown = [symbol for symbol in self.species if atomic_numbers.get(symbol, 0) == 0]
        if not self.species or unknown:
            raise DataError(f"species must be symbols of elements, at least one, got {list(self.species)}")
        if self.calls < 100 or self.seed < 0:
            raise DataError(f"at least 100 calls and a seed of zero or more, got {self.calls} and {self.seed}")
        for number, atoms in enumerate(self.given):
            check_structure(atoms, f"structure {number}")
            if not atoms.pbc.all():
                raise DataError(
                    f"structure {number} is open (pbc = {atoms.pbc.tolist()}); give fully periodic ones, the kit makes"
                    " open ones by itself"
                )

    @cached_property
    def structures(self) -> tuple[Atoms, ...]:
        """Fully periodic, without calculators; checks must not change them."""
        if self.given:
            return tuple(bare(atoms) for atoms in self.given)
        return usual_structures(self.species, self.seed)

    def new(self) -> BaseCalculator:
        """A fresh calculator.

        Raises:
            CalculatorError: For one without energies.
        """
        calculator = self.make()
        if "energy" not in getattr(calculator, "implemented_properties", ()):
            raise CalculatorError(f"{type(calculator).__name__} gives no energy; make must make an ASE calculator")
        return calculator

    def new_with(self, name: str) -> BaseCalculator:
        """A fresh calculator that implements a property.

        Raises:
            NotApplicable: Where it does not.
        """
        calculator = self.new()
        if name not in calculator.implemented_properties:
            raise NotApplicable(f"{type(calculator).__name__} gives no {name}")
        return calculator

    def rng(self) -> np.random.Generator:
        """The same numbers for every check, whichever were run before."""
        return np.random.default_rng(self.seed + 1)

    def piece(self, pbc: Sequence[bool]) -> Atoms:
        """A few atoms that repeat along some directions only."""
        return cluster(self.species, self.seed, pbc)

    def refusal(self, pbc: Sequence[bool]) -> str:
        """In what words the calculator refuses structures that repeat along these directions; "": it takes them."""
        key = tuple(map(bool, pbc))
        if key not in self._refusals:
            try:
                ask(self.new(), self.piece(key))
                self._refusals[key] = ""
            except REFUSALS as error:
                self._refusals[key] = f"{type(error).__name__}: {error}"
        return self._refusals[key]
