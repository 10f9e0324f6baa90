"""Which structures to label next, and their labels by any ASE calculator.  Names are imported when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_wavescat.active_learning.exploration import Plan as Plan
    from ase_wavescat.active_learning.exploration import explore as explore
    from ase_wavescat.active_learning.labelling import label as label
    from ase_wavescat.active_learning.selection import Limits as Limits
    from ase_wavescat.active_learning.selection import select as select

_MODULE_OF = {
    "Plan": "exploration",
    "explore": "exploration",
    "label": "labelling",
    "Limits": "selection",
    "select": "selection",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(_MODULE_OF))}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
