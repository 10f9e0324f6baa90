"""Broken and mixed labelled data: read right, refused by name, or warned of with a figure and a remedy."""

from __future__ import annotations

import dataclasses
import gzip
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from ase.units import GPa, Hartree, kcal, mol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ase_wavescat.io import extended_xyz, structures
from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training.data.frames import Frame, _label, read_frames
from ase_wavescat.training.data.magnitudes import warn_of_magnitudes
from ase_wavescat.training.data.sources import Source, read_sources
from hostile.data_attacks import broken, good_text, labelled, outcome_of
from own_warnings import no_warnings

SETTINGS = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def written(folder: Path, *structures: Atoms) -> Path:
    write(folder / "set.extxyz", structures, format="extxyz")
    return folder / "set.extxyz"


def test_broken_files_are_refused_by_name_or_read_with_sense(tmp_path: Path) -> None:
    text = good_text(tmp_path)
    found = Counter()
    for seed in range(200):
        (tmp_path / "broken.extxyz").write_text(broken(text, seed))
        found[outcome_of(tmp_path / "broken.extxyz")] += 1
    assert set(found) == {"read", "refused"}
    assert found["refused"] > 100


@SETTINGS
@given(st.binary(max_size=300))
def test_bytes_of_anything_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    for name in ("any.extxyz", "any.extxyz.gz", "any.xyz.xz", "any.db"):
        (tmp_path / name).write_bytes(content)
        assert outcome_of(tmp_path / name) == "refused"


