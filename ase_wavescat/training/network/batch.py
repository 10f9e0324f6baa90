"""Several structures at once, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ase_wavescat.potentials.network.rows import species_indices
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.structure.structure import Structure


@dataclass(frozen=True)
class Batch:
    """Atoms and pairs of B structures, one after the other.

    Attributes:
        kinds: (N,) index of each atom's species.
        owners: (N,) structure of each atom.
        first: (n,) atoms of the pairs.
        second: (n,) their neighbours.
        vectors: (n, 3) A.
        volumes: (B,) A^3; 1 where a structure is open.
    """

    kinds: Tensor
    owners: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor
    volumes: Tensor

    @classmethod
    def of(
        cls,
        structures: Sequence[Structure],
        specification: NetworkSpecification,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
    ) -> Batch:
        """Raises StructureError for elements that the network does not know."""
        kinds = [species_indices(structure, specification.species) for structure in structures]
        found = [structure.neighbours(specification.cutoff) for structure in structures]
        sizes = [len(structure) for structure in structures]
        offsets = np.cumsum([0, *sizes[:-1]])
        volumes = [structure.volume if structure.periodic else 1.0 for structure in structures]

        def index(arrays: Sequence[np.ndarray]) -> Tensor:
            return torch.as_tensor(np.concatenate(arrays), dtype=torch.int64, device=device)

        return cls(
            index(kinds),
            index([np.repeat(np.arange(len(sizes)), sizes)]),
            index([pairs.first + offset for pairs, offset in zip(found, offsets, strict=True)]),
            index([pairs.second + offset for pairs, offset in zip(found, offsets, strict=True)]),
            torch.as_tensor(np.concatenate([pairs.vectors for pairs in found]), dtype=dtype, device=device),
            torch.as_tensor(volumes, dtype=dtype, device=device),
        )

    def to(self, dtype: torch.dtype, device: str) -> Batch:
        """On another device, in another precision."""
        moved = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            moved[field.name] = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
        return Batch(**moved)

    def __len__(self) -> int:
        return len(self.volumes)
