"""From the spread over members to an expected error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """Factors that turn the spread over members into an expected error, found on held-out groups.

    Attributes:
        energy_scale: Of energies and all that follows from them.
        force_scale: Of forces.

    Raises:
        ValueError: For a factor that is no positive number.
    """

    energy_scale: float = 1.0
    force_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("energy_scale", "force_scale"):
            value = float(getattr(self, name))
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"the calibration's {name} must be a positive number, got {value}")
            object.__setattr__(self, name, value)
