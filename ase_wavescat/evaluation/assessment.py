"""Errors of a model on labelled structures, and how they compare with the uncertainties it predicts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from tqdm import tqdm

from ase_wavescat.evaluation.reliability import Reliability, reliability
from ase_wavescat.io.structures import Paths, files_of, named
from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.each import for_each
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.file.search import find_model
from ase_wavescat.potentials.model import Model
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, StructureError, warn
from ase_wavescat.system.processes import cores
from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.frames import NO_GROUPS, Frame, MissingGroupError, Virial, read_frames
from ase_wavescat.training.provenance import seen_files, seen_structures
from ase_wavescat.training.validation import composition_bin

GROUP = "group"
"""The usual key of frames that belong together."""
CALIBRATION_GROUPS = 5
_FREE_ENERGIES = 3  # data beyond the offsets fitted, so that what is left says something
_OTHER_ZERO = 3.0  # times the errors around it: so large, a composition-linear error is a zero of energy
_SPEED_CALLS = 9


@dataclass(frozen=True)
class DataFile:
    """A file of labelled structures; trained_on: the model was fitted to this file, or to every structure in it."""

    name: str
    sha256: str
    trained_on: bool


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What a model says of one frame; None where the frame has no label to compare with.

    energy: eV, whole cell; forces (N, 3) eV/A; stress (6,) eV/A^3, Voigt, ASE's order and sign.
    energy_spread (eV), forces_spread (N, 3): calibrated standard deviations over the members.
    outside: kinds of departure from the training domain (composition, distance, features).
    """

    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    energy_spread: float
    forces_spread: np.ndarray | None
    outside: tuple[str, ...]


@dataclass(frozen=True)
class Deviation:
    """Predicted less labelled, over `count` data: mean absolute, root mean square, mean and largest absolute error."""

    count: int
    mae: float
    rmse: float
    mean: float
    largest: float

    @classmethod
    def of(cls, errors: np.ndarray) -> Deviation | None:
        """None where there are no data."""
        if not errors.size:
            return None
        size = np.abs(errors)
        return cls(
            errors.size, *(float(x) for x in (size.mean(), np.sqrt((size**2).mean()), errors.mean(), size.max()))
        )


