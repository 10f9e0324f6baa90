"""Speed and memory of presets on the shipped glass and on four of it, one core, all in one run.

    OMP_NUM_THREADS=1 python benchmarks/speed/presets.py [--presets NAME ...] [--document FILE ...]

Times are of all features of a preset in a known cell, neighbours included: alone, and with the gradient of one weighted
sum by positions and strain; processor time, which other work on the machine disturbs less. Memory is the peak of a
process that does nothing else.
"""

from __future__ import annotations

import argparse
import resource
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ase_wavescat import preset
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, processor_time, standard_options, table, update_documents, write_json


def measure(name: str, copies: int) -> dict[str, float]:
    atoms = shipped_structure().repeat((copies, copies, 1))
    transform = Transform(preset(name, ["Li", "Si"]))
    weights = np.ones(len(transform.keys))
    features = processor_time(lambda: transform.evaluate(Structure.from_atoms(atoms)))
    gradient = processor_time(lambda: transform.evaluate(Structure.from_atoms(atoms)).gradient(weights))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count = {"features": len(weights), "atoms": len(atoms)}
    return {**count, "features_ms": 1e3 * features, "gradient_ms": 1e3 * gradient, "megabytes": megabytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="*", default=["point-scattering", "correlations", "sinz2020"])
    standard_options(parser, "presets")
    chosen = parser.parse_args()
    print(machine(), "\n")
    rows, figures = [], {}
    for name in chosen.presets:
        for copies in (1, 2):
            with get_context("spawn").Pool(1) as alone:  # a process of its own: its peak of memory is no other's
                found = alone.apply(measure, (name, copies))
            rate = found["features"] / found["features_ms"]
            each = 1e3 * found["gradient_ms"] / found["atoms"]
            times = [f"{found['features_ms']:.1f}", f"{rate:.0f}", f"{found['gradient_ms']:.1f}", f"{each:.0f}"]
            rows.append([name, found["features"], found["atoms"], *times, f"{found['megabytes']:.0f}"])
            figures[f"{name}, {found['atoms']} atoms"] = found
            print(rows[-1], flush=True)
    header = ["preset", "features", "atoms", "features, ms", "features a ms", "with gradient, ms", "an atom, us", "MB"]
    text = f"{machine()}\n\n{table(header, rows)}"
    print("\n" + text)
    update_documents(chosen.document, "presets", text)
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