@SETTINGS
@given(
    kind=st.sampled_from(["REF_energy", "REF_forces", "REF_stress"]),
    value=st.one_of(
        st.booleans(),
        st.text(max_size=4),
        st.floats(),
        st.lists(st.floats(), max_size=10),
        st.lists(st.lists(st.floats(), min_size=3, max_size=3), max_size=4),
        st.complex_numbers(),
    ),
)
def test_labels_of_anything_are_numbers_of_the_right_shape_or_refused(kind: str, value: object) -> None:
    atoms = labelled(0)
    atoms.calc = None
    atoms.info[kind] = value
    try:
        label = _label(atoms, kind.removeprefix("REF_"), "set#0")
    except DataError as error:
        assert "set#0" in str(error)
        return
    assert label.dtype == float and np.isfinite(label).all()
    assert label.shape == {"REF_energy": (), "REF_forces": (3, 3), "REF_stress": (6,)}[kind]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("energy=", "energy=-1.0 energy=", "frame 0 gives 'energy' twice"),
        ("energy=", "Energy=", r"no energy \(it has 'Energy'\); store it as 'energy'"),
        ("energy=", 'Lattice="9 0 0 0 9 0 0 0 9" energy=', "frame 0 gives 'Lattice' twice"),
        ("energy=", 'energy="T" was=', "'energy' that is no number"),
        ("energy=", 'energy="-10 eV" was=', "'energy' that is no number"),
        ("energy=", 'energy="-10,25" was=', r"energy of shape \(2,\)"),
        ("stress=", 'stress="1 2 3 4 5" was=', "'stress' that is no number, '1 2 3 4 5'; give six numbers .* or nine"),
        ("stress=", "stress=None was=", "'stress' that is no number, 'None'; give six numbers"),
        ("stress=", 'stress="" was=', "'stress' that is no number, ''; give six numbers"),
        ("stress=", "REF_stress=[[1,2],[3,4]] was=", "'REF_stress' that is no number"),
        ("Lattice=", 'Lattice="1 2 3" was=', "frame 0: Lattice=.1 2 3. is not nine numbers"),
        ("pbc=", 'pbc="T T" was=', "frame 0: pbc=.T T. says of no direction whether it repeats"),
        ("pbc=", "pbc=maybe was=", "frame 0: pbc=maybe says of no direction"),
        ("Lattice=", 'lattice="9 0 0 0 9 0 0 0 9" Lattice=', "frame 0 gives 'Lattice' twice"),
        ("species:S:1", "species:S:1:site:L:1", "frame 0, line 3: 7 columns, Properties names .* 8"),
        ("forces:R:3", "forces:R:2:mask:L:1", "frame 0, line 3: .* in column mask is not T or F"),
        ("Si ", "X ", "ghost atoms"),
        ("forces:R:3", "forces:R:2:more:R:1", r"forces of shape \(3, 2\)"),
        ("forces:R:3", "pos:R:3", "frame 0: Properties names 'pos' twice"),
    ],
)
def test_wrong_keys_and_labels_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = good_text(tmp_path)
    assert old in text
    (tmp_path / "set.extxyz").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_frames(tmp_path / "set.extxyz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["9" * 14, *lines[1:]], "frame 0 is to have 99999999999999 atoms, the file has 16 lines"),
        (lambda lines: [*lines[:5], "", *lines[5:]], "an empty line stands where frame 1 should begin"),
        (lambda lines: ["", *lines], "an empty line stands where frame 0 should begin"),
    ],
)
def test_frames_that_would_be_lost_or_never_end_are_named(
    tmp_path: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    lines = good_text(tmp_path).split("\n")
    (tmp_path / "set.extxyz").write_text("\n".join(change(lines)))
    with pytest.raises(DataError, match=message):
        read_frames(tmp_path / "set.extxyz")


def test_files_may_end_in_empty_lines_and_have_vectors_after_the_atoms(tmp_path: Path) -> None:
    (tmp_path / "set.xyz").write_text(good_text(tmp_path) + "\n \n")
    assert len(read_frames(tmp_path / "set.xyz")) == 3
    dialect = "1\n\nLi 0 0 0\nVEC1 3 0 0\nVEC2 0 3 0\nVEC3 0 0 3\n"
    (tmp_path / "set.xyz").write_text(2 * dialect)
    assert [atoms.pbc.all() for atoms in structures.structures_of(tmp_path / "set.xyz")] == [True, True]


def test_a_key_inside_a_text_is_not_that_key(tmp_path: Path) -> None:
    text = good_text(tmp_path).replace("energy=", 'comment="energy=5 energy=6" note={energy=7} energy=')
    (tmp_path / "set.extxyz").write_text(text)
    assert len(read_frames(tmp_path / "set.extxyz")) == 3


@pytest.mark.parametrize("long", ["a" * 300_000, "a={ " * 50_000, 'a="\\ ' * 50_000, "a=[ " * 50_000 + "="])
def test_long_headers_take_no_longer_than_their_length(long: str) -> None:
    start = time.process_time()
    extended_xyz.HEADER_ITEM.findall(long)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_cell(atoms.cell.array / 10, scale_atoms=True), "are cell and positions in A"),
        (lambda atoms: atoms.positions.__setitem__((0, 0), 1e12), "wrap or centre"),
        (lambda atoms: atoms.info.__setitem__("REF_stress", np.arange(9.0)), "not symmetric"),
    ],
)
def test_frames_without_sense_are_named(tmp_path: Path, change: Callable[[Atoms], None], message: str) -> None:
    atoms = labelled(0)
    change(atoms)
    atoms.calc = None
    atoms.info["REF_energy"] = -10.0
    with pytest.raises(DataError, match=r"set\.extxyz#0.*" + message):
        read_frames(written(tmp_path, atoms))


def test_forces_under_another_name_are_told(tmp_path: Path) -> None:
    atoms = labelled(0, forces=None)
    atoms.arrays["force"] = np.zeros((3, 3))
    with pytest.warns(WaveScatWarning, match="1 frames of set.extxyz have no 'forces'.* 'force', which are not read"):
        read_frames(written(tmp_path, atoms))


