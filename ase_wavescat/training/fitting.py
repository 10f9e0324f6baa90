"""From labelled structures to a model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.held_out_errors import format_metrics
from ase_wavescat.potentials.model import Model
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.system.errors import DataError
from ase_wavescat.system.progress import steps_shown
from ase_wavescat.training.checks import check_places, check_references, earlier_model, group_numbers, warn_of_seen
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.data.sources import Source, read_sources
from ase_wavescat.training.groups import assign_folds
from ase_wavescat.training.methods import trainer
from ase_wavescat.training.network.plan import NetworkPlan
from ase_wavescat.training.provenance import data_files, origin_of, provenance_of
from ase_wavescat.training.settings import STRENGTHS, STRENGTHS_TOWARDS_A_MODEL, Settings, refuse_unused
from ase_wavescat.training.trainer import Penalty, Problem, Request
from ase_wavescat.training.validation import collect_metrics


def train(
    data: str | Path | Source | Sequence[str | Path] | Sequence[Source],
    output: str | Path,
    spec: ScatteringSpec | str | Callable[[Sequence[int]], ScatteringSpec] | None = None,
    *,
    keys: Sequence[str] | None = None,
    store: str | Path | None = None,
    repulsion: bool = True,
    penalty: Penalty | None = None,
    prior: str | Path | Model | None = None,
    network: NetworkPlan | None = None,
    workers: int | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = True,
    progress: bool = True,
    **settings: Any,
) -> Model:
    """Train a model on labelled structures and write it to `output`.

    The members of methods ridge and sparse are the fit to all groups plus the deviations of bootstrap fits (groups
    drawn with replacement) from their own mean: so the mean of the members is the very fit whose kind was
    cross-validated.

    Args:
        data: Extended XYZ files (plain, .gz, .xz, .bz2), ASE databases, folders and globs of them; or label sources,
            see `Source`. Molecules, wires and slabs (pbc False along some directions) and crystals may be mixed. The
            model predicts energies of the first source, and its errors are those on all labels that have its zero of
            energy.
        output: Model file to write.
        spec: A specification, or the name of a preset or a function of atomic numbers, to be made for the species of
            the frames; by default that of the prior model, or the preset correlations. A softening of moduli that has
            no root mean squares yet is measured on the data.
        keys: The features to use (default: all of the spec).
        store: Folder that keeps the features (default: `output` with the suffix .features); a run that was stopped
            goes on from there, and another fit with the same spec needs no new features. Of networks: the checkpoints
            (.checkpoints), which are deleted when the model is written.
        repulsion: Subtract a short-range pair repulsion before the fit; the model adds it again. The fit is taught by
            close contacts to leave short distances to it.
        penalty: (statistics, label weights, keys) -> positive numbers (F,): what the prior charges for each feature.
        prior: A model of the same features, from many cheap labels, say: the penalty then draws the weights towards
            its, not towards zero (method ridge).
        network: With method network, what the network is and how it is trained (default: that of two orders); it has
            no features, so that spec, keys and penalty are not for it.
        workers: Processes for the features (default: all cores).
        provenance: What the model card says of the data: label source, citation, licence ...; joined by what is known
            here.
        overwrite: Replace a model that is there. False: one of the same data and settings is kept, and what anything
            else made is refused, before any feature is computed.
        progress: Show what is going on.
        **settings: Fields of `Settings`: method, group_key, energy_weight, force_weight, stress_weight, members ...

    Returns:
        The model, as it is in the file.

    Raises:
        DataError: For data that cannot be used.
        DiskSpaceError: Where there is no room for the features.
        FileWriteError: Where nothing may be written.
        SpecError: For features that make no sense.
        ValueError: For settings out of range.
    """
    refuse_unused(settings.get("method", "ridge"), settings)
    chosen = Settings(**settings)
    method = trainer(chosen.method)
    say = print if progress else _silent
    output, sources = Path(output), _sources(data, chosen.group_key)
    folder = check_places(output, store, sources, method.keeps)
    check_references(sources, chosen)
    known = _prior(prior, chosen)
    if known is not None and chosen.strengths == STRENGTHS:
        chosen = replace(chosen, strengths=STRENGTHS_TOWARDS_A_MODEL)
    frames = read_sources(sources)
    groups = group_numbers(frames, chosen)
    observed = method.observe(Request(folder, spec, keys, known, network, repulsion), frames, chosen)
    files = data_files(sources)
    origin = origin_of(sources, files, chosen, observed, known, provenance)
    if not overwrite and (earlier := earlier_model(output, origin, observed, repulsion)) is not None:
        say(f"model: {output} is there already, of the same data and settings; it is kept")
        return earlier
    if known is not None:
        warn_of_seen(known, files, frames)
    say(f"{len(frames)} frames in {groups.max() + 1} groups;{_missing(frames)} {observed.told}")
    observed.fill(workers, progress)
    judged = observed.targets
    fold = assign_folds(groups, min(chosen.folds, len(np.unique(groups[judged]))), chosen.seed, judged)
    problem = Problem(observed, groups, fold, judged, penalty, progress)
    with steps_shown(progress):
        trained = method.train(problem, chosen)
    metrics = collect_metrics(trained.frames, trained.validation, observed.species)
    metrics |= {"folds": int(fold.max()) + 1, **trained.curves}
    say(format_metrics(metrics))
    model = replace(trained.model, provenance=provenance_of(origin, frames, groups, metrics, known))
    save_model(output, model)
    say("\n".join([f"model: {output}", *filter(None, [observed.leave()])]))
    return model


def _silent(text: str) -> None:
    pass


def _sources(data: Any, group_key: str) -> list[Source]:
    """One source of files, or those that were given."""
    given = [data] if isinstance(data, (str, Path, Source)) else list(data)
    sources = [item for item in given if isinstance(item, Source)]
    files = tuple(item for item in given if not isinstance(item, Source))
    if sources and files:
        raise DataError(f"files and label sources are mixed; wrap the files: Source({str(files[0])!r}, name=...)")
    return sources or [Source(files, group_key=group_key)]


def _prior(prior: str | Path | Model | None, settings: Settings) -> Model | None:
    if prior is None:
        return None
    if not trainer(settings.method).takes_prior:
        raise DataError(f"the method {settings.method} takes no prior model; leave it out")
    return prior if isinstance(prior, Model) else load_model(Path(prior))


def _missing(frames: Sequence[Frame]) -> str:
    """Says how many frames lack forces or stress, and how many have open directions and so no stress to use."""
    counts = {name: sum(getattr(frame, name) is None for frame in frames) for name in ("forces", "stress")}
    missing = "".join(f" {count} without {name};" for name, count in counts.items() if count)
    open_frames = sum(not all(frame.pbc) for frame in frames)
    return missing + (f" {open_frames} with open directions, whose stress is not used;" if open_frames else "")
