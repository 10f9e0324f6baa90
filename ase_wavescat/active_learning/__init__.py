"""Which structures to label next, their labels by any ASE calculator, and the loop of both.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.active_learning.endurance import Endurance as Endurance
    from ase_wavescat.active_learning.endurance import Watch as Watch
    from ase_wavescat.active_learning.endurance import endure as endure
    from ase_wavescat.active_learning.exploration import Exploration as Exploration
    from ase_wavescat.active_learning.exploration import Plan as Plan
    from ase_wavescat.active_learning.exploration import explore as explore
    from ase_wavescat.active_learning.labelling import Labelling as Labelling
    from ase_wavescat.active_learning.labelling import label as label
    from ase_wavescat.active_learning.loop import Campaign as Campaign
    from ase_wavescat.active_learning.loop import learn as learn
    from ase_wavescat.active_learning.rounds import Learning as Learning
    from ase_wavescat.active_learning.rounds import Round as Round
    from ase_wavescat.active_learning.selection import Limits as Limits
    from ase_wavescat.active_learning.selection import select as select

_MODULE_OF = {
    "Endurance": "endurance",
    "Watch": "endurance",
    "endure": "endurance",
    "Exploration": "exploration",
    "Plan": "exploration",
    "explore": "exploration",
    "Labelling": "labelling",
    "label": "labelling",
    "Campaign": "loop",
    "learn": "loop",
    "Learning": "rounds",
    "Round": "rounds",
    "Limits": "selection",
    "select": "selection",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
