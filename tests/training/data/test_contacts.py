"""Close contacts: what the rows say, and that a fit follows them."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation import Bands, Correlations, Maps, ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.contacts import (
    CROWDED_DISTANCES,
    DISTANCES,
    FRAMES_PER_PAIR,
    _bonds,
    _crowding,
    close_contacts,
)
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.linear.least_squares import LeastSquares
from ase_wavescat.training.linear.observation import LabelWeights, Observation

SPECIES = (3, 14)
CLOSEST = {(3, 3): 2.4, (3, 14): 2.3}


@pytest.fixture(scope="module")
def transform():
    family = Correlations(pair=Bands(6, 0.9), atom_maps=Maps(((2, 0), (2, 1)), (0.0, 1.0), span=1.0))
    return Transform(ScatteringSpec(SPECIES, ((2, 0), (2, 1)), (0.0, 1.0), 0.6, (family,)))


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3) * 2.6
    numbers = np.array([3, 14, 3, 3, 3, 14, 3, 3])
    return [
        Frame(
            Structure(5.2 * np.eye(3), sites + rng.uniform(-0.1, 0.1, sites.shape), numbers), energy=rng.normal(),
            forces=None, stress=None, group=str(i % 3), config_type="glass", name=f"frame {i}",
        )
        for i in range(6)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def contacts(transform, frames):
    return close_contacts(transform, frames, CLOSEST, PairRepulsion.from_species(SPECIES), seed=0)


def test_dimers_frames_and_crystals_of_each_pair(contacts, frames):
    collisions = len(CLOSEST) * (1 + min(FRAMES_PER_PAIR, len(frames))) * len(DISTANCES)
    crowded = sum(bool(_bonds(frame, pair, 1.6 * CLOSEST[pair])) for frame in frames for pair in CLOSEST)
    crystals = 4 + 3
    assert len(contacts.rows) == len(contacts.targets) == collisions + (crystals + crowded) * len(CROWDED_DISTANCES)
    assert (contacts.errors > 0).all()


def test_crystals_of_the_closest_distance_shrink(frames):
    """Of both pairs: the nearest neighbours start at the closest distance, and all lengths shrink together."""
    for pair, shortest in CLOSEST.items():
        approaches = list(_crowding(pair, shortest, [], np.random.default_rng(0)))
        assert len(approaches) == (4 if pair[0] == pair[1] else 3)
        for approach in approaches:
            shares, path = (1.0, *CROWDED_DISTANCES), (approach.start, *approach.steps)
            for share, step in zip(shares, path, strict=True):
                atoms = Atoms(step.numbers, step.positions, cell=step.cell, pbc=True).repeat(3)
                distances = atoms.get_all_distances(mic=True) + 99 * np.eye(len(atoms))
                assert distances.min() == pytest.approx(share * shortest)
                assert set(step.numbers) == set(pair)


def test_frames_start_where_their_nearest_pair_is_at_the_closest_distance(frames):
    pair, shortest = (3, 14), CLOSEST[3, 14]
    approaches = list(_crowding(pair, shortest, frames, np.random.default_rng(0)))[3:]
    assert len(approaches) == len(frames)
    for approach in approaches:
        numbers = approach.start.numbers
        first, second, _, distances = approach.start.neighbours(4.0)
        between = (numbers[first] == pair[0]) & (numbers[second] == pair[1])
        assert distances[between].min() == pytest.approx(shortest)


def test_rows_and_targets_of_a_dimer(contacts, transform):
    """The first rows are of a Li-Li dimer: bare repulsion less the baseline, both against the starting distance."""
    repulsion = PairRepulsion.from_species(SPECIES)
    bare = PairRepulsion({pair: 2 * cutoff for pair, cutoff in repulsion.cutoffs.items()})

    def dimer(distance):
        return 12.0 * np.eye(3), np.array([[0.0, 0, 0], [distance, 0, 0]]), np.array([3, 3])

    start = dimer(CLOSEST[3, 3])
    for row, share in enumerate(DISTANCES):
        close = dimer(share * CLOSEST[3, 3])
        change = transform.evaluate(Structure(*close)).features - transform.evaluate(Structure(*start)).features
        np.testing.assert_allclose(contacts.rows[row], change, atol=1e-9)
        wanted = [r.predict(Structure(*close)).energy - r.predict(Structure(*start)).energy for r in (bare, repulsion)]
        assert contacts.targets[row] == pytest.approx(wanted[0] - wanted[1], abs=1e-9)
    total = contacts.targets[: len(DISTANCES)]
    assert total[-1] == pytest.approx(wanted[0] - wanted[1])


def test_a_fit_with_contacts_repels_in_every_selection(contacts, transform, frames):
    """Random labels send the bare fit anywhere at short distances; with contacts each selection repels."""
    observations = []
    for frame in frames:
        features = transform.evaluate(frame.structure).features
        observations.append(Observation(np.array([6, 2]), features, frame.energy))
    groups = np.array([int(frame.group) for frame in frames])
    selections = np.array([[1, 1, 1], [1, 1, 0], [2, 0, 1]])
    errors = {}
    for name, rows in (("without", None), ("with", contacts)):
        found = LeastSquares(observations, groups, LabelWeights(300.0, 10.0, 600.0), contacts=rows).solve(
            selections, [1e-6]
        )
        change = found.weights @ contacts.rows.T - contacts.targets
        errors[name] = np.sqrt(np.mean((change / contacts.errors) ** 2, axis=1))
    assert (errors["with"] < 3.0).all()  # dimers and crystals at once, with a few features
    assert (errors["with"] < 0.3 * errors["without"]).all()


def test_frames_with_open_directions_stay_open(transform, frames):
    """One frame in two boundaries: the pushed atoms' rows are those of their own."""
    pair, cutoffs = {(3, 14): 2.3}, PairRepulsion.from_species(SPECIES)
    for pbc in ((True, True, True), (False, False, False)):
        frame = changed(frames[0], pbc=pbc)
        rows = close_contacts(transform, [frame], pair, cutoffs).rows[len(DISTANCES) :]
        start = transform.evaluate(Structure(frame.cell, frame.positions, frame.numbers, pbc=pbc)).features
        moved = [_pushed_features(transform, frame, *bond) for bond in _bonds(frame, (3, 14), 1.6 * 2.3)]
        assert min(np.abs(features - start - rows[0]).max() for features in moved) < 1e-9


def changed(frame, **parts):
    return dataclasses.replace(frame, structure=dataclasses.replace(frame.structure, **parts))


def _pushed_features(transform, frame, atom, vector):
    positions = frame.positions.copy()
    positions[atom] += (DISTANCES[0] * 2.3 / np.linalg.norm(vector) - 1.0) * vector
    return transform.evaluate(Structure(frame.cell, positions, frame.numbers, pbc=frame.pbc)).features


def test_open_frames_have_no_bonds_through_the_vacuum(frames):
    tight = changed(frames[0], cell=np.zeros((3, 3)), pbc=(False, False, False))
    across = changed(frames[0], pbc=(True, True, True))
    assert 0 < len(_bonds(tight, (3, 14), 3.0)) < len(_bonds(across, (3, 14), 3.0))


def test_rows_are_the_same_for_a_seed(contacts, transform, frames):
    again = close_contacts(transform, frames, CLOSEST, PairRepulsion.from_species(SPECIES), seed=0)
    np.testing.assert_array_equal(again.rows, contacts.rows)
    other = close_contacts(transform, frames, CLOSEST, PairRepulsion.from_species(SPECIES), seed=1)
    assert np.abs(other.rows - contacts.rows).max() > 0
