"""Several structures at once, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_wavescat.potentials.network.rows import species_indices
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.structure.structure import Structure


@dataclass(frozen=True)
class Batch:
    """Atoms of B structures, one after the other, and their pairs, by the species of both atoms.

    Attributes:
        kinds: (N,) index of each atom's species.
        owners: (N,) structure of each atom.
        first: (n,) atoms of the pairs.
        second: (n,) their neighbours.
        vectors: (n, 3) A.
        slots: (N, K) pairs of each atom; n, which is none, where it has fewer than K.
        volumes: (B,) A^3; 1 where a structure is open.
        alike: (S^2,) numbers of pairs, by species of the first atom, then of the second.
    """

    kinds: Tensor
    owners: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor
    slots: Tensor
    volumes: Tensor
    alike: tuple[int, ...]

    @classmethod
    def of(
        cls,
        structures: Sequence[Structure],
        specification: NetworkSpecification,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
    ) -> Batch:
        """Raises StructureError for elements that the network does not know."""
        known = specification.species
        kinds = np.concatenate([species_indices(structure, known) for structure in structures])
        found = [structure.neighbours(specification.cutoff) for structure in structures]
        sizes = [len(structure) for structure in structures]
        offsets = np.cumsum([0, *sizes[:-1]])
        first, second = (
            np.concatenate([getattr(pairs, end) + offset for pairs, offset in zip(found, offsets, strict=True)])
            for end in ("first", "second")
        )
        types = kinds[first] * len(known) + kinds[second]
        order = np.argsort(types, kind="stable")
        volumes = [structure.volume if structure.periodic else 1.0 for structure in structures]

        def index(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.int64, device=device)

        def real(array: object) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=device)

        return cls(
            index(kinds),
            index(np.repeat(np.arange(len(sizes)), sizes)),
            index(first[order]),
            index(second[order]),
            real(np.concatenate([pairs.vectors for pairs in found])[order]),
            index(_slots(first[order], len(kinds))),
            real(volumes),
            tuple(np.bincount(types, minlength=len(known) ** 2).tolist()),
        )

    def to(self, dtype: torch.dtype, device: str) -> Batch:
        """On another device, in another precision."""

        def moved(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

        return Batch(*(moved(getattr(self, field.name)) for field in fields(self)))

    def __len__(self) -> int:
        return len(self.volumes)


def _slots(first: np.ndarray, atoms: int) -> np.ndarray:
    """(N, K) indices of the pairs of each atom, len(first) beyond their number."""
    counts = np.bincount(first, minlength=atoms)
    by_atom = np.argsort(first, kind="stable")
    place = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    slots = np.full((atoms, counts.max(initial=0)), len(first))
    slots[first[by_atom], place] = by_atom
    return slots
