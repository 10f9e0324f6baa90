"""The methods of training, by name. A new one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase_wavescat.training.trainer import Trainer

_MODULE_OF = {
    "ridge": "linear.ridge",
    "sparse": "linear.sparse",
    "greedy": "linear.greedy_ensemble",
    "network": "network.method",
}
METHODS = tuple(_MODULE_OF)


def trainer(method: str) -> Trainer:
    """The `TRAINER` of a method's module, which is imported when it is first used.

    Raises:
        ValueError: For an unknown method; it lists those that there are.
        WaveScatError: For networks, where torch is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"the method is one of {', '.join(METHODS)}, got {method!r}")
    found: Trainer = import_module(f"ase_wavescat.training.{_MODULE_OF[method]}").TRAINER
    return found
