"""Open directions: the padded cell, and features that do not see it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation

from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.reach import reach
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.periodicity import LARGEST_SPHERE, check_size, padded_cell
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError

CELL = np.array([[4.6, 0.3, 0.0], [1.4, 4.9, -0.5], [-0.8, 0.7, 5.2]])
POSITIONS = np.random.default_rng(0).random((6, 3)) @ CELL
NUMBERS = np.array([3, 14, 3, 3, 14, 3])
ALL = list(itertools.product([False, True], repeat=3))
OPEN = ALL[:-1]


@pytest.fixture(scope="module")
def transform(small_spec):
    return Transform(small_spec)


def assert_close(features, reference):
    """To a tenth of the spec's tolerance of 1e-4, of the feature or of a typical one."""
    typical = np.median(np.abs(reference[reference != 0]))
    np.testing.assert_allclose(features, reference, rtol=1e-5, atol=1e-5 * typical)


@pytest.mark.parametrize("pbc", ALL)
def test_periodic_rows_stay_and_open_ones_are_orthogonal_and_long_enough(pbc):
    periodic = np.array(pbc)
    padded = padded_cell(CELL, pbc, POSITIONS, 9.3)
    np.testing.assert_array_equal(padded[periodic], CELL[periodic])
    products = padded @ padded.T
    assert np.abs(products[~periodic][:, periodic]).max(initial=0.0) < 1e-10
    across = products[np.ix_(~periodic, ~periodic)]
    np.testing.assert_allclose(across, np.diag(np.diag(across)), atol=1e-10)
    for row in padded[~periodic]:
        edge = np.linalg.norm(row)
        assert edge - 1.0 < np.ptp(POSITIONS @ row / edge) + 9.3 <= edge + 1e-9


def test_rows_along_open_directions_do_not_matter():
    other = np.where(np.array([True, False, False])[:, None], CELL, 0.0)
    for pbc in ((True, False, False), (False, False, False)):
        expected = padded_cell(CELL, pbc, POSITIONS, 5.0)
        np.testing.assert_array_equal(padded_cell(other, pbc, POSITIONS, 5.0), expected)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.zeros((3, 3)), (True, False, False)),
        (np.diag([4.0, 0.0, 0.0]), (True, True, False)),
        (np.array([[4.0, 0, 0], [8.0, 0, 0], [0, 0, 9.0]]), (True, True, False)),
    ],
)
def test_vectors_along_periodic_directions_must_span_them(transform, cell, pbc):
    with pytest.raises(StructureError, match="zero or parallel; set them, or set pbc = False"):
        transform.evaluate(Structure(cell, POSITIONS, NUMBERS, pbc=pbc))


@pytest.mark.parametrize("pbc", OPEN)
def test_features_and_derivatives_are_those_of_a_larger_box(transform, pbc):
    alone = transform.evaluate(Structure(CELL, POSITIONS, NUMBERS, pbc=pbc))
    larger = padded_cell(CELL, pbc, POSITIONS, 1.5 * transform.reach)
    boxed = transform.evaluate(Structure(larger, POSITIONS, NUMBERS))
    assert abs(np.linalg.det(larger)) > 1.2 * abs(np.linalg.det(alone.cell))
    size = np.abs(alone.features)
    assert_close(boxed.features, alone.features)
    weights = np.random.default_rng(1).normal(size=len(size)) / (size + 1e-2 * np.median(size))
    for one, other in zip(alone.gradient(weights), boxed.gradient(weights), strict=True):
        np.testing.assert_allclose(other, one, atol=2e-5 * np.abs(one).max())
    if pbc == (True, False, False):
        for one, other in zip(alone.jacobian(), boxed.jacobian(), strict=True):
            np.testing.assert_allclose(other, one, atol=2e-5 * np.abs(one).max())


