"""The least-squares fit against plain dense linear algebra on small problems with a known answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ase_wavescat.training.data.contacts import Contacts
from ase_wavescat.training.linear.least_squares import LeastSquares, Selections
from ase_wavescat.training.linear.observation import EnergyRows, LabelWeights, Observation

FEATURES, SPECIES = 7, 2
WEIGHTS = LabelWeights(energy=20.0, forces=2.0, stress=50.0)


def make(rng: np.random.Generator, frames: int = 18, noise: float = 0.0, counts: np.ndarray | None = None):
    """Observations of a linear model, with its weights and species energies."""
    size = 10.0 ** rng.uniform(-3, 3, FEATURES)
    weights, energies = rng.normal(size=FEATURES) / size, np.array([-1.9, -5.4])
    observations = []
    for _ in range(frames):
        n = rng.integers(1, 9, SPECIES).astype(float) if counts is None else counts
        phi = size * n.sum() * (3.0 + rng.normal(size=FEATURES))
        rows, strain = size * rng.normal(size=(9, FEATURES)), size * rng.normal(size=(6, FEATURES))
        observations.append(
            Observation(
                n, phi, phi @ weights + n @ energies + noise * rng.normal(), rows,
                rows @ weights + noise * rng.normal(size=9), strain, strain @ weights + noise * rng.normal(size=6),
            )
        )  # fmt: skip
    return observations, weights, energies


def dense(observations, multiplicities, groups, strength, penalty):
    """Minimise the documented loss by stacking every row, the prior's too."""
    rows, targets = [], []
    for frame, group in zip(observations, groups, strict=True):
        root = np.sqrt(multiplicities[group])
        n = frame.counts.sum()
        rows.append(root * WEIGHTS.energy / n * np.concatenate([frame.features, frame.counts])[None])
        targets.append(root * WEIGHTS.energy / n * np.array([frame.energy]))
        for block, label, weight in (
            (frame.force_rows, frame.forces, WEIGHTS.forces), (frame.stress_rows, frame.stress, WEIGHTS.stress)
        ):  # fmt: skip
            share = frame.component_weights if label is frame.forces else np.ones(len(label))
            scale = root * weight * share
            rows.append(scale[:, None] * np.concatenate([block, np.zeros((len(block), SPECIES))], axis=1))
            targets.append(scale * label)
    rows.append(np.concatenate([np.diag(np.sqrt(strength * penalty)), np.zeros((FEATURES, SPECIES))], axis=1))
    targets.append(np.zeros(FEATURES))
    design, target = np.concatenate(rows), np.concatenate(targets)
    size = np.linalg.norm(design, axis=0)
    return np.linalg.lstsq(design / size, target, rcond=None)[0] / size


def test_recovers_a_linear_model():
    observations, weights, energies = make(np.random.default_rng(1))
    fit = LeastSquares(observations, np.arange(18), WEIGHTS)
    solution = fit.solve(np.ones((1, 18), dtype=int), [1e-12])
    np.testing.assert_allclose(solution.weights[0], weights, rtol=1e-7)
    np.testing.assert_allclose(solution.species_energies[0], energies, rtol=1e-7)
    assert not solution.indefinite.any()


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_minimises_the_documented_loss(tilt):
    rng = np.random.default_rng(2)
    observations, _, _ = make(rng, noise=0.5)
    groups = rng.permutation(np.repeat(np.arange(6), 3))
    statistics = LeastSquares(observations, groups, WEIGHTS).statistics
    penalty = statistics.scale(WEIGHTS) ** 2 * np.arange(1, FEATURES + 1) ** tilt
    observations = [replace(o, component_weights=rng.uniform(0.2, 1.0, 9)) for o in observations]
    selections = np.array([[1, 1, 1, 1, 1, 1], [0, 2, 1, 0, 3, 0], [1, 1, 1, 1, 1, 0]])
    strengths = [1e-3, 0.3]
    solution = LeastSquares(observations, groups, WEIGHTS, prices=lambda _: penalty).solve(selections, strengths)
    expected = [dense(observations, row, groups, s, penalty) for row in selections for s in strengths]
    for k, answer in enumerate(expected):
        np.testing.assert_allclose(solution.weights[k], answer[:FEATURES], rtol=1e-7, atol=1e-9 * abs(answer).max())
        np.testing.assert_allclose(solution.species_energies[k], answer[FEATURES:], rtol=1e-7)


