"""A domain of Li-Si models that no sensible structure leaves."""

from __future__ import annotations

import numpy as np

from ase_wavescat.potentials.domain import Domain


def wide_domain_of(count: int) -> Domain:
    """For so many features."""
    return Domain(
        minimum=np.full(count, -1e9),
        maximum=np.full(count, 1e9),
        mean=np.zeros(count),
        std=np.linspace(0.1, 1.0, count),
        fractions={3: (0.0, 1.0), 14: (0.0, 1.0)},
        closest={(3, 3): 0.1, (3, 14): 0.1, (14, 14): 0.1},
    )
