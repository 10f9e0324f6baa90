"""Springs and other constraints with energies of their own enter no result: every workflow refuses them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import ExternalForce, FixAtoms, FixSymmetry, Hookean, MirrorForce
from ase.io import write
from click.testing import CliRunner

from ase_wavescat import Model, save_model
from ase_wavescat.cli import main
from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows import (
    convex_hull,
    elastic,
    eos,
    find_hops,
    melt_quench,
    neb,
    path_energies,
    relax,
    tiling,
    voltage,
)
from ase_wavescat.workflows.screening.run import screen

Work = Callable[[Atoms], object]


def other(atoms: Atoms) -> Atoms:
    """The same structure, an atom elsewhere, without constraints."""
    moved = atoms.copy()
    moved.set_constraint()
    moved.positions[0] += [0.5, 0.3, 0]
    moved.calc = EMT()
    return moved


def of_stored_results(atoms: Atoms) -> Atoms:
    stored = atoms.copy()
    stored.calc = SinglePointCalculator(stored, energy=-1.0, forces=0 * atoms.positions)
    return stored


WORKFLOWS: dict[str, Work] = {
    "relax": relax,
    "relax with the cell": lambda atoms: relax(atoms, cell=True),
    "eos": eos,
    "elastic": elastic,
    "elastic, clamped": lambda atoms: elastic(atoms, relax_ions=False),
    "tiling": tiling,
    "melt_quench": melt_quench,
    "hops": lambda atoms: find_hops(atoms, species="Cu"),
    "neb, initial": lambda atoms: neb(atoms, other(atoms)),
    "neb, final": lambda atoms: neb(other(atoms), atoms, relax_endpoints=False),
    "neb, image": lambda atoms: neb(other(atoms), bulk("Cu", cubic=True), images=[atoms]),
    "path": lambda atoms: path_energies([other(atoms), atoms, other(atoms)]),
    "hull": lambda atoms: convex_hull([atoms], {"Cu": 0.0}),
    "hull of stored results": lambda atoms: convex_hull([of_stored_results(atoms)], {"Cu": 0.0}),
    "voltage": lambda atoms: voltage([atoms, other(atoms) + Atoms("Li")], ion="Li", references={"Li": 0.0}),
}
CONSTRAINTS = {
    "Hookean": Hookean(0, 1, 5.0, rt=2.0),
    "ExternalForce": ExternalForce(0, 1, 0.5),
    "MirrorForce": MirrorForce(0, 1, 2.0, 4.0),
}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_spring_is_refused_by_name_before_any_work(workflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = bulk("Cu", "fcc", 3.6, cubic=True)
    atoms.set_constraint(CONSTRAINTS["Hookean"])
    atoms.calc = EMT()
    monkeypatch.setattr(EMT, "calculate", lambda *_, **__: pytest.fail("it has worked already"))
    with pytest.raises(DataError, match=r"Hookean on Cu4\w* adds to energies or forces.*remove it: atoms\.set_cons"):
        WORKFLOWS[workflow](atoms)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_all_such_constraints_are_named(name: str) -> None:
    atoms = bulk("Cu", "fcc", 3.6, cubic=True)
    atoms.set_constraint([FixAtoms([2]), CONSTRAINTS[name]])
    atoms.calc = EMT()
    with pytest.raises(DataError, match=f"^{name} on Cu4"):
        eos(atoms)


def test_constraints_that_only_hold_are_taken() -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=5.0)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    slab.calc = EMT()
    assert relax(slab).converged
    crystal = bulk("Cu", cubic=True, a=3.65)
    crystal.calc = EMT()
    try:
        crystal.set_constraint(FixSymmetry(crystal))
    except (ImportError, ModuleNotFoundError):
        pytest.skip("FixSymmetry needs spglib")
    assert relax(crystal, cell=True).converged


@pytest.mark.parametrize("relaxed", [True, False])
def test_a_screening_names_it_as_failed_and_ranks_the_others(relaxed: bool, tmp_path: Path) -> None:
    plain, held = bulk("Cu", cubic=True, a=3.6), bulk("Cu", cubic=True, a=3.62)
    held.set_constraint(CONSTRAINTS["Hookean"])
    screening = screen(
        [plain, held], model=EMT, output=tmp_path, relax=relaxed, references={"Cu": 0.0}, workers=1, progress=False
    )
    assert len(screening.table) == 1 and "Hookean on Cu4 adds to energies" in screening.failed[0].error


def test_the_commands_name_it_too(small_ensemble: Model, make_structure: Callable[..., Atoms], tmp_path: Path) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    atoms = make_structure()
    atoms.set_constraint(Hookean(0, 1, 5.0, rt=2.0))
    write(tmp_path / "held.traj", atoms)
    for command in ("eos", "elastic", "relax", "tiling", "hops"):
        arguments = [command, str(tmp_path / "held.traj"), "--model", str(tmp_path / "small.h5")]
        ran = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / command)])
        assert ran.exit_code != 0 and "Hookean on" in ran.output, (command, ran.output)
