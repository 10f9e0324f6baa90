"""Melts at 2000 K of five compositions: whether a model stays physical where atoms collide all the time.

    python benchmarks/robustness/melts.py [--models lisi.h5 lisi-fast.h5] [--picoseconds 20] [--atoms 64] [--json FILE]
        [--document FILE ...]

A random packing, loosened by some steps of relaxation, then Langevin dynamics at fixed volume in steps of 2 fs. Told
are the shortest distances between atoms, the temperature, the change of the mean potential energy from the first half
to the second, the calibrated uncertainty, and the share of looks (one each 0.2 ps) outside the domain, by kind.
Leaves with status 1, after writing the table, where a run ended early or two atoms came nearer than `--nearest`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from ase_wavescat import WaveScatCalculator, find_model
from ase_wavescat.system.errors import listening, unheard
from ase_wavescat.workflows import relax
from ase_wavescat.workflows.dynamics import draw_velocities, run_langevin
from ase_wavescat.workflows.generation import random_packing

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

COMPOSITIONS = ("Si", "LiSi3", "LiSi", "Li3Si", "Li")
PAIRS = (("Li", "Li"), ("Li", "Si"), ("Si", "Si"))
TEMPERATURE, TIMESTEP = 2000.0, 2.0  # K, fs
CLOSE_LOOKS, LOOKS = 5, 100  # steps between looks at distances, and at domain and uncertainty
LOOSENING = 50  # steps of relaxation of the packing
NEAREST = 1.4  # A
NEAR = 4.0  # A: how far distances are looked for


class Log:
    """What is looked at while the melt moves."""

    def __init__(self, melt: Atoms) -> None:
        self._melt = melt
        self.nearest = np.full(len(PAIRS), NEAR)
        self.temperatures: list[float] = []
        self.energies: list[float] = []
        self.uncertainties: list[float] = []
        self.outside: Counter[str] = Counter()

    def __call__(self, step: int) -> None:
        """After each step."""
        melt = self._melt
        self.temperatures.append(melt.get_temperature())
        self.energies.append(melt.get_potential_energy() / len(melt))
        if step % CLOSE_LOOKS == 0:
            self._measure_distances()
        if step % LOOKS == 0:
            self.uncertainties.append(melt.calc.get_energy_uncertainty(melt) / len(melt))
            self.outside.update(list(melt.calc.get_domain_messages(melt)))

    def _measure_distances(self) -> None:
        melt = self._melt
        first, second, distance = neighbor_list("ijd", melt, NEAR)
        symbols = np.array(melt.get_chemical_symbols())
        for place, (one, other) in enumerate(PAIRS):
            mine = distance[(symbols[first] == one) & (symbols[second] == other)]
            self.nearest[place] = min(self.nearest[place], mine.min(initial=NEAR))


def run(calculator: WaveScatCalculator, composition: str, atoms: int, picoseconds: float) -> dict[str, Any]:
    """Figures of one melt."""
    packing = random_packing(composition, atoms)
    packing.calc = calculator
    melt = relax(packing, steps=LOOSENING).structure
    melt.calc = calculator
    generator, log, steps = np.random.default_rng(0), Log(melt), round(1000 * picoseconds / TIMESTEP)
    draw_velocities(melt, TEMPERATURE, generator)
    failure = run_langevin(melt, lambda step: TEMPERATURE, steps, TIMESTEP, generator, log)
    halves = np.array_split(np.array(log.energies[len(log.energies) // 5 :]), 2)  # the first part melts
    looks = max(1, len(log.uncertainties))
    return {
        "formula": melt.get_chemical_formula(),
        "picoseconds": len(log.energies) * TIMESTEP / 1000,
        "stopped": failure,
        "nearest_a": {"-".join(pair): float(d) for pair, d in zip(PAIRS, log.nearest, strict=True) if d < NEAR},
        "temperature_k": [float(np.mean(log.temperatures)), float(np.max(log.temperatures))],
        "energy_drift_mev_per_atom": 1e3 * float(halves[1].mean() - halves[0].mean()),
        "uncertainty_mev_per_atom": 1e3 * float(np.mean(log.uncertainties or [0.0])),
        "outside": {kind: count / looks for kind, count in sorted(log.outside.items())},
    }


def report(found: dict[str, list[dict[str, Any]]]) -> str:
    """A row a melt."""
    rows = []
    for model, melts in found.items():
        for one in melts:
            near = ", ".join(f"{pair} {distance:.2f}" for pair, distance in one["nearest_a"].items())
            outside = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in one["outside"].items()) or "never"
            temperature = "{:.0f}, {:.0f}".format(*one["temperature_k"])
            rows.append([model, one["formula"], f"{one['picoseconds']:.0f}", near, temperature,
                         f"{one['energy_drift_mev_per_atom']:+.0f}", f"{one['uncertainty_mev_per_atom']:.0f}", outside,
                         one["stopped"] or "no"])  # fmt: skip
    return table(
        ["model", "melt", "ps", "nearest, Å", "mean and highest temperature, K", "second half less first, meV/atom",
         "uncertainty, meV/atom", "outside the domain, share of looks", "stopped"], rows,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lisi.h5", "lisi-fast.h5"])
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--atoms", type=int, default=64)
    parser.add_argument("--nearest", type=float, default=NEAREST, help="A, nearer than which no two atoms may come")
    standard_options(parser, "melts")
    chosen = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for model in chosen.models:
        calculator = WaveScatCalculator(model)
        for composition in COMPOSITIONS:
            with listening(unheard):  # a melt of packed atoms is outside at first
                one = run(calculator, composition, chosen.atoms, chosen.picoseconds)
            print(model, one, flush=True)
            found.setdefault(find_model(model).name, []).append(one)
    text = f"{machine()}\n\n{report(found)}"
    print(f"\n{text}")
    write_json(chosen.json, {"models": found})
    update_documents(chosen.document, "melts", text)
    bad = [f"{model}, {one['formula']}" for model, melts in found.items() for one in melts
           if one["stopped"] or min(one["nearest_a"].values()) < chosen.nearest]  # fmt: skip
    if bad:
        raise SystemExit(f"not physical: {'; '.join(bad)}")


if __name__ == "__main__":
    main()