def test_streams_give_the_same_answer_as_one():
    observations, _, _ = make(np.random.default_rng(3), noise=0.1)
    selections = np.random.default_rng(0).integers(0, 3, (7, 18))
    whole = LeastSquares(observations, np.arange(18), WEIGHTS).solve(selections, [1e-4])
    streamed = LeastSquares(observations, np.arange(18), WEIGHTS, memory_limit=1).solve(selections, [1e-4])
    np.testing.assert_allclose(streamed.weights, whole.weights, rtol=1e-9)


def test_rows_are_read_some_at_a_time(monkeypatch):
    observations, _, _ = make(np.random.default_rng(3), noise=0.1)
    groups, ones = np.repeat([0, 1, 2], [5, 1, 12]), np.ones((1, 3), dtype=int)
    whole = LeastSquares(observations, groups, WEIGHTS).solve(ones, [1e-4])
    monkeypatch.setattr("ase_wavescat.training.linear.least_squares._ROWS_AT_ONCE", 40)  # three frames of sixteen rows
    in_parts = LeastSquares(observations, groups, WEIGHTS).solve(ones, [1e-4])
    np.testing.assert_allclose(in_parts.weights, whole.weights, rtol=1e-9)


def test_features_that_do_not_vary_get_no_weight():
    observations, _, _ = make(np.random.default_rng(4), noise=0.1)
    for frame in observations:
        frame.features[2] = 5.0 * frame.atoms  # constant per atom, no derivative
        frame.features[4] = 0.0
        frame.force_rows[:, [2, 4]] = frame.stress_rows[:, [2, 4]] = 0.0
    solution = LeastSquares(observations, np.arange(18), WEIGHTS).solve(np.ones((1, 18), dtype=int), [1e-6])
    assert np.isfinite(solution.weights).all()
    assert solution.weights[0, 2] == solution.weights[0, 4] == 0.0
    assert np.count_nonzero(solution.weights) == FEATURES - 2


@pytest.mark.parametrize("counts", [[4.0, 0.0], [6.0, 2.0]])
def test_one_composition_or_an_absent_species(counts):
    """Only a sum of species energies is then determined; energies must still be right."""
    observations, weights, _ = make(np.random.default_rng(5), counts=np.array(counts))
    fit = LeastSquares(observations, np.arange(18), WEIGHTS)
    solution = fit.solve(np.ones((1, 18), dtype=int), [1e-12])
    np.testing.assert_allclose(solution.weights[0], weights, rtol=1e-6)
    residuals = observations[3].residuals(solution.weights, solution.species_energies)
    np.testing.assert_allclose(residuals.energy, 0.0, atol=1e-7)
    np.testing.assert_allclose(residuals.forces, 0.0, atol=1e-6)


def test_frames_without_forces_or_stress_train_on_their_energy():
    observations, weights, energies = make(np.random.default_rng(6), frames=30)
    bare = [Observation(o.counts, o.features, o.energy) for o in observations[:20]]
    for mixed in (bare, bare + observations[20:]):
        groups = np.arange(len(mixed))
        solution = LeastSquares(mixed, groups, WEIGHTS).solve(np.ones((1, len(mixed)), dtype=int), [1e-13])
        np.testing.assert_allclose(solution.weights[0], weights, rtol=1e-6)
        np.testing.assert_allclose(solution.species_energies[0], energies, rtol=1e-6)


def test_identical_features_are_reported_not_hidden():
    """Two equal columns and a prior too weak to matter: the condition number says so, the predictions hold."""
    observations, _, _ = make(np.random.default_rng(7))
    for frame in observations:
        frame.features[1] = frame.features[0]
        frame.force_rows[:, 1], frame.stress_rows[:, 1] = frame.force_rows[:, 0], frame.stress_rows[:, 0]
    solution = LeastSquares(observations, np.arange(18), WEIGHTS).solve(np.ones((1, 18), dtype=int), [1e-30])
    assert solution.indefinite[0] or solution.condition[0] > 1e13
    assert np.isfinite(solution.weights).all()


