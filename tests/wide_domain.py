"""A domain of Li-Si models that no sensible structure leaves."""

from __future__ import annotations

from ase_wavescat.potentials.domain import Domain


def wide_domain_of() -> Domain:
    return Domain(
        fractions={3: (0.0, 1.0), 14: (0.0, 1.0)},
        closest={(3, 3): 0.1, (3, 14): 0.1, (14, 14): 0.1},
    )
