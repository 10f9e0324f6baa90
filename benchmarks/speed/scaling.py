"""Time and memory from 64 to 4096 atoms at constant density, by tiling; threads, single precision, structure factors.

    OMP_NUM_THREADS=1 python benchmarks/speed/scaling.py [--model lisi-linear.h5] [--json FILE] [--document FILE ...]

Each size runs in a process of its own, whose peak memory is all that it ever held. The exponent is that of a straight
line through the logarithms of all sizes. A tiled cell must give the energy of the small one, times the number of tiles.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat import find_model, load_model
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.lattice.structure_factor import NonuniformPhases, Phases
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, median_time, standard_options, table, update_documents, write_json

TILES = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 2, 2), (4, 4, 2), (4, 4, 4))
WAYS = {
    "one thread": Execution(),
    "two threads": Execution(threads=2),
    "single precision": Execution(precision="single"),
}


def measure(model: str, way: str, tiles: tuple[int, int, int]) -> dict[str, float]:
    """One size in this process: seconds, gigabytes, energy (eV), largest force differences between tiles (eV/A)."""
    ensemble = load_model(find_model(model))
    transform = Transform(ensemble.term(LinearPotential).spec, ensemble.term(LinearPotential).keys, execution=WAYS[way])
    weights = ensemble.term(LinearPotential).mean_weights
    atoms = glass(64).repeat(tiles)
    arguments = atoms.cell.array, atoms.positions, atoms.numbers
    repeats = 7 if len(atoms) <= 512 else 3
    energy = median_time(lambda: transform.evaluate(Structure(*arguments)), repeats)
    everything = median_time(lambda: transform.evaluate(Structure(*arguments)).gradient(weights), repeats)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    evaluation = transform.evaluate(Structure(*arguments))
    forces = evaluation.gradient(weights)[0].reshape(-1, 64, 3)
    return {
        "atoms": len(atoms),
        "energy_s": energy,
        "energy_forces_s": everything,
        "memory_gb": memory,
        "energy_ev": float(evaluation.features @ weights),
        "forces": forces[0].tolist(),
        "tiles_ev_per_a": float(np.abs(forces - forces[0]).max()),
    }


def in_own_process(model: str, way: str, tiles: tuple[int, int, int]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", model, "--one", json.dumps([way, tiles])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def exponent(rows: list[dict[str, Any]], key: str) -> float:
    return float(np.polyfit(np.log([r["atoms"] for r in rows]), np.log([r[key] for r in rows]), 1)[0])


def size_table(model: str, figures: dict[str, Any]) -> str:
    rows = [in_own_process(model, "one thread", tiles) for tiles in TILES]
    forces = [np.array(row.pop("forces")) for row in rows]
    lines = []
    for row, own in zip(rows, forces, strict=True):
        row["energy_deviation"] = abs(row["energy_ev"] / row["atoms"] / rows[0]["energy_ev"] * rows[0]["atoms"] - 1)
        row["force_deviation"] = max(float(np.abs(own - forces[0]).max()), row["tiles_ev_per_a"])
        lines.append(
            [
                row["atoms"],
                f"{row['energy_s']:.3f}",
                f"{row['energy_forces_s']:.3f}",
                f"{1e3 * row['energy_forces_s'] / row['atoms']:.2f}",
                f"{row['memory_gb']:.2f}",
                f"{row['energy_deviation']:.0e}",
                f"{1e3 * row['force_deviation']:.0e}",
            ]
        )
        print(lines[-1], flush=True)
    figures["sizes"] = rows
    figures["exponent_energy"] = exponent(rows, "energy_s")
    figures["exponent_energy_forces"] = exponent(rows, "energy_forces_s")
    lines.append(
        ["exponent", f"{figures['exponent_energy']:.2f}", f"{figures['exponent_energy_forces']:.2f}", "", "", "", ""]
    )
    header = ["atoms", "energy, s", "all, s", "all, ms/atom", "memory, GB", "energy, relative", "forces, meV/A"]
    return table(header, lines)


def ways_table(model: str, figures: dict[str, Any]) -> str:
    """Every way of doing the work at three sizes."""
    lines, figures["ways"] = [], []
    for tiles in (TILES[0], TILES[3], TILES[-1]):
        results = {way: in_own_process(model, way, tiles) for way in WAYS}
        forces = {way: np.array(row.pop("forces")) for way, row in results.items()}
        plain = results["one thread"]
        for way, row in results.items():
            row["energy_error"] = abs(row["energy_ev"] - plain["energy_ev"]) / row["atoms"]
            row["force_error"] = float(np.abs(forces[way] - forces["one thread"]).max())
            figures["ways"].append({"way": way, **row})
            lines.append(
                [
                    row["atoms"],
                    way,
                    f"{row['energy_forces_s']:.3f}",
                    f"{plain['energy_forces_s'] / row['energy_forces_s']:.2f}",
                    f"{row['memory_gb']:.2f}",
                    f"{1e3 * row['energy_error']:.0e}",
                    f"{1e3 * row['force_error']:.0e}",
                ]
            )
            print(lines[-1], flush=True)
    return table(["atoms", "way", "all, s", "gain", "memory, GB", "energy, meV/atom", "forces, meV/A"], lines)


def structure_table(figures: dict[str, Any]) -> str:
    """Structure factor of one species (48 of 64 atoms) and its adjoint, both ways."""
    lines, figures["structure_factors"] = [], []
    for tiles in TILES[3:]:
        atoms = glass(64).repeat(tiles)
        lattice = ReciprocalLattice(atoms.cell.array, 7.1)
        positions = atoms.positions[atoms.numbers == 3]
        times, factors = [], []
        for kind in (Phases, NonuniformPhases):

            def both(kind=kind, lattice=lattice, positions=positions):
                phases = kind(lattice, positions)
                factor = phases.structure_factor()
                phases.gradient(factor)
                return factor

            factors.append(both())
            times.append(median_time(both, 3))
        work = len(positions) * int(np.prod(2 * lattice.extent + 1)) / 2
        error = float(np.abs(factors[1] - factors[0]).max() / np.abs(factors[0]).max())
        figures["structure_factors"].append(
            {"atoms": len(positions), "work": work, "phases_s": times[0], "nonuniform_s": times[1], "error": error}
        )
        lines.append([len(positions), f"{work:.1e}", f"{times[0]:.3f}", f"{times[1]:.3f}", f"{error:.0e}"])
        print(lines[-1], flush=True)
    return table(["atoms", "atoms x vectors", "phases, s", "non-uniform FFT, s", "difference"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-linear.h5")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    standard_options(parser, "scaling")
    chosen = parser.parse_args()
    if chosen.one:
        way, tiles = json.loads(chosen.one)
        print(json.dumps(measure(chosen.model, way, tuple(tiles))))
        return
    figures: dict[str, Any] = {}
    print(machine(), "\n")
    tables = [size_table(chosen.model, figures), ways_table(chosen.model, figures), structure_table(figures)]
    text = "\n\n".join(tables)
    print("\n" + text)
    update_documents(chosen.document, "scaling", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
