"""Structures worth a label: uncertain ones, unlike one another, of every composition."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from tqdm import tqdm

from ase_wavescat.io.structures import without_results
from ase_wavescat.potentials.each import for_each
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.model import Model, ModelPrediction
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, StructureError
from ase_wavescat.system.plotting import GREY, ORANGE
from ase_wavescat.system.processes import cores
from ase_wavescat.system.progress import hidden
from ase_wavescat.training.data.duplicates import fingerprint
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPOSITION_BINS = 10
SAME = 1e-6
"""Distance of two structures in feature space, as a share of that from the origin, below which they are the same."""
SHORTLIST = 4
"""Of each composition, the most uncertain structures are considered: so many times its share of what is asked for."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a model says of a structure of the pool.

    features: (F,) of the cell, divided by the number of atoms.
    energy_spread: eV/atom;  force_spread: eV/A, root mean square over components; both calibrated.
    outside: in what the structure lies outside the training domain.
    grade: the largest of its atoms, beyond 1: an environment unlike any seen; 0 where the model records none.
    """

    name: str
    structure: Atoms
    features: np.ndarray
    energy_spread: float
    force_spread: float
    outside: tuple[str, ...]
    grade: float = 0.0

    def need(self, limits: Limits) -> float:
        """How many times the larger of its two spreads exceeds what is enough, or its grade the limit of 1."""
        return max(self.energy_spread / limits.energy, self.force_spread / limits.forces, self.grade)


@dataclass(frozen=True)
class Limits:
    """Spreads of energies (eV/atom) and forces (eV/A) that are good enough: below both, a label teaches little."""

    energy: float
    forces: float

    def __post_init__(self) -> None:
        for name in ("energy", "forces"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"the limit of the spread of {name} must be a positive number, got {value}")


@dataclass(frozen=True, eq=False)
class Selection(Result):
    """Chosen structures, most needed first in each composition, among all candidates.

    chosen: indices into candidates, in the order they were taken.
    uncertain: how many candidates exceed the limits, or hold an atom unlike any seen.
    repeated: how many of these have the features of another that is taken or known, and were passed over. Where fewer
        than asked for are chosen, the pool is exhausted.
    failed: names and reasons of structures that the model cannot evaluate.
    """

    candidates: tuple[Candidate, ...]
    chosen: tuple[int, ...]
    limits: Limits
    uncertain: int
    repeated: int
    failed: Mapping[str, str]

    @property
    def structures(self) -> list[Atoms]:
        """Copies of the chosen; info: name, energy_spread (eV/atom), force_spread (eV/A), outside, largest_grade."""
        structures = []
        for index in self.chosen:
            candidate = self.candidates[index]
            atoms = candidate.structure.copy()
            atoms.info |= {
                "name": candidate.name,
                "energy_spread": candidate.energy_spread,
                "force_spread": candidate.force_spread,
                "outside": " ".join(candidate.outside) or "no",
                "largest_grade": candidate.grade,
            }
            structures.append(atoms)
        return structures

    def summary(self) -> str:
        """What was chosen of what, and whether the pool has more."""
        needs = np.array([candidate.need(self.limits) for candidate in self.candidates])
        lines = [
            f"{len(self.candidates)} structures, {self.uncertain} more uncertain than {1e3 * self.limits.energy:.1f}"
            f" meV/atom or {self.limits.forces:.3f} eV/Å, or with atoms unlike any seen",
            f"spread over limit, or grade: median {np.median(needs):.2f}, largest {needs.max():.2f}",
            f"chosen: {len(self.chosen)}",
        ]
        if self.repeated:
            lines.append(f"passed over: {self.repeated}, the same as others that are chosen or known")
        if len(self.chosen) + self.repeated == self.uncertain:
            lines.append("the pool holds no other uncertain structure")
        if self.failed:
            name, reason = next(iter(self.failed.items()))
            lines.append(f"{len(self.failed)} could not be evaluated, such as {name}: {reason}")
        return "\n".join(lines)

    def figures(self) -> dict[str, Any]:
        rank = {index: place for place, index in enumerate(self.chosen, 1)}
        candidates = [
            {
                "name": candidate.name,
                "formula": candidate.structure.get_chemical_formula(),
                "energy_spread": candidate.energy_spread,
                "force_spread": candidate.force_spread,
                "outside": list(candidate.outside),
                "largest_grade": candidate.grade,
                "chosen": rank.get(index),
            }
            for index, candidate in enumerate(self.candidates)
        ]
        limits = {"energy": self.limits.energy, "forces": self.limits.forces}
        counts = {"uncertain": self.uncertain, "repeated": self.repeated}
        return {"limits": limits, **counts, "candidates": candidates, "failed": dict(self.failed)}

    def plot(self) -> Figure:
        """Spread of the forces against that of the energy, the chosen ringed, the limits as lines."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        spreads = np.array([(1e3 * one.energy_spread, one.force_spread) for one in self.candidates])
        first = chemical_symbols[min(one.structure.numbers.min() for one in self.candidates)]
        fractions = [np.mean(np.array(one.structure.get_chemical_symbols()) == first) for one in self.candidates]
        points = axes.scatter(spreads[:, 0], spreads[:, 1], c=fractions, s=14, cmap="viridis", vmin=0, vmax=1)
        chosen = spreads[list(self.chosen)]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=60, facecolors="none", edgecolors=ORANGE, label=f"chosen, {len(chosen)}"
        )
        axes.axvline(1e3 * self.limits.energy, color=GREY, linestyle="--", label="limits")
        axes.axhline(self.limits.forces, color=GREY, linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel="energy spread (meV/atom)", ylabel="force spread (eV/Å)")
        axes.legend(frameon=False)
        figure.colorbar(points, label=f"{first} fraction")
        return figure


