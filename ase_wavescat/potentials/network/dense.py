"""Small dense networks on the invariants of many atoms at once, forward and reverse, by matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Layers:
    """x -> silu(x W + b), layer by layer; the first also reads what another network's first layer said, y -> y V.

    Attributes:
        weights: W, (inputs, outputs) each.
        biases: b, (outputs,) each.
        beside: V, (outputs, outputs) of the first layer, or None.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    beside: Array | None = None

    def forward(self, inputs: Array, others: Array | None = None) -> Activity:
        """Of inputs (n, width), and the others' outputs (n, outputs) where there is a V."""
        summed = inputs @ self.weights[0] + self.biases[0]
        if self.beside is not None and others is not None:
            summed += others @ self.beside
        outputs: list[Array] = []
        slopes: list[Array] = []
        for layer in range(len(self.weights)):
            if layer > 0:
                summed = outputs[-1] @ self.weights[layer] + self.biases[layer]
            output, slope = _silu(summed)
            outputs.append(output)
            slopes.append(slope)
        return Activity(self, outputs, slopes)


@dataclass(frozen=True)
class Activity:
    """What the layers said: outputs and their slopes, (n, width) each."""

    layers: Layers
    outputs: Sequence[Array]
    slopes: Sequence[Array]

    def pull(self, by_last: Array, by_first: Array | None = None) -> Array:
        """dE/d(sum that enters the first layer), (n, width).

        by_last: dE/d(last output), (n, width), or (width,) where it is the same for all. by_first: dE/d(first output).
        """
        by_output = by_last
        for layer in range(len(self.outputs) - 1, 0, -1):
            by_output = (by_output * self.slopes[layer]) @ self.layers.weights[layer].T
        if by_first is not None:
            by_output = by_output + by_first
        return by_output * self.slopes[0]


def _silu(x: Array) -> tuple[Array, Array]:
    """x / (1 + exp(-x)) and its derivative; by the hyperbolic tangent, which does not overflow."""
    share = 0.5 * (1 + np.tanh(0.5 * x))
    value = x * share
    return value, share + value * (1 - share)
