"""What the fit of lisi-dft owes to each family of features, kind of label, number of frames and choice of prior.

    python benchmarks/accuracy/lisi_dft.py [FILE] --store FOLDER [--network FOLDER] [--parts ...] [--json FILE] ...

Five folds by melt; every line is a fit of its own, its prior's strength chosen on the folds. FILE holds the labels,
--network is the folder of paths.extxyz.xz, energies by a neural-network potential: a second, cheap source of labels,
left out where it is not given. Features are kept in the
store, finished parts in the JSON file: a second run goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat import preset
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.families.atoms.features import AtomFeature
from ase_wavescat.representation.families.correlations.features import BandFeature, PairFeature
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.registry import parse_key
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.cost import measured_cost
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.fitting import train
from ase_wavescat.training.groups import assign_folds, training_sets
from ase_wavescat.training.linear.cross_validation import Plan, Search, Summaries, fit_members, search_strength
from ase_wavescat.training.linear.least_squares import LeastSquares, NormalEquations, Selections, collect
from ase_wavescat.training.linear.observation import Observation
from ase_wavescat.training.linear.prior import STEEP, prior_scale
from ase_wavescat.training.linear.problem import least_squares
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.rows.store import FeatureStore, random_directions
from ase_wavescat.training.settings import STRENGTHS_TOWARDS_A_MODEL, Settings
from ase_wavescat.training.trainer import Penalty, Problem

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, standard_options, table, update_documents, write_json

FILE = Path("models/lisi-dft/cheap.extxyz.xz")
STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-9, -2))
SPECIES = (3, 14)
FORCE_WEIGHT = 12.0  # A/eV; the default, 10, gives 6.80 meV/atom and 0.0952 eV/A for all features of many-body
EVERY = 4  # of the network's frames
TITLES = {
    "families": "features",
    "labels": "labels fitted",
    "choices": "choices",
    "frames": "training set",
    "sources": "label sources (preset correlations)",
    "sizes": "sparse (preset correlations)",
    "moduli": "presets, fitted to energies alone",
}
Line = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Fit:
    """A problem, and its least squares with all rows in memory."""

    problem: Problem
    squares: LeastSquares

    def training(self) -> list[NormalEquations]:
        """The problem of each fold's training set."""
        return list(self.squares.normal_equations(Selections.fits(training_sets(self.problem.fold))))

    def search(self) -> Search:
        """The strength by the folds."""
        plan = Plan.draw(self.problem, 1, 0)
        equations = self.squares.normal_equations(plan.searched)
        training, held_out = (islice(equations, plan.folds) for _ in range(2))
        return search_strength(training, held_out, STRENGTHS, [None] * plan.folds)

    def held_out(self, weights: np.ndarray, species_energies: np.ndarray) -> list[Line]:
        """Errors of n models a fold: weights (K, n, F), species_energies (K, n, B)."""
        summaries, fold = Summaries(weights.shape[1], self.squares.label_weights), self.problem.fold
        for index in np.flatnonzero(self.problem.judged).tolist():
            k = fold[self.problem.groups[index]]
            summaries.add(self.squares.observations[index].residuals(weights[k], species_energies[k]))
        return summaries()


class Case:
    """Labelled frames with the rows of a preset in memory, and fits to them."""

    def __init__(self, name: str, frames: Sequence[Frame], store: Path) -> None:
        self.frames, self.settings = frames, Settings(force_weight=FORCE_WEIGHT)
        self.store = FeatureStore(store, preset(name, SPECIES))
        self.store.fill(frames)
        self.groups = np.unique([frame.group for frame in frames], return_inverse=True)[1]

    def fit(self, penalty: Penalty | None = None, towards: np.ndarray | None = None, **settings: Any) -> Fit:
        """The problem for some settings, with its rows in memory."""
        chosen = replace(self.settings, **settings)
        repulsion = PairRepulsion.from_species(SPECIES)
        observations = Observations(
            self.frames, self.store, repulsion, strong_force=chosen.strong_force, towards=towards
        )
        judged = observations.targets
        fold = assign_folds(self.groups, chosen.folds, chosen.seed, judged)
        problem = Problem(observations, self.groups, fold, judged, penalty, progress=True)
        squares = least_squares(problem, chosen)
        squares.observations = list(observations)
        return Fit(problem, squares)

    @property
    def orders(self) -> np.ndarray:
        """Body order of each feature, (F,)."""
        return np.array([_correlation(key).body_order for key in self.store.keys])


