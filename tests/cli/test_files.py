"""Files from command to command: what one writes, ASE and the next one read, with all that held and was said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixScaled
from ase.io import read, write
from click.testing import CliRunner, Result

from ase_wavescat import save_model
from ase_wavescat.cli import main
from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.potentials.model import Model
from vasp_outputs import OUTCAR, VASPRUN


def wavescat(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path, small_ensemble: Model, wide_domain: Domain) -> Path:
    save_model(tmp_path / "small.h5", dataclasses.replace(small_ensemble, domain=wide_domain))
    return tmp_path / "small.h5"


@pytest.fixture
def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=3)
    return atoms


def relaxed(model: Path, source: Path, folder: Path) -> Result:
    return wavescat("relax", source, "-o", folder, "--model", model, "--steps", 2, "--fmax", 1e-6, "--quiet")


def test_what_holds_an_atom_holds_it_in_the_next_command(model: Path, silicon: Atoms, tmp_path: Path) -> None:
    """Selective dynamics "T T F"."""
    silicon.set_constraint([FixScaled([2], [False, False, True]), FixAtoms([0])])
    write(tmp_path / "POSCAR", silicon, format="vasp")
    relaxed(model, tmp_path / "POSCAR", tmp_path / "one")
    relaxed(model, tmp_path / "one" / "poscar.extxyz", tmp_path / "two")
    again = read(tmp_path / "two" / "poscar.traj")
    assert {type(one) for one in again.constraints} == {FixScaled, FixAtoms}
    moved = again.positions - silicon.positions
    assert abs(moved[2, 2]) < 1e-7 and np.abs(moved[0]).max() < 1e-7
    assert np.abs(moved[2, :2]).max() > 1e-5 and np.abs(moved[1:]).max() > 1e-5


@pytest.mark.parametrize("name", ["POSCAR", "POSCAR_Si.cif", "Si-CONTCAR.extxyz", "CONFIG.extxyz"])
def test_what_comes_of_any_name_is_read_by_ase_and_the_next_command(
    model: Path, silicon: Atoms, tmp_path: Path, name: str
) -> None:
    write(tmp_path / name, silicon, format={"": "vasp", ".cif": "cif"}.get(Path(name).suffix, "extxyz"))
    relaxed(model, tmp_path / name, tmp_path / "out")
    files = sorted(file for file in (tmp_path / "out").iterdir() if file.suffix in (".extxyz", ".traj"))
    assert len(files) == 2
    for file in files:
        assert len(read(file)) == 8
        result = wavescat("rdf", file, "-o", tmp_path / f"rdf{file.suffix}", "--quiet")
        assert result.exit_code == 0, result.output


def test_what_results_cannot_keep_is_told_once_and_before(model: Path, silicon: Atoms, tmp_path: Path) -> None:
    silicon.info["phase"] = 1j
    silicon.info["note"] = "two\nlines"
    write(tmp_path / "a.traj", [silicon, silicon])
    result = relaxed(model, tmp_path / "a.traj", tmp_path / "out")
    assert result.output.count("files cannot keep 'phase'") == 1
    assert result.output.index("files cannot keep") < result.output.index("results:")
    for index in range(2):
        assert read(tmp_path / "out" / f"a-{index}.extxyz").info["note"] == "two\nlines"


def test_outputs_of_vasp_are_evaluated_and_relaxed(model: Path, small_ensemble: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "no-domain.h5", small_ensemble)
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    (tmp_path / "vasprun.xml").write_text(VASPRUN)
    result = wavescat(
        "evaluate", tmp_path / "no-domain.h5", tmp_path / "OUTCAR", tmp_path / "vasprun.xml", "-o", tmp_path / "r",
        "--workers", 1, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "OUTCAR: 2 frames of vasp-out, energies: free  energy   TOTEN" in result.output
    assert result.output.count("note: ") == 2
    result = relaxed(model, tmp_path / "OUTCAR", tmp_path / "out")
    assert (tmp_path / "out" / "outcar-1.extxyz").is_file(), result.output


def test_training_takes_virials_by_key_and_sign(make_structure: Callable[..., Atoms], tmp_path: Path) -> None:
    frames = [make_structure(seed) for seed in range(6)]
    for seed, atoms in enumerate(frames):
        atoms.info = {"group": f"melt-{seed}", "virials": -np.eye(3) * atoms.get_volume()}
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0 * len(atoms), forces=np.zeros((len(atoms), 3)))
    write_extended_xyz(tmp_path / "a.extxyz", frames)
    command = ("train", tmp_path / "a.extxyz", "-o", tmp_path / "a.h5", "--members", 2, "--folds", 2, "--workers", 1,
               "--directions", 2, "--quiet", "--virial", "virials")  # fmt: skip
    result = wavescat(*command)
    assert result.exit_code == 1 and "--virial (a key) and --virial-sign (+ or -) belong together" in result.output
    result = wavescat(*command, "--virial-sign", "-")
    assert result.exit_code == 0, result.output
    provenance = load_model(tmp_path / "a.h5").provenance
    assert provenance["frames_without"] == {"forces": 0, "stress": 0}
    assert provenance["sources"][0]["virial_sign"] == "-"
    result = wavescat("evaluate", tmp_path / "a.h5", tmp_path / "a.extxyz", "-o", tmp_path / "r", "--quiet",
                      "--workers", 1, "--virial", "virials", "--virial-sign", "-")  # fmt: skip
    assert result.exit_code == 0 and "the model was trained on a.extxyz" in result.output
