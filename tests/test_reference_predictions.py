"""Features, derivatives and predictions are what they were, whatever was moved in the code."""

from __future__ import annotations

from reference_predictions import deviations

ROUNDING = 1e-9
"""Other processors add in another order; of the largest number of each array."""
KINKS, OF_KINKS = "solid-harmonic FFF", 1e-5
"""Square roots of moduli that are all but zero: slopes hang on the last digits, 2e-7 from processor to processor."""


def test_nothing_has_changed_but_rounding() -> None:
    changed = {
        name: deviation
        for name, deviation in deviations().items()
        if not deviation < (OF_KINKS if name.startswith(KINKS) else ROUNDING)
    }
    assert changed == {}
