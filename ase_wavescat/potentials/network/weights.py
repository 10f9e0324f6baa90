"""All numbers of a network, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.system.arrays import frozen_array
from ase_wavescat.system.digest import digest_of
from ase_wavescat.system.errors import DataError, did_you_mean

Array = NDArray[np.float64]

_FIRST_ENERGIES = 0.1  # scale of the last layer at the beginning: small site energies


@dataclass(frozen=True, eq=False)
class NetworkWeights:
    """Read-only arrays, of the names and shapes that the specification asks for.

    Attributes:
        specification: of which network.
        arrays: by name, see `NetworkSpecification.shapes`; energies in eV.

    Raises:
        DataError: for names too many or too few, shapes that differ, values that are not finite, and deviations that
            are not positive.
    """

    specification: NetworkSpecification
    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        shapes = self.specification.shapes
        for name in self.arrays:
            if name not in shapes:
                raise DataError(f"the network has no weights {name!r}{did_you_mean(str(name), list(shapes))}")
        missing = [name for name in shapes if name not in self.arrays]
        if missing:
            raise DataError(f"the weights lack {', '.join(missing)}")
        try:
            frozen = {name: frozen_array(self.arrays[name], shape, name) for name, shape in shapes.items()}
        except ValueError as error:
            raise DataError(str(error)) from None
        for name, array in frozen.items():
            if name.endswith("_deviation") and not (array > 0).all():
                raise DataError(f"{name} must be positive, got {array.min()}")
        object.__setattr__(self, "arrays", frozen)

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkWeights:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return NetworkWeights, (self.specification, dict(self.arrays))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the specification and all numbers."""
        return digest_of({"specification": self.specification.to_dict(), "arrays": self.arrays})

    @classmethod
    def random(cls, specification: NetworkSpecification, seed: int) -> NetworkWeights:
        """Where training begins: normal numbers, of a variance that keeps the size of what passes a layer.

        Means are zero and deviations one until training finds them; scalars h begin near 1.
        """
        generator = np.random.default_rng(seed)
        arrays = {}
        for name, shape in specification.shapes.items():
            if name.endswith("_deviation") or name == "scalar_bias":
                arrays[name] = np.ones(shape)
            elif name.endswith("_mean") or "_bias" in name:
                arrays[name] = np.zeros(shape)
            else:
                inputs = shape[-1] if name.endswith("energy_weight") else shape[-2]
                scale = _FIRST_ENERGIES if name.endswith("energy_weight") else 1.0
                arrays[name] = generator.normal(scale=scale / np.sqrt(inputs), size=shape)
        return cls(specification, arrays)
