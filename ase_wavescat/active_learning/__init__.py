"""Which structures to label next, and their labels by any ASE calculator.  Names are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.active_learning.exploration import Exploration as Exploration
    from ase_wavescat.active_learning.exploration import Plan as Plan
    from ase_wavescat.active_learning.exploration import explore as explore
    from ase_wavescat.active_learning.labelling import label as label
    from ase_wavescat.active_learning.selection import Limits as Limits
    from ase_wavescat.active_learning.selection import select as select

_MODULE_OF = {
    "Exploration": "exploration",
    "Plan": "exploration",
    "explore": "exploration",
    "label": "labelling",
    "Limits": "selection",
    "select": "selection",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
