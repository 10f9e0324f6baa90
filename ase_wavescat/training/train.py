"""From labelled structures to a model file."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import ase
import h5py
import numpy as np
import scipy

import ase_wavescat
from ase_wavescat.ensemble import Calibration, Domain, Ensemble
from ase_wavescat.errors import DataError
from ase_wavescat.model_file import save_model
from ase_wavescat.repulsion import PairRepulsion
from ase_wavescat.scattering.moduli import measure_softening
from ase_wavescat.scattering.neighbours import neighbour_pairs
from ase_wavescat.scattering.presets import preset
from ase_wavescat.scattering.spec import Moduli, ScatteringSpec
from ase_wavescat.scattering.transform import Transform
from ase_wavescat.training.contacts import Contacts, close_contacts
from ase_wavescat.training.dataset import NO_GROUPS, Frame, read_frames
from ase_wavescat.training.fit import Fit, LabelWeights, Observation, Statistics, measure
from ase_wavescat.training.store import FeatureStore
from ase_wavescat.training.validation import (
    CrossValidation,
    assign_folds,
    bootstrap,
    collect_metrics,
    cross_validate,
    format_metrics,
)

ENERGY_WEIGHT, FORCE_WEIGHT, STRESS_WEIGHT = 300.0, 10.0, 600.0
STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-10, -1))
MEMBERS_PER_FOLD = 8
SOFTENING_FRAMES = 32
Penalty = Callable[[Statistics, LabelWeights, Sequence[str]], np.ndarray]


class Observations(Sequence[Observation]):
    """Frames as the fit sees them, read from the store one at a time; labels less the pair repulsion."""

    def __init__(self, frames: Sequence[Frame], store: FeatureStore, repulsion: PairRepulsion | None) -> None:
        self.frames, self.store, self.repulsion = frames, store, repulsion

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Observations(self.frames[index], self.store, self.repulsion)
        frame = self.frames[index]
        rows = self.store.load(frame)
        energy, gradient, strain = 0.0, np.zeros((len(frame), 3)), np.zeros((3, 3))
        if self.repulsion is not None:
            structure = frame.cell, frame.positions, frame.numbers, frame.pbc
            energy, gradient, strain = self.repulsion.evaluate(*structure)
        observation = Observation(frame.count(self.store.spec.species), rows.features, frame.energy - energy)
        if frame.forces is not None:
            forces = (frame.forces + gradient).ravel()
            forces = forces if rows.directions is None else rows.directions @ forces
            observation = replace(observation, force_rows=rows.forces, forces=forces)
        if frame.stress is not None and rows.strain is not None:
            voigt = strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            observation = replace(
                observation, stress_rows=rows.strain / frame.volume, stress=frame.stress - voigt / frame.volume
            )
        return observation


@dataclass(frozen=True)
class Settings:
    """What a training run was asked for; written into the model.

    group_key: see `read_frames`.
    energy_weight (atoms/eV), force_weight (A/eV), stress_weight (A^3/eV): one over the error expected of one label;
        every force component and every stress component is one label.
    members: bootstrap members;  folds: of the cross-validation (as many as groups when there are fewer).
    directions: None for all force rows, k for k random directions a frame.
    strengths: of the prior, tried by cross-validation;  seed: of folds and bootstraps.
    """

    group_key: str = "group"
    energy_weight: float = ENERGY_WEIGHT
    force_weight: float = FORCE_WEIGHT
    stress_weight: float = STRESS_WEIGHT
    members: int = 20
    folds: int = 5
    directions: int | None = None
    strengths: tuple[float, ...] = STRENGTHS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"a model needs at least one member, got members = {self.members}")
        if self.folds < 2:
            raise ValueError(f"cross-validation needs at least two folds, got folds = {self.folds}")
        if self.directions is not None and self.directions < 1:
            raise ValueError(f"directions must be at least 1, or None for all force rows, got {self.directions}")
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(f"strengths must be positive numbers, got {self.strengths}")
        _ = self.weights  # refused before any work is done

    @property
    def weights(self) -> LabelWeights:
        return LabelWeights(self.energy_weight, self.force_weight, self.stress_weight)


def train(
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    spec: ScatteringSpec | str = "correlations",
    *,
    keys: Sequence[str] | None = None,
    store: str | Path | None = None,
    repulsion: bool = True,
    penalty: Penalty | None = None,
    workers: int | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Ensemble:
    """Train a model on labelled structures and write it to `output`.

    data: extended XYZ files (plain, .gz, .xz, .bz2) and ASE databases, see `read_frames`. Molecules, wires and slabs
        (pbc False along some directions) and crystals may be mixed.
    spec: a specification, or the name of a preset, made for the species found in the data. A softening of moduli that
        has no root mean squares yet is measured on the data.
    keys: the features to use (default: all of the spec).
    store: folder that keeps the features (default: `output` with the suffix .features); a run that was stopped goes on
        from there, and another fit with the same spec needs no new features.
    repulsion: subtract a short-range pair repulsion before the fit; the model adds it again. The fit is taught by close
        contacts (`training.contacts`) to leave short distances to it.
    penalty: (statistics, weights, keys) -> positive numbers (F,), in place of `prior_scale`.
    workers: processes for the features (default: all cores).
    provenance: what the model card says of the data: label source, citation, licence ...; joined by what is known here.
    progress: show what is going on.
    settings: fields of `Settings`: group_key, energy_weight, force_weight, stress_weight, members, folds, directions,
        strengths, seed.

    The model's members are the fit to all groups plus the deviations of bootstrap fits (groups drawn with replacement)
    from their own mean: so the mean of the members is the very fit whose kind was cross-validated.

    Raises DataError for data that cannot be used, StoreInUseError, SpecError, ValueError for settings out of range.
    """
    chosen = Settings(**settings)
    say = print if progress else _silent
    paths = [Path(p) for p in ([data] if isinstance(data, (str, Path)) else data)]
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.absolute().parent} to write {output.name} to; make it")
    frames = read_frames(paths, chosen.group_key)
    groups = _group_numbers(frames, chosen.group_key)
    if isinstance(spec, str):
        spec = preset(spec, sorted({int(z) for frame in frames for z in frame.numbers}))
    spec = _with_softening(spec, frames)
    features = FeatureStore(store or output.with_suffix(".features"), spec, keys, chosen.directions)
    say(
        f"{len(frames)} frames in {groups.max() + 1} groups, {len(features.keys)} features;{_missing(frames)}"
        f" features are kept in {features.root}"
    )
    features.fill(frames, workers, progress)

    observations = Observations(frames, features, PairRepulsion.from_species(spec.species) if repulsion else None)
    statistics = measure(observations)
    prior = None if penalty is None else penalty(statistics, chosen.weights, features.keys)
    contacts = _contacts(observations)
    fit = Fit(observations, groups, chosen.weights, statistics, prior, contacts)
    folds = assign_folds(groups, min(chosen.folds, groups.max() + 1), chosen.seed)
    validation = cross_validate(fit, folds, chosen.strengths, MEMBERS_PER_FOLD, chosen.seed)
    metrics = collect_metrics(frames, validation, spec.species)
    say(format_metrics(metrics))
    origin = _provenance(paths, frames, groups, chosen, metrics, features, provenance)
    ensemble = _ensemble(observations, fit, validation, chosen, origin)
    save_model(output, ensemble)
    say(f"model: {output}\nfeatures, to be used again or deleted: {features.root}")
    return ensemble


def _silent(text: str) -> None:
    pass


def _group_numbers(frames: Sequence[Frame], group_key: str) -> np.ndarray:
    """0..G-1 in the order of the groups' names, (n,)."""
    names, groups = np.unique([frame.group for frame in frames], return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"all {len(frames)} frames belong to one group ({group_key} = {str(names[0])!r}): nothing could be held out"
            " to validate the fit, nor groups drawn for members; add data of other groups, choose a group key that"
            f" tells trajectories apart, or {NO_GROUPS!r} to treat every frame as its own group"
        )
    return np.asarray(groups)


