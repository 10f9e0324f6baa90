"""Extended XYZ: dialects are understood or refused with frame and line; what is written is read, by ASE and by us."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    Hookean,
)
from ase.io import read, write

from ase_wavescat.io.extended_xyz import CONSTRAINTS, parse, write_extended_xyz
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training.data.frames import Frame, read_frames
from own_warnings import no_warnings

LATTICE, PROPERTIES = 'Lattice="5.4 0 0 0 5.4 0 0 0 5.6"', "Properties=species:S:1:pos:R:3:forces:R:3"


def text_of(header: str = f'{LATTICE} {PROPERTIES} energy=-10.8 pbc="T T T"', symbols: str = "Si Si") -> str:
    first, second = symbols.split()
    return f"2\n{header}\n{first} 0 0 0 0.1 0 0\n{second} 1.35 1.35 1.35 -0.1 0 0\n"


def frame_of(folder: Path, content: str | bytes) -> Frame:
    content = content.encode() if isinstance(content, str) else content
    (folder / "in.xyz").write_bytes(content)
    return read_frames(folder / "in.xyz", "none")[0]


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("header", "pbc", "stress"),
    [
        (f'{LATTICE} {PROPERTIES} pbc="T T T"', True, True),
        (f"{LATTICE.lower()} {PROPERTIES.lower()}".replace(":s:", ":S:").replace(":r:", ":R:"), True, True),
        (f"{LATTICE.replace('Lattice', 'LATTICE')} {PROPERTIES.replace('Properties', 'PROPERTIES')}", True, True),
        (f'{LATTICE} {PROPERTIES} PBC="F F F"', False, False),
        (f'{LATTICE} {PROPERTIES} Pbc="[true, false, 1]"', None, False),
        (f"{LATTICE} {PROPERTIES} pbc=F", False, False),
        (f"lattice=[[5.4,0,0],[0,5.4,0],[0,0,5.6]] {PROPERTIES}", True, True),
    ],
)
def test_keys_are_understood_in_any_case(tmp_path: Path, header: str, pbc: bool | None, stress: bool) -> None:
    with no_warnings():
        frame = frame_of(tmp_path, text_of(f'{header} energy=-10.8 stress="1 2 3 4 5 6"'))
    assert frame.pbc == ((True, False, True) if pbc is None else (pbc,) * 3)
    np.testing.assert_allclose(frame.cell, np.diag([5.4, 5.4, 5.6]))
    np.testing.assert_allclose(frame.forces, [[0.1, 0, 0], [-0.1, 0, 0]])
    assert (frame.stress is not None) == stress


def test_columns_that_no_header_names_are_told(tmp_path: Path) -> None:
    for header, named in ((LATTICE, "a header without Properties"), (f"{LATTICE} {PROPERTIES}", "Properties names")):
        text = text_of(f"{header} energy=-1.0").replace("1.35 -0.1 0 0", "1.35 -0.1 0 0 7.5")
        with pytest.warns(WaveScatWarning, match=rf"in\.xyz: frame 0, line [34]: [78] columns, {named}.* are not read"):
            frame_of(tmp_path, text)
    short = text_of(f"{LATTICE} {PROPERTIES}:energies:R:1 energy=-1.0")
    with pytest.raises(DataError, match=r"frame 0, line 3: 7 columns, Properties names \(species, pos, .*\) 8"):
        frame_of(tmp_path, short)


@pytest.mark.parametrize("key", ["stress", "REF_stress"])
@pytest.mark.parametrize(
    "value",
    ['"1 6 5 6 2 4 5 4 3"', '"1 2 3 4 5 6"', "[[1,6,5],[6,2,4],[5,4,3]]", '"[[1, 6, 5], [6, 2, 4], [5, 4, 3]]"',
     "{1 2 3 4 5 6}", '"_JSON [[1, 6, 5], [6, 2, 4], [5, 4, 3]]"', "[1.0, 2, 3, 4, 5, 6e0]"],
)  # fmt: skip
def test_stresses_of_six_and_nine_numbers_are_read(tmp_path: Path, key: str, value: str) -> None:
    frame = frame_of(tmp_path, text_of(f"{LATTICE} {PROPERTIES} energy=-10.8 {key}={value}"))
    np.testing.assert_array_equal(frame.stress, [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    "given", ["stress=None", "virial=none", 'virial="1 2 3"', 'dipole="no"', "magmoms=?", "stress="]
)
def test_what_is_not_used_stops_no_file(tmp_path: Path, given: str) -> None:
    (tmp_path / "in.xyz").write_text(text_of(f"{LATTICE} {PROPERTIES} energy=-10.8 {given}"))
    (atoms,) = structures_of(tmp_path / "in.xyz")
    assert atoms.get_potential_energy() == -10.8


@pytest.mark.parametrize(
    ("symbols", "numbers", "told"),
    [("Si Si", [14, 14], ""), ("Si1 Si2a", [14, 14], ""), ("si LI", [14, 3], ""), ("O2- Li+", [8, 3], ""),
     ("14 3", [14, 3], "atomic numbers"), ("D Si", [1, 14], "D is read as hydrogen")],
)  # fmt: skip
def test_symbols_of_plain_meaning(tmp_path: Path, symbols: str, numbers: list[int], told: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert frame_of(tmp_path, text_of(symbols=symbols)).numbers.tolist() == numbers
    assert [told in str(warning.message) for warning in caught] == ([True] if told else [])


def test_elements_in_a_column_of_whole_numbers(tmp_path: Path) -> None:
    text = text_of(symbols="14 3").replace("species:S:1", "species:I:1")
    assert frame_of(tmp_path, text).numbers.tolist() == [14, 3]


@pytest.mark.parametrize("symbol", ["Xx", "Sil", "119", "Q1", "-3"])
def test_what_is_no_element_is_named_with_frame_and_line(tmp_path: Path, symbol: str) -> None:
    text = text_of() + text_of(symbols=f"Si {symbol}")
    with pytest.raises(DataError, match=rf"in\.xyz: frame 1, line 8: {symbol!r} is no element"):
        frame_of(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.1 0 0", "-0.1 0 zero", r"frame 0, line 4: 'zero' in column forces is no number"),
        ("2\n", "two\n", r"frame 0, line 1: 'two' is no number of atoms"),
        ("2\n", "3\n", r"frame 0, line 1: it is to have 3 atoms, the file ends before"),
        ("pos:R:3", "pos:X:3", r"frame 0: Properties=.* is not NAME:KIND:COLUMNS"),
        ("species:S:1:", "", r"frame 0: Properties=.* names no elements"),
        ("pos:R:3", "place:R:3", r"frame 0: Properties=.* no positions"),
    ],
)
def test_what_cannot_be_read_is_named_with_frame_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        frame_of(tmp_path, text_of().replace(old, new, 1))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    text = text_of(f"{LATTICE} {PROPERTIES} energy=-10.8 note=Köln").replace("\n", end)
    frame = frame_of(tmp_path, text.encode(encoding))
    assert frame.numbers.tolist() == [14, 14] and frame.info["note"] == "Köln"


@pytest.mark.parametrize(
    "comment",
    ["Properties of water", "it's a = b", 'Lattice "5 5 5"', "E= F=3", r"a\b=1 c", "x=[1,2 y", "[ ( {", "stress"],
)
def test_comments_of_plain_files_are_no_headers(tmp_path: Path, comment: str) -> None:
    (tmp_path / "in.xyz").write_text(f"1\n{comment}\nSi 0 0 0\n")
    (atoms,) = structures_of(tmp_path / "in.xyz")
    assert not atoms.pbc.any() and not atoms.cell.any() and atoms.symbols[0] == "Si"


def test_a_value_that_is_missing_does_not_take_the_next_key(tmp_path: Path) -> None:
    for empty in ("a=", "a= ", "a=''", 'a=""', "a={}", "a=it's"):
        frame = frame_of(tmp_path, text_of(f"{empty} {LATTICE} {PROPERTIES} REF_energy=-5.0 energy=-4.0"))
        assert frame.energy == -5.0
        frame = frame_of(tmp_path, text_of(f"{LATTICE} {PROPERTIES} {empty} REF_energy=-5.0 energy=-4.0"))
        assert frame.energy == -5.0 and all(frame.pbc)


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize(
    "names",
    [("12e4567", "77e8901"), ("01", "1"), ("1_2", "12"), ("0.10", "0.1"), ("T", "True"), ("nan", "NaN"),
     ("20240101123456789012", "20240101123456789013"), ("1,2", "1;2"), ("007", "7"), ("_JSON", "None")],
)  # fmt: skip
@pytest.mark.parametrize("key", ["group", "melt"])
def test_groups_are_texts_as_written(tmp_path: Path, names: tuple[str, str], key: str) -> None:
    text = "".join(text_of(f'{LATTICE} {PROPERTIES} energy=-1.0 {key}={quote}{name}{quote}')
                   for quote, name in zip(("", '"'), names, strict=True))  # fmt: skip
    (tmp_path / "a.xyz").write_text(text.replace("0 0 5.6", "0 0 6.6", 1).replace("1.35", "2.9", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)  # neighbours alike
        assert [frame.group for frame in read_frames(tmp_path / "a.xyz", key)] == list(names)
        again = [bulk("Si", cubic=True) for _ in names]
        for atoms, name in zip(again, names, strict=True):
            atoms.info[key] = name
            atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
        write_extended_xyz(tmp_path / "b.xyz", again)
        write(tmp_path / "c.traj", again)
        for file in ("b.xyz", "c.traj"):
            assert [frame.group for frame in read_frames(tmp_path / file, key)] == list(names)
    assert [atoms.info[key] for atoms in read(tmp_path / "b.xyz", ":", format="extxyz")] == list(names)


# ---------------------------------------------------------------- writing


def written(atoms: Atoms) -> tuple[Atoms, Atoms, list[str]]:
    """As ASE and as we read it, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = io.StringIO()
        write_extended_xyz(file, [atoms])
        (ours,), notes = parse(file.getvalue())
    assert notes == []
    said = [str(warning.message) for warning in caught if issubclass(warning.category, WaveScatWarning)]
    return read(io.StringIO(file.getvalue()), format="extxyz"), ours, said


