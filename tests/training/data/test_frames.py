"""Reading labelled structures: every format alike, every defect named."""

from __future__ import annotations

import bz2
import gzip
import lzma

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress

from ase_wavescat.io.structures import files_of, structures_of
from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training.data.frames import Virial, read_frames
from ase_wavescat.training.data.sources import Source, read_sources
from own_warnings import no_warnings


def structure(seed: int = 0, **labels) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = Atoms("LiLiSi", rng.uniform(0, 4, (3, 3)), cell=[[4, 0, 0], [0.5, 4.2, 0], [0, 0.3, 4.4]], pbc=True)
    atoms.info.update(group=f"melt-{seed}", config_type="liquid", kpts="2x2x2")
    labels = {"energy": -10.25 - seed, "forces": rng.normal(size=(3, 3)), "stress": rng.normal(size=6), **labels}
    atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in labels.items() if v is not None})
    return atoms


def write_xyz(path, *structures):
    write(path, structures, format="extxyz")
    return path


@pytest.fixture
def plain(tmp_path):
    return write_xyz(tmp_path / "set.extxyz", structure(0), structure(1))


def assert_same(frames, others, places=8):
    assert len(frames) == len(others) == 2
    for a, b in zip(frames, others, strict=True):
        assert (a.group, a.config_type, a.info["kpts"]) == (b.group, b.config_type, b.info["kpts"])
        np.testing.assert_array_equal(a.numbers, b.numbers)
        for name in ("cell", "positions", "energy", "forces", "stress"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=10.0**-places)


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".xz", lzma), (".bz2", bz2)])
def test_compressed_files_read_like_the_plain_one(plain, tmp_path, suffix, module):
    packed = tmp_path / f"packed.extxyz{suffix}"
    with module.open(packed, "wb") as file:
        file.write(plain.read_bytes())
    assert_same(read_frames(packed), read_frames(plain), places=15)


def test_a_database_reads_like_the_file(plain, tmp_path):
    with ase.db.connect(tmp_path / "set.db") as database:
        for seed in (0, 1):
            atoms = structure(seed)
            database.write(atoms, **atoms.info)
    assert_same(read_frames(tmp_path / "set.db"), read_frames(plain))


def test_values_and_names(plain):
    frames = read_frames([plain, plain])  # a file named twice is read once
    assert [frame.name for frame in frames] == ["set.extxyz#0", "set.extxyz#1"]
    assert frames[1].energy == -11.25
    assert frames[1].group == "melt-1"
    np.testing.assert_allclose(frames[1].stress, structure(1).get_stress(), atol=1e-8)
    np.testing.assert_array_equal(frames[0].count([3, 14, 8]), [2, 1, 0])
    assert frames[0].volume == pytest.approx(structure(0).get_volume())


