"""Formats by suffix and content; names that ASE does not take for those of another format."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.io.formats import ioformats
from ase.units import GPa

from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.formats import file_name, stem_of
from ase_wavescat.io.structures import files_of, structures_of
from ase_wavescat.system.errors import DataError, WaveScatNote
from ase_wavescat.training.data.frames import read_frames
from own_warnings import no_warnings
from vasp_outputs import OUTCAR, VASPRUN


def silicon() -> Atoms:
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, energy=-10.0, forces=np.zeros((2, 3)))
    return atoms


# ---------------------------------------------------------------- outputs of programs


@pytest.mark.parametrize(
    ("name", "text", "energy"),
    [
        ("OUTCAR", OUTCAR, "free  energy   TOTEN"), ("run7.OUTCAR", OUTCAR, "TOTEN"), ("OUTCAR.7", OUTCAR, "TOTEN"),
        ("vasp.log", OUTCAR, "TOTEN"), ("OUTCAR.gz", OUTCAR, "TOTEN"), ("vasprun.xml", VASPRUN, "e_fr_energy"),
        ("step.xml.xz", VASPRUN, "e_fr_energy"), ("vasprun", VASPRUN, "e_fr_energy"),
    ],
)  # fmt: skip
def test_outputs_of_vasp_give_the_free_energy(tmp_path: Path, name: str, text: str, energy: str) -> None:
    content = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)(text.encode())
    (tmp_path / name).write_bytes(content)
    with pytest.warns(WaveScatNote, match=rf"{name}: 2 frames of vasp-.*, energies: .*{energy}, the free energy"):
        frames = read_frames(tmp_path / name)
    assert [frame.energy for frame in frames] == pytest.approx([-10.5, -11.5])
    assert [frame.info["energy_sigma0"] for frame in frames] == pytest.approx([-10.4, -11.4])
    assert {frame.group for frame in frames} == {str(tmp_path / name)}  # one run
    np.testing.assert_allclose(frames[0].forces, [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])
    np.testing.assert_allclose(frames[0].stress, -0.1 * GPa * np.array([1, 2, 3, 5, 6, 4.0]), rtol=1e-6)
    np.testing.assert_allclose(frames[0].cell, bulk("Si", a=5.43).cell)


def test_an_output_may_be_split_by_groups_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    with pytest.warns(WaveScatNote):
        assert len({frame.group for frame in read_frames(tmp_path / "OUTCAR", "none")}) == 2


def test_outputs_cut_short_are_read_or_named(tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_text(VASPRUN[: VASPRUN.rindex("<structure>")])
    with pytest.warns(WaveScatNote, match="1 frames"):
        assert len(structures_of(tmp_path / "vasprun.xml")) == 1
    (tmp_path / "OUTCAR").write_text(OUTCAR[:100])
    with pytest.raises(DataError, match=r"ASE cannot read .*OUTCAR"):
        structures_of(tmp_path / "OUTCAR")


# ---------------------------------------------------------------- suffix and content


@pytest.mark.parametrize(
    ("name", "kind"),
    [("POSCAR.traj", "traj"), ("OUTCAR.traj", "traj"), ("noname", "traj"), ("CONTCAR.db", "db"),
     ("POSCAR.json", "json"), ("POSCAR_Si.cif", "cif"), ("XDATCAR", "vasp-xdatcar"), ("a.XDATCAR", "vasp-xdatcar"),
     ("POSCAR", "vasp"), ("POSCAR.first", "vasp"), ("Si-CONTCAR", "vasp"), ("XDATCAR.vasp", "vasp"),
     ("OUTCAR.xsf", "xsf")],
)  # fmt: skip
@pytest.mark.parametrize("packed", [None, gzip, lzma, bz2])
def test_suffix_and_content_decide(tmp_path: Path, name: str, kind: str, packed: object) -> None:
    place = tmp_path / name
    write(place, silicon() if kind != "vasp-xdatcar" else [silicon()], format=kind)
    if packed:
        suffix = {gzip: ".gz", lzma: ".xz", bz2: ".bz2"}[packed]
        place = tmp_path / f"{name}{suffix}"
        with packed.open(place, "wb") as file:
            file.write((tmp_path / name).read_bytes())
    with no_warnings():
        (atoms,) = structures_of(place)
    assert str(atoms.symbols) == "Si2"
    np.testing.assert_allclose(atoms.get_all_distances(mic=True)[0, 1], 2.351, atol=1e-3)


def test_extended_xyz_is_read_whatever_its_name(tmp_path: Path) -> None:
    for name in ("POSCAR.extxyz", "OUTCAR.xyz", "vasprun.xml.xyz"):
        write(tmp_path / name, silicon(), format="extxyz")
        assert structures_of(tmp_path / name)[0].get_potential_energy() == -10.0


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", '{"energies": [1, 2]}'), ("a.db", "no database"), ("a.traj", "no trajectory"), ("vasprun.xml", "<x/>"),
     ("a.OUTCAR", "2\n\nSi 0 0 0\nSi 1 1 1\n")],
)  # fmt: skip
def test_files_that_are_not_what_their_suffix_says_are_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"does not begin as a file of the format"):
        structures_of(tmp_path / name)
    assert (tmp_path / name).read_text() == content


def test_folders_stand_for_structures_not_for_outputs(tmp_path: Path) -> None:
    for name in (
        "OUTCAR",
        "vasprun.xml",
        "XDATCAR",
        "POSCAR.gz",
        "a.extxyz",
        "a.cif.gz",
        "a.json",
        "notes.txt",
        "a.traj",
    ):
        (tmp_path / name).touch()
    assert [file.name for file in files_of(tmp_path)] == ["POSCAR.gz", "a.cif.gz", "a.extxyz"]
    with pytest.raises(DataError, match=r"cannot tell the format of .*notes\.txt; known are extended XYZ"):
        files_of(tmp_path / "notes.txt")


# ---------------------------------------------------------------- names


PATTERNS = sorted({pattern for one in ioformats.values() for pattern in one.globs})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_names_of_what_is_written_are_read_by_ase(tmp_path: Path, pattern: str) -> None:
    for name in {pattern.replace("*", ""), pattern.replace("*", "Li-"), f"{pattern.replace('*', '')}-1"}:
        chosen = file_name(name)
        assert file_name(chosen) == chosen and chosen.lower() == name.lower()
        write_extended_xyz(tmp_path / f"{chosen}.extxyz", [silicon()])
        write(tmp_path / f"{chosen}.traj", silicon(), format="traj")
        for suffix in (".extxyz", ".traj"):
            assert read(tmp_path / f"{chosen}{suffix}").get_potential_energy() == -10.0
            shutil.copy(tmp_path / f"{chosen}{suffix}", tmp_path / "kept")
            (tmp_path / f"{chosen}{suffix}").unlink()


def test_other_names_stay() -> None:
    for name in ("glass", "Si-3", "poscar", "a.b", "LiSi_25", "coordinates", "vasprun"):
        assert file_name(name) == name
    assert file_name("POSCAR_Si-CONFIG") == "poscar_Si-config"


def test_stems() -> None:
    names = {"a.extxyz.xz": "a", "a.b.cif": "a.b", "POSCAR": "POSCAR", "OUTCAR.gz": "OUTCAR", "run.OUTCAR": "run",
             "vasprun.xml.gz": "vasprun", "x.1.traj": "x.1", ".extxyz": ".extxyz"}  # fmt: skip
    assert {name: stem_of(Path(name)) for name in names} == names
