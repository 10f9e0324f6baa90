"""Other methods trained on the cells that ours are trained on, for equal times of one core, on the same held-out cells.

    python benchmarks/accuracy/trained_peers.py FOLDER [--train mace=PYTHON] [--train sevennet-0=PYTHON] [--minutes 60]
        [--models lisi.h5 lisi-fast.h5] [--json FILE] [--document FILE ...]

FOLDER keeps the cells as the peers read them and each training; one that is there is not done again. PYTHON is an
interpreter with the peer's own package, whose own command trains it. Groups held out for choosing weights are those
that our networks hold out. A training ends when its process has used its time; what counts then are the weights with
the lowest loss on the held-out groups. The test cells are looked at when all are trained.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from held_out import check_held_out
from peer_calculators import OURS, THREADS, RemoteCalculator

from ase_wavescat import find_model
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.training.checks import group_numbers
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.data.sources import read_sources
from ase_wavescat.training.groups import assign_folds
from ase_wavescat.training.run_file import read_run

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

RUN, TEST = Path("models/lisi.toml"), Path("models/lisi-dft/test.extxyz.xz")
SPECIES = (3, 14)
PROBES = 40  # cells by which the zero of energy of a published potential is found


# ---------------------------------------------------------------- cells


def split(run: Path) -> tuple[list[Frame], list[Frame]]:
    """What is learned, and what chooses the weights: the first fold, as for our networks."""
    plan = read_run(run)
    frames = read_sources(list(plan.data))
    groups = group_numbers(frames, plan.fit)
    judged = np.array([frame.zero == frames[0].zero for frame in frames])
    held = assign_folds(groups, plan.fit.folds, plan.fit.seed, judged)[groups] == 0
    return [f for f, own in zip(frames, held, strict=True) if not own], [
        f for f, own in zip(frames, held, strict=True) if own
    ]


def atoms_of(frame: Frame, shifts: np.ndarray) -> Atoms:
    """With labels; shifts: eV an atom of each species, taken from the energies."""
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    energy = frame.energy - float(frame.count(SPECIES) @ shifts)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=frame.forces, stress=frame.stress)
    return atoms


def export(folder: Path, frames: Sequence[Frame], name: str, shifts: np.ndarray, prefix: str = "") -> Path:
    """As extended XYZ, where it is not there; prefix: of the labels' names."""
    path = folder / f"{name}.xyz"
    if not path.exists():
        structures = [atoms_of(frame, shifts) for frame in frames]
        for atoms in structures if prefix else []:
            labels, atoms.calc = atoms.calc.results, None
            atoms.info |= {f"{prefix}energy": labels["energy"], f"{prefix}stress": labels["stress"]}
            atoms.arrays[f"{prefix}forces"] = labels["forces"]
        with atomic_path(path) as temporary:
            write(temporary, structures, format="extxyz")
    return path


def zero_of(calculator: RemoteCalculator, frames: Sequence[Frame]) -> np.ndarray:
    """eV an atom of each species by which labels lie above the predictions, by least squares over some frames."""
    some = frames[:: max(1, len(frames) // PROBES)]
    differences = []
    for frame in some:
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        differences.append((frame.energy - calculator.get_potential_energy(atoms)) / len(frame))
    shares = np.array([frame.count(SPECIES) / len(frame) for frame in some])
    return np.asarray(np.linalg.lstsq(shares, np.array(differences), rcond=1e-8)[0])


# ---------------------------------------------------------------- peers


@dataclass(frozen=True)
class Trained:
    """What a training left. model: file of the weights; curve: epoch, loss and errors on the held-out groups."""

    model: str
    curve: list[dict[str, float]]
    settings: str
    shifts: list[float]
    minutes: float


def limited(command: Sequence[str], folder: Path, minutes: float) -> float:
    """Run in the folder with one thread until it ends, or has used its time; minutes of processor time it took."""

    def limit() -> None:
        seconds = int(60 * minutes)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / "log.txt").open("a") as log:
        subprocess.run(command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **THREADS}, preexec_fn=limit)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


