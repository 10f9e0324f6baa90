"""Screening: structures an hour, parallel efficiency, bookkeeping, and runs that are killed or on a cluster.

    python benchmarks/speed/screening.py FOLDER [--count 48] [--repeats 2] [--model lisi-linear.h5] [--json FILE]
        [--document FILE ...]

FOLDER holds md.extxyz.xz: of its glasses of about 64 atoms, snapshots of dynamics at 300 to 1000 K spread over the
compositions are relaxed at fixed cell. Runs on one and two processes take turns; the machine should do nothing else.
Energies are relative to the elements' crystals in the calculations that the model was trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import write

from ase_wavescat.io.structures import structures_of
from ase_wavescat.workflows import Screening, read_screening, screen

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

REFERENCES = Path("models/lisi-dft/references.json")
ATOMS = (55, 73)
FMAX, STEPS = 0.05, 300
YEAR = 31557600.0  # s, of ase.db's clock
KILLED_COUNT, KILLED_STEPS = 8, 40
TINY = 1000
COMMAND = [sys.executable, "-c", "from ase_wavescat.cli import main; main()"]


def glasses(folder: Path, count: int) -> list[Atoms]:
    """Snapshots spread evenly over compositions and temperatures, without their labels."""
    frames = [a for a in structures_of(folder / "md.extxyz.xz") if ATOMS[0] <= len(a) <= ATOMS[1]]
    frames.sort(key=lambda atoms: (atoms.info["alpha"], atoms.info["path_id"], atoms.info["temperature"]))
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, count).round().astype(int)]
    bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=True) for a in chosen]
    for number, atoms in enumerate(bare):
        atoms.info["name"] = f"glass-{number:03d}"
    return bare


def timed(pool: list[Atoms], workers: int, folder: Path, options: dict[str, Any]) -> tuple[dict[str, float], Screening]:
    """Wall time of a whole run, of the part in which structures were relaxed, and what the relaxations took."""
    begin = time.perf_counter()
    result = screen(pool, output=folder, workers=workers, fmax=FMAX, steps=STEPS, progress=False, **options)
    wall = time.perf_counter() - begin
    rows = list(ase.db.connect(result.database).select())
    ends = np.array([row.ctime for row in rows]) * YEAR
    seconds = np.array([row.seconds for row in rows])
    return {
        "wall": wall,
        "working": float(ends.max() - (ends - seconds).min()),
        "relaxing": float(seconds.sum()),
    }, result


def throughput(pool: list[Atoms], repeats: int, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Medians over runs on one and two processes that take turns; whether their tables are the same."""
    times: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    tables = []
    for repeat in range(repeats):
        for workers in (1, 2):
            one, result = timed(pool, workers, folder / f"{workers}-{repeat}", options)
            times[workers].append(one)
            tables.append(result.table)
            print(
                f"{workers} processes: " + ", ".join(f"{key} {value:.1f} s" for key, value in one.items()), flush=True
            )
    median = {
        workers: {key: float(np.median([one[key] for one in runs])) for key in runs[0]}
        for workers, runs in times.items()
    }
    return {
        "structures": len(pool),
        "atoms": float(np.mean([len(atoms) for atoms in pool])),
        "converged": sum(entry.stop == "converged" for entry in tables[0]),
        "seconds": {str(workers): values for workers, values in median.items()},
        "an_hour": {str(workers): 3600 * len(pool) / values["wall"] for workers, values in median.items()},
        "efficiency_whole_run": median[1]["wall"] / (2 * median[2]["wall"]),
        "efficiency_working": median[1]["working"] / (2 * median[2]["working"]),
        "bookkeeping_ms": 1000 * (median[1]["working"] - median[1]["relaxing"]) / len(pool),
        "same_tables": all(table_of == tables[0] for table_of in tables),
    }


def bookkeeping(folder: Path) -> dict[str, float]:
    """Milliseconds for each of many tiny structures beside its calculation; s to rank them, and to resume."""
    pool = [bulk("Ar", a=5.0 + 1e-4 * index, cubic=False) for index in range(TINY)]
    options = {"model": LennardJones, "relax": False, "references": {"Ar": 0.0}, "workers": 1, "progress": False}
    begin = time.perf_counter()
    result = screen(pool, output=folder, **options)
    wall = time.perf_counter() - begin
    seconds = sum(row.seconds for row in ase.db.connect(result.database).select())
    begin = time.perf_counter()
    read_screening(result.database)
    ranked = time.perf_counter() - begin
    begin = time.perf_counter()
    screen(pool, output=folder, **options)
    return {"structures": TINY, "ms": 1000 * (wall - seconds) / TINY, "rank_s": ranked,
            "resume_s": time.perf_counter() - begin}  # fmt: skip