def test_reference_labels_win(tmp_path):
    atoms = structure()
    atoms.info["REF_energy"] = -99.0
    atoms.info["REF_stress"] = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]]).ravel()
    atoms.arrays["REF_forces"] = np.full((3, 3), 0.5)
    (frame,) = read_frames(write_xyz(tmp_path / "a.xyz", atoms))
    assert frame.energy == -99.0
    np.testing.assert_allclose(frame.stress, [1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(frame.forces, 0.5)


def test_reference_labels_and_groups_of_a_database(tmp_path):
    with ase.db.connect(tmp_path / "set.db") as database:
        labels = {"REF_forces": np.full((3, 3), 0.5), "REF_stress": np.eye(3), "path_id": "melt 7"}
        database.write(structure(0), REF_energy=-3.0, data=labels)
    (frame,) = read_frames(tmp_path / "set.db", "path_id")
    assert (frame.energy, frame.group) == (-3.0, "melt 7")
    np.testing.assert_array_equal(frame.forces, 0.5)
    np.testing.assert_array_equal(frame.stress, [1, 1, 1, 0, 0, 0])


def test_folders_and_globs(tmp_path, monkeypatch):
    for folder, name, seed in (("a", "2.xyz", 1), ("a", "1.extxyz", 0), ("a/deep", "1.extxyz", 2), ("b", "3.xyz", 3)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write_xyz(tmp_path / folder / name, structure(seed))
    (tmp_path / "a" / "README.md").write_text("what this is")

    def seeds(*paths):
        return [int(frame.group.removeprefix("melt-")) for frame in read_frames([tmp_path / path for path in paths])]

    assert seeds("a") == [0, 1]
    assert seeds("a/**/*xyz") == [0, 1, 2]
    assert seeds("b", "a/*.xyz", "a") == [3, 1, 0]
    monkeypatch.chdir(tmp_path)
    names = [frame.name for frame in read_frames(["a/1.extxyz", "a/deep", "b"], "none")]
    assert names == ["a/1.extxyz#0", "a/deep/1.extxyz#0", "3.xyz#0"]
    with pytest.raises(DataError, match=r"no file matches 'c/\*.xyz'.* check the pattern"):
        read_frames("c/*.xyz")
    with pytest.raises(DataError, match=r"cannot tell the format of a/README\.md"):
        read_frames("a/*")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder empty holds no structure files"):
        read_frames("empty")


def test_a_numbered_trajectory_is_seen_through(tmp_path):
    rng = np.random.default_rng(3)
    steps = [structure(0) for _ in range(4)]
    for number, atoms in enumerate(steps):
        atoms.set_cell(1.01**number * atoms.cell, scale_atoms=True)
        atoms.positions += rng.normal(scale=0.1, size=(3, 3)) + 0.9 * number
        atoms.wrap()
        atoms.info["group"] = number
    path = write_xyz(tmp_path / "run.xyz", *steps)
    with pytest.warns(WaveScatWarning, match=r"every frame of run.xyz has another 'group', but 3 of 3 neighbours"):
        read_frames(path)
    with no_warnings():
        read_frames(path, "none")
        read_frames(path, "config_type")
        read_frames(write_xyz(tmp_path / "melts.xyz", *(structure(seed) for seed in range(4))))


def test_missing_forces_and_stress_are_none(tmp_path):
    (frame,) = read_frames(write_xyz(tmp_path / "a.xyz", structure(forces=None, stress=None)))
    assert frame.forces is None
    assert frame.stress is None


def test_every_frame_its_own_group_only_when_asked(tmp_path):
    atoms = structure()
    del atoms.info["group"]
    path = write_xyz(tmp_path / "a.xyz", atoms, atoms)
    with pytest.raises(DataError, match=r"a.xyz#0 has no key 'group'.*'none'"):
        read_frames(path)
    assert [frame.group for frame in read_frames(path, "none")] == ["a.xyz#0", "a.xyz#1"]
    assert {frame.group for frame in read_frames(path, "config_type")} == {"liquid"}


def nan_forces():
    forces = np.zeros((3, 3))
    forces[1, 2] = np.nan
    return forces


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"energy": None}, r"a.xyz#1 has no energy; store it as 'energy' or 'REF_energy'"),
        ({"energy": np.nan}, r"a.xyz#1 has a label .energy. that is not finite"),
        ({"forces": nan_forces()}, r"a.xyz#1 has a label .forces. that is not finite"),
        ({"stress": np.full(6, np.inf)}, r"a.xyz#1 has a label .stress. that is not finite"),
    ],
)
def test_bad_labels_name_the_frame(tmp_path, labels, message):
    path = write_xyz(tmp_path / "a.xyz", structure(0), structure(1, **labels))
    with pytest.raises(DataError, match=message):
        read_frames(path)