def select(
    pool: Mapping[str, Atoms],
    count: int,
    model: Model,
    limits: Limits | None = None,
    *,
    known: Sequence[Atoms] = (),
    workers: int | None = None,
    progress: bool = True,
) -> Selection:
    """Choose up to `count` structures of a pool that are worth labelling.

    Of each composition (tenths of each element's fraction) the most uncertain structures are shortlisted, and from the
    shortlists those are taken, the compositions in turn, that are farthest from all that are taken or known. Distances
    are those of the features an atom, each in units of its spread over the training set.

    pool: structures by name.  limits: by default the model's held-out root mean square errors.  known: structures that
    have or will have a label, and are not to be repeated.  workers: processes (default: all cores).

    Raises DataError for a model without members or domain, for an empty pool, and where no structure can be evaluated.
    """
    if count < 1:
        raise DataError(f"at least one structure must be asked for, got {count}")
    if not pool:
        raise DataError("the pool is empty; give files with structures")
    check_judge(model)
    limits = limits or held_out_limits(model)
    candidates, failed = assess(pool, model, workers, progress)
    if not candidates:
        name, reason = next(iter(failed.items()))
        raise DataError(f"no structure of the pool can be evaluated; {name}: {reason}")
    features = np.array([candidate.features for candidate in candidates])
    linear = model.term(LinearPotential)
    spread = features.std(axis=0) if linear is None or linear.ranges is None else linear.ranges.std
    scale = np.where(spread > 0, spread, np.inf)
    places = features / scale
    taken = np.array(_features(known, model, workers)).reshape(-1, len(scale)) / scale
    needs = np.array([candidate.need(limits) for candidate in candidates])
    new = _new(places, taken, needs)
    shortlists = _shortlists([candidate.structure for candidate in candidates], np.where(new, needs, 0.0), count)
    chosen = _farthest(places, taken, shortlists, count)
    uncertain = needs > 1
    counts = int(np.count_nonzero(uncertain)), int(np.count_nonzero(uncertain & ~new))
    return Selection(candidates, tuple(chosen), limits, *counts, failed)


def check_judge(model: Model) -> None:
    """DataError for a model that cannot say where it is uncertain."""
    if model.members < 2 or model.domain is None:
        raise DataError("the model has no members or no training domain to judge by; train it with several members")


