"""Close contacts as a network learns them: changes of the energy as atoms come nearer than in any data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.contacts import approaches
from ase_wavescat.training.data.frames import Frame

Array = NDArray[np.float64]

_STEPS_AT_ONCE = 3


@dataclass(frozen=True, eq=False)
class Push:
    """A structure and what it becomes.

    Attributes:
        structures: K + 1, the start first.
        changes: (K,) eV, of the energy from the start, less those of the pair repulsion.
        errors: (K,) eV, allowed.
    """

    structures: tuple[Structure, ...]
    changes: Array
    errors: Array

    def some(self, steps: NDArray[np.int64]) -> Push:
        """To some of the steps alone."""
        chosen = tuple(self.structures[1 + step] for step in steps.tolist())
        return Push((self.structures[0], *chosen), self.changes[steps], self.errors[steps])


def pushes_of(
    frames: Sequence[Frame], closest: Mapping[tuple[int, int], float], repulsion: PairRepulsion | None
) -> list[Push]:
    """Those that the linear fit learns from, too; none where there is no repulsion to be left to."""
    if repulsion is None:
        return []
    return [Push((own.start, *own.steps), *own.asked(repulsion)) for own in approaches(frames, closest)]


def drawn(pushes: Sequence[Push], seed: Sequence[int]) -> Iterator[Push]:
    """Without end: all pushes in another order each time, a few steps of each; nothing where there are none."""
    rng = np.random.default_rng(seed)
    while pushes:
        for index in rng.permutation(len(pushes)).tolist():
            count = len(pushes[index].changes)
            yield pushes[index].some(np.sort(rng.choice(count, min(count, _STEPS_AT_ONCE), replace=False)))