def _correlation(key: str) -> PairFeature | AtomFeature | BandFeature:
    feature = parse_key(key)
    assert not isinstance(feature, ModulusFeature)
    return feature


def judge(fit: Fit, training: Sequence[NormalEquations], name: str, support: np.ndarray | None = None) -> Line:
    """Held-out errors of ridge on a support, at the strength with the lowest loss."""
    strengths = STRENGTHS_TOWARDS_A_MODEL if fit.squares.towards.any() else STRENGTHS
    found = collect(own.solve(strength, support) for own in training for strength in strengths)
    shape = len(training), len(strengths), -1
    weights, energies = found.weights.reshape(shape), found.species_energies.reshape(shape)
    summaries = fit.held_out(weights, energies)
    strength, summary = min(zip(strengths, summaries, strict=True), key=lambda pair: pair[1]["loss"])
    count = fit.squares.towards.size if support is None else len(support)
    line = {"name": name, "features": count, "strength": strength, **summary}
    print(f"{name:50s} {count:5d} {' '.join(_cells(line))}", flush=True)
    return line


def families(case: Case) -> list[Line]:
    fit, orders = case.fit(), case.orders
    training = fit.training()
    sets = {"pair": (2,), "pair, 3": (2, 3), "pair, 3, 5": (2, 3, 5), "pair, 3, 4": (2, 3, 4), "all": (2, 3, 4, 5)}
    lines = []
    for name, kept in sets.items():
        support = np.flatnonzero(np.isin(orders, kept))
        lines.append(judge(fit, training, name, support) | {"milliseconds": time_of_call(case, support)})
    return lines


def time_of_call(case: Case, support: np.ndarray) -> float:
    """Milliseconds of energy and forces of 64 atoms, one core."""
    atoms = glass(64)
    keys = [case.store.keys[i] for i in support]
    return measured_cost(case.store.spec, keys, Structure.from_atoms(atoms))


def labels(case: Case) -> list[Line]:
    """Fits to some of the labels; errors are always on all of them."""
    lines = []
    for name, settings in (
        ("energies", {"force_weight": 0.0, "stress_weight": 0.0}),
        ("energies, 8 directions a frame", {"stress_weight": 0.0}),
        ("energies, all forces", {"stress_weight": 0.0}),
    ):
        fit = case.fit(**settings)
        squares, rows = fit.squares, fit.squares.observations
        if "directions" in name:
            squares.observations = [_along(row, frame) for row, frame in zip(rows, case.frames, strict=True)]
        training = fit.training()
        squares.observations = rows
        lines.append(judge(fit, training, name))
    return lines


def _along(row: Observation, frame: Frame) -> Observation:
    """Force rows along eight random directions in place of all."""
    assert row.force_rows is not None
    assert row.forces is not None
    assert row.component_weights is not None
    units = random_directions(frame, 8)
    weights = (units**2 @ row.component_weights**-2) ** -0.5
    return replace(row, force_rows=units @ row.force_rows, forces=units @ row.forces, component_weights=weights)


def choices(case: Case) -> list[Line]:
    """The fit without one of its choices."""
    plain: dict[str, tuple[Penalty | None, dict[str, Any]]] = {
        "strong forces weigh as much as weak ones": (None, {"strong_force": np.inf}),
        "rough features cost no more": (lambda s, w, keys: prior_scale(s, w, keys, roughness=0.0), {}),
        "five-body features cost no more": (_even, {}),
    }
    lines = []
    for name, (penalty, settings) in plain.items():
        fit = case.fit(penalty, **settings)
        lines.append(judge(fit, fit.training(), name))
    return lines


def _even(statistics: Any, weights: Any, keys: Sequence[str]) -> np.ndarray:
    five = np.array([_correlation(key).body_order == 5 for key in keys])
    return prior_scale(statistics, weights, keys) / np.where(five, STEEP, 1.0)


def frames(case: Case) -> list[Line]:
    fit = case.fit()
    problem, plan = fit.problem, Plan.draw(fit.problem, 1, 0)
    equations, supports = fit.squares.normal_equations(plan.fitted), [None] * plan.folds
    _, _, curve, _ = fit_members(problem, plan, fit.search(), equations, supports, None)
    errors = fit.held_out(curve.models.weights, curve.models.species_energies)
    points = zip(curve.points, errors, strict=True)
    return [{"name": f"{point['groups']} melts", **error, **point} for point, error in points]


