"""What must hold before a training run does any work."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.system.errors import DataError, ModelFileError, warn
from ase_wavescat.training.data.frames import NO_GROUPS, Frame
from ase_wavescat.training.data.sources import FORMATION, Source
from ase_wavescat.training.methods import trainer
from ase_wavescat.training.provenance import seen_files, seen_structures
from ase_wavescat.training.settings import Settings
from ase_wavescat.training.trainer import Observed

REPLACE = "choose another name, or replace it by --overwrite"


def check_places(output: Path, store: str | Path | None, sources: Sequence[Source], suffix: str = ".features") -> Path:
    """The folder of what is kept between runs, by default named after the model, with that suffix.

    Refuses places where nothing can be written, or where something else is.
    """
    if output.is_dir():
        raise DataError(f"{output} is a folder; name a model file, such as lisi.h5")
    store, folder = Path(store or output.with_suffix(suffix)), output.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to write {output.name} to; make it")
    if output.resolve() == store.resolve():
        raise DataError(f"{output} is that of the features as well; name a model file, such as lisi.h5")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"nothing may be written to {folder}; choose another place for {output.name}")
    if store.exists() and not store.is_dir():
        raise DataError(f"{store} is a file; the features need a folder: name another store")
    if output.resolve() in {path.resolve() for source in sources for path in source.paths()}:
        raise DataError(f"{output} is one of the data files and would be overwritten; choose another name")
    return store


def earlier_model(output: Path, origin: Mapping[str, Any], observed: Observed, repulsion: bool) -> Model | None:
    """The model that is there, where the same data and settings made it; None where nothing is there.

    origin: what a run is about to record, see `provenance.origin_of`.
    Raises DataError, with what differs, for a model that others made, and for what is no model.
    """
    if not output.exists():
        return None
    try:
        model = load_model(output)
    except ModelFileError as error:
        raise DataError(f"{output} is there, and is no model; {REPLACE} ({error})") from error
    now = json.loads(json.dumps(origin))
    then = {name: model.provenance.get(name) for name in {**now, "prior": None}}
    settings = then.pop("settings") or {}
    differences = [f"other {name}" for name in then if then[name] != now.get(name)]
    differences += observed.differences(model)
    differences += ["other repulsion"] * (repulsion != (model.term(PairRepulsion) is not None))
    for name in [name for name in {**now["settings"], **settings} if settings.get(name) != now["settings"].get(name)]:
        differences.append(f"{name} {settings.get(name)}, now {now['settings'].get(name)}")
    if differences:
        raise DataError(f"{output} is there, made otherwise ({'; '.join(differences)}); {REPLACE}")
    return model


def check_references(sources: Sequence[Source], settings: Settings) -> None:
    """Formation energies are relative to the elements already: the fit must not take these away once more."""
    for source in sources:
        if settings.references is not None and source.energies == FORMATION and not source.references:
            raise DataError(
                f"the fit has references, and source {source.name!r} has formation energies without: give it the same"
                " references, which turn them into total energies"
            )


def group_numbers(frames: Sequence[Frame], settings: Settings) -> np.ndarray:
    """0..G-1 in the order of the groups' names, (n,)."""
    groups = np.unique([frame.group for frame in frames], return_inverse=True)[1]
    own = np.unique([frame.group for frame in frames if frame.zero == frames[0].zero]).tolist()
    needed = trainer(settings.method).fewest_groups
    if len(own) < needed:
        raise DataError(
            f"frames of the source {frames[0].zero!r} belong to {len(own)} group{'s' * (len(own) > 1)}"
            f" ({', '.join(map(repr, map(str, own)))}), the method {settings.method} needs {needed}: nothing could be"
            " held out to validate the fit, nor groups drawn for members; add data of other groups, choose a group key"
            f" that tells trajectories apart, or {NO_GROUPS!r} to treat every frame as its own group"
        )
    return np.asarray(groups)


def warn_of_seen(prior: Model, files: Sequence[Mapping[str, str]], frames: Sequence[Frame]) -> None:
    """A prior that was trained on these very structures has seen groups that are held out."""
    seen, digests = seen_structures(prior), {entry["sha256"] for entry in files}
    known = [frame.name for frame in seen.holds(frames)]
    if digests & seen_files(prior) and not known:
        known = [frame.name for frame in frames]
    if known:
        warn(
            f"the prior model was trained on {len(known)} of these {len(frames)} structures as well, such as"
            f" {known[0]}: held-out errors will look too good",
            stacklevel=3,
        )