MACE = {
    "model": "MACE", "num_interactions": 2, "num_channels": 32, "max_L": 0, "r_max": 5.0, "batch_size": 8,
    "valid_batch_size": 16, "lr": 0.01, "E0s": "average", "loss": "universal", "energy_weight": 1, "forces_weight": 10,
    "stress_weight": 10, "compute_stress": "True", "ema_decay": 0.99, "scheduler_patience": 5, "device": "cpu",
    "default_dtype": "float32", "error_table": "PerAtomMAE", "seed": 0, "num_workers": 0,
    "energy_key": "REF_energy", "forces_key": "REF_forces", "stress_key": "REF_stress",
}  # fmt: skip


def train_mace(python: str, folder: Path, learned: Sequence[Frame], held: Sequence[Frame], minutes: float) -> Trained:
    """mace_run_train, from nothing; restarted for no epoch to have its best weights written."""
    zero = np.zeros(len(SPECIES))
    for name in ("checkpoints", "results", "logs"):
        (folder / name).mkdir(exist_ok=True)
    files = [export(folder, frames, name, zero, "REF_") for frames, name in ((learned, "train"), (held, "valid"))]
    options = {**MACE, "name": "mace", "train_file": files[0].name, "valid_file": files[1].name}
    command = [python, "-m", "mace.cli.run_train", *(f"--{name}={value}" for name, value in options.items()), "--ema"]
    used = limited([*command, "--max_num_epochs=10000", "--eval_interval=1"], folder, minutes)
    limited([*command, "--max_num_epochs=0", "--restart_latest"], folder, 10)
    (results,) = folder.glob("results/*_train.txt")
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    curve = [
        {"epoch": e["epoch"] or 0, "loss": e["loss"], "energy_mae": e["mae_e_per_atom"], "force_mae": e["mae_f"]}
        for e in lines if e["mode"] == "eval"
    ]  # fmt: skip
    (model,) = [path for path in folder.glob("*.model") if "compiled" not in path.name and "stage" not in path.name]
    told = ", ".join(f"{name} {MACE[name]}" for name in ("num_channels", "max_L", "r_max", "batch_size", "lr", "loss"))
    return Trained(str(model), curve, told, [0.0, 0.0], used)


SEVENNET = """
model:
    chemical_species: 'auto'
    cutoff: 5.0
train:
    random_seed: 0
    is_train_stress: true
    epoch: 1000
    optimizer: adam
    optim_param: {lr: 0.001}
    scheduler: exponentiallr
    scheduler_param: {gamma: 0.99}
    force_loss_weight: 1.0
    stress_loss_weight: 0.01
    loss: Huber
    loss_param: {delta: 0.01}
    per_epoch: 1
    error_record: [['Energy', 'MAE'], ['Force', 'MAE'], ['TotalLoss', 'None']]
    best_metric: TotalLoss
    continue: {reset_optimizer: true, reset_scheduler: true, reset_epoch: true, checkpoint: '7net-0',
               use_statistic_values_of_checkpoint: true}
data:
    batch_size: 4
    data_format_args: {index: ':'}
    load_trainset_path: ['train.xyz']
    load_validset_path: ['valid.xyz']
"""


def train_sevennet(
    python: str, folder: Path, learned: Sequence[Frame], held: Sequence[Frame], minutes: float
) -> Trained:
    """sevenn, from the published weights; labels in their zero of energy."""
    with RemoteCalculator("sevennet-0", "", python) as published:
        shifts = zero_of(published, learned)
    for frames, name in ((learned, "train"), (held, "valid")):
        export(folder, frames, name, shifts)
    (folder / "input.yaml").write_text(SEVENNET)
    used = limited([python, "-m", "sevenn.main.sevenn", "input.yaml", "-w", "."], folder, minutes)
    with (folder / "lc.csv").open() as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    curve = [{key.strip(): float(value) for key, value in row.items() if value.strip()} for row in rows]
    told = "7net-0, Adam 0.001 falling by 1 % an epoch, batch 4, Huber loss of the package's fine-tuning example"
    return Trained(str(folder / "checkpoint_best.pth"), curve, told, shifts.tolist(), used)


