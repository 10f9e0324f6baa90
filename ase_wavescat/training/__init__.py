"""From labelled structures to a model file.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.training.combining import combine as combine
    from ase_wavescat.training.data.sources import Source as Source
    from ase_wavescat.training.fitting import train as train
    from ase_wavescat.training.network.plan import NetworkPlan as NetworkPlan
    from ase_wavescat.training.network.plan import StagePlan as StagePlan
    from ase_wavescat.training.network.settings import NetworkSettings as NetworkSettings
    from ase_wavescat.training.run_file import Features as Features
    from ase_wavescat.training.run_file import Run as Run
    from ase_wavescat.training.run_file import read_run as read_run
    from ase_wavescat.training.settings import Settings as Settings

_MODULE_OF: dict[str, str] = {
    "train": "fitting",
    "combine": "combining",
    "Source": "data.sources",
    "Settings": "settings",
    "Run": "run_file",
    "Features": "run_file",
    "read_run": "run_file",
    "NetworkPlan": "network.plan",
    "StagePlan": "network.plan",
    "NetworkSettings": "network.settings",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
