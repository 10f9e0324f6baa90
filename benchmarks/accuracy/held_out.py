"""Errors are shown on structures that a model has not seen."""

from __future__ import annotations

from collections.abc import Sequence

from ase_wavescat import load_model
from ase_wavescat.evaluation.assessment import trained_frames
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.provenance import seen_structures


def check_held_out(model: str, frames: Sequence[Frame]) -> None:
    """Raises DataError for a model that was trained on any of the frames, or does not record what it was trained on."""
    ensemble = load_model(model)
    if not seen_structures(ensemble):
        raise DataError(
            f"{model} does not record the structures that it was trained on, so that nobody knows whether these"
            f" {len(frames)} cells are among them; train it again"
        )
    seen = trained_frames(ensemble, frames)
    if seen:
        raise DataError(
            f"{model} was trained on {len(seen)} of these {len(frames)} cells, such as {seen[0].name}: its errors there"
            " are not those of cells held out; give a model that has not seen them"
        )
