"""Labelled structures that a tiny network learns within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from ..conftest import write_frames

SMALL = """
cutoff = 4.0
channels = [3, 2]
hidden = [8, 8]
radial = { kind = "gaussians", count = 5 }
triples = [[1, 1, 2]]
batch = 4
averaging = 0.9
"""


def labelled_structures(groups: int = 8, seed: int = 0, shift: float = 0.0) -> list[Atoms]:
    """Two of five to eight atoms a group, with energies, forces and stresses of Lennard-Jones."""
    rng, structures = np.random.default_rng(seed), []
    corners = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)], dtype=float)
    for group in range(groups):
        for _ in range(2):
            sites = corners[rng.permutation(8)[: rng.integers(5, 9)]]
            numbers = np.where(np.arange(len(sites)) < rng.integers(1, len(sites)), 3, 14)
            positions = 2.6 * sites + rng.normal(scale=0.12, size=sites.shape)
            atoms = Atoms(numbers, positions, cell=5.2 * np.eye(3), pbc=True)
            atoms.calc = LennardJones(sigma=2.2, epsilon=0.3, rc=5.0, smooth=True)
            energy = atoms.get_potential_energy() + (shift - 1.9) * np.sum(numbers == 3) - 5.4 * np.sum(numbers == 14)
            labels = {"energy": energy, "forces": atoms.get_forces(), "stress": atoms.get_stress()}
            atoms.calc = SinglePointCalculator(atoms, **labels)
            atoms.info |= {"group": f"melt-{group}", "config_type": "melt"}
            structures.append(atoms)
    return structures


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("labels") / "labels.extxyz.xz", labelled_structures())


@pytest.fixture(scope="session")
def committee(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of two members that have learned for some epochs."""
    pytest.importorskip("torch")
    from ase_wavescat.training.run_file import read_run

    folder = tmp_path_factory.mktemp("committee")
    text = f'output = "committee.h5"\n[[data]]\nfiles = "{labels}"\nname = "LJ"\n'
    text += f'[fit]\nmethod = "network"\nmembers = 2\nfolds = 4\n[network]\nepochs = 15\n{SMALL}'
    (folder / "run.toml").write_text(text)
    read_run(folder / "run.toml").train(progress=False)
    return folder / "committee.h5"
