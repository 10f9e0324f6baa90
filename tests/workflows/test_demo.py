"""The demo's parts on a small model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat.potentials.model import Model
from ase_wavescat.workflows.demo import LINEAR_STRAINS, demo_figure, run_demo, shipped_structure, table


def test_the_shipped_structure_is_what_the_readme_says() -> None:
    atoms = shipped_structure()
    assert atoms.get_chemical_formula() == "Li55Si18"
    assert atoms.pbc.all() and atoms.calc is None
    assert "Sinz et al. (J. Chem. Phys. 153, 084109, 2020)" in atoms.info["comment"]
    distances = atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)]
    assert distances.min() > 2.2


def test_run_demo_returns_consistent_parts(small_ensemble: Model, make_structure: Callable[..., Atoms]) -> None:
    atoms = make_structure()
    result = run_demo(small_ensemble, atoms)
    assert result.forces.shape == result.forces_uncertainty.shape == (6, 3) and result.stress.shape == (6,)
    assert result.energy_uncertainty > 0
    relaxation, scan = result.relaxation, result.scan
    assert relaxation.energies[0] == result.energy
    assert relaxation.energies[-1] <= relaxation.energies[0]
    assert len(relaxation.energies) == len(relaxation.largest_forces) <= 31
    middle = len(LINEAR_STRAINS) // 2
    assert scan.volumes == pytest.approx(atoms.get_volume() * (1 + LINEAR_STRAINS) ** 3)
    assert scan.energies[middle] == pytest.approx(relaxation.energies[-1], rel=1e-12)
    assert scan.relative_uncertainties is not None
    assert np.count_nonzero(scan.relative_uncertainties) == len(LINEAR_STRAINS) - 1
    assert "Li4Si2" in table(result)
    assert len(demo_figure(result).axes) == 4
