"""What a training of a network is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.network.examples import Example


@dataclass(frozen=True, eq=False)
class Stage:
    """One source of examples after another: of a cheap universal potential first, say, and of the real method then.

    Attributes:
        name: for messages.
        examples: what is learned.
        held_out: whole groups that are not, and choose the weights to keep.
        epochs: passes through them, at most.
        learning_rate: at the beginning; it falls to zero along half a cosine.

    Raises:
        DataError: for no examples, none held out, no epochs, and learning rates that are not positive.
    """

    name: str
    examples: Sequence[Example]
    held_out: Sequence[Example]
    epochs: int
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if not self.examples:
            raise DataError(f"stage {self.name!r} has no examples; leave it out")
        if not self.held_out:
            raise DataError(f"nothing is held out in stage {self.name!r}; it needs at least two groups of structures")
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 1:
            raise DataError(f"stage {self.name!r} needs at least one epoch, got {self.epochs!r}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise DataError(f"the learning rate of stage {self.name!r} must be positive, got {self.learning_rate}")


@dataclass(frozen=True)
class NetworkSettings:
    """How all stages are gone through.

    Attributes:
        energy_weight: atoms/eV, one over the error expected of an energy an atom.
        force_weight: A/eV, of a component of a force.
        stress_weight: A^3/eV, of a component of a stress.
        strong_force: eV/A; the error expected of a force grows as `(1 + (|F| / strong_force)^2)^(1/2)`.
        batch: structures a step.
        averaging: share of the averaged weights that stays in a step.
        weight_decay: share of the weights that is lost in a step, in learning rates; biases lose nothing.
        patience: epochs without a lower held-out loss after which a stage ends.
        seed: of weights and the order of examples.
        precision: "single" or "double".
        device: of torch.

    Raises:
        DataError: for values out of range.
    """

    energy_weight: float = 100.0
    force_weight: float = 10.0
    stress_weight: float = 200.0
    strong_force: float = 2.0
    batch: int = 8
    averaging: float = 0.995
    weight_decay: float = 0.3
    patience: int = 30
    seed: int = 0
    precision: str = "single"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("energy_weight", "force_weight", "stress_weight", "weight_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"the {name} must be finite and not negative, got {value}")
        if not self.strong_force > 0:
            raise DataError(f"strong_force must be positive, or inf for equal weights, got {self.strong_force}")
        for name, least in (("batch", 1), ("patience", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise DataError(f"{name} must be a whole number of at least {least}, got {value!r}")
        if not 0 <= self.averaging < 1:
            raise DataError(f"averaging must be at least 0 and below 1, got {self.averaging}")
        if self.precision not in ("single", "double"):
            raise DataError(f"precision is 'single' or 'double', got {self.precision!r}")

    def to_dict(self) -> dict[str, float | int | str]:
        """Plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_seed(self, seed: int) -> NetworkSettings:
        """The same but for the seed."""
        return replace(self, seed=seed)
