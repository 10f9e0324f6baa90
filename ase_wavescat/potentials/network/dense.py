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
    """x -> silu(x W + b), layer by layer.

    Attributes:
        weights: (inputs, outputs) each.
        biases: (outputs,) each.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    def forward(self, inputs: Array) -> Activity:
        """Of inputs (n, width)."""
        outputs, slopes = [], []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            inputs, slope = _silu(inputs @ weight + bias)
            outputs.append(inputs)
            slopes.append(slope)
        return Activity(self, outputs, slopes)


@dataclass(frozen=True)
class Activity:
    """What the layers said: outputs and their slopes, (n, width) each."""

    layers: Layers
    outputs: Sequence[Array]
    slopes: Sequence[Array]

    def pull(self, by_last: Array, by_first: Array | None = None) -> Array:
        """dE/dinputs (n, width) from dE/d(last output) and, where there is more, dE/d(first output)."""
        by_output = by_last
        for layer in range(len(self.outputs) - 1, -1, -1):
            if layer == 0 and by_first is not None:
                by_output = by_output + by_first
            by_output = (by_output * self.slopes[layer]) @ self.layers.weights[layer].T
        return by_output


def _silu(x: Array) -> tuple[Array, Array]:
    """x / (1 + exp(-x)) and its derivative; by the hyperbolic tangent, which does not overflow."""
    share = 0.5 * (1 + np.tanh(0.5 * x))
    value = x * share
    return value, share + value * (1 - share)
