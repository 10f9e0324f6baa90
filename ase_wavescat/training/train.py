"""From labelled structures to a model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.linear import FeatureRanges, LinearPotential
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.system.errors import DataError
from ase_wavescat.system.progress import steps_shown
from ase_wavescat.training.checks import check_places, check_references, earlier_model, group_numbers, warn_of_seen
from ase_wavescat.training.data.contacts import Contacts, close_contacts
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.data.sources import Source, read_sources
from ase_wavescat.training.data.surroundings import collect_environments
from ase_wavescat.training.linear.least_squares import Fit, LabelWeights, Statistics, measure
from ase_wavescat.training.linear.prior import prior_scale
from ase_wavescat.training.linear.trainers import METHODS, Outcome, Problem
from ase_wavescat.training.linear.visibility import visible_features
from ase_wavescat.training.provenance import data_files, origin_of, provenance_of
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.rows.store import FeatureStore
from ase_wavescat.training.settings import STRENGTHS, STRENGTHS_TOWARDS_A_MODEL, Settings
from ase_wavescat.training.validation import assign_folds, collect_metrics, format_metrics

SOFTENING_FRAMES = 32
Penalty = Callable[[Statistics, LabelWeights, Sequence[str]], np.ndarray]


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
    workers: int | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = True,
    progress: bool = True,
    **settings: Any,
) -> Model:
    """Train a model on labelled structures and write it to `output`.

    data: extended XYZ files (plain, .gz, .xz, .bz2), ASE databases, folders and globs of them, see `read_frames`; or
        label sources, see `Source`. Molecules, wires and slabs (pbc False along some directions) and crystals may be
        mixed. The model predicts energies of the first source, and its errors are those on all labels that have its
        zero of energy.
    spec: a specification, or the name of a preset or a function of atomic numbers, to be made for the species of the
        frames; by default that of the prior model, or the preset correlations. A softening of moduli that has no root
        mean squares yet is measured on the data.
    keys: the features to use (default: all of the spec).
    store: folder that keeps the features (default: `output` with the suffix .features); a run that was stopped goes on
        from there, and another fit with the same spec needs no new features.
    repulsion: subtract a short-range pair repulsion before the fit; the model adds it again. The fit is taught by close
        contacts (`training.contacts`) to leave short distances to it.
    penalty: (statistics, weights, keys) -> positive numbers (F,), in place of `prior_scale`.
    prior: a model of the same features, from many cheap labels, say: the penalty then draws the weights towards its,
        not towards zero (method ridge).
    workers: processes for the features (default: all cores).
    provenance: what the model card says of the data: label source, citation, licence ...; joined by what is known here.
    overwrite: replace a model that is there. False: one of the same data and settings is kept, and what anything else
        made is refused, before any feature is computed.
    progress: show what is going on.
    settings: fields of `Settings`: method, group_key, energy_weight, force_weight, stress_weight, members ...

    The members of methods ridge and sparse are the fit to all groups plus the deviations of bootstrap fits (groups
    drawn with replacement) from their own mean: so the mean of the members is the very fit whose kind was
    cross-validated.

    Raises DataError for data that cannot be used, DiskSpaceError and FileWriteError where there is no room or nothing
    may be written, SpecError, ValueError for settings out of range.
    """
    chosen = Settings(**settings)
    say = print if progress else _silent
    output, sources = Path(output), _sources(data, chosen.group_key)
    folder = check_places(output, store, sources)
    check_references(sources, chosen)
    known = _prior(prior, chosen)
    if known is not None and chosen.strengths == STRENGTHS:
        chosen = replace(chosen, strengths=STRENGTHS_TOWARDS_A_MODEL)
    frames = read_sources(sources)
    groups = group_numbers(frames, chosen)
    spec = _specification(spec or (_linear(known).spec if known else "correlations"), frames)
    directions = 0 if chosen.method == "greedy" and chosen.directions is None else chosen.directions
    features = FeatureStore(folder, spec, keys, directions)
    towards, files = None, data_files(sources)
    origin = origin_of(sources, files, chosen, features, known, provenance)
    if not overwrite and (earlier := earlier_model(output, origin, spec, repulsion)) is not None:
        say(f"model: {output} is there already, of the same data and settings; it is kept")
        return earlier
    if known is not None:
        towards = prior_weights(known, features)
        warn_of_seen(known, files, frames)
    say(
        f"{len(frames)} frames in {groups.max() + 1} groups, {len(features.keys)} features;{_missing(frames)}"
        f" features are kept in {features.root}"
    )
    repel = PairRepulsion.from_species(spec.species) if repulsion else None
    observations = Observations(frames, features, repel, chosen.reference_energies, chosen.strong_force)
    features.fill(frames, workers, progress)
    problem = prepare(observations, groups, chosen, penalty, towards, progress)
    with steps_shown(progress):
        outcome = METHODS[chosen.method](problem, chosen)
    metrics = collect_metrics(problem.judged_frames, outcome.validation, spec.species)
    metrics |= {"folds": int(problem.fold.max()) + 1, **outcome.curves}
    say(format_metrics(metrics))
    model = _model(problem, outcome, provenance_of(origin, frames, groups, metrics, known))
    save_model(output, model)
    say(f"model: {output}\nfeatures, to be used again or deleted: {features.root}")
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
    if settings.method != "ridge":
        raise DataError(f"a prior model belongs to the method ridge, not to {settings.method}; leave it out")
    return prior if isinstance(prior, Model) else load_model(Path(prior))


def _linear(prior: Model) -> LinearPotential:
    """DataError for a prior model of another kind."""
    linear = prior.term(LinearPotential)
    if linear is None:
        raise DataError("the prior model has no linear potential, whose weights this method could be drawn to")
    return linear


def prior_weights(prior: Model, store: FeatureStore) -> np.ndarray:
    """Mean weights of a model for the features of a store, (F,), zero where the model has none."""
    linear = _linear(prior)
    if linear.spec != store.spec:
        raise DataError("the prior model has another specification: give none, and its own is taken")
    known = dict(zip(linear.keys, linear.mean_weights, strict=True))
    return np.array([known.get(key, 0.0) for key in store.keys])


def _specification(
    spec: ScatteringSpec | str | Callable[[Sequence[int]], ScatteringSpec], frames: Sequence[Frame]
) -> ScatteringSpec:
    if not isinstance(spec, ScatteringSpec):
        species = sorted({int(z) for frame in frames for z in frame.numbers})
        spec = preset(spec, species) if isinstance(spec, str) else spec(species)
    return _measured(spec, frames)


def prepare(
    observations: Observations, groups: np.ndarray, settings: Settings, penalty: Penalty | None,
    towards: np.ndarray | None, progress: bool,
) -> Problem:  # fmt: skip
    """Prices of the features, close contacts and folds: all that a method needs besides the settings."""
    statistics, keys = measure(observations), observations.store.keys
    statistics = replace(statistics, active=statistics.active & visible_features(keys, statistics.std))
    scale = (penalty or prior_scale)(statistics, settings.weights, keys)
    contacts = None if settings.method == "greedy" else _contacts(observations)
    fit = Fit(observations, groups, settings.weights, statistics, scale, contacts, towards, progress=progress)
    judged = observations.targets
    folds = min(settings.folds, len(np.unique(groups[judged])))
    return Problem(observations, fit, assign_folds(groups, folds, settings.seed, judged), judged)


def _measured(spec: ScatteringSpec, frames: Sequence[Frame]) -> ScatteringSpec:
    """What families take from data, the softening of moduli, they get from some frames, evenly chosen.

    From fully periodic ones where there are any: vacuum thins the others.
    """
    if not spec.unmeasured:
        return spec
    dense = [frame for frame in frames if all(frame.pbc)] or frames
    chosen = dense[:: -(-len(dense) // SOFTENING_FRAMES)]
    gap = spec.beta * 2.0 ** max(spec.scales)  # about as wide as the widest maps
    return spec.measured_on([frame.structure.padded(gap) for frame in chosen])


def _contacts(observations: Observations) -> Contacts | None:
    """Rows that leave short distances to the repulsion, where there is one."""
    if observations.repulsion is None:
        return None
    spec = observations.store.spec
    transform = Transform(spec, observations.store.keys)
    return close_contacts(transform, observations.frames, observations.closest, observations.repulsion)


def _missing(frames: Sequence[Frame]) -> str:
    """Says how many frames lack forces or stress, and how many have open directions and so no stress to use."""
    counts = {name: sum(getattr(frame, name) is None for frame in frames) for name in ("forces", "stress")}
    missing = "".join(f" {count} without {name};" for name, count in counts.items() if count)
    open_frames = sum(not all(frame.pbc) for frame in frames)
    return missing + (f" {open_frames} with open directions, whose stress is not used;" if open_frames else "")


def _model(problem: Problem, outcome: Outcome, provenance: dict[str, Any]) -> Model:
    observations, support = problem.observations, outcome.support
    spec, keys = observations.store.spec, observations.store.keys
    model = linear_model(
        spec=spec,
        keys=tuple(keys[i] for i in support),
        weights=outcome.weights,
        species_energies=observations.species_energies(outcome.energies),
        repulsion=observations.repulsion,
        ranges=_ranges(observations, support),
        domain=_domain(problem, outcome),
        provenance=provenance,
    )
    validation = outcome.validation
    force_scale = validation.force_scale * _truncation(observations, _linear(model), support)
    return replace(model, calibration=Calibration(validation.energy_scale, force_scale))


def _truncation(observations: Observations, potential: LinearPotential, support: np.ndarray) -> float:
    """Force spread of all members over that of the components the model keeps, root mean square over the data."""
    if potential.members == 1:
        return 1.0
    centred = potential.weights - potential.mean_weights
    kept = potential.force_components.weights
    full = part = 0.0
    for frame in observations:
        if frame.force_rows is not None:
            rows = frame.force_rows[:, support]
            full += float(np.sum((rows @ centred.T) ** 2)) / (potential.members - 1)
            part += float(np.sum((rows @ kept.T) ** 2))
    return float(np.sqrt(full / part)) if part > 0 else 1.0


def _ranges(observations: Observations, support: np.ndarray) -> FeatureRanges:
    per_atom = np.array([o.features[support] / o.atoms for o in observations])
    return FeatureRanges(per_atom.min(axis=0), per_atom.max(axis=0), per_atom.mean(axis=0), per_atom.std(axis=0))


def _domain(problem: Problem, outcome: Outcome) -> Domain:
    observations, frames = problem.observations, problem.observations.frames
    species = observations.store.spec.species
    fractions = np.array([frame.count(species) / len(frame) for frame in frames])
    return Domain(
        fractions={z: (float(x.min()), float(x.max())) for z, x in zip(species, fractions.T, strict=True)},
        closest=observations.closest,
        environments=collect_environments(frames, species, problem.fold[problem.fit.groups]),
        typical_spread=outcome.validation.typical_spread,
        periodic_only=all(all(frame.pbc) for frame in frames),
    )