KEPT: dict[str, Any] = {
    "two lines": "two\nlines", "quotes": 'a "b" \'c\' {d} [e]', "spaces": "  a  b ", "backslash": "a\\b\\n",
    "empty": "",
    "number": "007", "truth": "T", "numbers": "1 2 3", "equals": "a=b", "none": None, "integer": -3, "float": 1e-300,
    "infinite": np.inf, "nan": np.nan, "flag": True, "vector": np.arange(3.0), "one": np.array([1.5]), "tab": "a\tb",
    "matrix": np.arange(4.0).reshape(2, 2), "nine": np.arange(9.0).reshape(3, 3), "no numbers": np.array([]),
    "single precision": np.float32(0.1), "texts": ["x", 'a"b'], "dictionary": {"a": [1, 2], "b": "c"},
    "unicode": "Köln",
    "like JSON": "_JSON [1]", "list": [1, 2, 3], "comma": "1,2",
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("key", ["note", "group", "path_id"])
def test_entries_are_read_as_they_were(kind: str, key: str) -> None:
    value = KEPT[kind]
    if key == "group" and not isinstance(value, str):
        return
    atoms = bulk("Si")
    atoms.info = {key: value, "after": "kept"}
    for again in written(atoms)[:2]:
        assert list(again.info) == [key, "after"] and again.info["after"] == "kept"
        if isinstance(value, (str, dict)) or value is None:
            assert again.info[key] == value
        else:
            np.testing.assert_array_equal(again.info[key], np.asarray(value))
    assert written(atoms)[2] == []


DROPPED: dict[str, Callable[[Atoms], Any]] = {
    "site": lambda atoms: atoms.set_array("site", np.array(["Wyckoff 8a"] * 8)),
    "empty": lambda atoms: atoms.set_array("empty", np.array([""] * 8)),
    "born": lambda atoms: atoms.set_array("born", np.zeros((8, 3, 3))),
    "phase": lambda atoms: atoms.set_array("phase", np.zeros(8, complex)),
    "large": lambda atoms: atoms.set_array("large", np.full(8, 2**40)),
    "a b": lambda atoms: atoms.set_array("a b", np.zeros(8)),
    "pos": lambda atoms: atoms.set_array("pos", np.zeros((8, 3))),
    "move_mask": lambda atoms: atoms.set_array("move_mask", np.zeros(8)),
    "none": lambda atoms: atoms.set_array("none", np.zeros((8, 0))),
    "virial": lambda atoms: atoms.info.update(virial=np.zeros(6)),
    "Lattice": lambda atoms: atoms.info.update(Lattice="x"),
    "PBC": lambda atoms: atoms.info.update(PBC=1),
    "1": lambda atoms: atoms.info.update({1: 2}),
    "my key": lambda atoms: atoms.info.update({"my key": 2}),
    "z": lambda atoms: atoms.info.update(z=1j),
    "thing": lambda atoms: atoms.info.update(thing=object()),
    "keys": lambda atoms: atoms.info.update(keys={1: 2}),
    CONSTRAINTS: lambda atoms: atoms.info.update({CONSTRAINTS: "x"}),
}


@pytest.mark.parametrize("name", DROPPED)
def test_what_no_file_can_hold_is_left_out_and_told(name: str) -> None:
    atoms = bulk("Si", cubic=True)
    atoms.set_array("site_of", np.array(["8a"] * 8, dtype=object))
    atoms.set_array("count", np.arange(8, dtype=np.uint8))
    atoms.info["kept"] = "yes"
    DROPPED[name](atoms)
    ase_read, ours, said = written(atoms)
    assert len(said) == 1 and re.search(rf"files cannot keep '{re.escape(name)}' of the structures", said[0])
    for again in (ase_read, ours):
        assert again.info == {"kept": "yes"} and set(again.arrays) == {"numbers", "positions", "site_of", "count"}
        assert again.arrays["site_of"].tolist() == ["8a"] * 8 and again.arrays["count"].tolist() == list(range(8))


def test_results_that_are_tensors_for_each_atom_are_left_out() -> None:
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, stress=np.arange(6.0), forces=np.ones((2, 3)))
    atoms.calc.results |= {"born_effective_charges": np.zeros((2, 3, 3)), "dipole": None}
    atoms.info["energy"] = "of another state"
    for again in written(atoms)[:2]:
        assert again.get_potential_energy() == -3.0
        np.testing.assert_array_equal(again.get_stress(), np.arange(6.0))
        np.testing.assert_array_equal(again.get_forces(), 1.0)