def test_open_directions_are_kept_and_their_stress_is_not_used(tmp_path):
    slab, molecule = structure(0), structure(1)
    slab.pbc = [True, True, False]
    molecule.set_cell(None)
    molecule.pbc = False
    for atoms in (slab, molecule):
        atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)
    path = write_xyz(tmp_path / "a.xyz", slab, molecule, structure(2))
    frames = read_frames(path)
    assert [frame.pbc for frame in frames] == [(True, True, False), (False, False, False), (True, True, True)]
    assert [frame.stress is None for frame in frames] == [True, True, False]
    assert all(frame.forces is not None for frame in frames)
    np.testing.assert_allclose(frames[0].cell, slab.cell.array, atol=1e-7)
    with ase.db.connect(tmp_path / "a.db") as database:
        for atoms in (slab, molecule):
            database.write(atoms, group="g")
    assert [frame.pbc for frame in read_frames(tmp_path / "a.db")] == [frame.pbc for frame in frames[:2]]


@pytest.mark.parametrize(("row", "vector"), [(1, [0, 0, 0]), (1, [8, 0, 0]), (0, [0, 0, 0])])
def test_cells_must_span_the_periodic_directions(tmp_path, row, vector):
    atoms = structure()
    atoms.pbc = [True, True, False]
    atoms.cell[row] = vector
    with pytest.raises(DataError, match=r"a.xyz#0 is periodic along \[True, True, False\] but .* or set pbc = False"):
        read_frames(write_xyz(tmp_path / "a.xyz", atoms))


def test_bad_files(tmp_path, plain):
    with pytest.raises(DataError, match="no data files given"):
        read_frames([])
    with pytest.raises(DataError, match="there is no file"):
        read_frames(tmp_path / "absent.xyz")
    (tmp_path / "empty.xyz").touch()
    with pytest.raises(DataError, match="holds no structures"):
        read_frames(tmp_path / "empty.xyz")
    with pytest.raises(DataError, match="cannot tell the format"):
        read_frames(write_xyz(tmp_path / "structures.dat", structure()))
    cut = tmp_path / "cut.xyz.gz"
    cut.write_bytes(gzip.compress(plain.read_bytes())[:-200])
    with pytest.raises(DataError, match="is it complete"):
        read_frames(cut)


def test_crystal_files_and_names_with_an_at_sign(tmp_path):
    crystal = bulk("Si")
    for name in ("si.cif", "POSCAR", "run@300K.traj", "si.traj"):
        crystal.write(tmp_path / name)
    assert [path.name for path in files_of(tmp_path)] == ["POSCAR", "si.cif"]  # trajectories are named themselves
    assert len(structures_of(tmp_path / "run@300K.traj")) == 1
    (tmp_path / "bad.cif").write_text("nothing")
    with pytest.raises(DataError, match=r"ASE cannot read .*bad\.cif"):
        structures_of(tmp_path / "bad.cif")


def test_disordered_crystals_and_empty_trajectories_are_named(tmp_path):
    ase.io.Trajectory(str(tmp_path / "none.traj"), "w").close()
    with pytest.raises(DataError):
        structures_of(tmp_path / "none.traj")
    crystal = bulk("Si")
    crystal.write(tmp_path / "half.cif")
    text = (tmp_path / "half.cif").read_text()
    (tmp_path / "half.cif").write_text(text.replace(" 1.0000", " 0.5000"))
    with pytest.raises(DataError, match="occupied in part"):
        structures_of(tmp_path / "half.cif")


# ---------------------------------------------------------------- virials, and labels under other names


@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("shape", [(6,), (9,), (3, 3)])
def test_virials_are_read_by_key_and_sign(tmp_path, sign, shape):
    atoms = structure(stress=None)
    stress = np.array([1.0, 2, 3, 4, 5, 6])
    virial = (stress if sign == "+" else -stress) * atoms.get_volume()
    full = voigt_6_to_full_3x3_stress(virial)
    atoms.info["REF_virials"] = virial if shape == (6,) else full.reshape(shape)
    path = write_xyz(tmp_path / "a.xyz", atoms)
    with no_warnings():
        (frame,) = read_frames(path, virial=Virial("REF_virials", sign))
        (same,) = read_sources([Source(path, virial="REF_virials", virial_sign=sign)])
    np.testing.assert_allclose(frame.stress, stress, rtol=1e-12)
    np.testing.assert_array_equal(same.stress, frame.stress)


