"""What of stored rows and labels reaches the fit: labels less the repulsion and the references, weights of forces."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.rows.observations import Observations
from ase_wavescat.training.rows.store import Rows
from linear_models import whole

SPECIES = (3, 14)
REFERENCES = {3: -2.0, 14: -5.0}
RNG = np.random.default_rng(4)
FRAME = Frame(
    Structure(
        np.diag([4.0, 5.0, 6.0]),
        np.array([[0.0, 0.0, 0.0], [1.7, 0.0, 0.0], [2.0, 2.5, 3.0]]),
        np.array([3, 14, 3]),
    ),
    energy=-11.0,
    forces=RNG.normal(size=(3, 3)),
    stress=RNG.normal(size=6),
    group="melt",
    config_type="liquid",
    name="data.extxyz#0",
    weight=0.7,
)
ROWS = Rows(RNG.normal(size=5), RNG.normal(size=(9, 5)), RNG.normal(size=(6, 5)))


def observations(*frames: Frame, rows: Rows = ROWS, repulsion: PairRepulsion | None = None, **options: Any):
    store: Any = SimpleNamespace(spec=SimpleNamespace(species=SPECIES), load=lambda frame: rows)
    return Observations(frames, store, repulsion, **options)


def test_labels_stay_as_they_are_without_repulsion_and_references() -> None:
    one = observations(FRAME)[0]
    assert one.energy == FRAME.energy and one.frame_weight == 0.7
    np.testing.assert_array_equal(one.counts, [2.0, 1.0])
    np.testing.assert_array_equal(one.forces, FRAME.forces.ravel())
    np.testing.assert_array_equal(one.component_weights, np.ones(9))
    np.testing.assert_array_equal(one.stress, FRAME.stress)
    np.testing.assert_allclose(one.stress_rows, ROWS.strain / 120.0)


def test_the_repulsion_is_not_fitted() -> None:
    repulsion = PairRepulsion({(3, 14): 3.0})
    energy, gradient, strain = whole(repulsion.predict(FRAME.structure))
    assert energy > 0.1
    one = observations(FRAME, repulsion=repulsion)[0]
    assert one.energy == pytest.approx(FRAME.energy - energy)
    np.testing.assert_allclose(one.forces, (FRAME.forces + gradient).ravel())
    xx, yy, zz, yz, xz, xy = one.stress
    found = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    full = np.array([[FRAME.stress[i] for i in row] for row in ((0, 5, 4), (5, 1, 3), (4, 3, 2))])
    np.testing.assert_allclose(found, full - strain / 120.0, atol=1e-12)


def test_frames_may_have_either_derivative_alone() -> None:
    no_forces = observations(replace(FRAME, forces=None))[0]
    assert no_forces.forces is None and no_forces.force_rows is None
    np.testing.assert_array_equal(no_forces.stress, FRAME.stress)
    no_stress = observations(replace(FRAME, stress=None))[0]
    assert no_stress.stress is None and no_stress.stress_rows is None
    np.testing.assert_array_equal(no_stress.force_rows, ROWS.forces)
    energies_alone = observations(FRAME, rows=Rows(ROWS.features))[0]
    assert energies_alone.forces is None and energies_alone.stress is None


def test_forces_along_directions() -> None:
    directions = RNG.normal(size=(2, 9))
    rows = Rows(ROWS.features, RNG.normal(size=(2, 5)), None, directions)
    one = observations(FRAME, rows=rows, strong_force=0.5)[0]
    np.testing.assert_allclose(one.forces, directions @ FRAME.forces.ravel())
    variances = np.repeat(1 + (np.linalg.norm(FRAME.forces, axis=1) / 0.5) ** 2, 3)
    np.testing.assert_allclose(one.component_weights, (directions**2 @ variances) ** -0.5)


def test_strong_forces_are_expected_to_be_less_exact() -> None:
    forces = np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    one = observations(replace(FRAME, forces=forces), strong_force=5.0)[0]
    expected = np.repeat([0.5**0.5, 1.0, 1.01**-0.5], 3)
    np.testing.assert_allclose(one.component_weights, expected)


def test_references_leave_one_energy_an_atom() -> None:
    given = observations(FRAME, references=REFERENCES)
    assert given[0].energy == pytest.approx(FRAME.energy + 2 * 2.0 + 5.0)
    np.testing.assert_array_equal(given[0].counts, [3.0])
    np.testing.assert_allclose(given.species_energies(np.array([[0.1], [0.2]])), [[-1.9, -4.9], [-1.8, -4.8]])


def test_each_zero_of_energy_has_its_own_columns_and_the_first_is_the_models() -> None:
    frames = (
        FRAME,
        replace(FRAME, zero="another code", structure=replace(FRAME.structure, numbers=np.array([14, 14, 3]))),
    )
    both = observations(*frames)
    np.testing.assert_array_equal(both[0].counts, [2.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(both[1].counts, [0.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(both.targets, [True, False])
    np.testing.assert_array_equal(both.species_energies(np.arange(8.0).reshape(2, 4)), [[0.0, 1.0], [4.0, 5.0]])
    referred = observations(*frames, references=REFERENCES)
    np.testing.assert_array_equal(referred[1].counts, [0.0, 3.0])
    np.testing.assert_allclose(referred.species_energies(np.array([[0.5, 7.0]])), [[-1.5, -4.5]])


def test_what_cannot_be_observed_is_refused() -> None:
    with pytest.raises(DataError, match="no reference energy for Si; give one for every species"):
        observations(FRAME, references={3: -2.0})
    with pytest.raises(TypeError, match="one at a time"):
        observations(FRAME)[:1]
    touching = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.05], [2.0, 2.5, 3.0]])
    with pytest.raises(DataError, match=r"data\.extxyz#0 has two atoms 0\.05 A apart"):
        observations(replace(FRAME, structure=replace(FRAME.structure, positions=touching)))
