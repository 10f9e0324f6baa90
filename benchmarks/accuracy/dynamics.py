"""Dynamics at constant energy of two glasses of 64 atoms, near LiSi and near Li15Si4, and the time of a call.

    python benchmarks/accuracy/dynamics.py FOLDER [--model lisi.h5] [--picoseconds 10] [--sampled NAME=FILE[,FILE] ...]
        [--timed lisi-fast.h5 lisi.h5 ...] [--json FILE] [--document FILE ...] [--pictures FOLDER]

FOLDER keeps, for each model, the glasses, which it quenches from their melts, and the runs, so that a stopped one goes
on: after a picosecond in a bath of the temperature the energy is left to itself, in steps of 1 fs. Partial radial
distributions stand beside those of frames sampled by others at 300 to 1000 K, within 5 % lithium of the glass: those
labelled by density-functional theory, and those of a published neural-network potential.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from extrapolation_pools import QUENCHED, formula_of, glass
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from small_pictures import save_small
from tqdm import tqdm

from ase_wavescat import WaveScatCalculator, find_model
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import WaveScatError, WaveScatWarning
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE
from ase_wavescat.workflows import Distribution, rdf
from ase_wavescat.workflows.dynamics import draw_velocities, run_langevin

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

TIMESTEP = 1.0  # fs
EQUILIBRATION = 1000  # steps with a bath
EVERY = 10  # steps between looks at distances, domain and uncertainty
SAVED = 500  # steps between savings: what a killed run loses
REACH, BINS = 6.0, 60  # A and bins of the distributions
NEAR = 4.0  # A: the closest pairs are looked for up to there
FRAME = 50  # steps between frames of the distributions
ALIKE = 0.05  # of the lithium fraction
SAMPLED = ["DFT-labelled=models/lisi-dft/converged.extxyz.xz,models/lisi-dft/cheap.extxyz.xz"]
CALLS = 15
KELVINS = (300, 1000)  # of the sampled frames
PAIRS = (("Li", "Li"), ("Li", "Si"), ("Si", "Si"))


# ---------------------------------------------------------------- a run


@dataclass
class Run:
    """What is kept of dynamics at constant energy.

    By step, the first before any: total and kinetic energy (eV).  By every EVERY-th step: positions (A), the shortest
    distance of each of PAIRS (A), the uncertainty (eV, whole cell), and what lies outside the domain, "" when nothing.
    momenta: at the last step.  seconds: of processor time, of the steps so far.
    """

    total: list[float] = field(default_factory=list)
    kinetic: list[float] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    nearest: list[np.ndarray] = field(default_factory=list)
    uncertainty: list[float] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    momenta: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        return len(self.total) - 1

    def look(self, atoms: Atoms) -> None:
        """To be called before the first step and after each; at some it looks more closely."""
        self.total.append(float(atoms.get_total_energy()))
        self.kinetic.append(float(atoms.get_kinetic_energy()))
        self.momenta = atoms.get_momenta()
        if self.steps % EVERY == 0:
            self.positions.append(atoms.get_positions())
            self.nearest.append(nearest(atoms))
            self.uncertainty.append(atoms.calc.get_energy_uncertainty(atoms))
            self.outside.append(" ".join(sorted(atoms.calc.get_domain_messages(atoms))))

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            arrays: dict[str, Any] = {name: np.array(value) for name, value in vars(self).items()}
            np.savez(temporary, **arrays)

    @classmethod
    def load(cls, path: Path) -> Run:
        with np.load(path) as kept:
            lists: dict[str, Any] = {
                name: list(kept[name]) for name in kept.files if name not in ("momenta", "seconds")
            }
            return cls(**lists, momenta=kept["momenta"], seconds=float(kept["seconds"]))


def nearest(atoms: Atoms) -> np.ndarray:
    """A: the shortest distance of each of PAIRS, NEAR where all are longer."""
    first, second, distance = neighbor_list("ijd", atoms, NEAR)
    symbols = np.array(atoms.get_chemical_symbols())
    of_pairs = [distance[(symbols[first] == one) & (symbols[second] == other)] for one, other in PAIRS]
    return np.array([mine.min(initial=NEAR) for mine in of_pairs])


def started(structure: Atoms, calculator: WaveScatCalculator, temperature: float) -> Atoms:
    """A relaxed glass after EQUILIBRATION steps at the temperature, at rest as a whole."""
    generator = np.random.default_rng(0)
    moving = structure.copy()
    moving.calc = calculator
    # Twice the temperature: half of the energy goes into the potential
    draw_velocities(moving, 2 * temperature, generator)
    failure = run_langevin(moving, lambda step: temperature, EQUILIBRATION, TIMESTEP, generator, lambda step: None)
    if failure is not None:
        raise WaveScatError(f"{structure.symbols} at {temperature} K: {failure}")
    Stationary(moving)
    return moving


def constant_energy(
    structure: Atoms, calculator: WaveScatCalculator, temperature: float, steps: int, kept: Path
) -> Run:
    """A run of so many steps, a multiple of EVERY; it goes on with what is kept of one that was stopped."""
    if kept.exists():
        run, moving = Run.load(kept), structure.copy()
        moving.calc = calculator
        moving.set_positions(run.positions[-1])
        moving.set_momenta(run.momenta)
    else:
        run, moving = Run(), started(structure, calculator, temperature)
        run.look(moving)
    dynamics = VelocityVerlet(moving, TIMESTEP * units.fs, logfile=None)
    for _ in tqdm(range(run.steps, steps), desc=formula_of(structure), unit="step", mininterval=5):
        begin = time.process_time()
        dynamics.run(1)
        run.seconds += time.process_time() - begin
        run.look(moving)
        if run.steps % SAVED == 0 or run.steps == steps:
            run.save(kept)
    return run


def figures(structure: Atoms, run: Run) -> dict[str, Any]:
    """Of one run; energies per atom, drift by a straight line through the total energy."""
    count = len(structure)
    times = np.arange(run.steps + 1) * TIMESTEP / 1000
    total = 1e3 * np.array(run.total) / count
    drift, start = np.polyfit(times, total - total[0], 1)
    temperatures = 2 * np.array(run.kinetic) / (3 * (count - 1) * units.kB)  # at rest as a whole
    return {
        "glass": formula_of(structure),
        "x": structure.info["x"],
        "picoseconds": times[-1],
        "drift_mev_per_atom_ps": float(drift),
        "fluctuation_mev_per_atom": float(np.std(total - total[0] - drift * times - start)),
        "temperature": float(temperatures.mean()),
        "temperature_deviation": float(temperatures.std()),
        "closest": dict(zip(("Li-Li", "Li-Si", "Si-Si"), np.min(run.nearest, axis=0).tolist(), strict=True)),
        "inside_the_domain": float(np.mean([not kinds for kinds in run.outside])),
        "uncertainty_mev_per_atom": float(1e3 * np.mean(run.uncertainty) / count),
        "seconds_per_step": run.seconds / run.steps,
        "total": total[::EVERY].tolist(),
        "nearest": np.min(run.nearest, axis=1).tolist(),
    }


# ---------------------------------------------------------------- structure


def frames_of(structure: Atoms, run: Run) -> list[Atoms]:
    """Of the run, every FRAME-th step."""
    frames = []
    for positions in run.positions[:: FRAME // EVERY]:
        frames.append(structure.copy())
        frames[-1].set_positions(positions)
    return frames


def sampled_frames(given: str, x: float) -> list[Atoms]:
    """Frames of files, separated by commas, at KELVINS and near a fraction of lithium."""
    found = []
    for file in map(Path, given.split(",")):
        if not file.exists():
            print(f"left out: there is no {file}")
            continue
        for atoms in structures_of(file):
            temperature, fraction = atoms.info.get("temperature", 0), np.mean(atoms.symbols == "Li")
            if KELVINS[0] <= temperature <= KELVINS[1] and abs(fraction - x) <= ALIKE:
                found.append(atoms)
    return found


def overlap(one: Distribution, other: Distribution, pair: str) -> float:
    """What two curves have in common up to REACH: 2 int min(g1, g2) dr / int (g1 + g2) dr, 1 where they are equal."""
    both = one.g[pair], other.g[pair]
    return float(2 * np.minimum(*both).sum() / np.sum(both))


def structure_figures(distributions: dict[str, Distribution]) -> dict[str, Any]:
    """By pair and sample: first peak, neighbours, and what its curve has in common with that of the run, the first."""
    run = next(iter(distributions.values()))
    result: dict[str, Any] = {}
    for pair in ("-".join(names) for names in PAIRS):
        result[pair] = {}
        for name, sample in distributions.items():
            shell = sample.shells[pair]
            result[pair][name] = {
                "frames": len(sample.frames),
                "peak": None if shell is None else shell.peak,
                "neighbours": None if shell is None else shell.number,
                "overlap": overlap(run, sample, pair),
            }
    return result


# ---------------------------------------------------------------- speed


def timed(models: Sequence[str], structures: Sequence[Atoms]) -> dict[str, dict[str, float]]:
    """Median ms of energy, forces and stress of each structure by each model, a call of each in turn.

    Of processor time, which other work on the machine changes little; calls take one thread.
    """
    calculators = {model: WaveScatCalculator(model) for model in models}
    times: dict[str, dict[str, list[float]]] = {model: {} for model in models}
    for structure in structures:
        for call in range(CALLS + 2):
            moved = structure.copy()
            moved.rattle(0.01, seed=call)
            for model, calculator in calculators.items():
                moved.calc = calculator
                begin = time.process_time()
                moved.get_forces()
                moved.get_stress()
                if call > 1:  # the first ones compile and plan
                    times[model].setdefault(formula_of(structure), []).append(time.process_time() - begin)
    return {model: {of: 1e3 * float(np.median(all_)) for of, all_ in own.items()} for model, own in times.items()}


# ---------------------------------------------------------------- text and pictures


def text(runs: list[dict[str, Any]], speed: dict[str, dict[str, float]]) -> str:
    rows = [
        [row["glass"], f"{row['x']:.2f}", f"{row['picoseconds']:.1f}", f"{row['drift_mev_per_atom_ps']:+.4f}",
         f"{row['fluctuation_mev_per_atom']:.3f}", f"{row['temperature']:.0f} ± {row['temperature_deviation']:.0f}",
         *(f"{row['closest'][pair]:.2f}" for pair in ("Li-Li", "Li-Si", "Si-Si")),
         f"{100 * row['inside_the_domain']:.0f} %", f"{row['uncertainty_mev_per_atom']:.1f}",
         f"{1e3 * row['seconds_per_step']:.0f}"]
        for row in runs
    ]  # fmt: skip
    header = ["glass", "x", "ps", "drift, meV/atom/ps", "fluctuation, meV/atom", "K", "closest Li-Li, Å", "Li-Si",
              "Si-Si", "inside the domain", "uncertainty, meV/atom", "a step, ms"]  # fmt: skip
    of_glasses = list(next(iter(speed.values())))
    times = [[Path(model).name, *(f"{own[name]:.1f}" for name in of_glasses)] for model, own in speed.items()]
    heads = ["energy, forces and stress, ms of processor time (median)", *of_glasses]
    return "\n\n".join([table(header, rows), structure_text(runs), f"{machine()}\n\n{table(heads, times)}"])


def structure_text(runs: list[dict[str, Any]]) -> str:
    lines = []
    for row in runs:
        for pair, samples in row["structure"].items():
            for name, one in samples.items():
                peak, neighbours = (
                    "" if one[key] is None else f"{one[key]:.{digits}f}"
                    for key, digits in (("peak", 2), ("neighbours", 1))
                )
                lines.append([row["glass"], pair, name, one["frames"], peak, neighbours, f"{one['overlap']:.3f}"])
    return table(
        ["glass", "pair", "frames of", "number", "first peak, Å", "neighbours", "in common with the run"], lines
    )


def energy_picture(runs: list[dict[str, Any]], temperature: float) -> Figure:
    """Total energies and closest pairs along the runs."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for row, color in zip(runs, (BLUE, ORANGE), strict=True):
        times = np.arange(len(row["total"])) * EVERY * TIMESTEP / 1000
        upper.plot(times, np.array(row["total"]) - row["total"][0], color=color, linewidth=0.6, label=row["glass"])
        lower.plot(times, row["nearest"], color=color, linewidth=0.6)
    upper.set_ylabel("total energy less\nthe first (meV/atom)")
    upper.set_title(f"constant energy, about {temperature:g} K, steps of {TIMESTEP:g} fs")
    upper.legend(frameon=False)
    lower.set_ylabel("closest pair (Å)")
    lower.set_xlabel("time (ps)")
    return figure