@dataclass(frozen=True)
class Errors:
    """Of some frames: energies in eV/atom, components of forces in eV/A and of stresses in eV/A^3.

    shifted: of the energies after offsets linear in the composition are removed (`Assessment.offsets`).
    """

    frames: int
    groups: int
    energy: Deviation | None
    shifted: Deviation | None
    forces: Deviation | None
    stress: Deviation | None


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one call on a structure of `atoms` atoms, moved a little between calls, in this process."""

    atoms: int
    energy: float
    energy_forces_stress: float

    @property
    def per_atom(self) -> float:
        """Milliseconds an atom for energy, forces and stress."""
        return self.energy_forces_stress / self.atoms


@dataclass(frozen=True, eq=False)
class Assessment:
    """A model's predictions for labelled frames, and all that follows from them.

    name: the model's; files: where the frames come from, empty for frames given as such.
    """

    name: str
    model: Model
    files: tuple[DataFile, ...]
    frames: tuple[Frame, ...]
    results: tuple[FrameResult, ...]

    # ------------------------------------------------------------ energies

    @cached_property
    def atoms(self) -> np.ndarray:
        """(n,)."""
        return np.array([len(frame) for frame in self.frames], dtype=float)

    @cached_property
    def fractions(self) -> np.ndarray:
        """(n, S), in the order of the model's species."""
        species = self.model.species
        return np.array([frame.count(species) for frame in self.frames]) / self.atoms[:, None]

    @cached_property
    def labelled_energies(self) -> np.ndarray:
        """(n,) eV/atom."""
        return np.array([frame.energy for frame in self.frames]) / self.atoms

    @cached_property
    def energy_errors(self) -> np.ndarray:
        """Predicted less labelled, (n,) eV/atom."""
        return np.array([result.energy for result in self.results]) / self.atoms - self.labelled_energies

    @cached_property
    def offsets(self) -> dict[str, np.ndarray]:
        """For each label source the energies of the species, (S,) eV an atom, by which predictions are too high.

        Least squares of the errors per atom on the fractions: labels of another code have another zero of energy. A
        source with too few frames to tell an offset from an error has none.
        """
        sources = np.array([frame.source for frame in self.frames])
        offsets = {}
        for source in sorted(set(sources)):
            mine = sources == source
            offset, _, rank, _ = np.linalg.lstsq(self.fractions[mine], self.energy_errors[mine], rcond=1e-8)
            if np.count_nonzero(mine) >= rank + _FREE_ENERGIES:
                offsets[str(source)] = offset
        return offsets

    @cached_property
    def shifted_energy_errors(self) -> np.ndarray | None:
        """`energy_errors` less the offsets; None where a source has too few frames for them."""
        if any(frame.source not in self.offsets for frame in self.frames):
            return None
        shifts = np.array([self.offsets[frame.source] for frame in self.frames])
        return self.energy_errors - np.einsum("ns,ns->n", self.fractions, shifts)

    @property
    def has_other_zero(self) -> bool:
        """Whether the labels evidently have another zero of energy than the model.

        So it is where the offsets are, in root mean square, three times the errors around them.
        """
        left = self.shifted_energy_errors
        return left is not None and _rms(self.energy_errors - left) > _OTHER_ZERO * _rms(left)

    @property
    def comparable_energy_errors(self) -> np.ndarray:
        """Without the offsets where the labels have another zero, else as they are, (n,) eV/atom."""
        left = self.shifted_energy_errors
        return left if left is not None and self.has_other_zero else self.energy_errors

    # ------------------------------------------------------------ forces and stresses

    @cached_property
    def force_errors(self) -> tuple[np.ndarray | None, ...]:
        """Predicted less labelled of each frame, (N, 3) eV/A."""
        return tuple(_difference(r.forces, f.forces) for r, f in zip(self.results, self.frames, strict=True))

    @cached_property
    def stress_errors(self) -> tuple[np.ndarray | None, ...]:
        """Predicted less labelled of each frame, (6,) eV/A^3."""
        return tuple(_difference(r.stress, f.stress) for r, f in zip(self.results, self.frames, strict=True))

    # ------------------------------------------------------------ tables

    def errors(self, indices: Sequence[int] | np.ndarray | None = None) -> Errors:
        """Of the frames with these indices, by default of all."""
        chosen = np.arange(len(self.frames)) if indices is None else np.asarray(indices)
        shifted = self.shifted_energy_errors
        return Errors(
            frames=len(chosen),
            groups=len({self.frames[i].group for i in chosen}),
            energy=Deviation.of(self.energy_errors[chosen]),
            shifted=None if shifted is None else Deviation.of(shifted[chosen]),
            forces=Deviation.of(_joined(self.force_errors, chosen)),
            stress=Deviation.of(_joined(self.stress_errors, chosen)),
        )

    def errors_by(self, labels: Sequence[str]) -> dict[str, Errors]:
        """Of the frames that share a label, labels in order."""
        array = np.array(labels)
        return {str(label): self.errors(np.flatnonzero(array == label)) for label in sorted(set(labels))}

    @property
    def by_config_type(self) -> dict[str, Errors]:
        return self.errors_by([frame.config_type for frame in self.frames])

    @property
    def by_composition(self) -> dict[str, Errors]:
        """Bins of the fraction of each species but the last; empty for models of one species."""
        table: dict[str, Errors] = {}
        for number, fraction in list(zip(self.model.species, self.fractions.T, strict=True))[:-1]:
            bins = [f"{chemical_symbols[number]} {composition_bin(float(x))}" for x in fraction]
            table |= self.errors_by(bins)
        return table

    @property
    def by_domain(self) -> dict[str, Errors]:
        """Frames inside the training domain, and those outside by composition, distance or features."""
        kinds = sorted({kind for result in self.results for kind in result.outside})
        inside = [i for i, result in enumerate(self.results) if not result.outside]
        table = {"inside": self.errors(inside)} if inside else {}
        for kind in kinds:
            table[f"outside by {kind}"] = self.errors([i for i, r in enumerate(self.results) if kind in r.outside])
        return table

    def worst_energies(self, count: int = 10) -> list[int]:
        """Indices of the frames with the largest `comparable_energy_errors`, largest first."""
        return np.argsort(-np.abs(self.comparable_energy_errors), kind="stable")[:count].tolist()

    def worst_forces(self, count: int = 10) -> list[int]:
        """Indices of the frames with the largest root mean square force error, largest first."""
        sizes = np.array([-np.inf if error is None else _rms(error) for error in self.force_errors])
        order = np.argsort(-sizes, kind="stable")
        return order[np.isfinite(sizes[order])][:count].tolist()

    # ------------------------------------------------------------ uncertainties

    @cached_property
    def energy_reliability(self) -> Reliability | None:
        """Per atom, eV; of `comparable_energy_errors`. None for a single member or too few frames."""
        spreads = np.array([result.energy_spread for result in self.results]) / self.atoms
        groups = np.array([frame.group for frame in self.frames])
        return reliability(self.comparable_energy_errors, spreads, groups, self.model.calibration.energy_scale)

    @cached_property
    def force_reliability(self) -> Reliability | None:
        """Of the force components, eV/A; None likewise, and without forces."""
        chosen = [i for i, error in enumerate(self.force_errors) if error is not None]
        if not chosen:
            return None
        groups = np.concatenate([np.full(3 * len(self.frames[i]), self.frames[i].group, dtype=object) for i in chosen])
        spreads = _joined(tuple(result.forces_spread for result in self.results), chosen)
        scale = self.model.calibration.force_scale
        return reliability(_joined(self.force_errors, chosen), spreads, groups.astype(str), scale)

    def calibrated(self) -> Model:
        """The model with the scales of its uncertainties that these data ask for, recorded in its provenance.

        Raises DataError for data that cannot calibrate: see `check_calibration`; labels with another zero of energy;
        members without spread.
        """
        check_calibration(self.model, self.files, self.frames)
        if self.has_other_zero:
            raise DataError(
                "the labels have another zero of energy than the model, so that the errors of its energies are not"
                f" known: add to the labels, for each atom, {_offset_words(self)}, then calibrate"
            )
        energy, forces = self.energy_reliability, self.force_reliability
        if energy is None:
            raise DataError(f"the {self.model.members} members of the model have no spread that could be scaled")
        old = self.model.calibration
        new = Calibration(energy.scale, forces.scale if forces else energy.scale)
        record = {
            "data": [{"name": file.name, "sha256": file.sha256} for file in self.files],
            "frames": len(self.frames),
            "groups": self.errors().groups,
            "created": datetime.now(timezone.utc).date().isoformat(),
            "before": {"energy_scale": old.energy_scale, "force_scale": old.force_scale},
        }
        return replace(self.model, calibration=new, provenance={**self.model.provenance, "calibration": record})


