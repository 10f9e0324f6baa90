"""What ASE finds by itself, in processes of their own: the name of the calculator, and the reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

import ase_wavescat
from ase_wavescat import WaveScatCalculator, save_model
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import DataError, ModelNotFoundError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which ASE sees the entry points of pyproject.toml, whenever the package was installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = tmp_path / "site" / f"ase_wavescat-{ase_wavescat.__version__}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ase_wavescat\nVersion: {ase_wavescat.__version__}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    package = Path(ase_wavescat.__file__).parent.parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(about.parent), str(package)])}


def python(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::UserWarning", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)


def test_ase_run_wavescat(installed: dict[str, str], small_ensemble: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "small.h5", small_ensemble)
    atoms = bulk("Si", a=5.4)
    atoms.rattle(0.05, seed=0)
    write(tmp_path / "si.extxyz", atoms)
    said = "print(atoms.calc.name, atoms.calc.label, atoms.get_potential_energy())"
    command = ("-m", "ase", "run", "wavescat", "si.extxyz")
    done = python(installed, tmp_path, *command, "-p", "model=small.h5,threads=1", "--after", said)
    assert done.returncode == 0, done.stderr
    name, label, energy = done.stdout.split()
    atoms.calc = WaveScatCalculator(small_ensemble)
    assert (name, label) == ("wavescat", "si")
    assert float(energy) == pytest.approx(atoms.get_potential_energy())
    without = python(installed, tmp_path, *command)
    assert without.returncode != 0 and "a model must be named" in without.stderr


def test_the_name_is_known_where_structures_are_read(installed: dict[str, str], tmp_path: Path) -> None:
    code = "import sys, ase.io; print([name for name in ('numba', 'h5py', 'matplotlib') if name in sys.modules])"
    assert python(installed, tmp_path, "-c", code).stdout == "[]\n"  # and takes no time there
    for first in ("import ase.build", "import ase_wavescat.calculator"):
        code = f"{first}; from ase.calculators.calculator import get_calculator_class as get; print(get('wavescat'))"
        done = python(installed, tmp_path, "-c", code)
        assert done.returncode == 0 and "calculator" in done.stdout, done.stderr


def test_ase_reads_as_wavescat_does(installed: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "POSCAR.extxyz", [bulk("Si"), bulk("Cu")], format="extxyz")  # ASE itself takes it for a POSCAR
    code = "from ase.io import read; print(*[read('POSCAR.extxyz', index, format='wavescat') for index in (-1, ':')])"
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Cu") == 2 and done.stdout.count("Si2") == 1


def test_the_calculator_takes_what_ase_hands_to_all(small_ensemble: Model) -> None:
    atoms: Atoms = bulk("Si")
    calculator = WaveScatCalculator(small_ensemble, atoms=atoms, label="si", directory="there")
    assert atoms.calc is calculator and calculator.label == "there/si" and not Path("there").exists()
    assert {"label", "directory", "atoms"}.isdisjoint(calculator.todict())
    with pytest.raises(ModelNotFoundError, match="a model must be named"):
        WaveScatCalculator()


def test_the_reader_says_what_is_wrong(tmp_path: Path) -> None:
    from ase_wavescat.ase_plugin import read_wavescat

    (tmp_path / "bad.extxyz").write_text("no structure")
    with pytest.raises(DataError, match=r"bad\.extxyz"):
        list(read_wavescat(str(tmp_path / "bad.extxyz"), slice(None)))
    write(tmp_path / "good.traj", bulk("Si"))
    assert list(read_wavescat(str(tmp_path / "good.traj"), slice(-1, None))) == [read(tmp_path / "good.traj")]
