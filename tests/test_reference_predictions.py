"""Features, derivatives and predictions are what they were, whatever was moved in the code."""

from __future__ import annotations

from reference_predictions import deviations

ROUNDING = 1e-9
"""Other processors add in another order; of the largest number of each array."""


def test_nothing_has_changed_but_rounding() -> None:
    changed = {name: deviation for name, deviation in deviations().items() if not deviation < ROUNDING}
    assert changed == {}