def same_after_accidents(pool: list[Atoms], folder: Path, model: str, references: dict[str, float]) -> dict[str, Any]:
    """The command, whole; killed half-way and given again; and on a Dask cluster of two workers."""
    from distributed import LocalCluster

    folder.mkdir()
    few = pool[:: max(1, len(pool) // KILLED_COUNT)][:KILLED_COUNT]
    write(folder / "pool.extxyz", few)
    command = [*COMMAND, "screen", str(folder / "pool.extxyz"), "--model", model, "--quiet"]
    command += ["--steps", str(KILLED_STEPS)]
    command += [f"--reference={symbol}={energy!r}" for symbol, energy in references.items()]
    two = ["--workers", "2"]
    subprocess.run([*command, *two, "-o", str(folder / "whole")], check=True, stdout=subprocess.DEVNULL)
    done = _killed([*command, *two, "-o", str(folder / "killed")], folder / "killed" / "screening.db", len(few) // 2)
    subprocess.run([*command, *two, "-o", str(folder / "killed")], check=True, stdout=subprocess.DEVNULL)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        dask = ["--dask", cluster.scheduler_address, "-o", str(folder / "dask")]
        subprocess.run([*command, *dask], check=True, stdout=subprocess.DEVNULL)
    tables = {name: _table(folder / name / "screening.csv") for name in ("whole", "killed", "dask")}
    return {
        "structures": len(tables["whole"]),
        "done_when_killed": done,
        "killed_and_resumed_is_the_same": tables["killed"] == tables["whole"],
        "dask_is_the_same": tables["dask"] == tables["whole"],
    }


def _killed(command: list[str], database: Path, enough: int) -> int:
    """Kill a run, workers and all, when enough structures are done; how many were."""
    process = subprocess.Popen(command, start_new_session=True)
    done = 0
    while process.poll() is None and done < enough:
        time.sleep(0.1)
        done = ase.db.connect(database).count() if database.exists() else 0
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return int(ase.db.connect(database).count())


def _table(path: Path) -> list[dict[str, str]]:
    """Without the numbers of the rows, which follow the order in which structures were done."""
    with path.open() as file:
        return [{key: value for key, value in row.items() if key != "id"} for row in csv.DictReader(file)]


def as_table(figures: dict[str, Any]) -> str:
    many, tiny, same = figures["throughput"], figures["bookkeeping"], figures["accidents"]
    size = f"{many['structures']} glasses of {many['atoms']:.0f} atoms"
    rows = [
        [f"{size}, relaxed to {FMAX} eV/Å, one process", f"{many['an_hour']['1']:.0f} structures an hour"],
        ["two processes", f"{many['an_hour']['2']:.0f} structures an hour"],
        ["efficiency of the second process, while structures relax", f"{many['efficiency_working']:.2f}"],
        ["with start and ranking", f"{many['efficiency_whole_run']:.2f}"],
        ["a structure besides its relaxation", f"{many['bookkeeping_ms']:.1f} ms"],
        [f"the same of {tiny['structures']} tiny structures", f"{tiny['ms']:.1f} ms"],
        ["ranking these; finding that all are done", f"{tiny['rank_s']:.1f} s; {tiny['resume_s']:.1f} s"],
        ["tables of one and two processes", _same(many["same_tables"])],
        [f"killed when {same['done_when_killed']} of {same['structures']} were done, and resumed",
         _same(same["killed_and_resumed_is_the_same"])],
        ["a Dask cluster of two workers", _same(same["dask_is_the_same"])],
    ]  # fmt: skip
    return table(["screening with lisi-linear.h5", ""], rows)


def _same(equal: bool) -> str:
    return "the same table, to the last digit" if equal else "NOT the same table"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of md.extxyz.xz")
    parser.add_argument("--count", type=int, default=48, help="structures of the timed runs")
    parser.add_argument("--repeats", type=int, default=2, help="timed runs on one and on two processes")
    parser.add_argument("--model", default="lisi-linear.h5")
    standard_options(parser, "screening")
    chosen = parser.parse_args()
    known = json.loads(REFERENCES.read_text())
    references = {symbol: float(values["energy"]) for symbol, values in known.items()}
    pool = glasses(chosen.folder, chosen.count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = {"model": chosen.model, "references": references}
        figures = {
            "throughput": throughput(pool, chosen.repeats, folder, options),
            "bookkeeping": bookkeeping(folder / "tiny"),
            "accidents": same_after_accidents(pool, folder / "accidents", chosen.model, references),
        }
    text = as_table(figures)
    print(f"{machine()}\n\n{text}")
    update_documents(chosen.document, "screening", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
