"""Time and memory of networks: energy, forces and stress through the calculator, beside a linear model, one core.

    OMP_NUM_THREADS=1 python benchmarks/speed/networks.py [--fast lisi-fast.h5] [--committee lisi.h5]
        [--linear lisi-linear.h5] [--json FILE] [--document FILE ...]

Atoms move a little between calls, as in dynamics. The models are called in turn, processor time is taken, which other
work on the machine disturbs less. Sizes run in processes of their own, whose peak memory is all that they ever held.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_wavescat import WaveScatCalculator
from ase_wavescat.system.errors import listening, unheard
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

SEED, CALLS = 0, 31
REPEATS = ((4, 4, 2), (8, 4, 4), (16, 8, 8), (16, 16, 8), (22, 22, 21))


def glass(repeats: tuple[int, int, int]) -> Atoms:
    """Li3Si of the shipped glass's volume an atom, on a jittered lattice."""
    rng, shipped = np.random.default_rng(SEED), shipped_structure()
    atoms = bulk("Li", "bcc", a=(2 * shipped.get_volume() / len(shipped)) ** (1 / 3), cubic=True).repeat(repeats)
    atoms.positions += rng.normal(scale=0.15, size=atoms.positions.shape)
    atoms.numbers[rng.permutation(len(atoms))[: len(atoms) // 4]] = 14
    return atoms


def cluster(count: int = 69) -> Atoms:
    """The atoms of a glass that are nearest to a point, alone in space."""
    atoms = glass((6, 6, 6))
    order = np.argsort(np.linalg.norm(atoms.positions - atoms.cell.array.sum(axis=0) / 2, axis=1))
    part = atoms[order[:count]]
    part.pbc = False
    part.cell = None
    return part


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "glass of 64 atoms": lambda: glass(REPEATS[0]),
    "cluster of 69 atoms, open": cluster,
    "Si2, alone": lambda: Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]]),
}


def moving_call(atoms: Atoms, calculator: WaveScatCalculator, spreads: bool = False) -> Callable[[], object]:
    """A step: energy, forces and stress of the structure, moved by 0.001 A, and both uncertainties."""
    rng, own = np.random.default_rng(SEED), atoms.copy()
    properties = ["energy", "forces", *(["stress"] if own.pbc.any() else [])]

    def call() -> object:
        own.positions += rng.normal(scale=1e-3, size=own.positions.shape)
        calculator.calculate(own, properties)
        if spreads:
            return calculator.get_energy_uncertainty(own), calculator.get_forces_uncertainty(own)
        return calculator.results

    return call


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor time (ms) of each, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values[1:])) for name, values in times.items()}


def small(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds by structure and model."""
    found = {}
    for name, make in STRUCTURES.items():
        atoms = make()
        calls = {
            chosen.fast: moving_call(atoms, WaveScatCalculator(chosen.fast)),
            f"{chosen.fast}, single precision": moving_call(atoms, WaveScatCalculator(chosen.fast, precision="single")),
            chosen.committee: moving_call(atoms, WaveScatCalculator(chosen.committee)),
            f"{chosen.committee}, with uncertainties": moving_call(
                atoms, WaveScatCalculator(chosen.committee), spreads=True
            ),
            chosen.linear: moving_call(atoms, WaveScatCalculator(chosen.linear)),
        }
        with listening(unheard):
            found[name] = in_turn(calls, CALLS if atoms.pbc.all() else 7)
    return found


def one_size(model: str, repeats: tuple[int, int, int]) -> dict[str, float]:
    """In this process: microseconds an atom, of one thread and two (wall time), of single precision; gigabytes."""
    atoms = glass(repeats)
    ways = {"one": {}, "two": {"threads": 2}, "single": {"precision": "single"}}
    rounds = CALLS if len(atoms) < 1000 else 7
    with listening(unheard):
        alone = in_turn({"one": moving_call(atoms, WaveScatCalculator(model))}, rounds)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        calls = {name: moving_call(atoms, WaveScatCalculator(model, **way)) for name, way in ways.items()}
        single = in_turn({"single": calls["single"]}, rounds)["single"]
        walls: dict[str, list[float]] = {"one": [], "two": []}
        for _ in range(rounds + 1):
            for name, values in walls.items():
                start = time.perf_counter()
                calls[name]()
                values.append(time.perf_counter() - start)
    gain = float(np.median(np.array(walls["one"][1:]) / np.array(walls["two"][1:])))
    share = 1e3 / len(atoms)
    return {"atoms": len(atoms), "us_an_atom": share * alone["one"], "single_us_an_atom": share * single,
            "gain_of_two_threads": gain, "memory_gb": memory}  # fmt: skip


def sizes(model: str) -> list[dict[str, float]]:
    """Each in its own process."""
    rows = []
    for repeats in REPEATS:
        command = [sys.executable, __file__, "--fast", model, "--one", json.dumps(repeats)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], flush=True)
    return rows


def report(found: dict[str, dict[str, float]], rows: list[dict[str, float]], exponent: float, fast: str) -> str:
    """Both tables."""
    models = list(next(iter(found.values())))
    first = [[model, *(f"{times[model]:.3g}" for times in found.values())] for model in models]
    second = [
        [f"{row['atoms']:.0f}", f"{row['us_an_atom']:.0f}", f"{row['single_us_an_atom']:.0f}",
         f"{row['gain_of_two_threads']:.2f}", f"{row['memory_gb']:.2f}"] for row in rows
    ]  # fmt: skip
    header = ["atoms", f"{fast}: an atom, us", "single precision", "gain of two threads", "peak memory, GB"]
    return "\n\n".join([
        table(["energy, forces, stress, ms", *found], first),
        table(header, second),
        f"Time grows with the number of atoms to the power {exponent:.2f}.",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", default="lisi-fast.h5", help="a single network")
    parser.add_argument("--committee", default="lisi.h5")
    parser.add_argument("--linear", default="lisi-linear.h5")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    standard_options(parser, "networks")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one_size(chosen.fast, tuple(json.loads(chosen.one)))))
        return
    rows = sizes(chosen.fast)  # first: the peak of a new process begins with the memory of the one that starts it
    found = small(chosen)
    atoms, times = (np.array([row[key] for row in rows]) for key in ("atoms", "us_an_atom"))
    exponent = float(np.polyfit(np.log(atoms), np.log(atoms * times), 1)[0])
    text = f"{machine()}\n\n{report(found, rows, exponent, chosen.fast)}"
    print(f"\n{text}")
    update_documents(chosen.document, "networks", text)
    write_json(chosen.json, {"milliseconds": found, "sizes": rows, "exponent": exponent})


if __name__ == "__main__":
    main()