def test_refuses_weights_and_penalties_out_of_range():
    with pytest.raises(ValueError, match="weight of the forces must be finite and not negative, got -1"):
        LabelWeights(1.0, -1.0, 1.0)
    with pytest.raises(ValueError, match="weight of the energy must not be zero"):
        LabelWeights(0.0, 1.0, 1.0)
    observations, _, _ = make(np.random.default_rng(9))
    free = LeastSquares(observations, np.arange(18), WEIGHTS, prices=lambda _: np.zeros(FEATURES))
    with pytest.raises(ValueError, match="7 positive finite numbers"):
        free.solve(np.ones((1, 18), dtype=int), [1.0])


def test_weights_of_frames_count_as_copies():
    observations, _, _ = make(np.random.default_rng(10), frames=12, noise=0.3)
    heavy = [replace(o, frame_weight=3.0 if i < 4 else 1.0) for i, o in enumerate(observations)]
    copies = observations + 2 * observations[:4]
    one, other = (
        LeastSquares(rows, np.arange(len(rows)), WEIGHTS).solve(np.ones((1, len(rows)), dtype=int), [1e-3])
        for rows in (heavy, copies)
    )
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-8)
    np.testing.assert_allclose(one.species_energies, other.species_energies, rtol=1e-8)


def test_the_prior_draws_towards_given_weights():
    """Strong, it gives these weights back, in energies that still fit; weak, it changes nothing."""
    observations, weights, _ = make(np.random.default_rng(11), noise=0.1)
    everything, groups = np.ones((1, 18), dtype=int), np.arange(18)
    given = weights * np.linspace(0.5, 2.0, FEATURES)
    fit = LeastSquares(observations, groups, WEIGHTS, towards=given)
    np.testing.assert_allclose(fit.solve(everything, [1e9]).weights[0], given, rtol=1e-6)
    weak, plain = (f.solve(everything, [1e-13]).weights for f in (fit, LeastSquares(observations, groups, WEIGHTS)))
    np.testing.assert_allclose(weak, plain, rtol=1e-8)


def test_a_support_is_a_fit_of_its_features_alone():
    """In the whole problem, in the problem of some features, and in one that never had the others."""
    rng = np.random.default_rng(12)
    observations, _, _ = make(rng, noise=0.3)
    support, groups, everything = np.array([5, 0, 3]), np.arange(18), np.ones((1, 18), dtype=int)
    contacts = Contacts(rng.normal(size=(4, FEATURES)), rng.normal(size=4), np.full(4, 0.5))
    fit = LeastSquares(observations, groups, WEIGHTS, contacts=contacts)
    weights, species, _, _ = next(fit.normal_equations(Selections.fits(everything))).solve(1e-3, support)
    assert np.count_nonzero(weights) == 3
    some = np.array([0, 2, 3, 5])
    of_some, species_of_some, _, _ = next(fit.of(some).normal_equations(Selections.fits(everything))).solve(
        1e-3, np.array([3, 0, 2])
    )
    blocks = ("features", "force_rows", "stress_rows")
    fewer = [replace(o, **{name: getattr(o, name)[..., support] for name in blocks}) for o in observations]
    kept = replace(contacts, rows=contacts.rows[:, support])
    alone = LeastSquares(fewer, groups, WEIGHTS, prices=lambda _: fit.penalty[support], contacts=kept).solve(
        everything, [1e-3]
    )
    for found, energies in ((of_some[[3, 0, 2]], species_of_some), (alone.weights[0], alone.species_energies[0])):
        np.testing.assert_allclose(weights[support], found, rtol=1e-8)
        np.testing.assert_allclose(species, energies, rtol=1e-8)


def test_energies_that_a_selection_leaves_undetermined_stay_where_all_data_put_them():
    """A source of its own columns, none of whose groups is drawn: its energies are not zero but those of all data."""
    observations, _, energies = make(np.random.default_rng(13), frames=24)
    none = np.zeros(SPECIES)
    split = [replace(o, counts=np.concatenate([o.counts, none] if i < 12 else [none, o.counts])) for i, o in
             enumerate(observations)]  # fmt: skip
    fit = LeastSquares(split, np.arange(24), WEIGHTS)
    selection = np.where(np.arange(24) < 12, 1, 0)[None]
    weights, found, _, _ = next(fit.normal_equations(Selections.fits(selection, np.ones((1, 24), dtype=int)))).solve(
        1e-12
    )
    np.testing.assert_allclose(found[:SPECIES], energies, rtol=1e-6)
    residuals = [split[i].residuals(weights[None], found[None]).energy[0] for i in range(12, 24)]
    spread = np.std([o.energy / o.atoms - o.counts @ energies / o.atoms for o in observations])
    assert np.sqrt(np.mean(np.square(residuals))) < 2 * spread