TRAINERS: dict[str, Callable[..., Trained]] = {"mace": train_mace, "sevennet-0": train_sevennet}
EVALUATED_BY = {"mace": "mace-file", "sevennet-0": "sevennet-file"}


# ---------------------------------------------------------------- comparison


def errors(calculator: RemoteCalculator, frames: Sequence[Frame], shifts: np.ndarray) -> dict[str, float]:
    """Mean absolute errors and the median time of a call."""
    energies, forces, stresses, seconds = [], [], [], []
    for frame in frames:
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        energy = calculator.get_potential_energy(atoms) + float(frame.count(SPECIES) @ shifts)
        energies.append((energy - frame.energy) / len(frame))
        forces.append(calculator.get_forces(atoms) - frame.forces)
        stresses.append(calculator.get_stress(atoms) - frame.stress)
        seconds.append(calculator.seconds)
    return {
        "energy_mae_mev_per_atom": 1e3 * float(np.abs(energies).mean()),
        "force_mae_ev_per_a": float(np.abs(np.concatenate(forces)).mean()),
        "stress_mae_ev_per_a3": float(np.abs(stresses).mean()),
        "call_s": float(np.median(seconds)),
    }


def trained(name: str, python: str, folder: Path, minutes: float) -> Trained:
    """Of an earlier run, or new."""
    record = folder / "trained.json"
    if not record.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = TRAINERS[name](python, folder.resolve(), *split(RUN), minutes)
        with atomic_path(record) as temporary:
            temporary.write_text(json.dumps(vars(found), indent=1))
    return Trained(**json.loads(record.read_text()))


def measure(chosen: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By label."""
    wanted = dict(item.split("=", 1) for item in chosen.train)
    peers = {name: trained(name, python, chosen.folder / name, chosen.minutes) for name, python in wanted.items()}
    frames, found = read_frames(TEST), {}
    for model in chosen.models:
        check_held_out(model, frames)
        with RemoteCalculator(OURS, str(find_model(model))) as remote:
            found[find_model(model).name] = errors(remote, frames, np.zeros(2))
    for name, peer in peers.items():
        with RemoteCalculator(EVALUATED_BY[name], peer.model, wanted[name]) as remote:
            best = min(peer.curve, key=lambda epoch: epoch.get("loss", np.inf)) if peer.curve else {}
            found[name] = {**errors(remote, frames, np.array(peer.shifts)), "version": remote.version,
                           "minutes": peer.minutes, "epochs": len(peer.curve), "settings": peer.settings,
                           "best": best, "curve": peer.curve}  # fmt: skip
    return found


def report(found: dict[str, dict[str, Any]]) -> str:
    """A row a model."""
    rows = []
    for name, row in found.items():
        budget = f"{row['minutes']:.0f}" if "minutes" in row else "see its card"
        errors = [f"{row['energy_mae_mev_per_atom']:.1f}", f"{row['force_mae_ev_per_a']:.3f}"]
        call = f"{1e3 * row['call_s']:.1f}"
        rows.append([name, budget, row.get("epochs", "-"), *errors, call, row.get("settings", "")])
    header = ["trained on the same cells", "minutes of one core", "epochs", "energy MAE, meV/atom"]
    return table([*header, "forces MAE, eV/Å", "a call, ms", "settings"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps cells and trainings")
    parser.add_argument("--train", nargs="*", action="extend", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time, each")
    parser.add_argument("--models", nargs="*", default=["lisi.h5", "lisi-fast.h5", "lisi-linear.h5"])
    standard_options(parser, "trained_peers")
    chosen = parser.parse_args()
    for item in chosen.train:
        if item.split("=")[0] not in TRAINERS or "=" not in item:
            parser.error(f"--train takes PEER=PYTHON, with a peer of {', '.join(TRAINERS)}; got {item!r}")
    found = measure(chosen)
    text = f"{len(read_frames(TEST))} cells. {machine()}\n\n{report(found)}"
    print(f"\n{text}")
    write_json(chosen.json, {"models": found})
    update_documents(chosen.document, "trained_peers", text)


if __name__ == "__main__":
    main()