# ---------------------------------------------------------------- constraints


@pytest.mark.parametrize(
    "constraint",
    [FixScaled([0], [True, True, False]), FixedPlane([1], (0, 0, 1)), FixedLine([1, 2], (1, 0, 1)), FixCom(),
     FixBondLengths([[0, 1]]), Hookean(0, 1, 5.0, 2.3), FixAtoms([1, 2]), FixCartesian([1], [True, False, True])],
)  # fmt: skip
def test_constraints_survive(tmp_path: Path, constraint: Any) -> None:
    """They hold what they held: forces and positions are adjusted alike."""
    atoms = bulk("Si", cubic=True)
    atoms.set_constraint([constraint, FixAtoms([5])])
    with no_warnings():
        write_extended_xyz(tmp_path / "a.extxyz", [atoms])
        (again,) = structures_of(tmp_path / "a.extxyz")
    assert CONSTRAINTS not in again.info and len(read(tmp_path / "a.extxyz")) == 8
    forces, moved = np.random.default_rng(0).normal(size=(2, 8, 3))
    results = []
    for one in (atoms, again):
        one.calc = SinglePointCalculator(one, forces=forces.copy())
        adjusted = one.get_forces()
        one.set_positions(one.positions + 0.01 * moved)
        results.append((adjusted, one.positions))
    np.testing.assert_allclose(results[1][0], results[0][0], atol=1e-8)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-7)


