"""Short-range pair repulsion: the baseline under every model, so that atoms never fuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.units import Bohr, Hartree

from ase_wavescat.potentials.protocol import WholePrediction
from ase_wavescat.representation.execution import Execution
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.digest import digest_of
from ase_wavescat.system.errors import StructureError

if TYPE_CHECKING:
    from ase_wavescat.potentials.file.storage import Reader, Writer

_AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_EXPONENTS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
LONGEST_CUTOFF = 10.0
"""A; twice the sum of the largest covalent radii."""


@dataclass(frozen=True)
class PairRepulsion:
    """Screened nuclear repulsion of Ziegler, Biersack and Littmark, switched off smoothly between two radii.

    V(r) = k Z Z' / r * sum_i c_i exp(-d_i r / a) * S(r),   a = 0.8854 a_0 / (Z^0.23 + Z'^0.23),  k = e^2 / (4 pi eps_0)
    S(r) = 1 - 10 t^3 + 15 t^4 - 6 t^5 with t = (r - r_c / 2) / (r_c / 2) clipped to [0, 1]: twice differentiable.

    Attributes:
        cutoffs: Radius r_c (A) for each unordered pair of atomic numbers; pairs that are not named do not repel.

    Raises:
        ValueError: For what is no pair of elements, and for cutoffs that are no lengths up to `LONGEST_CUTOFF`.
    """

    cutoffs: Mapping[tuple[int, int], float]

    kind: ClassVar[str] = "pair-repulsion"

    def __post_init__(self) -> None:
        ordered: dict[tuple[int, int], float] = {}
        for (first, second), cutoff in self.cutoffs.items():
            pair = (min(int(first), int(second)), max(int(first), int(second)))
            if not 1 <= pair[0] <= pair[1] < len(chemical_symbols):
                raise ValueError(f"a repulsion cutoff is given for atomic numbers {pair}, which are no elements")
            if not (np.isfinite(cutoff) and cutoff > 0):
                raise ValueError(f"the repulsion cutoff of {pair_name(pair)} must be a positive length, got {cutoff}")
            if cutoff > LONGEST_CUTOFF:
                raise ValueError(f"the repulsion cutoff of {pair_name(pair)} is {cutoff} A, the limit {LONGEST_CUTOFF}")
            if ordered.setdefault(pair, float(cutoff)) != float(cutoff):
                raise ValueError(f"two different repulsion cutoffs are given for {pair_name(pair)}")
        object.__setattr__(self, "cutoffs", dict(sorted(ordered.items())))

    @classmethod
    def from_species(cls, species: Sequence[int]) -> PairRepulsion:
        """Cutoff of each pair: the sum of the covalent radii (A), well inside any equilibrium distance."""
        pairs = combinations_with_replacement(sorted(species), 2)
        return cls({(a, b): float(covalent_radii[a] + covalent_radii[b]) for a, b in pairs})

    def to_dict(self) -> dict[str, float]:
        """Plain data, JSON-ready: {"Li-Si": cutoff in A}; `from_dict` is its inverse."""
        return {pair_name(pair): cutoff for pair, cutoff in self.cutoffs.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PairRepulsion:
        cutoffs: dict[tuple[int, int], float] = {}
        for name, cutoff in data.items():
            symbols = name.split("-")
            if len(symbols) != 2 or not set(symbols) <= set(atomic_numbers):
                raise ValueError(f"a repulsion cutoff is named {name!r}; expected two elements such as 'Li-Si'")
            cutoffs[atomic_numbers[symbols[0]], atomic_numbers[symbols[1]]] = float(cutoff)
        return cls(cutoffs)

    @property
    def species(self) -> tuple[int, ...]:
        return tuple(sorted({z for pair in self.cutoffs for z in pair}))

    @property
    def neighbour_reach(self) -> float:
        return max(self.cutoffs.values(), default=0.0)

    @property
    def reach(self) -> float:
        return self.neighbour_reach

    @cached_property
    def digest(self) -> str:
        return digest_of({"kind": self.kind, "cutoffs": self.cutoffs})

    def predict(
        self, structure: Structure, reference_cell: np.ndarray | None = None, execution: Execution = Execution()
    ) -> WholePrediction:
        """Of any species: those that are not named do not repel.

        Raises:
            StructureError: When two atoms lie at the same place.
        """
        numbers, gradient = structure.numbers, np.zeros((len(structure), 3))
        if not self.cutoffs:
            return WholePrediction(0.0, gradient, np.zeros((3, 3)))
        first, second, vectors, distances = structure.neighbours(self.neighbour_reach)
        cutoff = self._cutoff_table[numbers[first], numbers[second]]
        near = distances < cutoff
        first, second, vectors = first[near], second[near], vectors[near]
        distances, cutoff = distances[near], cutoff[near]
        if np.any(distances < 1e-6):
            at = int(np.argmin(distances))
            raise StructureError(
                f"atoms {first[at]} and {second[at]} lie at the same place (distance {distances[at]:.1e} A); "
                "remove one of them or move them apart"
            )
        energies, slopes = _screened_repulsion(distances, numbers[first], numbers[second], cutoff)
        pulls = (slopes / distances)[:, None] * vectors
        for axis in range(3):
            # Every pair comes in both directions, which cancels the 1/2 of the sum over ordered pairs.
            gradient[:, axis] = -np.bincount(first, pulls[:, axis], minlength=len(numbers))
        return WholePrediction(0.5 * float(energies.sum()), gradient, 0.5 * pulls.T @ vectors)

    def card(self) -> list[str]:
        """Lines of the model card."""
        return [
            "repulsion   below (Å): " + ", ".join(f"{pair} {cutoff:.2f}" for pair, cutoff in self.to_dict().items())
        ]

    def store(self, writer: Writer) -> None:
        writer.pairs("cutoffs", "cutoff", self.cutoffs)

    @classmethod
    def restore(cls, reader: Reader) -> PairRepulsion:
        reader.expect({"cutoffs"})
        return cls(reader.pairs("cutoffs", "cutoff"))

    @cached_property
    def _cutoff_table(self) -> np.ndarray:
        return pair_table(self.cutoffs)


def pair_table(values: Mapping[tuple[int, int], float]) -> np.ndarray:
    """Values of unordered pairs of atomic numbers as a symmetric table to index with arrays, 0 where there is none."""
    table = np.zeros((len(chemical_symbols), len(chemical_symbols)))
    for (first, second), value in values.items():
        table[first, second] = table[second, first] = value
    return table


def pair_name(pair: tuple[int, int]) -> str:
    """Such as "Li-Si"."""
    return f"{chemical_symbols[pair[0]]}-{chemical_symbols[pair[1]]}"


def _screened_repulsion(
    distances: np.ndarray, first: np.ndarray, second: np.ndarray, cutoffs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """V (eV) and dV/dr (eV/A) of each pair; every argument has shape (P,)."""
    lengths = 0.8854 * Bohr / (first**0.23 + second**0.23)
    terms = _AMPLITUDES * np.exp(-_EXPONENTS * (distances / lengths)[:, None])
    screening = terms.sum(axis=1)
    screening_slope = -(terms * _EXPONENTS).sum(axis=1) / lengths
    coulomb = Hartree * Bohr * first * second / distances
    half = 0.5 * cutoffs
    t = np.clip(distances / half - 1.0, 0.0, 1.0)
    switch = 1.0 + t**3 * (-10.0 + t * (15.0 - 6.0 * t))
    switch_slope = -30.0 * t**2 * (1.0 - t) ** 2 / half
    bare_slope = coulomb * (screening_slope - screening / distances)
    return coulomb * screening * switch, bare_slope * switch + coulomb * screening * switch_slope