def structure_picture(rows: dict[str, dict[str, Distribution]]) -> Figure:
    """Partial radial distributions: a row of panels for each glass, a panel for each pair."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(len(rows), len(PAIRS), sharex=True, squeeze=False)
    for line, (name, distributions) in zip(panels, rows.items(), strict=True):
        for axes, pair in zip(line, ("-".join(names) for names in PAIRS), strict=True):
            _draw_distributions(axes, pair, distributions)
            axes.set_title(f"{name}, {pair}", fontsize=9)
        line[0].set_ylabel("g(r)")
    for axes in panels[-1]:
        axes.set_xlabel("distance (Å)")
    panels[0][0].legend(frameon=False, fontsize=8)
    return figure


def _draw_distributions(axes: Axes, pair: str, distributions: dict[str, Distribution]) -> None:
    for (name, one), color in zip(distributions.items(), (ORANGE, BLUE, GREY), strict=False):
        axes.plot(one.r, one.g[pair], color=color, linewidth=1.2, label=name)


# ---------------------------------------------------------------- command


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps glasses and runs")
    parser.add_argument("--model", default="lisi.h5")
    parser.add_argument("--picoseconds", type=float, default=10.0)
    parser.add_argument("--temperature", type=float, default=600.0, help="K")
    parser.add_argument(
        "--sampled", nargs="*", default=SAMPLED, metavar="NAME=FILE[,FILE]", help="frames for comparison"
    )
    parser.add_argument("--timed", nargs="+", help="models whose calls are timed (default: the model)")
    parser.add_argument("--pictures", type=Path, help="folder for dynamics.png and dynamics-rdf.png")
    standard_options(parser, "dynamics")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    warnings.simplefilter("ignore", WaveScatWarning)  # how often a run leaves the domain stands in the table
    file = find_model(chosen.model)
    folder = chosen.folder / hashlib.sha256(file.read_bytes()).hexdigest()[:12]  # another model, other runs
    folder.mkdir(parents=True, exist_ok=True)
    calculator = WaveScatCalculator(file)
    steps = max(1, round(1000 * chosen.picoseconds / TIMESTEP / EVERY)) * EVERY
    for model in chosen.timed or []:
        find_model(model)  # before hours of dynamics
    samples = dict(given.split("=", 1) for given in chosen.sampled)
    structures = [glass(counts, calculator, folder) for counts in QUENCHED]
    runs, distributions = [], {}
    for structure in structures:
        name = formula_of(structure)
        run = constant_energy(
            structure, calculator, chosen.temperature, steps, folder / f"{name}-{chosen.temperature:g}.npz"
        )
        row = figures(structure, run)
        frames = {Path(chosen.model).name: frames_of(structure, run)}
        frames |= {sample: sampled_frames(files, row["x"]) for sample, files in samples.items()}
        distributions[name] = {of: rdf(some, cutoff=REACH, bins=BINS) for of, some in frames.items() if some}
        runs.append({**row, "structure": structure_figures(distributions[name])})
    speed = timed(chosen.timed or [chosen.model], structures)
    content = text(runs, speed)
    print(content)
    write_json(chosen.json, {"temperature": chosen.temperature, "runs": runs, "milliseconds": speed})
    update_documents(chosen.document, "dynamics", content)
    if chosen.pictures:
        save_small(energy_picture(runs, chosen.temperature), chosen.pictures / "dynamics.png")
        save_small(structure_picture(distributions), chosen.pictures / "dynamics-rdf.png")


if __name__ == "__main__":
    main()