def held_out_limits(model: Model) -> Limits:
    """The model's own errors (root mean square) on groups that its folds have not seen; DataError where unknown."""
    try:
        errors = model.provenance["metrics"]
        return Limits(1e-3 * errors["energy_rmse_mev_per_atom"], float(errors["force_rmse_ev_per_a"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("the model records no held-out errors; say which spreads are good enough (limits)") from error


def _composition(atoms: Atoms) -> tuple[tuple[str, int], ...]:
    symbols, counts = np.unique(atoms.numbers, return_counts=True)
    tenths = np.minimum(COMPOSITION_BINS * counts // len(atoms), COMPOSITION_BINS - 1)
    return tuple((chemical_symbols[z], int(tenth)) for z, tenth in zip(symbols, tenths, strict=True))


def _shortlists(structures: Sequence[Atoms], needs: np.ndarray, count: int) -> list[list[int]]:
    """For each composition the indices of its most uncertain structures above the limits, most uncertain first."""
    uncertain: dict[Any, list[int]] = defaultdict(list)
    for index in np.argsort(-needs, kind="stable").tolist():
        if needs[index] > 1:
            uncertain[_composition(structures[index])].append(index)
    longest = SHORTLIST * -(-count // max(len(uncertain), 1))
    shortlists = [indices[:longest] for indices in uncertain.values()]
    enough = sum(map(len, shortlists)) >= count
    return shortlists if enough else list(uncertain.values())


def _new(places: np.ndarray, taken: np.ndarray, needs: np.ndarray) -> np.ndarray:
    """(n,) whether a structure is neither known nor a copy of one of the pool that is at least as uncertain."""
    lengths = np.linalg.norm(places, axis=1)
    new = np.ones(len(places), dtype=bool)
    for place in taken:
        new &= np.linalg.norm(places - place, axis=1) > SAME * lengths
    order = np.argsort(-needs, kind="stable")
    rounded = np.round(places[order] / (SAME * max(lengths.max(), 1e-300)))
    first = np.unique(rounded, axis=0, return_index=True)[1]
    copies = np.ones(len(places), dtype=bool)
    copies[order[first]] = False
    return new & ~copies


def _farthest(places: np.ndarray, taken: np.ndarray, shortlists: list[list[int]], count: int) -> list[int]:
    """Farthest-point sampling, the shortlists in turn; where nothing is taken yet, the most uncertain is the first."""
    nearest = np.full(len(places), np.inf)
    for place in taken:
        nearest = np.minimum(nearest, np.linalg.norm(places - place, axis=1))
    chosen: list[int] = []
    left = [list(indices) for indices in shortlists]
    while len(chosen) < count and any(left):
        for indices in filter(None, left):
            best = indices.pop(int(np.argmax(nearest[indices])))
            nearest = np.minimum(nearest, np.linalg.norm(places - places[best], axis=1))
            chosen.append(best)
            if len(chosen) == count:
                break
    return chosen


# ---------------------------------------------------------------- the model's view of a pool


def assess(
    pool: Mapping[str, Atoms], model: Model, workers: int | None = None, progress: bool = True
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """Candidates in the order of the pool, and the reasons for those that cannot be evaluated."""
    candidates, failed = [], {}
    count = min(workers or cores(), len(pool))
    views = for_each(model, _view, pool.items(), count, chunk=8)
    for item in tqdm(views, total=len(pool), unit="structure", disable=hidden(progress)):
        if isinstance(item, Candidate):
            candidates.append(item)
        else:
            failed[item[0]] = item[1]
    return tuple(candidates), failed


def _features(structures: Sequence[Atoms], model: Model, workers: int | None) -> list[np.ndarray]:
    """(F,) of each structure that the model can evaluate, divided by the number of atoms: far quicker than `assess`."""
    found = for_each(model, _features_of, structures, min(workers or cores(), len(structures)), chunk=8)
    return [features for features in found if features is not None]


def _features_of(model: Model, atoms: Atoms) -> np.ndarray | None:
    try:
        return _description(model.predict(Structure.from_atoms(atoms)), atoms)
    except StructureError:
        return None


def _description(prediction: ModelPrediction, atoms: Atoms) -> np.ndarray:
    """Numbers that tell structures apart: the features per atom, else the fingerprint."""
    features = prediction.features
    return fingerprint(atoms) if features is None else features / len(atoms)


def _view(model: Model, entry: tuple[str, Atoms]) -> Candidate | tuple[str, str]:
    """The candidate, or its name and why the model cannot evaluate it."""
    name, atoms = entry
    bare = without_results(atoms)
    try:
        prediction = model.predict(Structure.from_atoms(bare))
    except StructureError as error:
        return name, str(error)
    return Candidate(
        name,
        bare,
        _description(prediction, bare),
        prediction.energy_uncertainty / len(bare),
        float(np.sqrt(np.mean(prediction.forces_uncertainty**2))),
        tuple(prediction.domain_messages),
        0.0 if prediction.grades is None else float(prediction.grades.max()),
    )
