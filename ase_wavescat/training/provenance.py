"""Where a model comes from: data, settings, versions, errors."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ase
import h5py
import numpy as np
import scipy

import ase_wavescat
from ase_wavescat.potentials.model import Model
from ase_wavescat.training.data.duplicates import Seen, fingerprints
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.data.sources import Source
from ase_wavescat.training.settings import Settings
from ase_wavescat.training.trainer import Observed


def data_files(sources: Sequence[Source]) -> list[dict[str, str]]:
    """Names and digests of all data files, with their sources where there are several."""
    used = {path: source for source in sources for path in source.paths()}
    files = [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in used]
    if len({source.name for source in sources}) > 1:
        files = [file | {"source": source.name} for file, source in zip(files, used.values(), strict=True)]
    return files


def seen_files(model: Model) -> set[str]:
    """SHA-256 of the files that a model was fitted to, and of those of the model it was drawn towards."""
    recorded = (model.provenance.get(name) for name in ("data", "prior"))
    return {entry["sha256"] for files in recorded if isinstance(files, list) for entry in files if "sha256" in entry}


def seen_structures(model: Model) -> Seen:
    """The structures that a model, and those it was drawn towards, were fitted to, as far as it records them."""
    return Seen.recorded(model.provenance.get("structures"))


def _described(source: Source) -> dict[str, Any]:
    """What a source was said to be, but for its files."""
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in vars(source).items()
        if name != "files" and value not in ({}, None)
    }


def origin_of(
    sources: Sequence[Source], files: Sequence[Mapping[str, str]], settings: Settings, observed: Observed,
    prior: Model | None, given: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """That part of the provenance which is known before the run: what was given, data, settings."""
    chosen = {**settings.used, **observed.record.get("settings", {})}
    if "strengths" in chosen:
        chosen["strengths"] = list(settings.strengths)
    return {
        **(given or {}),
        "data": list(files),
        "sources": [_described(source) for source in sources],
        **observed.record,
        "settings": {name: value for name, value in chosen.items() if value is not None},
        **(
            {}
            if prior is None
            else {"prior": prior.provenance.get("data", "not recorded"), "prior_digest": prior.digest}
        ),
    }


def provenance_of(
    origin: Mapping[str, Any], frames: Sequence[Frame], groups: np.ndarray, metrics: dict[str, Any],
    prior: Model | None,
) -> dict[str, Any]:  # fmt: skip
    """All of it: the origin, and what the run found."""
    return {
        **origin,
        "frames": len(frames),
        "groups": int(groups.max()) + 1,
        "frames_with_open_directions": sum(not all(frame.pbc) for frame in frames),
        "frames_without": {name: sum(getattr(f, name) is None for f in frames) for name in ("forces", "stress")},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": datetime.now(timezone.utc).date().isoformat(),
        "versions": {
            "ase_wavescat": ase_wavescat.__version__, "ase": ase.__version__, "numpy": np.__version__,
            "scipy": scipy.__version__, "h5py": h5py.__version__, "python": platform.python_version(),
        },
        "structures": (Seen(fingerprints(frames)) | (Seen() if prior is None else seen_structures(prior))).to_record(),
        "metrics": metrics,
    }  # fmt: skip
