"""What ASE finds under the entry-point group `ase.plugins` (ASE 3.29 and later, still experimental there)."""

from __future__ import annotations

from typing import Any


def _plugins() -> set[Any]:
    try:
        from ase._4.plugins.plugin import CalculatorPlugin
    except ImportError:  # ASE moved its experimental interface: the calculator works all the same, only unlisted
        return set()
    return {
        CalculatorPlugin(
            "wavescat",
            citation="P. Sinz et al., J. Chem. Phys. 153, 084109 (2020)",
            implementation="ase_wavescat.calculator.WaveScatCalculator",
        )
    }


__ase_plugins__ = _plugins()