class FixSomehow:
    """A constraint of the user's own."""

    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None:
        forces[0] = 0.0

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None:
        new[0] = atoms.positions[0]

    def copy(self) -> FixSomehow:
        return self


def test_constraints_that_no_file_holds_are_told_twice(tmp_path: Path) -> None:
    atoms = bulk("Si")
    atoms.set_constraint(FixSomehow())
    with pytest.warns(WaveScatWarning, match="cannot keep 'FixSomehow'"):
        write_extended_xyz(tmp_path / "a.extxyz", [atoms])
    with pytest.warns(WaveScatWarning, match=r"frame 0: atoms were held by a constraint \(FixSomehow\) that the file"):
        (again,) = structures_of(tmp_path / "a.extxyz")
    assert again.constraints == []


def test_constraints_of_other_atoms_are_not_taken(tmp_path: Path) -> None:
    """Atoms were taken out by another program that kept the header."""
    atoms = Atoms("SiLiLi", np.eye(3), cell=[5, 5, 5], pbc=True)
    atoms.set_constraint(FixScaled([1], [True, True, True]))
    write_extended_xyz(tmp_path / "a.extxyz", [atoms])
    lines = (tmp_path / "a.extxyz").read_text().splitlines()
    (tmp_path / "a.extxyz").write_text("\n".join(["2", lines[1], *lines[3:], ""]))
    with pytest.warns(WaveScatWarning, match="frame 0: ase_constraints are of other atoms, SiLi2: not taken"):
        (again,) = structures_of(tmp_path / "a.extxyz")
    assert again.constraints == []


def test_atoms_that_another_program_fixed_besides_are_held_too(tmp_path: Path) -> None:
    atoms = bulk("Si", cubic=True)
    atoms.set_constraint([FixScaled([1], [True, True, False]), FixAtoms([2])])
    write_extended_xyz(tmp_path / "a.extxyz", [atoms])
    between = read(tmp_path / "a.extxyz")
    between.set_constraint(FixAtoms([2, 5]))
    columns = ["symbols", "positions", "move_mask"]
    write(tmp_path / "b.extxyz", between, format="extxyz", columns=columns)
    with pytest.warns(WaveScatWarning, match="frame 0: move_mask holds more atoms than ase_constraints; all of them"):
        (again,) = structures_of(tmp_path / "b.extxyz")
    assert [type(one) for one in again.constraints] == [FixScaled, FixAtoms, FixAtoms]
    assert again.constraints[2].index.tolist() == [2, 5]
