"""What a training run is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from ase_wavescat.training.linear.observation import LabelWeights
from ase_wavescat.training.methods import trainer

ENERGY_WEIGHT, FORCE_WEIGHT, STRESS_WEIGHT = 300.0, 10.0, 600.0
STRONG_FORCE = 2.0
STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-10, -1))
_HINTS = {"network": ". What a network is, and how it is trained, stands in a section of its own, [network]"}
STRENGTHS_TOWARDS_A_MODEL = (*STRENGTHS, *(float(s) for s in 10.0 ** np.arange(-1, 4)))


@dataclass(frozen=True)
class Settings:
    """What a training run was asked for; written into the model.

    Attributes:
        method: "ridge" gives every feature a weight; "sparse" chooses features greedily, by energies, forces, stresses
            and by what they cost, and fits those by ridge; "greedy" is the papers': each member its own features,
            chosen by orthogonal least squares on the energies alone; "network" trains networks of learned point
            scattering by torch.
        size: Features of a sparse model (None: the smallest whose held-out loss is within two per cent of the lowest);
            most features of a greedy member.
        bagging: Whether greedy members choose among a random few features at each step (S20).
        group_key: Info key of frames that belong together, "none" for every frame its own; sources have their own.
        energy_weight: One over the error expected of an energy, atoms/eV.
        force_weight: The same of a force component, A/eV.
        stress_weight: The same of a stress component, A^3/eV.
        strong_force: eV/A; the error expected of a force grows as `(1 + (|F| / strong_force)^2)^(1/2)`, infinity for
            not at all.
        references: Energies of the species (eV an atom, by symbol), where they are known: one energy an atom is fitted
            besides. None: the energies of the species are fitted.
        members: Bootstrap members (20; of networks 1).
        folds: Of the cross-validation (5; as many as groups when there are fewer). Networks hold out one of 10.
        directions: None for all force rows, k for k random directions a frame, 0 for energies alone.
        strengths: Of the prior, tried by cross-validation (with a prior model up to 1000 unless they are given).
        seed: Of folds and bootstraps.

    Raises:
        ValueError: For values out of range; it says which.
    """

    method: str = "ridge"
    size: int | None = None
    bagging: bool = True
    group_key: str = "group"
    energy_weight: float = ENERGY_WEIGHT
    force_weight: float = FORCE_WEIGHT
    stress_weight: float = STRESS_WEIGHT
    strong_force: float = STRONG_FORCE
    references: Mapping[str, float] | None = None
    members: int = None  # type: ignore[assignment]  # as is usual for the method
    folds: int = None  # type: ignore[assignment]
    directions: int | None = None
    strengths: tuple[float, ...] = STRENGTHS
    seed: int = 0

    def __post_init__(self) -> None:
        method = trainer(self.method)
        for name, value in method.usual.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("size", "members", "folds", "directions", "seed"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer))):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        for name in ("energy_weight", "force_weight", "stress_weight", "strong_force"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise ValueError(f"{name} must be a number, got {value!r}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"the size must be at least one feature, got {self.size}")
        method.check(self)
        if self.members < 1:
            raise ValueError(f"a model needs at least one member, got members = {self.members}")
        if self.folds < 2:
            raise ValueError(f"cross-validation needs at least two folds, got folds = {self.folds}")
        if self.directions is not None and self.directions < 0:
            raise ValueError(f"directions must not be negative, or None for all force rows, got {self.directions}")
        if not self.strong_force > 0:
            raise ValueError(f"strong_force must be positive, or inf for equal weights, got {self.strong_force}")
        if not self.strengths or not all(np.isfinite(s) and s > 0 for s in self.strengths):
            raise ValueError(f"strengths must be positive finite numbers, got {self.strengths}")
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, got {self.seed}")
        for symbol, energy in (self.references or {}).items():
            if symbol not in atomic_numbers or not np.isfinite(energy):
                raise ValueError(f"references are finite energies (eV) by element symbol, got {symbol!r}: {energy!r}")
        _ = self.label_weights  # refused before any work is done

    @property
    def used(self) -> dict[str, Any]:
        """Those that the method has a use for, by name."""
        ignored = trainer(self.method).ignores
        return {name: value for name, value in vars(self).items() if name not in ignored}

    @property
    def label_weights(self) -> LabelWeights:
        """Of energies, forces and stresses."""
        return LabelWeights(self.energy_weight, self.force_weight, self.stress_weight)

    @property
    def reference_energies(self) -> dict[int, float] | None:
        """By atomic number."""
        if self.references is None:
            return None
        return {atomic_numbers[symbol]: float(energy) for symbol, energy in self.references.items()}


def refuse_unused(method: str, given: Iterable[str]) -> None:
    """Raises ValueError for settings, by name, that a method has no use for."""
    unused = [name for name in given if name in trainer(method).ignores]
    if unused:
        raise ValueError(
            f"the method {method} has no use for {', '.join(unused)}; leave that out{_HINTS.get(method, '')}"
        )