def sources(dft: list[Frame], network: Path, store: Path) -> list[Line]:
    """Density-functional labels alone; with a network's energies as a second source; drawn towards a fit of these."""
    cheap = [f for f in read_frames(network / "paths.extxyz.xz", "path_id") if int(f.info["frame"]) % EVERY == 0]
    cheap = [replace(f, forces=None, stress=None, source="network", group=f"network {f.group}") for f in cheap]
    alone = Case("correlations", dft, store)

    def held_out(case: Case, name: str, **given: Any) -> Line:
        fit = case.fit(**given)
        return judge(fit, fit.training(), name)

    lines = [held_out(alone, "alone")]
    for weight in (0.1, 1.0):
        both = Case("correlations", [*dft, *(replace(f, weight=weight) for f in cheap)], store)
        lines.append(held_out(both, f"{len(cheap)} energies of a network besides, weight {weight:g}"))
    fit = Case("correlations", cheap, store).fit()
    everything = np.ones((1, len(fit.problem.fold)), dtype=int)
    towards = fit.squares.solve(everything, [fit.search().strength]).weights[0]
    return [*lines, held_out(alone, "drawn towards a fit of the network's energies", towards=towards)]


def moduli(dft: list[Frame], store: Path) -> list[Line]:
    """Presets of moduli beside ours, fitted to energies alone: force rows of moduli take tangents, which are slow."""
    bare = [replace(frame, forces=None, stress=None) for frame in dft]
    lines = []
    for name in ("correlations", "many-body", "polynomial", "sinz2020"):
        fit = Case(name, bare, store).fit()
        lines.append(judge(fit, fit.training(), name))
    return lines


def sizes(file: Path, store: Path) -> list[Line]:
    """Sparse models of the preset correlations: errors against the estimated time of energy and forces."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "sparse.h5"
        ensemble = train(file, model, "correlations", method="sparse", store=store, strengths=STRENGTHS, members=2)
    curve = ensemble.provenance["metrics"]["size_curve"]
    return [{"name": f"{point['features']} features", **point} for point in curve]


def as_table(parts: dict[str, list[Line]]) -> str:
    texts = []
    for part in filter(parts.__contains__, TITLES):
        rows = [[line["name"], line.get("features", line["frames"]), *_cells(line)] for line in parts[part]]
        count = "training frames" if part == "frames" else "features"
        header = [TITLES[part], count, "energy MAE, meV/atom", "RMSE", "forces MAE, eV/Å", "RMSE"]
        header += ["stress MAE, GPa", "a call, ms"]
        texts.append(table(header, rows))
    return "\n\n".join(texts)


def _cells(line: Line) -> list[str]:
    wanted = (("energy_mae_mev_per_atom", 1, 2), ("energy_rmse_mev_per_atom", 1, 1), ("force_mae_ev_per_a", 1, 4),
              ("force_rmse_ev_per_a", 1, 3), ("stress_mae_ev_per_a3", 160.2177, 2), ("milliseconds", 1, 0))  # fmt: skip
    return [f"{unit * line[key]:.{digits}f}" if key in line else "" for key, unit, digits in wanted]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=FILE, help="labelled structures")
    parser.add_argument("--network", type=Path, help="folder of paths.extxyz.xz")
    parser.add_argument("--preset", default="many-body")
    parser.add_argument("--store", type=Path, default=Path("lisi_dft.features"), help="folder that keeps the features")
    parser.add_argument("--parts", nargs="*", default=[*TITLES])
    standard_options(parser, "lisi_dft")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    dft = read_frames(chosen.file)
    parts: dict[str, list[Line]] = json.loads(chosen.json.read_text())["parts"] if chosen.json.exists() else {}
    of_case: dict[str, Callable[[Case], list[Line]]] = {
        "families": families, "labels": labels, "choices": choices, "frames": frames
    }  # fmt: skip
    print(machine())
    for part in chosen.parts:
        if part == "sources" and not chosen.network:
            print("sources: left out, no --network is given")
        elif part not in parts:
            if part == "sources":
                parts[part] = sources(dft, chosen.network, chosen.store)
            elif part == "moduli":
                parts[part] = moduli(dft, chosen.store)
            elif part == "sizes":
                parts[part] = sizes(chosen.file, chosen.store)
            else:
                parts[part] = of_case[part](Case(chosen.preset, dft, chosen.store))
            write_json(chosen.json, {"preset": chosen.preset, "frames": len(dft), "parts": parts})
    text = as_table(parts)
    print(text)
    update_documents(chosen.document, "lisi_dft", text)


if __name__ == "__main__":
    main()
