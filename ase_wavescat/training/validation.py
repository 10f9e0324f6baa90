"""Errors on groups that a fit has not seen, the prior's strength, and how far the members' spread may be trusted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import GPa

from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.linear.least_squares import Fit, collect

COMPOSITION_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
FAR_OFF = 30.0
_EXACT = 1e-4  # eV/atom, eV/A; errors of labels that a model can follow exactly are no measure
LEARNING_SHARES = (0.125, 0.25, 0.5, 1.0)
ENOUGH = 1.02  # of the lowest held-out loss: a stronger prior, or fewer features, are worth that


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Predicted less labelled for one frame: energy eV/atom, forces (R,) eV/A, stress (6,) eV/A^3; None without labels.

    The spreads are standard deviations over the members of a fold, uncalibrated; 0 and None for a single model.
    weight: of the frame, as in the fit.
    """

    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    energy_spread: float = 0.0
    forces_spread: np.ndarray | None = None
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Held-out results of all frames.

    errors: one record a frame, of the fold's fit to all its training groups.
    bagged: the same of the mean of the fold's bootstrap members.
    fit: how the fits were regularised, and how well posed they were, for the model's metrics.
    """

    errors: tuple[FrameErrors, ...]
    bagged: tuple[FrameErrors, ...]
    fit: dict[str, Any]

    @property
    def energy_scale(self) -> float:
        """Root mean square energy error over root mean square spread, on held-out frames, by their weights."""
        return _ratio(self.errors, "energy", "energy_spread")

    @property
    def force_scale(self) -> float:
        """The same for force components; that of the energies where there are no forces."""
        with_forces = [e for e in self.errors if e.forces is not None]
        return _ratio(with_forces, "forces", "forces_spread") if with_forces else self.energy_scale

    @property
    def typical_spread(self) -> float | None:
        """Median calibrated spread of the energy on held-out frames, eV/atom; None where a single model has none."""
        spread = self.energy_scale * float(np.median([error.energy_spread for error in self.errors]))
        return spread if spread > 0 else None


def _ratio(frames: Sequence[FrameErrors], error: str, spread: str) -> float:
    squares = [
        sum(frame.weight * float(np.sum(np.square(getattr(frame, name)))) for frame in frames)
        for name in (error, spread)
    ]
    return float(np.sqrt(squares[0] / squares[1])) if squares[1] > 0 else 1.0


def assign_folds(groups: np.ndarray, folds: int, seed: int, judged: np.ndarray | None = None) -> np.ndarray:
    """The fold (0..folds-1) of each group, from the group of each frame: shuffled, then each to the emptiest fold.

    judged (n,): only these frames fill a fold; the others are spread over the folds just as evenly.
    """
    judged = np.ones(len(groups), dtype=bool) if judged is None else judged
    own, sizes = np.bincount(groups, weights=judged), np.bincount(groups)
    fold, order = np.empty(len(sizes), dtype=int), np.random.default_rng(seed).permutation(len(sizes))
    for mine, weights in ((order[own[order] > 0], own), (order[own[order] == 0], sizes)):
        frames = np.zeros(folds)
        for group in mine:
            fold[group] = np.argmin(frames)
            frames[fold[group]] += weights[group]
    return fold


def bootstrap(
    groups: np.ndarray, total: int, members: int, rng: np.random.Generator, judged: np.ndarray | None = None
) -> np.ndarray:
    """Multiplicities (members, total) of draws of len(groups) among `groups` with replacement.

    judged (total,): groups that are and groups that are not are drawn apart, as many as there are, so that a small
    source of labels beside a large one is in every draw.
    """
    judged = np.ones(total, dtype=bool) if judged is None else judged
    strata = [own for own in (groups[judged[groups]], groups[~judged[groups]]) if len(own)]
    draws = np.concatenate([rng.choice(own, size=(members, len(own))) for own in strata], axis=1)
    return np.array([np.bincount(draw, minlength=total) for draw in draws])


def judged_groups(groups: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """(G,) Which groups hold a frame that is judged, from the group and the judgement of each frame."""
    return np.bincount(groups, weights=judged) > 0


@dataclass(frozen=True, eq=False)
class Search:
    """The strength of the prior that was chosen by the held-out loss, and each fold's fit with it.

    strengths, losses: what was tried, and the data term of the fit on held-out frames.
    weights (folds, F), species_energies (folds, S); supports: the features of each fold's fit, None for all.
    condition: largest condition number; indefinite: how many fits had to leave out eigenvalues.
    """

    strength: float
    strengths: tuple[float, ...]
    losses: tuple[float, ...]
    weights: np.ndarray
    species_energies: np.ndarray
    supports: tuple[np.ndarray | None, ...]
    condition: float
    indefinite: int


def training_sets(fold: np.ndarray) -> np.ndarray:
    """(folds, G) multiplicities of the groups: all folds but one."""
    return np.array([fold != k for k in range(int(fold.max()) + 1)], dtype=int)


def search_strength(
    fit: Fit,
    fold: np.ndarray,
    strengths: Sequence[float],
    judged: np.ndarray,
    supports: Sequence[np.ndarray] | None = None,
) -> Search:
    """Fit on all folds but one with every strength, look at the frames of that one that are `judged` (n,).

    The strongest prior is taken whose loss is within two per cent of the lowest: the loss is flat there and held-out
    frames are like those of the fit, but dynamics go where no frame is, and a stronger prior is smoother there. It is
    one number chosen among few on the same folds that the errors are quoted for, which flatters them by next to
    nothing: the losses around the lowest are all but equal.
    supports: indices of the features of each fold's fit; all of them by default.
    """
    sets = training_sets(fold)
    allowed = [None] * len(sets) if supports is None else list(supports)
    problems = zip(fit.normal_equations(sets), allowed, strict=True)
    solutions = collect(problem.solve(strength, own) for problem, own in problems for strength in strengths)
    shape = len(sets), len(strengths), -1
    weights, species = solutions.weights.reshape(shape), solutions.species_energies.reshape(shape)
    losses = np.zeros(len(strengths))
    for index, k in held_out(fit, fold, judged):
        losses += fit.residuals(index, weights[k], species[k]).loss(fit.weights)
    best = int(np.argmax(np.where(losses <= ENOUGH * losses.min(), strengths, 0.0)))
    return Search(
        strength=float(strengths[best]),
        strengths=tuple(map(float, strengths)),
        losses=tuple(map(float, losses)),
        weights=weights[:, best],
        species_energies=species[:, best],
        supports=tuple(allowed),
        condition=float(solutions.condition.reshape(shape)[:, best].max()),
        indefinite=int(solutions.indefinite.reshape(shape)[:, best].sum()),
    )


def cross_validate(
    fit: Fit, fold: np.ndarray, search: Search, members: int, seed: int, judged: np.ndarray
) -> CrossValidation:
    """Errors of each fold's fit on the judged frames of that fold; fold (G,) as from `assign_folds`.

    members: bootstrap members fitted inside each fold, from its training groups only, for the spread.
    """
    count = len(search.weights)
    rng = np.random.default_rng(seed)
    own = judged_groups(fit.groups, judged)
    sets = training_sets(fold)
    draws = [bootstrap(np.flatnonzero(row), len(fold), members, rng, own) for row in sets]
    problems = enumerate(fit.normal_equations(np.concatenate(draws), np.repeat(sets, members, axis=0)))
    second = collect(problem.solve(search.strength, search.supports[i // members]) for i, problem in problems)
    models = np.concatenate([search.weights[:, None], second.weights.reshape(count, members, -1)], axis=1)
    energies = second.species_energies.reshape(count, members, -1)
    energies = np.concatenate([search.species_energies[:, None], energies], axis=1)
    results = [frame_errors(fit, index, models[k], energies[k]) for index, k in held_out(fit, fold, judged)]
    how = {
        "strength": search.strength,
        "losses": {f"{s:g}": loss for s, loss in zip(search.strengths, search.losses, strict=True)},
        "condition": max(search.condition, float(second.condition.max())),
        "indefinite_fits": search.indefinite + int(second.indefinite.sum()),
    }
    return CrossValidation(tuple(own for own, _ in results), tuple(mean for _, mean in results), how)


def held_out_summaries(
    fit: Fit, fold: np.ndarray, weights: np.ndarray, species_energies: np.ndarray, judged: np.ndarray
) -> list[dict[str, Any]]:
    """`summarise`, with the "loss", of K models a fold on the judged frames of that fold: weights (folds, K, F)."""
    errors: list[list[FrameErrors]] = [[] for _ in range(weights.shape[1])]
    losses = np.zeros(weights.shape[1])
    for index, k in held_out(fit, fold, judged):
        found = fit.residuals(index, weights[k], species_energies[k])
        losses += found.loss(fit.weights)
        for model, mine in enumerate(errors):
            forces, stress = (None if part is None else part[:, model] for part in (found.forces, found.stress))
            mine.append(FrameErrors(float(found.energy[model]), forces, stress))
    return [summarise(mine) | {"loss": float(loss)} for mine, loss in zip(errors, losses, strict=True)]


def held_out(fit: Fit, fold: np.ndarray, judged: np.ndarray) -> Iterator[tuple[int, int]]:
    """Index and fold of every judged frame."""
    return ((int(index), int(fold[fit.groups[index]])) for index in np.flatnonzero(judged))


def learning_curve(fit: Fit, fold: np.ndarray, search: Search, judged: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Held-out errors of fits to a growing share of each fold's training groups, the smaller within the larger."""
    order, count = np.random.default_rng([seed, 2]).permutation(len(fold)), len(LEARNING_SHARES)
    selections = []
    for row in training_sets(fold):
        mine = order[row[order] > 0]
        parts = [mine[: max(1, round(share * len(mine)))] for share in LEARNING_SHARES]
        selections += [np.bincount(part, minlength=len(fold)) for part in parts]
    problems = enumerate(fit.normal_equations(np.array(selections)))
    found = collect(problem.solve(search.strength, search.supports[i // count]) for i, problem in problems)
    weights, energies = (part.reshape(-1, count, part.shape[1]) for part in (found.weights, found.species_energies))
    summaries = held_out_summaries(fit, fold, weights, energies, judged)
    trained = np.array(selections).reshape(-1, count, len(fold))
    sizes = np.bincount(fit.groups, minlength=len(fold))
    return [
        {
            "groups": round(float(trained[:, i].sum(axis=1).mean())),
            **summary,
            "frames": round(float((trained[:, i] @ sizes).mean())),
        }
        for i, summary in enumerate(summaries)
    ]


def frame_errors(fit: Fit, index: int, models: np.ndarray, energies: np.ndarray) -> tuple[FrameErrors, FrameErrors]:
    """Errors of the first model and of the mean of the others, with the spread of the others."""
    residuals = fit.residuals(index, models, energies)
    weight = residuals.observation.weight
    freedom = min(1, len(models) - 2)  # a single member has no spread
    energy_spread = float(residuals.energy[1:].std(ddof=freedom))
    forces, stress = residuals.forces, residuals.stress
    forces_spread = None if forces is None else forces[:, 1:].std(axis=1, ddof=freedom)

    def pick(array: np.ndarray | None, mean: bool) -> np.ndarray | None:
        return None if array is None else array[:, 1:].mean(axis=1) if mean else array[:, 0]

    own, bagged = (
        FrameErrors(float(energy), pick(forces, mean), pick(stress, mean), energy_spread, forces_spread, weight)
        for mean, energy in ((False, residuals.energy[0]), (True, residuals.energy[1:].mean()))
    )
    return own, bagged


def summarise(errors: Iterable[FrameErrors]) -> dict[str, Any]:
    """Mean absolute and root mean square errors over frames, meV/atom, over components, eV/A and eV/A^3."""
    errors = list(errors)
    energy = 1e3 * np.array([e.energy for e in errors])
    summary: dict[str, Any] = {
        "frames": len(errors),
        "energy_mae_mev_per_atom": _mae(energy),
        "energy_rmse_mev_per_atom": _rms(energy),
    }
    for name, unit in (("forces", "force_{}_ev_per_a"), ("stress", "stress_{}_ev_per_a3")):
        parts = [getattr(e, name) for e in errors if getattr(e, name) is not None]
        if parts:
            components = np.concatenate(parts)
            summary |= {unit.format("mae"): _mae(components), unit.format("rmse"): _rms(components)}
    return summary


def _mae(values: np.ndarray) -> float:
    return float(np.abs(values).mean())


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def summarise_by(errors: Sequence[FrameErrors], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`summarise` of the frames that share a label, labels in order."""
    members = defaultdict(list)
    for error, label in zip(errors, labels, strict=True):
        members[label].append(error)
    return {label: summarise(members[label]) for label in sorted(members)}


def composition_bin(fraction: float) -> str:
    """The bin "0.2-0.4" for 0.2 <= fraction < 0.4; the last bin holds 1 as well."""
    inner = COMPOSITION_EDGES[1:-1]
    index = int(np.searchsorted(inner, fraction + 1e-12, side="right"))
    return f"{COMPOSITION_EDGES[index]:.1f}-{COMPOSITION_EDGES[index + 1]:.1f}"


def collect_metrics(frames: Sequence[Frame], validation: CrossValidation, species: Sequence[int]) -> dict[str, Any]:
    """Held-out errors: of all frames, by kind, by fraction of the first species, by source where there are several; and
    how the fit was regularised."""
    first = min(species)
    sources = [frame.source for frame in frames]
    by_source = {"by_source": summarise_by(validation.errors, sources)} if len(set(sources)) > 1 else {}
    bins = [composition_bin(float(np.mean(frame.numbers == first))) for frame in frames]
    return {
        **summarise(validation.errors),
        "by_kind": summarise_by(validation.errors, [frame.config_type for frame in frames]),
        "by_composition": summarise_by(validation.errors, bins),
        "composition_of": chemical_symbols[first],
        **by_source,
        "mean_of_members": summarise(validation.bagged),
        "far_off": [frames[i].name for i in far_off(validation.errors)],
        **validation.fit,
    }


def far_off(errors: Sequence[FrameErrors]) -> list[int]:
    """Frames whose held-out error of the energy, or of a force, is more than `FAR_OFF` times the median."""
    energies = np.abs([error.energy for error in errors])
    forces = np.array([0.0 if error.forces is None else np.abs(error.forces).max(initial=0.0) for error in errors])
    wrong = np.zeros(len(errors), dtype=bool)
    for sizes in (energies, forces):
        wrong |= sizes > FAR_OFF * max(float(np.median(sizes)), _EXACT)
    return np.flatnonzero(wrong).tolist()


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """A table of the held-out errors."""
    lines = [
        "held-out errors        frames  energy MAE    RMSE  force MAE    RMSE  stress MAE",
        "                                 meV/atom               eV/A                 GPa",
    ]
    rows = [("all", metrics), ("mean of members", metrics["mean_of_members"])]
    rows += [*metrics.get("by_source", {}).items(), *metrics["by_kind"].items()]
    rows += [(f"{metrics['composition_of']} {name}", row) for name, row in metrics["by_composition"].items()]
    names = (
        ("energy_mae_mev_per_atom", 12, 2, 1.0),
        ("energy_rmse_mev_per_atom", 8, 2, 1.0),
        ("force_mae_ev_per_a", 11, 4, 1.0),
        ("force_rmse_ev_per_a", 8, 4, 1.0),
        ("stress_mae_ev_per_a3", 12, 3, 1 / GPa),
    )
    for label, row in rows:
        cells = "".join(
            f"{factor * row[name]:>{width}.{digits}f}" if name in row else f"{'-':>{width}}"
            for name, width, digits, factor in names
        )
        lines.append(f"{label:<22}{row['frames']:>7}{cells}")
    if "strength" in metrics:
        tried = list(metrics["losses"])
        edge = "" if f"{metrics['strength']:g}" not in (tried[0], tried[-1]) else f" (tried: {tried[0]} to {tried[-1]})"
        lines.append(
            f"prior strength {metrics['strength']:g}{edge}, condition number up to {metrics['condition']:.1e}"
            + (f", {metrics['indefinite_fits']} fits left out eigenvalues" if metrics["indefinite_fits"] else "")
        )
    if metrics.get("far_off"):
        names = metrics["far_off"]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        lines.append(f"far off, look at the labels of: {', '.join(names[:5])}{more}")
    if "greedy" in metrics:
        sizes = metrics["greedy"]["m_star"]
        lines.append(f"features of a member, M*: {np.mean(sizes):.0f} +- {np.std(sizes):.0f}")
    return "\n".join(lines)
