"""What a process holds after many calls."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ase_wavescat.system.progress import hidden
from ase_wavescat.testing.derivatives import random_strain, strained
from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import NotApplicable, Subject, ask

_STATUS = Path("/proc/self/statm")
_SAMPLES = 12
_WARMING = 0.2
"""Share of the calls that are not counted: caches fill and the allocator finds its size."""
_STRAIN = 0.03


def flat_memory(subject: Subject) -> Findings:
    """Growth of the resident memory over many calls, each in another strained cell of the smallest structure of two
    atoms or more.

    The slope of a straight line through it, times the calls, without the first fifth of them.
    """
    if not _STATUS.exists():
        raise NotApplicable(f"the resident memory is not known here: no {_STATUS}")
    findings, calculator, rng = Findings(), subject.new(), subject.rng()
    atoms = min(subject.structures, key=lambda one: (len(one) < 2, len(one)))
    calls, held = [], []
    for call in tqdm(range(subject.calls), "memory", disable=hidden(subject.progress), leave=False, unit="call"):
        ask(calculator, strained(atoms, _STRAIN * rng.uniform(-1, 1) * random_strain(rng)))
        if call >= _WARMING * subject.calls and call % (subject.calls // _SAMPLES) == 0:
            calls.append(call)
            held.append(resident())
    slope = float(np.polynomial.Polynomial.fit(calls, held, 1).deriv()(0.0))
    growth = max(0.0, slope * subject.calls)
    findings.add(f"growth, {subject.calls} calls", growth, "MB", subject.tolerances.memory)
    return findings


def resident() -> float:
    """MB of memory that this process holds now, without what is garbage or free (Linux).

    Memory that was freed, and that the C library keeps for later, would hide a leak until it is used up.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    return int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
