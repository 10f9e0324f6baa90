"""Tables I, III and IV of Sinz et al. 2020 and table 4.5 of Brumwell's thesis, on labels of a neural network.

    python benchmarks/accuracy/papers.py FOLDER --store FOLDER [--members 100] [--json FILE] [--document FILE ...]

FOLDER holds paths, neb, large and eos of amorphous Li-Si (.extxyz.xz), made by the papers' protocol but labelled by the
neural-network potential of Artrith, Urban and Ceder: errors are those of learning that potential, not of learning
density-functional theory. Targets are formation energies per atom.

Five folds by relaxation path. In each, greedy members are fitted as the papers do, by bootstrap over the paths with
feature bagging, and their mean judges the paths held out. Other frames are judged by the members of the fold in which
the path that they were made from is held out; those made from no path by the members of all folds. Our own features are
fitted by the same members, and by ridge regression on all features at once.

A second run goes on where the first was stopped: features are in the store, variants in the JSON file.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ase_wavescat import preset
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.registry import parse_key
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.training.groups import assign_folds
from ase_wavescat.training.linear.bagging import greedy_members
from ase_wavescat.training.linear.greedy import bag_size
from ase_wavescat.training.linear.least_squares import LeastSquares
from ase_wavescat.training.linear.observation import LabelWeights, Observation
from ase_wavescat.training.linear.visibility import visible_features
from ase_wavescat.training.rows.store import FeatureStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

FILES = {"paths": "relaxation paths", "neb": "diffusion", "large": "large states", "eos": "bulk modulus states"}
FOLDS = 5
STRENGTHS = tuple(10.0 ** np.arange(-8, 1))
GPA = 160.2177
PAPERS = {
    "sinz2020": ((7.44, 5.52), (12.3, 11.7), (9.54, 6.81), (12.8, 8.92)),
    "sinz2020, orders 0 and 1": ((8.04, 5.99), (11.8, 9.51), (14.0, 10.2), (39.5, 25.1)),
    "sinz2020, no feature bagging": ((7.50, 5.64), (11.6, 11.0), (9.78, 6.60), (16.6, 11.5)),
}


@dataclass(frozen=True, eq=False)
class Data:
    """Frames of all files: kind, path and target (eV/atom) of each, atoms of each species, entries of their files."""

    frames: list[Frame]
    kinds: np.ndarray
    paths: np.ndarray
    target: np.ndarray
    counts: np.ndarray

    @property
    def learnt(self) -> np.ndarray:
        """Frames of relaxation paths: the others only test."""
        return np.flatnonzero(self.kinds == "paths")


@dataclass(frozen=True, eq=False)
class Predictions:
    """predicted (n,): eV/atom of every frame by fits that have not seen its path; of the fits: sizes, seconds."""

    predicted: np.ndarray
    details: dict[str, Any]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of labelled structures")
    standard_options(parser, "papers")
    parser.add_argument("--store", type=Path, default=Path("papers.features"), help="folder that keeps the features")
    parser.add_argument("--members", type=int, default=100, help="bootstrap members of each fold")
    parser.add_argument("--max-features", type=int, default=300)
    parser.add_argument("--every", type=int, default=1, help="take every so many-th frame of each path only")
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--workers", type=int, help="processes for the features (default: all cores)")
    return parser.parse_args()


def read(folder: Path, every: int) -> Data:
    frames, kinds = [], []
    for name in FILES:
        path = folder / f"{name}.extxyz.xz"
        if not path.exists():
            raise SystemExit(f"there is no {path}; give the folder as argument")
        mine = [f for f in read_frames(path, "path_id") if name != "paths" or int(f.info["frame"]) % every == 0]
        frames += [replace(frame, forces=None, stress=None) for frame in mine]
        kinds += [name] * len(mine)
    counts = np.array([frame.count((3, 14)) for frame in frames])
    target = np.array([frame.energy for frame in frames]) / counts.sum(axis=1)
    return Data(frames, np.array(kinds), np.array([int(f.group) for f in frames]), target, counts)


class Features:
    """Features per atom of all frames, computed once and kept."""

    def __init__(self, data: Data, folder: Path, workers: int | None) -> None:
        self.data, self.folder, self.workers = data, folder, workers
        self.of = cache(self._of)

    def _of(self, name: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Keys and (n, F)."""
        store = FeatureStore(self.folder, preset(name, (3, 14)))
        start = time.perf_counter()
        computed = store.fill(self.data.frames, self.workers)
        print(f"{name}: {computed} frames computed in {time.perf_counter() - start:.0f} s")
        rows = np.array([store.load(frame).features for frame in self.data.frames])
        return store.keys, rows / self.data.counts.sum(axis=1)[:, None]


