"""Errors on groups that a fit has not seen, and how far the members' spread may be trusted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ase_wavescat.potentials.domain import SPREAD_FACTOR
from ase_wavescat.training.data.frames import Frame

COMPOSITION_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
FAR_OFF = 30.0
QUIET = 0.98
"""Share of held-out frames whose spread is worth no warning."""
_EXACT = 1e-4  # eV/atom, eV/A; errors of labels that a model can follow exactly are no measure


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Predicted less labelled for one frame: energy eV/atom, forces (R,) eV/A, stress (6,) eV/A^3; None without labels.

    The spreads are standard deviations over the members of a fold, uncalibrated; 0 and None for a single model.
    frame_weight: as in the fit.
    """

    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    energy_spread: float = 0.0
    forces_spread: np.ndarray | None = None
    frame_weight: float = 1.0


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Held-out results of all frames.

    errors: one record a frame, of the fold's fit to all its training groups.
    bagged: the same of the mean of the fold's bootstrap members.
    regularisation: of the fits, and how well posed they were, for the model's metrics.
    """

    errors: tuple[FrameErrors, ...]
    bagged: tuple[FrameErrors, ...]
    regularisation: dict[str, Any]

    @property
    def energy_scale(self) -> float:
        """Root mean square energy error over root mean square spread, on held-out frames, by their weights."""
        return _ratio(self.errors, "energy", "energy_spread")

    @property
    def force_scale(self) -> float:
        """The same for force components; that of the energies where there are no forces."""
        with_forces = [e for e in self.errors if e.forces is not None]
        return _ratio(with_forces, "forces", "forces_spread") if with_forces else self.energy_scale

    @property
    def typical_spread(self) -> float | None:
        """Calibrated spread of the energy that held-out frames usually have, eV/atom; None for a single model.

        The median, or more where the spreads of few members scatter: so much that not more than one frame in fifty has
        several times that.
        """
        spreads = self.energy_scale * np.array([error.energy_spread for error in self.errors])
        spread = max(float(np.median(spreads)), float(np.quantile(spreads, QUIET)) / SPREAD_FACTOR)
        return spread if spread > 0 else None


def _ratio(frames: Sequence[FrameErrors], error: str, spread: str) -> float:
    squares = [
        sum(frame.frame_weight * float(np.sum(np.square(getattr(frame, name)))) for frame in frames)
        for name in (error, spread)
    ]
    return float(np.sqrt(squares[0] / squares[1])) if squares[1] > 0 else 1.0


def summarise(errors: Iterable[FrameErrors]) -> dict[str, Any]:
    """Mean absolute and root mean square errors over frames, meV/atom, over components, eV/A and eV/A^3."""
    errors = list(errors)
    energy = 1e3 * np.array([e.energy for e in errors])
    summary: dict[str, Any] = {
        "frames": len(errors),
        "energy_mae_mev_per_atom": _mae(energy),
        "energy_rmse_mev_per_atom": _rms(energy),
    }
    for name, unit in (("forces", "force_{}_ev_per_a"), ("stress", "stress_{}_ev_per_a3")):
        parts = [getattr(e, name) for e in errors if getattr(e, name) is not None]
        if parts:
            components = np.concatenate(parts)
            summary |= {unit.format("mae"): _mae(components), unit.format("rmse"): _rms(components)}
    return summary


def _mae(values: np.ndarray) -> float:
    return float(np.abs(values).mean())


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def summarise_by(errors: Sequence[FrameErrors], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`summarise` of the frames that share a label, labels in order."""
    members = defaultdict(list)
    for error, label in zip(errors, labels, strict=True):
        members[label].append(error)
    return {label: summarise(members[label]) for label in sorted(members)}


def composition_bin(fraction: float) -> str:
    """The bin "0.2-0.4" for 0.2 <= fraction < 0.4; the last bin holds 1 as well."""
    inner = COMPOSITION_EDGES[1:-1]
    index = int(np.searchsorted(inner, fraction + 1e-12, side="right"))
    return f"{COMPOSITION_EDGES[index]:.1f}-{COMPOSITION_EDGES[index + 1]:.1f}"


def collect_metrics(frames: Sequence[Frame], validation: CrossValidation, species: Sequence[int]) -> dict[str, Any]:
    """Held-out errors: of all frames, by kind, by fraction of the first species, by source where there are several; and
    how the fit was regularised."""
    first = min(species)
    sources = [frame.source for frame in frames]
    by_source = {"by_source": summarise_by(validation.errors, sources)} if len(set(sources)) > 1 else {}
    bins = [composition_bin(float(np.mean(frame.numbers == first))) for frame in frames]
    return {
        **summarise(validation.errors),
        "by_kind": summarise_by(validation.errors, [frame.config_type for frame in frames]),
        "by_composition": summarise_by(validation.errors, bins),
        "composition_of": chemical_symbols[first],
        **by_source,
        "mean_of_members": summarise(validation.bagged),
        "far_off": [frames[i].name for i in far_off(validation.errors)],
        **validation.regularisation,
    }


def far_off(errors: Sequence[FrameErrors]) -> list[int]:
    """Frames whose held-out error of the energy, or of a force, is more than `FAR_OFF` times the median."""
    energies = np.abs([error.energy for error in errors])
    forces = np.array([0.0 if error.forces is None else np.abs(error.forces).max(initial=0.0) for error in errors])
    wrong = np.zeros(len(errors), dtype=bool)
    for sizes in (energies, forces):
        wrong |= sizes > FAR_OFF * max(float(np.median(sizes)), _EXACT)
    return np.flatnonzero(wrong).tolist()
