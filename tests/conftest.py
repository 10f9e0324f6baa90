"""A small model and small structures that many tests share."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: threads on small matrices only wait for each other

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation import Bands, Correlations, Maps, ScatteringSpec
from wide_domain import wide_domain_of

WAVELETS = ((2, 0), (2, 1))


@pytest.fixture(scope="session")
def small_spec() -> ScatteringSpec:
    """Li-Si, pair, three- and four-body features, quick on small cells."""
    return ScatteringSpec(
        species=("Li", "Si"),
        wavelets=WAVELETS,
        scales=(0.0, 1.0),
        beta=0.6,
        families=(
            Correlations(
                pair=Bands(count=4, spacing=0.8),
                atom_maps=Maps(WAVELETS, (0.0, 1.0)),
                grid_maps=Maps(WAVELETS, (1.0,)),
                four_body=Bands(count=1, spacing=1.0),
            ),
        ),
    )


@pytest.fixture(scope="session")
def small_ensemble(small_spec: ScatteringSpec) -> Model:
    """Five members with random weights on two thirds of the features; no domain."""
    rng = np.random.default_rng(7)
    keys = tuple(key for index, key in enumerate(small_spec.keys) if index % 3)
    common = rng.normal(scale=1e-3, size=len(keys))
    return linear_model(
        spec=small_spec,
        keys=keys,
        weights=common + rng.normal(scale=2e-4, size=(5, len(keys))),
        species_energies=np.array([-7.0, -160.0]) + rng.normal(scale=0.01, size=(5, 2)),
        repulsion=PairRepulsion.from_species(small_spec.species),
        calibration=Calibration(1.5, 2.0),
        provenance={"label_source": "random numbers", "metrics": {"folds": 5}},
    )


@pytest.fixture(scope="session")
def wide_domain() -> Domain:
    """A domain that no sensible structure leaves."""
    return wide_domain_of()


@pytest.fixture
def make_structure() -> Callable[..., Atoms]:
    """Atoms of Li and Si at random, none closer than 2 A, in a triclinic cell."""

    def make(seed: int = 0, atoms: int = 6, side: float = 5.5) -> Atoms:
        rng = np.random.default_rng(seed)
        cell = side * (np.eye(3) + 0.15 * rng.uniform(-1, 1, (3, 3)))
        structure = Atoms(cell=cell, pbc=True)
        while len(structure) < atoms:
            trial = structure + Atoms("Li" if len(structure) % 3 else "Si", [rng.uniform(size=3) @ cell])
            distances = trial.get_all_distances(mic=True)[-1][:-1]
            if not len(distances) or distances.min() > 2.0:
                structure = trial
        return structure

    return make