def _with_softening(spec: ScatteringSpec, frames: Sequence[Frame]) -> ScatteringSpec:
    """Maps that are softened but not yet measured get their root mean square from some frames, evenly chosen.

    From fully periodic ones where there are any: vacuum thins the others.
    """
    if not any(isinstance(f, Moduli) and f.softening > 0 and not f.softening_rms for f in spec.families):
        return spec
    dense = [frame for frame in frames if all(frame.pbc)] or frames
    chosen = dense[:: -(-len(dense) // SOFTENING_FRAMES)]
    gap = spec.beta * 2.0 ** max(spec.scales)  # about as wide as the widest maps
    return measure_softening(spec, [(frame.periodic_cell(gap), frame.positions, frame.numbers) for frame in chosen])


def _contacts(observations: Observations) -> Contacts | None:
    """Rows that leave short distances to the repulsion, where there is one."""
    if observations.repulsion is None:
        return None
    spec = observations.store.spec
    transform = Transform(spec, observations.store.keys)
    closest = _closest(observations.frames, spec.species)
    return close_contacts(transform, observations.frames, closest, observations.repulsion)


def _missing(frames: Sequence[Frame]) -> str:
    """Says how many frames lack forces or stress, and how many have open directions and so no stress to use."""
    counts = {name: sum(getattr(frame, name) is None for frame in frames) for name in ("forces", "stress")}
    missing = "".join(f" {count} without {name};" for name, count in counts.items() if count)
    open_frames = sum(not all(frame.pbc) for frame in frames)
    return missing + (f" {open_frames} with open directions, whose stress is not used;" if open_frames else "")


def _ensemble(
    observations: Observations, fit: Fit, validation: CrossValidation, settings: Settings, provenance: dict[str, Any]
) -> Ensemble:
    weights, energies = _members(fit, validation.strength, settings)
    spec = observations.store.spec
    ensemble = Ensemble(
        spec=spec,
        keys=observations.store.keys,
        weights=weights,
        species_energies=energies,
        repulsion=observations.repulsion,
        domain=_domain(observations, spec.species),
        provenance=provenance,
    )
    force_scale = validation.force_scale * _truncation(observations, ensemble)
    return replace(ensemble, calibration=Calibration(validation.energy_scale, force_scale))


def _members(fit: Fit, strength: float, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Weights (M, F) and species energies (M, S)."""
    groups = int(fit.groups.max()) + 1
    everything = np.ones((1, groups), dtype=int)
    if settings.members == 1:
        solution = fit.solve(everything, [strength])
        return solution.weights, solution.species_energies
    rng = np.random.default_rng([settings.seed, 1])
    draws = bootstrap(np.arange(groups), groups, settings.members, rng)
    solution = fit.solve(np.concatenate([everything, draws]), [strength])
    return tuple(part[0] + part[1:] - part[1:].mean(axis=0) for part in (solution.weights, solution.species_energies))


def _truncation(observations: Observations, ensemble: Ensemble) -> float:
    """Force spread of all members over that of the components the model keeps, root mean square over the data."""
    if ensemble.members == 1:
        return 1.0
    centred = ensemble.weights - ensemble.mean_weights
    kept = ensemble.force_components.weights
    full = part = 0.0
    for frame in observations:
        if frame.force_rows is not None:
            full += float(np.sum((frame.force_rows @ centred.T) ** 2)) / (ensemble.members - 1)
            part += float(np.sum((frame.force_rows @ kept.T) ** 2))
    return float(np.sqrt(full / part)) if part > 0 else 1.0


def _domain(observations: Observations, species: Sequence[int]) -> Domain:
    per_atom = np.array([o.features / o.atoms for o in observations])
    fractions = np.array([frame.count(species) / len(frame) for frame in observations.frames])
    return Domain(
        minimum=per_atom.min(axis=0),
        maximum=per_atom.max(axis=0),
        mean=per_atom.mean(axis=0),
        std=per_atom.std(axis=0),
        fractions={z: (float(x.min()), float(x.max())) for z, x in zip(species, fractions.T, strict=True)},
        closest=_closest(observations.frames, species),
    )


def _closest(frames: Sequence[Frame], species: Sequence[int], cutoff: float = 4.0) -> dict[tuple[int, int], float]:
    """Shortest distance of each pair of species within the cutoff, A; pairs never that close are left out."""
    closest = dict.fromkeys(combinations_with_replacement(sorted(species), 2), np.inf)
    for frame in frames:
        first, second, vectors = neighbour_pairs(frame.periodic_cell(cutoff), frame.positions, cutoff)
        distances = np.linalg.norm(vectors, axis=1)
        pairs = np.sort([frame.numbers[first], frame.numbers[second]], axis=0)
        for pair in closest:
            mine = distances[(pairs[0] == pair[0]) & (pairs[1] == pair[1])]
            closest[pair] = min(closest[pair], float(mine.min(initial=np.inf)))
    return {pair: distance for pair, distance in closest.items() if np.isfinite(distance)}


def _provenance(
    paths: Sequence[Path], frames: Sequence[Frame], groups: np.ndarray, settings: Settings, metrics: dict[str, Any],
    store: FeatureStore, given: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    folds = min(settings.folds, int(groups.max()) + 1)
    files = [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths]
    return {
        **(given or {}),
        "data": files,
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
        "settings": {**vars(settings), "strengths": list(settings.strengths), "directions": store.directions},
        "metrics": {"folds": folds, **metrics},
    }  # fmt: skip