def test_tangent_and_jacobian_take_open_directions(transform):
    pbc = (True, False, True)
    features, by_positions, by_strain = transform.jacobian(Structure(CELL, POSITIONS, NUMBERS, pbc))
    rng = np.random.default_rng(2)
    moves, strains = rng.normal(size=(2, 6, 3)), np.zeros((2, 3, 3))
    strains[1, 0, 0] = 1.0
    same, along = transform.tangent(Structure(CELL, POSITIONS, NUMBERS, pbc=pbc), moves, strains)
    expected = np.einsum("fna,dna->df", by_positions, moves)
    expected[1] += by_strain[:, 0]
    np.testing.assert_allclose(same, features, rtol=1e-12)
    np.testing.assert_allclose(along, expected, atol=1e-9 * np.abs(expected).max())


def test_a_molecule_may_be_turned_moved_and_put_anywhere(transform):
    """Atoms beyond the edges of a cell that does not repeat are where they are said to be."""
    nowhere, pbc = np.zeros((3, 3)), (False, False, False)
    reference = transform.evaluate(Structure(nowhere, POSITIONS, NUMBERS, pbc=pbc)).features
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    for positions in (POSITIONS + np.array([1e3, -17.3, 0.2]), POSITIONS @ turn.T, POSITIONS @ turn.T - 5e3):
        for cell in (nowhere, CELL, 0.1 * CELL):
            features = transform.evaluate(Structure(cell, positions, NUMBERS, pbc=pbc)).features
            assert_close(features, reference)


def test_one_atom_and_two_far_apart(transform):
    nowhere, pbc = np.zeros((3, 3)), (False, False, False)
    lithium = transform.evaluate(Structure(nowhere, np.array([[0.2, 0.1, 0.0]]), np.array([3]), pbc=pbc)).features
    silicon = transform.evaluate(Structure(nowhere, np.array([[9.0, 0.0, 0.0]]), np.array([14]), pbc=pbc)).features
    both = transform.evaluate(
        Structure(nowhere, np.array([[0.0, 0, 0], [60.0, 0, 0]]), np.array([3, 14]), pbc=pbc)
    ).features
    assert_close(both, lithium + silicon)


def test_boxes_that_no_memory_holds_are_refused_before_the_work(transform):
    positions = np.array([[0.0, 0, 0], [1e6, 1e6, 1e6]])
    with pytest.raises(StructureError, match=r"edges of 1e\+06, 1e\+06, 1e\+06 A needs .* drifted apart"):
        transform.evaluate(Structure(np.zeros((3, 3)), positions, np.array([3, 14]), pbc=(False, False, False)))
    with pytest.raises(StructureError, match=r"set atoms.pbc = True where the structure repeats"):
        transform.evaluate(Structure(CELL, positions, np.array([3, 14]), pbc=(False, True, False)))


def test_the_limit_leaves_room_for_thousands_of_atoms():
    """4096 atoms of Li-Si with the wavelets of the production preset take less than a tenth of it."""
    cutoff, volume = 6.6, 70_000.0
    assert cutoff**3 * volume / (12 * np.pi**2) < 0.1 * LARGEST_SPHERE
    check_size(volume ** (1 / 3) * np.eye(3), cutoff)
    edge = (12 * np.pi**2 * LARGEST_SPHERE / cutoff**3) ** (1 / 3)
    check_size(0.999 * edge * np.eye(3), cutoff)
    with pytest.raises(StructureError, match="reciprocal vectors"):
        check_size(1.001 * edge * np.eye(3), cutoff)


@pytest.mark.parametrize("name", ["correlations", "sinz2020", "solid-harmonic"])
def test_the_vacuum_does_not_depend_on_the_features_asked_for(name):
    spec = preset(name, ["H", "O"])
    some = [Transform(spec, [key]) for key in spec.keys[:: len(spec.keys) // 5]]
    assert len({transform.reach for transform in some}) == 1
    assert some[0].reach == reach(spec) > 10


def test_a_feature_of_a_molecule_does_not_depend_on_its_company():
    spec, water = preset("correlations", ["H", "O"]), molecule("H2O")
    arguments = water.cell.array, water.positions, water.numbers, (False,) * 3
    keys = spec.keys[::300]
    together = Transform(spec, keys).evaluate(Structure(*arguments)).features
    alone = [Transform(spec, [key]).evaluate(Structure(*arguments)).features[0] for key in keys]
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-12 * np.abs(together).max())