# ---------------------------------------------------------------- from labels to an assessment


def evaluate(
    model: str | Path | Model,
    data: Paths | Sequence[Frame],
    *,
    group_key: str = GROUP,
    virial: Virial | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Assessment:
    """Predict labelled structures and compare.

    model: a path, a bundled name, or a Model.  data: files, folders, globs (see `files_of`), or frames.
    group_key, virial: info key of frames that belong together, and virials in place of stresses, see `read_frames`;
        where frames lack the usual group key, each is its own group, and a WaveScatWarning says so.
    workers: processes (default: all cores this process may use); the results do not depend on their number. More than
        one are started with the spawn method, so a script needs the usual `if __name__ == "__main__"`.

    Raises DataError for data that cannot be read, hold no frames or elements that the model does not know.
    """
    judged = model if isinstance(model, Model) else load_model(model)
    name = "in memory" if isinstance(model, Model) else find_model(model).name
    files, frames = read_data(judged, data, group_key, virial)
    results = predict(judged, frames, workers, progress)
    return Assessment(name, judged, files, tuple(frames), results)


def read_data(
    model: Model, data: Paths | Sequence[Frame], group_key: str = GROUP, virial: Virial | None = None,
    grouped: bool = False,
) -> tuple[tuple[DataFile, ...], list[Frame]]:  # fmt: skip
    """Files (none for frames given as such) and their frames, checked against the model's species.

    grouped: whether frames must have groups; else, where they lack the usual key, each is its own group, and a
        WaveScatWarning says so.
    Raises DataError.
    """
    given = [data] if isinstance(data, (str, Path)) else list(data)
    frames = [item for item in given if isinstance(item, Frame)]
    if frames and len(frames) < len(given):
        raise DataError("give either files or frames, not both at once")
    files = [] if frames else files_of([item for item in given if not isinstance(item, Frame)])
    try:
        frames = frames or read_frames(files, group_key, virial)
    except MissingGroupError:
        if grouped or group_key != GROUP:
            raise
        frames = read_frames(files, NO_GROUPS, virial)
        warn(
            f"not all frames have a {GROUP!r}: each is taken for a group of its own, so that frames of one trajectory"
            " count as independent in what is said of uncertainties; name the key of what belongs together (group_key)",
            stacklevel=3,
        )
    check_species(model, frames)
    known = seen_files(model)
    seen = trained_frames(model, frames)
    strangers = {frame.name.rpartition("#")[0] for frame in set(frames) - set(seen)}
    read, trained = [], set()
    for file, name in named(files):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        read.append(DataFile(file.name, digest, digest in known or name not in strangers))
        trained |= {name} if read[-1].trained_on else set()
    among = [frame for frame in seen if frame.name.rpartition("#")[0] not in trained]
    if among:
        warn(
            f"the model was trained on {len(among)} of these {len(frames)} structures, such as {among[0].name}, however"
            " they are written down: their errors are training errors; leave them out",
            stacklevel=3,
        )
    return tuple(read), frames


def trained_frames(model: Model, frames: Sequence[Frame]) -> list[Frame]:
    """Those whose structures the model was fitted to, as far as it knows."""
    return seen_structures(model).holds(frames)


def check_species(model: Model, frames: Sequence[Frame]) -> None:
    """DataError that names the frames with elements that the model does not know."""
    known = set(model.species)
    foreign = [frame for frame in frames if not known.issuperset(frame.numbers.tolist())]
    if foreign:
        elements = sorted({int(z) for frame in foreign for z in frame.numbers} - known)
        names = ", ".join(frame.name for frame in foreign[:10]) + (", ..." if len(foreign) > 10 else "")
        raise DataError(
            f"{len(foreign)} of {len(frames)} frames hold {_symbols(elements)}, which the model does not know (it knows"
            f" {_symbols(model.species)}): {names}; leave them out, or evaluate a model trained with these"
        )


def check_calibration(model: Model, files: Sequence[DataFile], frames: Sequence[Frame]) -> None:
    """DataError for data that cannot calibrate a model: its own training files, few groups, a single member."""
    trained = [file.name for file in files if file.trained_on]
    if trained:
        raise DataError(
            f"the model was trained on {', '.join(trained)}: errors there are too small to calibrate its uncertainties;"
            " give data that it has not seen"
        )
    seen = trained_frames(model, frames)
    if seen:
        raise DataError(
            f"the model was trained on {len(seen)} of these {len(frames)} structures, such as {seen[0].name}: errors"
            " there are too small to calibrate its uncertainties; leave them out"
        )
    groups = len({frame.group for frame in frames})
    if groups < CALIBRATION_GROUPS:
        raise DataError(
            f"a calibration needs at least {CALIBRATION_GROUPS} groups of frames, the data hold {groups}; give more"
            " melts or trajectories, or another group key"
        )
    if model.members < 2:
        raise DataError("a model of one member has no spread to calibrate; train it with more members")


def predict(
    model: Model, frames: Sequence[Frame], workers: int | None = None, progress: bool = True
) -> tuple[FrameResult, ...]:
    """The model's results for frames, in their order; see `evaluate`. Raises DataError naming the frame."""
    count = min(workers or cores(), len(frames))
    with tqdm(total=len(frames), unit="frame", desc="predictions", disable=hidden(progress)) as bar:
        results = []
        for result in for_each(model, _result, frames, count):
            results.append(result)
            bar.update()
    return tuple(results)


def _result(model: Model, frame: Frame) -> FrameResult:
    try:
        prediction = model.predict(frame.structure)
    except StructureError as error:
        raise DataError(f"{frame.name} cannot be predicted: {error}") from error
    forces = stress = forces_spread = None
    if frame.forces is not None:
        forces = -prediction.gradient
        forces_spread = prediction.forces_uncertainty
    if frame.stress is not None:
        stress = full_3x3_to_voigt_6_stress(prediction.strain_gradient / frame.volume)
    outside = tuple(prediction.domain_messages)
    return FrameResult(prediction.energy, forces, stress, prediction.energy_uncertainty, forces_spread, outside)


def measure_speed(model: Model, frames: Sequence[Frame]) -> Speed:
    """Median times on the frame of median size; what only a first call needs is not counted."""
    frame = sorted(frames, key=len)[len(frames) // 2]
    rng = np.random.default_rng(0)
    times: list[tuple[float, float]] = []
    for _ in range(_SPEED_CALLS + 2):
        positions = frame.positions + rng.normal(scale=1e-3, size=frame.positions.shape)
        start = time.perf_counter()
        prediction = model.predict(Structure(frame.cell, positions, frame.numbers, frame.pbc))
        _ = prediction.energy
        middle = time.perf_counter()
        _ = prediction.gradient
        times.append((middle - start, time.perf_counter() - start))
    energy, everything = 1e3 * np.median(times[2:], axis=0)
    return Speed(len(frame), float(energy), float(everything))


# ---------------------------------------------------------------- small things


def _difference(predicted: np.ndarray | None, labelled: np.ndarray | None) -> np.ndarray | None:
    return None if predicted is None or labelled is None else predicted - labelled


def _joined(parts: Sequence[np.ndarray | None], chosen: Sequence[int] | np.ndarray) -> np.ndarray:
    """All components of the chosen parts that are there, in one array."""
    there = [part.ravel() for part in (parts[i] for i in chosen) if part is not None]
    return np.concatenate(there) if there else np.empty(0)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)


def _offset_words(assessment: Assessment) -> str:
    species = assessment.model.species
    return "; ".join(
        f"{source}: " + ", ".join(f"{chemical_symbols[z]} {e:+.4f} eV" for z, e in zip(species, offset, strict=True))
        for source, offset in assessment.offsets.items()
    )