def test_broken_files_in_little_memory() -> None:
    """Some have sense: reading takes no more memory than the file."""
    children = pytest.importorskip("hostile.children")
    found = Counter(children.outcomes([("labelled data, broken", seed) for seed in range(60)]))
    assert set(found) == {"read", "refused"}


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structures, "_LARGEST_TEXT", 10_000)
    (tmp_path / "bomb.extxyz.gz").write_bytes(gzip.compress(b"0" * 1_000_000))
    with pytest.raises(DataError, match="more than 10000 bytes, unpacked; split it"):
        read_frames(tmp_path / "bomb.extxyz.gz")


# ---------------------------------------------------------------- units and signs by magnitude


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    return read_frames(written(tmp_path_factory.mktemp("set"), *(labelled(seed, 4) for seed in range(30))))


def warned(frames: list[Frame]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_magnitudes(frames, "labels")
    return " | ".join(str(warning.message) for warning in caught)


def scaled(frames: list[Frame], kind: str, factor: float, every: int = 1) -> list[Frame]:
    return [
        dataclasses.replace(frame, **{kind: factor * getattr(frame, kind)}) if index % every == 0 else frame
        for index, frame in enumerate(frames)
    ]


def test_good_labels_are_not_warned_of(frames: list[Frame]) -> None:
    assert warned(frames) == ""
    assert warned(scaled(frames, "energy", 1 / Hartree)) == ""  # all alike: nothing to tell them by


@pytest.mark.parametrize(
    ("kind", "factor", "every", "message"),
    [
        ("energy", 1 / Hartree, 5, "6 of 30 energies are far from the others.*as if in Hartree"),
        ("energy", mol / kcal, 5, "as if in kcal/mol"),
        ("energy", 1e3, 5, "as if in meV"),
        ("energy", mol / kcal, 2, "of several units, codes or settings|far from the others"),
        ("forces", mol / kcal, 1, "half of the frames have forces above 2[0-9].*kcal/mol"),
        ("stress", 1 / GPa, 1, "stresses above .* give eV/A.3"),
        ("stress", 10 / GPa, 1, "stresses above"),
        ("stress", -1.0, 1, "fall when cells are stretched .*sign is opposite to ASE's"),
    ],
)
def test_units_and_signs_are_told_by_magnitude(
    frames: list[Frame], kind: str, factor: float, every: int, message: str
) -> None:

    found = warned(scaled(frames, kind, factor, every))
    assert re.search(message, found), found
    assert found.startswith("labels: ") and found.count("labels: ") == 1


def test_small_stresses_in_gpa_are_told_by_the_bulk_modulus(frames: list[Frame]) -> None:
    """Lithium, 12 GPa, strained by one percent."""
    strained = []
    for index, frame in enumerate(frames):
        strain = 0.01 * (index % 7 - 3)
        cell = frame.cell * (140 * np.exp(strain) / frame.volume) ** (1 / 3)
        structure = dataclasses.replace(frame.structure, cell=cell)
        strained.append(
            dataclasses.replace(frame, structure=structure, stress=np.r_[np.full(3, 12 * strain), np.zeros(3)])
        )
    assert "stresses rise by 12 eV/A^3 (1.92e+03 GPa) a relative volume, a bulk modulus of no" in warned(strained)
    assert warned(scaled(strained, "stress", GPa)) == ""


def test_sources_are_looked_at_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    good = written(tmp_path, *(labelled(seed) for seed in range(12)))
    shifted = [labelled(seed) for seed in range(20, 32)]
    for atoms in shifted:
        atoms.calc.results["energy"] -= 500.0 * len(atoms)  # another code's zero
    sources = [Source(good, "one"), Source(written(tmp_path / "more", *shifted), "other")]
    with no_warnings():
        assert len(read_sources(sources)) == 24
    with pytest.warns(WaveScatWarning, match="one: .*several units, codes or settings|far from the others"):
        read_sources([Source([good, tmp_path / "more" / "set.extxyz"], "one")])


def test_the_real_set_is_not_warned_of() -> None:
    files = sorted(Path("models/lisi-dft").glob("*.extxyz.*"))
    for file in files:
        assert warned(read_frames(file, "none")) == ""
    assert files
