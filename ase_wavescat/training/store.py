"""Feature rows of many frames, computed on all cores and kept on disk so that a stopped run resumes.

A store is a folder. Each combination of specification, features and kind of rows has its own subfolder, named by a
hash of all of these; in it each frame has its own HDF5 file, named by a hash of the structure. A file is written under
another name and renamed when it is complete, so whatever bears its final name is whole: killing a run at any moment
loses the frames in flight and nothing else. Workers write their own frames, so that no rows travel between processes;
one run at a time may write to a subfolder.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm import tqdm

from ase_wavescat.atomic_write import atomic_path
from ase_wavescat.errors import DataError, StructureError, WaveScatError
from ase_wavescat.scattering.spec import ScatteringSpec
from ase_wavescat.scattering.transform import Transform, unit_strains
from ase_wavescat.training.dataset import Frame

LAYOUT_VERSION = 1
DEFAULT_DIRECTIONS = 16
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class StoreInUseError(WaveScatError):
    """Another process is writing to this feature store."""


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


class FeatureStore:
    """The rows of frames for one specification.

    folder: created when missing.  keys: the features (default: all of the spec).
    directions: None for all 3N force rows where the family has a Jacobian pass (else 16 random ones); k for k random
    unit directions a frame, drawn from a generator seeded by the structure.
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
        kind = b"derivatives" if _has_derivatives(frame) else b""
        return self.folder / (_digest(*geometry, *boundaries, kind) + ".h5")

    def fill(self, frames: Sequence[Frame], workers: int | None = None, progress: bool = True) -> int:
        """Compute what is missing; the number of frames computed.

        workers: processes (default: all cores this process may use); 1 computes in this one. Other numbers start
        processes with the spawn method, so a script that calls this needs the usual `if __name__ == "__main__"`.

        Raises StoreInUseError when another process writes rows of this kind here, DataError for a frame that cannot be
        transformed or for stored rows that the present code does not reproduce.
        """
        wanted = {self.path(frame): frame for frame in frames}
        self._check_stored([frame for path, frame in wanted.items() if path.exists()])
        if all(path.exists() for path in wanted):
            return 0
        self.folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(self.folder):
            self._prepare()
            # Large frames first, so that no worker is left alone with one at the end.
            missing = sorted((f for path, f in wanted.items() if not path.exists()), key=len, reverse=True)
            bar = tqdm(
                total=len(wanted),
                initial=len(wanted) - len(missing),
                unit="frame",
                disable=not progress,
                desc="features",
            )
            with bar:
                for _ in self._compute(missing, workers or _cores()):
                    bar.update()
        return len(missing)

    def load(self, frame: Frame) -> Rows:
        """The stored rows of a frame; DataError when they are not there or cannot be read."""
        path = self.path(frame)
        try:
            with h5py.File(path, "r") as file:
                return Rows(**{name: file[name][()] for name in file})
        except (OSError, KeyError, TypeError) as error:
            raise DataError(
                f"no usable rows of {frame.name} at {path} ({error}); delete that file if it is there, and run again"
            ) from error

    def _prepare(self) -> None:
        for remains in self.folder.glob(".*.h5"):  # of killed runs; we hold the lock
            remains.unlink(missing_ok=True)
        (self.folder / "spec.json").write_text(json.dumps(self._identity, indent=1))

    def _compute(self, frames: Sequence[Frame], workers: int) -> Iterator[None]:
        if workers == 1 or len(frames) <= 1:
            for frame in frames:
                _write_rows(self._transform, frame, self.path(frame), self.directions)
                yield
            return
        with (
            _single_threaded(),
            ProcessPoolExecutor(
                min(workers, len(frames)), multiprocessing.get_context("spawn"), _start_worker, (self.spec, self.keys)
            ) as pool,
        ):
            futures = [pool.submit(_work, frame, self.path(frame), self.directions) for frame in frames]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BrokenProcessPool as error:
                raise WaveScatError(
                    "a worker process ended unexpectedly (killed, or out of memory); the finished frames are kept:"
                    f" run again, with fewer workers than {workers} if memory was short"
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_derivatives(frame: Frame) -> bool:
    return frame.forces is not None or frame.stress is not None


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
    structure = frame.cell, frame.positions, frame.numbers
    if not _has_derivatives(frame):
        return Rows(transform.evaluate(*structure, pbc=frame.pbc).features)
    if directions is None:
        features, positions_jacobian, strain_jacobian = transform.jacobian(*structure, pbc=frame.pbc)
        return Rows(features, -positions_jacobian.reshape(len(features), -1).T, strain_jacobian.T)
    units = random_directions(frame, directions)
    displacements = np.concatenate([units.reshape(directions, -1, 3), np.zeros((6, len(frame), 3))])
    strains = np.concatenate([np.zeros((directions, 3, 3)), unit_strains()])
    features, derivatives = transform.tangent(*structure, displacements, strains, pbc=frame.pbc)
    return Rows(features, -derivatives[:directions], derivatives[directions:], units)


def random_directions(frame: Frame, count: int) -> np.ndarray:
    """Unit vectors in the 3N-dimensional space of displacements, (count, 3N), seeded by the positions."""
    seed = int(_digest(frame.positions.tobytes(), frame.numbers.tobytes())[:16], 16)
    vectors = np.random.default_rng(seed).standard_normal((count, 3 * len(frame)))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _write_rows(transform: Transform, frame: Frame, path: Path, directions: int | None) -> None:
    rows = _rows(transform, frame, directions)
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        for name, array in vars(rows).items():
            if array is not None:
                file[name] = array


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. SQLite's own: works on every platform, and ends with the process however that ends."""
    connection = sqlite3.connect(folder / "lock.sqlite", timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        raise StoreInUseError(
            f"another process is writing to the feature store {folder} ({error}); wait for it to end, or use another"
        ) from error
    else:
        yield
    finally:
        connection.close()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside use one thread each; this process is not touched."""
    saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_worker: dict[str, Any] = {}


def _start_worker(spec: ScatteringSpec, keys: Sequence[str]) -> None:
    """Without the watch a worker whose parent was killed would wait for work for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker["transform"] = Transform(spec, keys)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(frame: Frame, path: Path, directions: int | None) -> None:
    _write_rows(_worker["transform"], frame, path, directions)