def test_energies_that_nothing_determines_do_not_come_from_groups_left_out():
    """A species in the held-out group alone is the mean energy of the others, whatever the held-out labels say."""
    observations, _, _ = make(np.random.default_rng(14), frames=12)
    for shift in (0.0, 1e3):
        rows = [replace(o, counts=np.array([0.0, o.atoms]) if i == 0 else np.array([o.atoms, 0.0]),
                        energy=o.energy + shift * (i == 0)) for i, o in enumerate(observations)]  # fmt: skip
        fit = LeastSquares(rows, np.arange(12), WEIGHTS)
        _, found, _, _ = next(fit.normal_equations(Selections.fits((np.arange(12) > 0).astype(int)[None]))).solve(1e30)
        mean = np.mean([row.energy / row.atoms for row in rows[1:]])
        composition = fit.energy_rows.composition
        np.testing.assert_allclose(found, mean, atol=1e-6 * np.abs(composition).max())


class Counted(list):
    """Counts how often each observation is read."""

    def __init__(self, observations: list[Observation]) -> None:
        super().__init__(observations)
        self.reads = np.zeros(len(self), dtype=int)

    def __getitem__(self, index: int) -> Observation:
        self.reads[index] += 1
        return super().__getitem__(index)


def test_one_stream_serves_statistics_and_all_selections():
    """And gives the statistics that a stream of their own gives."""
    observations, _, _ = make(np.random.default_rng(15), noise=0.1)
    rows, groups = Counted(observations), np.repeat(np.arange(6), 3)
    fit = LeastSquares(rows, groups, WEIGHTS, energy_rows=EnergyRows.gather(observations))
    list(
        fit.normal_equations(Selections.fits(np.random.default_rng(0).integers(0, 3, (9, 6)) + np.eye(9, 6, dtype=int)))
    )
    assert fit.penalty.shape == (FEATURES,)
    np.testing.assert_array_equal(rows.reads, 1)
    alone = LeastSquares(observations, groups, WEIGHTS).statistics
    for name in ("std", "energy_std", "force_rms", "stress_rms", "active", "counts"):
        np.testing.assert_allclose(getattr(fit.statistics, name), getattr(alone, name), rtol=1e-12)


def test_rows_of_some_features_are_kept_as_far_as_memory_allows():
    observations, _, _ = make(np.random.default_rng(16), noise=0.1)
    everything, some = Selections.fits(np.ones((1, 18), dtype=int)), np.array([1, 4])
    bytes_of_one = observations[0].of(some).bytes
    for memory_limit, reads in ((1 << 30, 1), (2 * 10 * bytes_of_one, 2)):
        rows = Counted(observations)
        whole = LeastSquares(rows, np.arange(18), WEIGHTS, memory_limit=memory_limit)
        assert whole.penalty.all()
        few = whole.of(some)
        rows.reads[:] = 0
        solutions = [next(few.normal_equations(everything)).solve(1e-4)[0] for _ in range(2)]
        np.testing.assert_array_equal(*solutions)
        assert rows.reads.max() == reads
        assert np.count_nonzero(rows.reads == 1) >= 10


def test_the_loss_is_that_of_the_residuals():
    """Of judged frames alone, without contacts, whatever the prior is drawn towards."""
    rng = np.random.default_rng(17)
    observations, weights, energies = make(rng, noise=0.3)
    contacts = Contacts(rng.normal(size=(4, FEATURES)), rng.normal(size=4), np.full(4, 0.5))
    groups, judged = np.repeat(np.arange(6), 3), np.arange(18) % 3 < 2
    fit = LeastSquares(observations, groups, WEIGHTS, judged=judged, contacts=contacts, towards=0.7 * weights)
    models, species = weights * rng.uniform(0.5, 1.5, (3, FEATURES)), energies + rng.normal(size=(3, SPECIES))
    chosen = np.array([[0, 1, 0, 1, 1, 0]])
    found = next(fit.normal_equations(Selections.losses(chosen))).loss(models, species)
    mine = [i for i in np.flatnonzero(judged) if chosen[0, groups[i]]]
    expected = sum(observations[i].residuals(models, species).loss(WEIGHTS) for i in mine)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