def folds_of(data: Data, by_frame: bool) -> tuple[np.ndarray, np.ndarray]:
    """Fold (n,) of every frame, -1 where no fit has seen anything of it or (by frame) all may have; groups of learnt.

    By path: frames of a path, and all that was made from it, share a fold.
    """
    groups = np.arange(len(data.learnt)) if by_frame else np.unique(data.paths[data.learnt], return_inverse=True)[1]
    of_group = assign_folds(groups, FOLDS, seed=0)
    fold = np.full(len(data.paths), -1)
    fold[data.learnt] = of_group[groups]
    if not by_frame:
        of_path = dict(zip(data.paths[data.learnt].tolist(), of_group[groups].tolist(), strict=True))
        fold = np.array([of_path.get(path, -1) for path in data.paths.tolist()])
    return fold, groups


def judge(fold: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """(n,) from predictions (FOLDS, n) of each fold's fits: the fold's own, or the mean of all where it is -1."""
    own = predictions[np.maximum(fold, 0), np.arange(len(fold))]
    return np.where(fold < 0, predictions.mean(axis=0), own)


def greedy(
    name: str, *, orders: int = 2, bagging: bool = True, by_frame: bool = False
) -> Callable[[Data, Features, argparse.Namespace], Predictions]:
    """The papers' members on the features of a preset, those of moduli up to an order only."""

    def fit(data: Data, features: Features, chosen: argparse.Namespace) -> Predictions:
        keys, design = features.of(name)
        kept = [i for i, key in enumerate(keys) if _order(key) <= orders]
        kept_keys, design = [keys[i] for i in kept], design[:, kept]
        fold, groups = folds_of(data, by_frame)
        visible = visible_features(kept_keys, design[data.learnt].std(axis=0))
        predictions, sizes, supports, start = [], [], [], time.perf_counter()
        for k in range(FOLDS):
            inside = fold[data.learnt] != k
            rows = data.learnt[inside]
            paths = greedy_members(
                design[rows],
                data.target[rows],
                groups[inside],
                members=chosen.members,
                max_features=chosen.max_features,
                bag=bag_size(int(visible.sum())) if bagging else None,
                candidates=visible,
                seed=k,
            )
            predictions.append(design @ paths.weights.mean(axis=0) + paths.biases.mean())
            sizes += paths.sizes.tolist()
            supports.append(len(paths.support))
            print(f"  fold {k}: M* {paths.sizes.mean():.0f}, {time.perf_counter() - start:.0f} s", flush=True)
        details = {
            "features": len(kept),
            "visible": int(visible.sum()),
            "size_mean": float(np.mean(sizes)),
            "size_std": float(np.std(sizes)),
            "at_limit": int(np.sum(np.array(sizes) == chosen.max_features)),
            "union_mean": float(np.mean(supports)),
        }
        return Predictions(judge(fold, np.array(predictions)), details)

    return fit


def _order(key: str) -> int:
    feature = parse_key(key)
    return len(feature.path) if isinstance(feature, ModulusFeature) else 0


def ridge(name: str) -> Callable[[Data, Features, argparse.Namespace], Predictions]:
    """All features at once by regularised least squares, its strength by the paths held out."""

    def fit(data: Data, features: Features, chosen: argparse.Namespace) -> Predictions:
        _, design = features.of(name)
        fold, groups = folds_of(data, by_frame=False)
        atoms = data.counts.sum(axis=1)
        observations = [
            Observation(data.counts[i], design[i] * atoms[i], data.target[i] * atoms[i]) for i in data.learnt
        ]
        problem = LeastSquares(observations, groups, LabelWeights(1.0, 0.0, 0.0))
        training = np.zeros((FOLDS, groups.max() + 1), dtype=int)
        for k in range(FOLDS):
            training[k, groups[fold[data.learnt] != k]] = 1
        found = problem.solve(training, STRENGTHS)
        weights = found.weights.reshape(FOLDS, len(STRENGTHS), -1)
        energies = found.species_energies.reshape(FOLDS, len(STRENGTHS), -1)
        fractions = data.counts / atoms[:, None]
        predictions = [
            judge(fold, weights[:, s] @ design.T + energies[:, s] @ fractions.T) for s in range(len(STRENGTHS))
        ]
        errors = [np.mean((p - data.target)[data.learnt] ** 2) for p in predictions]
        best = int(np.argmin(errors))
        return Predictions(predictions[best], {"features": design.shape[1], "strength": STRENGTHS[best]})

    return fit


VARIANTS: dict[str, Callable[[Data, Features, argparse.Namespace], Predictions]] = {
    "sinz2020": greedy("sinz2020"),
    "sinz2020, orders 0 and 1": greedy("sinz2020", orders=1),
    "sinz2020, no feature bagging": greedy("sinz2020", bagging=False),
    "sinz2020, frames split at random": greedy("sinz2020", by_frame=True),
    "correlations, greedy": greedy("correlations"),
    "correlations, greedy, no feature bagging": greedy("correlations", bagging=False),
    "correlations, ridge": ridge("correlations"),
}


def errors_of(data: Data, predicted: np.ndarray) -> dict[str, Any]:
    """RMSE and MAE (meV/atom) by kind; of barriers (eV) and bulk moduli (GPa)."""
    figures: dict[str, Any] = {}
    for kind in FILES:
        error = 1e3 * (predicted - data.target)[data.kinds == kind]
        figures[kind] = {
            "frames": len(error),
            "rmse_mev_per_atom": float(np.sqrt(np.mean(error**2))),
            "mae_mev_per_atom": float(np.abs(error).mean()),
        }
    for name, kind, property_of in (("barrier_ev", "neb", _barrier), ("bulk_modulus_gpa", "eos", _bulk_modulus)):
        mine = [np.flatnonzero((data.kinds == kind) & (data.paths == p)) for p in set(data.paths[data.kinds == kind])]
        pairs = [[property_of(data, rows, values) for values in (predicted, data.target)] for rows in mine]
        found, expected = np.array(pairs).T
        figures[name] = {"mae": float(np.abs(found - expected).mean()), "labels_mean": float(expected.mean())}
    return figures


def _barrier(data: Data, rows: np.ndarray, energies: np.ndarray) -> float:
    """Highest image less the first (eV)."""
    along = rows[np.argsort([int(data.frames[i].info["frame"]) for i in rows])]
    energy = energies[along] * data.counts[along].sum(axis=1)
    return float(energy.max() - energy[0])


def _bulk_modulus(data: Data, rows: np.ndarray, energies: np.ndarray) -> float:
    """Second derivative by the strain of the side, from a quartic through all strains, over nine volumes (GPa)."""
    strain = np.array([float(data.frames[i].info["strain"]) for i in rows])
    energy = energies[rows] * data.counts[rows].sum(axis=1)
    volume = data.frames[rows[np.argmin(np.abs(strain))]].volume
    return GPA * 2 * float(np.polynomial.Polynomial.fit(strain, energy, 4).convert().coef[2]) / (9 * volume)


def as_table(variants: dict[str, Any]) -> str:
    """One row a variant, ours above the papers'."""
    header = ["fit", "M*", *(f"{name}: RMSE, MAE" for name in FILES.values()), "barrier, eV", "bulk modulus, GPa"]
    rows = []
    for name, figures in variants.items():
        size = f"{figures['size_mean']:.0f} ± {figures['size_std']:.0f}" if "size_mean" in figures else "all"
        cells = [f"{figures[k]['rmse_mev_per_atom']:.2f}, {figures[k]['mae_mev_per_atom']:.2f}" for k in FILES]
        others = [f"{figures['barrier_ev']['mae']:.2f}", f"{figures['bulk_modulus_gpa']['mae']:.1f}"]
        rows.append([name, size, *cells, *others])
        if name in PAPERS:
            published = [f"{rmse:.2f}, {mae:.2f}" for rmse, mae in PAPERS[name]]
            first = name == "sinz2020"
            rows.append(["the paper, on DFT", "121 ± 64" if first else "", *published, "0.20" if first else "",
                         "3.3" if first else ""])  # fmt: skip
    return table(header, rows)


def known_variants(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of an earlier run with the same settings."""
    if not path.exists():
        return {}
    figures = json.loads(path.read_text())
    return figures["variants"] if figures.get("settings") == settings else {}


def run(chosen: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    done = known_variants(chosen.json, settings)
    data = read(chosen.folder, chosen.every)
    features = Features(data, chosen.store, chosen.workers)
    print(", ".join(f"{np.sum(data.kinds == kind)} frames of {name}" for kind, name in FILES.items()))
    for name in chosen.variants:
        if name in done:
            continue
        start, busy = time.perf_counter(), time.process_time()
        print(name, flush=True)
        result = VARIANTS[name](data, features, chosen)
        done[name] = {
            **errors_of(data, result.predicted),
            **result.details,
            "seconds": round(time.perf_counter() - start, 1),
            "processor_seconds": round(time.process_time() - busy, 1),
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        }
        write_json(chosen.json, {"settings": settings, "variants": done})
    return {name: done[name] for name in VARIANTS if name in done}


def main() -> None:
    chosen = options()
    print(machine())
    settings = {name: getattr(chosen, name) for name in ("members", "max_features", "every")}
    text = as_table(run(chosen, settings))
    print(text)
    update_documents(chosen.document, "papers", text)


if __name__ == "__main__":
    main()
