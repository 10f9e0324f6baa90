"""Works that are killed and resumed: what each starts from, its command, and what comes of it, to the bit.

A work runs in a folder of its own that begins with its inputs alone. Run as a script this file is the command of those
works that have none among the commands of `wavescat`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.db
import h5py
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from ase_wavescat.representation import Bands, Correlations, Maps, ScatteringSpec
from ase_wavescat.representation.specification_file import write_spec

Outcome = dict[str, str]
"""A digest of each part that must be the same in every run."""

DATA, POOL = "data.extxyz", "pool.extxyz"
STORE, MODEL, LABELS, SCREENING = "features", "model.h5", "labels", "screening"
SETTINGS = {"method": "effective medium theory"}
RUN_FILE = f"""output = "model.h5"
store = "{STORE}"
workers = 2

[[data]]
files = "{DATA}"

[features]
spec = "spec.json"

[fit]
members = 4
folds = 3
"""
FEATURES = Correlations(pair=Bands(6, 0.8), atom_maps=Maps(((2, 0), (2, 1)), (0.0, 1.0)))
SPEC = ScatteringSpec(("Li", "Si"), ((2, 0), (2, 1)), (0.0, 1.0), 0.6, (FEATURES,), tolerance=1e-3)


@dataclass(frozen=True)
class Work:
    """prepare: writes the inputs of so many structures into a folder.  command: run in the folder.
    outcome: of a finished run.  parts: how many of its parts are done, of as many as there are structures.
    """

    prepare: Callable[[Path, int], None]
    command: list[str]
    outcome: Callable[[Path], Outcome]
    parts: Callable[[Path], int]
    structures: int


# ---------------------------------------------------------------- inputs


def glass(seed: int, atoms: int) -> Atoms:
    """Lithium and silicon on a jittered lattice, at the density of the glass."""
    rng = np.random.default_rng(seed)
    edge, count = (atoms / 0.055) ** (1 / 3), int(np.ceil(atoms ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(count)] * 3), axis=-1).reshape(-1, 3)
    chosen = sites[rng.permutation(len(sites))[:atoms]] + 0.5 + rng.uniform(-0.12, 0.12, (atoms, 3))
    numbers = np.where(rng.permutation(atoms) < rng.integers(1, atoms), 3, 14)
    return Atoms(numbers, chosen * edge / count, cell=edge * np.eye(3), pbc=True, info={"group": f"glass-{seed}"})


def _labelled(atoms: Atoms) -> Atoms:
    atoms.calc = MorsePotential(epsilon=0.5, r0=2.6, rho0=5.0)
    names = ("energy", "forces", "stress")
    atoms.calc = SinglePointCalculator(atoms, **{name: atoms.calc.get_property(name, atoms) for name in names})
    return atoms


def training_inputs(folder: Path, count: int) -> None:
    write(folder / DATA, [_labelled(glass(seed, 32)) for seed in range(count)], format="extxyz")
    (folder / "run.toml").write_text(RUN_FILE)
    write_spec(SPEC, folder / "spec.json")


def _labelling_inputs(folder: Path, count: int) -> None:
    pool = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True).repeat(3)
        atoms.rattle(0.05, seed=seed)
        pool.append(atoms)
    write(folder / POOL, pool, format="extxyz")


def _screening_inputs(folder: Path, count: int) -> None:
    """With a model that has learnt what it meets."""
    training_inputs(folder, 12)
    subprocess.run([*WAVESCAT, "train", "run.toml", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    write(folder / POOL, [glass(1000 + seed, 16) for seed in range(count)], format="extxyz")


# ---------------------------------------------------------------- outcomes


def _digest(value: Any) -> str:
    content = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _hdf5_parts(path: Path) -> Outcome:
    """Every array and every attribute of a file, with types and shapes."""
    found: Outcome = {}

    def take(name: str, part: Any) -> None:
        for key, value in part.attrs.items():
            found[f"{path.name}/{name}@{key}"] = _digest([str(np.asarray(value).dtype), np.asarray(value).tolist()])
        if isinstance(part, h5py.Dataset):
            array = np.asarray(part[()])
            content = array.tobytes() if array.dtype.kind in "fiu" else repr(array.tolist()).encode()
            found[f"{path.name}/{name}"] = _digest([part.dtype.str, part.shape, content])

    with h5py.File(path, "r") as file:
        take("", file)
        file.visititems(take)
    return found


def _rows_outcome(folder: Path) -> Outcome:
    return {name: digest for path in _rows(folder) for name, digest in _hdf5_parts(path).items()}


def _training_outcome(folder: Path) -> Outcome:
    return _rows_outcome(folder) | _hdf5_parts(folder / MODEL)


def _labels_outcome(folder: Path) -> Outcome:
    return {path.name: _digest(path.read_bytes()) for path in (folder / LABELS).glob("[!.]*")}


def _screening_outcome(folder: Path) -> Outcome:
    """Rows of the database, ranking and structures; not their numbers, which follow the order in which they were done,
    nor times."""
    place = folder / SCREENING
    found = {path.name: _digest(path.read_bytes()) for path in place.glob("*.[ep][xn][tg]*")}  # .extxyz, .png
    for row in ase.db.connect(place / "screening.db").select():
        values = {key: value for key, value in row.key_value_pairs.items() if key != "seconds"}
        arrays = [np.asarray(part).tobytes() for part in (row.positions, row.cell, row.forces)]
        members = np.asarray(row.data["members"]).tobytes()
        found[row.name] = _digest([sorted(values.items()), row.energy, arrays, members])
    figures = json.loads((place / "screening.json").read_text())
    found["screening.json"] = _digest(_without_numbers(figures))
    table = list(csv.DictReader((place / "screening.csv").open(newline="")))
    found["screening.csv"] = _digest(_without_numbers(table))
    return found


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_numbers(item) for key, item in value.items() if key != "id"}
    return [_without_numbers(item) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- parts done


def _rows(folder: Path) -> list[Path]:
    return sorted((folder / STORE).glob("*/[!.]*.h5"))


def _screened(folder: Path) -> int:
    path = folder / SCREENING / "screening.db"
    return ase.db.connect(path, use_lock_file=False).count() if path.exists() else 0


# ---------------------------------------------------------------- works


def _compute_rows() -> None:
    from ase_wavescat.training.data.frames import read_frames
    from ase_wavescat.training.rows.store import FeatureStore

    first, last, workers = (int(argument) for argument in sys.argv[2:5])
    frames = read_frames(DATA)[first:last]
    print(FeatureStore(STORE, SPEC).fill(frames, workers, progress=False))


def _label() -> None:
    from ase_wavescat.active_learning.labelling import label

    pool = {f"copper-{number:03d}": atoms for number, atoms in enumerate(read(POOL, ":"))}
    label(pool, LABELS, lambda atoms: EMT(), SETTINGS, report=lambda line: None)


def _label_twice() -> None:
    """Two processes on one pool and one folder."""
    running = [subprocess.Popen(_own("label")) for _ in range(2)]
    sys.exit(max(process.wait() for process in running))


def _own(*arguments: str) -> list[str]:
    return [sys.executable, __file__, *arguments]


WAVESCAT = [sys.executable, "-c", "from ase_wavescat.cli import main; main()"]
_SCREEN = ["screen", POOL, "--model", MODEL, "-o", SCREENING, "--workers", "2", "--steps", "20", "--quiet"]
_TRAINING = (training_inputs, [*WAVESCAT, "train", "run.toml", "--quiet"], _training_outcome)
_COMMANDS = {"rows": _compute_rows, "label": _label, "label twice": _label_twice}


def compute_rows(first: int, last: int, workers: int) -> list[str]:
    """The command for the rows of some of the frames; it prints how many it computed."""
    return _own("rows", str(first), str(last), str(workers))


def _done_rows(folder: Path) -> int:
    return len(_rows(folder))


def _done_labels(folder: Path) -> int:
    return len(list((folder / LABELS).glob("[!.]*.extxyz")))


WORKS = {
    "featurisation": Work(training_inputs, compute_rows(0, 10**6, 2), _rows_outcome, _done_rows, 400),
    "training": Work(*_TRAINING, _done_rows, 64),
    "labelling": Work(_labelling_inputs, _own("label"), _labels_outcome, _done_labels, 150),
    "labelling, two processes": Work(_labelling_inputs, _own("label twice"), _labels_outcome, _done_labels, 150),
    "screening": Work(_screening_inputs, [*WAVESCAT, *_SCREEN], _screening_outcome, _screened, 16),
}

if __name__ == "__main__":  # processes of a pool import this file
    _COMMANDS[sys.argv[1]]()
