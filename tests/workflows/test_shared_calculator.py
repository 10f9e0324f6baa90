"""One calculator for several threads and workflows: each gets its own answers, and nobody's calculator is changed."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat import WaveScatCalculator, WaveScatWarning
from ase_wavescat.active_learning.exploration import Plan, explore
from ase_wavescat.potentials.model import Model
from ase_wavescat.workflows import convex_hull, elastic, eos, find_hops, melt_quench, neb, path_energies, relax, tiling
from ase_wavescat.workflows.melting import MeltSchedule
from linear_models import changed, linear

Make = Callable[..., Atoms]


@pytest.fixture(scope="module")
def featured(small_ensemble: Model) -> Model:
    """The small model with features that matter beside the repulsion."""
    return changed(small_ensemble, weights=1000 * linear(small_ensemble).weights)


def volume_scan(atoms: Atoms) -> np.ndarray:
    return eos(atoms).energies


def tensor(atoms: Atoms) -> np.ndarray:
    return elastic(atoms, relax_ions=False).clamped.stiffness


def energy_and_forces(atoms: Atoms) -> np.ndarray:
    return np.append(atoms.get_forces().ravel(), atoms.get_potential_energy())


@pytest.mark.filterwarnings("ignore::ase_wavescat.WaveScatWarning")  # random weights make no stable solid
def test_threads_in_workflows_and_beside_them_have_the_answers_of_serial_use(
    featured: Model, make_structure: Make
) -> None:
    """Each thread has a structure of its own size: on the grids of another, energies would be far off."""
    work: list[tuple[Callable[[Atoms], np.ndarray], Atoms]] = [
        (volume_scan, make_structure(1, side=5.5)),
        (tensor, make_structure(2, side=7.0)),
        (energy_and_forces, make_structure(3, side=4.6)),
    ]

    def asked(calculator: WaveScatCalculator, job: tuple[Callable[[Atoms], np.ndarray], Atoms]) -> np.ndarray:
        function, atoms = job
        own = atoms.copy()
        own.calc = calculator
        return function(own)

    serial = [asked(WaveScatCalculator(featured), job) for job in work]
    shared = WaveScatCalculator(featured)
    with ThreadPoolExecutor(3) as pool:
        counted = zip(work, (2, 2, 40), strict=True)
        several = [[pool.submit(asked, shared, job) for _ in range(repeats)] for job, repeats in counted]
        for expected, futures in zip(serial, several, strict=True):
            for future in futures:
                np.testing.assert_allclose(future.result(), expected, rtol=1e-9, atol=1e-9)


HELD = Plan(temperatures=(300.0,), picoseconds=0.01, snapshots=1, strains=(0.01,), hops=0)
QUICK = MeltSchedule(temperature=300.0, melting=0.004, quenching=0.004)


@pytest.mark.filterwarnings("ignore::ase_wavescat.WaveScatWarning")
@pytest.mark.parametrize(
    "workflow",
    [
        eos,
        elastic,
        tiling,
        lambda atoms: relax(atoms, cell=True, steps=2),
        lambda atoms: melt_quench(atoms, QUICK, steps=1),
        lambda atoms: find_hops(atoms, count=1, room=1.0, opening=0.5),
        lambda atoms: explore(atoms, HELD),
        lambda atoms: path_energies([atoms, moved(atoms, 0.1), moved(atoms, 0.2)], atoms.calc),
        lambda atoms: neb(atoms, moved(atoms, 0.5), images=3, steps=1, relax_endpoints=False),
        lambda atoms: convex_hull([atoms, moved(atoms, 0.1)], {"Li": -7.0, "Si": -160.0}),
    ],
    ids=["eos", "elastic", "tiling", "relax", "melt_quench", "hops", "explore", "path_energies", "neb", "hull"],
)
def test_what_is_given_stays_as_it_was(featured: Model, make_structure: Make, workflow: Callable[[Atoms], Any]) -> None:
    """Parameters and results of the calculator, and all of the atoms."""
    atoms = make_structure()
    atoms.info["name"], atoms.arrays["tags"] = "mine", np.arange(len(atoms))
    atoms.calc = calculator = WaveScatCalculator(featured)
    atoms.get_forces()
    parameters, results, before = dict(calculator.parameters), dict(calculator.results), atoms.copy()
    workflow(atoms)
    assert calculator.parameters == parameters
    assert atoms.calc is calculator and calculator.results.keys() == results.keys()
    assert all(calculator.results[name] is results[name] for name in results)  # nothing was computed by it
    assert atoms == before and atoms.info == before.info and not atoms.constraints
    assert atoms.arrays.keys() == before.arrays.keys()


def moved(atoms: Atoms, distance: float) -> Atoms:
    """One atom elsewhere; the same calculator."""
    other = atoms.copy()
    other.positions[0, 0] += distance
    other.calc = atoms.calc
    return other


def test_warnings_of_a_workflow_are_not_repeated_by_the_calculator(
    small_ensemble: Model, wide_domain: Any, make_structure: Make
) -> None:
    atoms = make_structure()
    narrow = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.1)})
    atoms.calc = WaveScatCalculator(dataclasses.replace(small_ensemble, domain=narrow))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        relax(atoms, steps=2)
        atoms.get_potential_energy()
    assert len([one for one in caught if one.category is WaveScatWarning]) == 1