def test_a_named_virial_stands_for_the_stress_and_must_be_there(tmp_path):
    atoms, other = structure(0), structure(1)
    atoms.info["virial"] = -np.eye(3) * atoms.get_volume()
    path = write_xyz(tmp_path / "a.xyz", atoms, other)
    frames = read_frames(path, virial=Virial("virial", "-"))
    np.testing.assert_allclose(frames[0].stress, [1, 1, 1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(frames[1].stress, other.get_stress())
    with pytest.raises(DataError, match=r"no frame of a.xyz has the virial 'virials'; did you mean 'virial'"):
        read_frames(path, virial=Virial("virials", "-"))
    with pytest.raises(DataError, match=r"must be '-' \(stress = -virial / volume\) or '\+' .* got 'minus'"):
        Virial("virial", "minus")
    with pytest.raises(DataError, match=r"source 'labels' needs both virial .* and virial_sign"):
        Source(path, virial="virial")
    with ase.db.connect(tmp_path / "b.db") as database:
        database.write(structure(), group="g", data={"v": np.zeros(5)})
    with pytest.raises(DataError, match=r"b.db#0 has v of shape \(5,\), .*; give six numbers \(xx yy zz yz xz xy\) or"):
        read_frames(tmp_path / "b.db", virial=Virial("v", "+"))


@pytest.mark.parametrize("key", ["virial", "REF_virials", "dft_stress", "stress_tensor", "Stress"])
def test_stresses_and_virials_under_other_names_are_told(tmp_path, key):
    atoms = structure(stress=None)
    atoms.info[key] = np.eye(3)
    atoms.info["stress_unit"] = "GPa"
    with pytest.warns(WaveScatWarning, match=f"1 frames of a.xyz have no 'stress' .* '{key}', which are not read; ren"):
        (frame,) = read_frames(write_xyz(tmp_path / "a.xyz", atoms))
    assert frame.stress is None
    atoms.pbc = [True, True, False]  # whose stress would not be used
    atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)
    with no_warnings():
        read_frames(write_xyz(tmp_path / "a.xyz", atoms))


@pytest.mark.parametrize("key", ["dft_forces", "force", "MACE_Forces"])
def test_forces_under_other_names_are_told_in_columns_and_in_data(tmp_path, key):
    atoms = structure(forces=None)
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(atoms, group="g", data={key: np.zeros((3, 3))})
    atoms.arrays[key] = np.zeros((3, 3))
    for path in (write_xyz(tmp_path / "a.xyz", atoms), tmp_path / "a.db"):
        with pytest.warns(WaveScatWarning, match=f"have no 'forces' or 'REF_forces' but arrays named '{key}'"):
            read_frames(path)


@pytest.mark.parametrize("key", ["MACE_energy", "dft_energy", "Energy"])
def test_energies_under_other_names_are_named(tmp_path, key):
    atoms = structure(energy=None)
    atoms.info[key] = -3.0
    with pytest.raises(DataError, match=rf"a.xyz#0 has no energy \(it has '{key}'\); store it as 'energy'"):
        read_frames(write_xyz(tmp_path / "a.xyz", atoms))


def test_a_free_energy_that_is_not_the_energy_is_told(tmp_path):
    atoms = structure(free_energy=-10.4)
    with pytest.warns(WaveScatWarning, match=r"frames of a.xyz have a free_energy that .* by up to 50 meV/atom"):
        (frame,) = read_frames(write_xyz(tmp_path / "a.xyz", atoms))
    assert frame.energy == -10.25
    atoms.info["REF_energy"] = -10.4
    with no_warnings():
        read_frames(write_xyz(tmp_path / "a.xyz", atoms))
        read_frames(write_xyz(tmp_path / "b.xyz", structure(free_energy=-10.25)))
