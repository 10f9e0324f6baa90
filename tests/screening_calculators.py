"""Calculators for screenings in processes of their own, which must be able to import what makes them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from ase.calculators.emt import EMT

DEADLY = 3
"""Atoms of the structure that kills the process which computes it."""


class Deadly(EMT):
    def calculate(self, atoms: Any = None, *arguments: Any, **options: Any) -> None:
        if len(atoms) == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, *arguments, **options)


class Slow(EMT):
    def calculate(self, *arguments: Any, **options: Any) -> None:
        time.sleep(0.05)
        super().calculate(*arguments, **options)


class Homebound:
    """Makes a calculator, and cannot be sent to another process."""

    def __init__(self) -> None:
        self.process = os.getpid()

    def __call__(self) -> EMT:
        return EMT()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if os.getpid() != state["process"]:
            raise RuntimeError("works only where it was made")
        self.__dict__.update(state)
