"""Feature rows of many frames, computed on all cores and kept on disk so that a stopped run resumes.

A store is a folder. Each combination of specification, features and kind of rows has its own subfolder, named by a
hash of all of these; in it each frame has its own HDF5 file, named by a hash of the structure. A file is written under
another name and renamed when it is complete, so whatever bears its final name is whole: killing a run at any moment
loses the frames in flight and nothing else. A checksum tells what a disk made of it later. Workers write their own
frames, so that no rows travel between processes; one run at a time writes to a subfolder, others wait for it. Writing
or reading a file takes a few milliseconds, far less than computing the rows in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm import tqdm

from ase_wavescat.potentials.file.bytes import damage_of, hdf5_file, seal
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.strains import unit_strains
from ase_wavescat.representation.transform import Transform
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import DataError, StructureError, WaveScatError, warn
from ase_wavescat.system.locks import waited_for
from ase_wavescat.system.processes import cores, end_with_parent, worker_pool
from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.frames import Frame

LAYOUT_VERSION = 1
DEFAULT_DIRECTIONS = 16
_FILE_OVERHEAD = 4096  # bytes of a file that are not rows: HDF5's own, and what is lost to whole blocks
_PENDING = 4  # frames a worker that are handed over and not yet done
_TIMED_FROM = 16  # fewer frames are about what a timing would take
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
Job = tuple[Frame, Path]
Submit = Callable[[Sequence[Job]], "Future[list[float]]"]


class DiskSpaceError(WaveScatError, OSError):
    """The disk has no room for the rows of a run."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What a linear model predicts for one frame is `rows @ weights`.

    features (F,): phi; energy = features @ w.
    forces (R, F): -dphi along the R directions; None for a frame without derivatives.
    strain (6, F): dphi/dstrain, Voigt; stress = strain @ w / volume; None likewise.
    directions (R, 3N): unit vectors that the force rows belong to; None where they are all 3N Cartesian ones.
    """

    features: np.ndarray
    forces: np.ndarray | None = None
    strain: np.ndarray | None = None
    directions: np.ndarray | None = None


@dataclass(frozen=True)
class Estimate:
    """What computing rows takes: frames still missing, of how many; features; bytes on disk; seconds; processes."""

    missing: int
    frames: int
    features: int
    bytes: int
    seconds: float
    workers: int

    def __str__(self) -> str:
        """As "8,880 frames, 3740 features: 0.27 GB, about 12 minutes on 2 processes"."""
        frames = (
            f"{self.frames:,} frames" if self.missing == self.frames else f"{self.missing:,} of {self.frames:,} frames"
        )
        processes = "1 process" if self.workers == 1 else f"{self.workers} processes"
        return (
            f"{frames}, {self.features} features: {_size(self.bytes)}, about {_duration(self.seconds)} on {processes}"
        )


class FeatureStore:
    """The rows of frames for one specification.

    folder: created when missing.  keys: the features (default: all of the spec).
    directions: None for all 3N force rows where the family has a Jacobian pass (else 16 random ones); k for k random
    unit directions a frame, drawn from a generator seeded by the structure; 0 for energies only, whatever the labels.
    """

    def __init__(
        self, folder: str | Path, spec: ScatteringSpec, keys: Sequence[str] | None = None, directions: int | None = None
    ) -> None:
        self.spec = spec
        self.keys = tuple(spec.keys if keys is None else keys)
        self._transform = Transform(spec, self.keys)
        if directions is None and not self._transform.has_jacobian:
            directions = DEFAULT_DIRECTIONS
        self.directions = directions
        self.root = Path(folder)
        self._identity = {
            "layout": LAYOUT_VERSION,
            "spec": spec.to_dict(),
            "keys": list(self.keys),
            "directions": directions,
        }
        self.folder = self.root / _digest(json.dumps(self._identity, sort_keys=True).encode())[:24]

    def path(self, frame: Frame) -> Path:
        """Where the rows of a frame are, or will be."""
        geometry = (np.asarray(a, dtype=float).tobytes() for a in (frame.cell, frame.positions, frame.numbers))
        boundaries = [] if all(frame.pbc) else [np.asarray(frame.pbc, dtype=bool).tobytes()]
        kind = b"derivatives" if _has_derivatives(frame, self.directions) else b""
        return self.folder / (_digest(*geometry, *boundaries, kind) + ".h5")

    def fill(self, frames: Sequence[Frame], workers: int | None = None, progress: bool = True) -> int:
        """Compute what is missing; the number of frames computed.

        workers: processes (default: all cores this process may use); 1 computes in this one. Other numbers start
        processes with the spawn method, so a script that calls this needs the usual `if __name__ == "__main__"`.
        progress: show what the run will take (an `Estimate`, from frames of median and largest size, which are
        computed first), then a bar.

        While another process writes rows of this kind here, this one waits, with a warning, and computes what is
        missing then.

        Raises DiskSpaceError before any work when the disk has no room for the rows, FileWriteError where one cannot be
        written, DataError for a frame that cannot be transformed or for stored rows that the present code does not
        reproduce.
        """
        wanted = {self.path(frame): frame for frame in frames}
        stored = [frame for path, frame in wanted.items() if self._is_stored(path, frame)]
        self._check_stored(stored)
        if len(stored) == len(wanted):
            return 0
        make_folder(self.folder)
        with waited_for(self.folder / "lock.sqlite", self._say_waiting):
            self._prepare()
            # Large frames first, so that no worker is left alone with one at the end.
            missing = [(frame, path) for path, frame in wanted.items() if not self._is_stored(path, frame)]
            missing.sort(key=lambda job: len(job[0]), reverse=True)
            self._check_room(missing)
            self._compute(missing, len(wanted), max(1, min(workers or cores(), len(missing))), progress)
        return len(missing)

    def load(self, frame: Frame) -> Rows:
        """The stored rows of a frame; DataError when they are not there, or damaged."""
        path = self.path(frame)
        try:
            rows = _read(path)
            self._check_shapes(rows, frame)
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:  # damage shows in any of h5py's
            raise self._unusable(frame, error) from error
        return rows

    def load_features(self, frame: Frame) -> np.ndarray:
        """The features alone, (F,), a thousandth of the rows of a frame with derivatives; DataError as `load`.

        Their checksum is that of the whole file, which `load` looks at.
        """
        if not _has_derivatives(frame, self.directions):
            return self.load(frame).features
        path = self.path(frame)
        try:
            with h5py.File(path, "r") as file:
                features = np.asarray(file["features"][()])
            if features.shape != (len(self.keys),):
                raise ValueError(f"features of shape {features.shape}, expected {(len(self.keys),)}")
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:  # damage shows in any of h5py's
            raise self._unusable(frame, error) from error
        return features

    def _unusable(self, frame: Frame, error: Exception) -> DataError:
        return DataError(
            f"no usable rows of {frame.name} at {self.path(frame)} ({error}); delete that file if it is there, and run"
            " again"
        )

    def bytes_of(self, frames: Iterable[Frame]) -> int:
        """Bytes on disk of the rows of frames."""
        return sum(self._row_bytes(frame) + _FILE_OVERHEAD for frame in frames)

    def _row_bytes(self, frame: Frame) -> int:
        """Of the numbers alone."""
        return 8 * sum(math.prod(shape) for shape in self._shapes(frame).values())

    def _shapes(self, frame: Frame) -> dict[str, tuple[int, ...]]:
        """Of the arrays in `Rows`."""
        features = len(self.keys)
        if not _has_derivatives(frame, self.directions):
            return {"features": (features,)}
        rows = 3 * len(frame) if self.directions is None else self.directions
        shapes: dict[str, tuple[int, ...]] = {
            "features": (features,), "forces": (rows, features), "strain": (6, features),
        }  # fmt: skip
        return shapes if self.directions is None else shapes | {"directions": (rows, 3 * len(frame))}

    def _is_stored(self, path: Path, frame: Frame) -> bool:
        """Whether the rows are there and not cut short, as a machine that lost its power may have left them."""
        try:
            return path.stat().st_size >= self._row_bytes(frame)
        except FileNotFoundError:
            return False

    def _check_shapes(self, rows: Rows, frame: Frame) -> None:
        found = {name: array.shape for name, array in vars(rows).items() if array is not None}
        if found != self._shapes(frame):
            raise ValueError(f"arrays of shapes {found}, expected {self._shapes(frame)}")

    def _say_waiting(self) -> None:
        warn(
            f"another process is writing to the feature store {self.folder}; waiting for it to end",
            stacklevel=2,
        )

    def _prepare(self) -> None:
        for remains in self.folder.glob(".*.h5"):  # of killed runs; we hold the lock
            remains.unlink(missing_ok=True)
        with atomic_path(self.folder / "spec.json") as temporary:
            temporary.write_text(json.dumps(self._identity, indent=1), encoding="utf-8")

    def _check_room(self, missing: Sequence[Job]) -> None:
        needed, free = self.bytes_of([frame for frame, _ in missing]), shutil.disk_usage(self.folder).free
        if needed > free:
            raise DiskSpaceError(
                f"the rows of {len(missing):,} frames with {len(self.keys)} features need {_size(needed)}, the disk of"
                f" {self.root} has {_size(free)} left; put the store on another disk, or take fewer force directions or"
                " features"
            )

    def _compute(self, missing: Sequence[Job], frames: int, workers: int, progress: bool) -> None:
        """missing: by size, the largest first; frames: how many there will be."""
        bar = tqdm(total=frames, initial=frames - len(missing), unit="frame", disable=hidden(progress), desc="features")
        times: dict[Job, float] = {}
        with self._processes(workers) as submit, bar:
            if progress and len(missing) >= _TIMED_FROM:
                kinds = _kinds(missing, self.directions)
                samples = [job for kind in kinds for job in _samples(kind)]
                times = dict(zip(samples, submit(samples).result(), strict=True))
                size = self.bytes_of(frame for frame, _ in missing)
                seconds = sum(_extrapolate(kind, times) for kind in kinds) / workers
                bar.write(str(Estimate(len(missing), frames, len(self.keys), size, seconds, workers)))
                bar.update(len(samples))
            rest = (job for job in missing if job not in times)
            for _ in _in_a_window(submit, rest, _PENDING * workers if workers > 1 else 1):
                bar.update()

    @contextmanager
    def _processes(self, workers: int) -> Iterator[Submit]:
        """What hands jobs over to worker processes; one worker is this process."""
        if workers == 1:
            yield lambda jobs: _at_once(_write_all, self._transform, jobs, self.directions)
            return
        with worker_pool(workers, _start_worker, (self.spec, self.keys), "the finished frames are kept: ") as pool:
            yield lambda jobs: pool.submit(_work, jobs, self.directions)

    def _check_stored(self, frames: Sequence[Frame]) -> None:
        """The hash covers the spec, not the code: recompute the smallest stored frame and compare."""
        if not frames:
            return
        frame = min(frames, key=len)
        old, new = self.load(frame), _rows(self._transform, frame, self.directions)
        for name in ("features", "forces", "strain"):
            a, b = getattr(old, name), getattr(new, name)
            if a is not None and not np.abs(a - b).max(initial=0.0) <= 1e-6 * np.abs(b).max(initial=0.0):
                raise DataError(
                    f"the {name} of {frame.name} stored in {self.folder} are not what this version computes; delete"
                    " that folder, so that all are computed anew"
                )


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _has_derivatives(frame: Frame, directions: int | None) -> bool:
    """Whether a frame gets rows of forces and strain: where it has labels for them and they are wanted."""
    return directions != 0 and (frame.forces is not None or frame.stress is not None)


def _rows(transform: Transform, frame: Frame, directions: int | None) -> Rows:
    try:
        rows = _unchecked_rows(transform, frame, directions)
    except StructureError as error:
        raise DataError(f"{frame.name} cannot be transformed: {error}") from error
    for name, array in vars(rows).items():
        if array is not None and not np.isfinite(array).all():
            raise DataError(f"{frame.name} has {name} that are not finite; look at its structure, or leave it out")
    return rows


def _unchecked_rows(transform: Transform, frame: Frame, directions: int | None) -> Rows:
    structure = frame.structure
    if not _has_derivatives(frame, directions):
        return Rows(transform.evaluate(structure).features)
    if directions is None:
        features, positions_jacobian, strain_jacobian = transform.jacobian(structure)
        return Rows(features, -positions_jacobian.reshape(len(features), -1).T, strain_jacobian.T)
    units = random_directions(frame, directions)
    displacements = np.concatenate([units.reshape(directions, -1, 3), np.zeros((6, len(frame), 3))])
    strains = np.concatenate([np.zeros((directions, 3, 3)), unit_strains()])
    features, derivatives = transform.tangent(structure, displacements, strains)
    return Rows(features, -derivatives[:directions], derivatives[directions:], units)


def random_directions(frame: Frame, count: int) -> np.ndarray:
    """Unit vectors in the 3N-dimensional space of displacements, (count, 3N), seeded by the positions."""
    seed = int(_digest(frame.positions.tobytes(), frame.numbers.tobytes())[:16], 16)
    vectors = np.random.default_rng(seed).standard_normal((count, 3 * len(frame)))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _write_all(transform: Transform, jobs: Sequence[Job], directions: int | None) -> list[float]:
    """Compute and write the rows of frames; the seconds that each took."""
    seconds = []
    for frame, path in jobs:
        start = time.perf_counter()
        _write(path, _rows(transform, frame, directions))
        seconds.append(time.perf_counter() - start)
    return seconds


def _write(path: Path, rows: Rows) -> None:
    with atomic_path(path) as part:
        with hdf5_file(part) as file:
            for name, array in vars(rows).items():
                if array is not None:
                    file[name] = array
        seal(part)


def _read(path: Path) -> Rows:
    """As they were written: a file is refused unless its checksum fits, or it was written before there were any."""
    content = path.read_bytes()
    problem = damage_of(content)
    if problem:
        raise ValueError(problem)
    with h5py.File(io.BytesIO(content), "r") as file:
        return Rows(**{name: file[name][()] for name in file})


def _at_once(work: Callable[..., list[float]], *arguments: Any) -> Future[list[float]]:
    """In this process, as if it had been in another."""
    future: Future[list[float]] = Future()
    future.set_result(work(*arguments))
    return future


def _in_a_window(submit: Submit, jobs: Iterable[Job], pending: int) -> Iterator[None]:
    """Submit jobs one by one, no more than `pending` of them waiting, so that not all are copied at once."""
    waiting: set[Future[list[float]]] = set()

    def finished(down_to: int) -> Iterator[None]:
        nonlocal waiting
        while len(waiting) > down_to:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what the job raised
                yield

    for job in jobs:
        yield from finished(pending - 1)
        waiting.add(submit([job]))
    yield from finished(0)


def _kinds(jobs: Sequence[Job], directions: int | None) -> list[list[Job]]:
    """Jobs with derivatives and jobs without, which take very different times; none of them empty."""
    kinds: dict[bool, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(_has_derivatives(job[0], directions), []).append(job)
    return list(kinds.values())


def _samples(kind: Sequence[Job]) -> list[Job]:
    """What is timed of jobs sorted downwards by size: median and largest."""
    return list(dict.fromkeys(_alike(kind, len(kind) // 2) + _alike(kind, 0)))


def _alike(kind: Sequence[Job], index: int) -> list[Job]:
    """A job and the next if it is as large: the first one on a grid also plans transforms, twice its usual time."""
    own = kind[index]
    return [own, *(job for job in kind[index + 1 : index + 2] if len(job[0]) > 0.9 * len(own[0]))]


def _extrapolate(kind: Sequence[Job], times: Mapping[Job, float]) -> float:
    """Seconds of all jobs of a kind, by the power of the number of atoms that joins the median job to the largest."""
    middle = len(kind) // 2
    median, largest = (min(times[job] for job in _alike(kind, index)) for index in (middle, 0))
    atoms, growth = len(kind[middle][0]), len(kind[0][0]) / len(kind[middle][0])
    power = np.clip(math.log(largest / median) / math.log(growth), 0.0, 3.0) if growth > 1 else 1.0
    return median * float(sum((len(frame) / atoms) ** power for frame, _ in kind))


def _size(count: float) -> str:
    """Bytes in words."""
    value, unit = next((count / size, unit) for size, unit in _UNITS if count >= 0.1 * size or size == 1e3)
    return f"{value:.2g} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def _duration(seconds: float) -> str:
    """Seconds in words, to the precision of an estimate."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 1.5 else "1 second"


_worker: dict[str, Any] = {}


def _start_worker(spec: ScatteringSpec, keys: Sequence[str]) -> None:
    end_with_parent()
    _worker["transform"] = Transform(spec, keys)


def _work(jobs: Sequence[Job], directions: int | None) -> list[float]:
    return _write_all(_worker["transform"], jobs, directions)
