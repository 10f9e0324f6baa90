"""Structures written down in many ways: dialects of extended XYZ, odd entries and names, copies under symmetry."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
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
from ase.io import read
from ase.io.jsonio import encode
from ase.stress import voigt_6_to_full_3x3_stress

from ase_wavescat.io.extended_xyz import write_extended_xyz
from ase_wavescat.io.formats import file_name
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.errors import WaveScatWarning
from ase_wavescat.training.data.duplicates import Seen, fingerprints
from ase_wavescat.training.data.frames import read_frames
from hostile.data_attacks import labelled

GROUPS = ["007", "12e4567", "1_2", "0.10", "20240101123456789012", "T", "False", "nan", "mp-149", "a,b", "-0", "0x10"]
TEXTS = ["", "007", "T", "a b", 'a"b', "a\\b", "two\nlines", " x ", "1 2 3", "_JSON [1]", "a=b", "[1]", "{x}", "'", "é"]
NAMES = ["POSCAR", "a-CONTCAR", "OUTCAR.2", "XDATCAR", "CONFIG", "xCENTCARx", "HISTORY", "vasprun.xml", "f34", "a b"]


# ---------------------------------------------------------------- dialects


def dialect(seed: int, folder: Path) -> str:
    """ "same" where a frame in some dialect is read as what it says."""
    rng = random.Random(seed)
    atoms = labelled(seed, 4)
    group, path = rng.choice(GROUPS), folder / rng.choice(["a.xyz", "POSCAR.extxyz", "OUTCAR.xyz"])
    text = _written(atoms, group, rng)
    path.write_bytes(text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)
        (frame,) = read_frames(path)
    results = atoms.calc.results
    agree = [
        np.array_equal(frame.numbers, atoms.numbers), np.allclose(frame.positions, atoms.positions, atol=1e-12),
        np.allclose(frame.cell, atoms.cell, atol=1e-12), frame.energy == results["energy"], frame.group == group,
        np.allclose(frame.forces, results["forces"]), np.allclose(frame.stress, results["stress"]), all(frame.pbc),
    ]  # fmt: skip
    return "same" if all(agree) else f"{agree} of {text!r}"


def _written(atoms: Atoms, group: str, rng: random.Random) -> str:
    results = atoms.calc.results
    stress = results["stress"] if rng.random() < 0.5 else voigt_6_to_full_3x3_stress(results["stress"])
    quote = "" if rng.random() < 0.5 else '"'
    items = [
        f"{_case('Lattice', rng)}={_tensor(atoms.cell.array, rng)}",
        f"{_case('Properties', rng)}=species:S:1:pos:R:3:forces:R:3",
        f"{rng.choice(['energy', 'REF_energy'])}={float(results['energy'])!r}",
        f"{rng.choice(['stress', 'REF_stress'])}={_tensor(stress, rng)}",
        f"group={quote}{group}{quote}",
    ]
    if rng.random() < 0.7:
        items.append(f"{_case('pbc', rng)}={rng.choice(['T', 'true', '1 1 1', '[T, T, T]', 'T T T'])!r}")
    items.append(rng.choice(["virial=none", 'virial="1 2 3 4 5 6"', "dipole=?", "flag"]))
    notes = ["x=[1,2]", "y={1 2}", 'note="stress=1 energy=2"', "z=''", "z=", "z={}", "note=it's", 'a=b"c']
    items.append(rng.choice(notes))
    rng.shuffle(items)
    end = rng.choice(["\n", "\r\n"])
    lines = [str(len(atoms)), " ".join(items)]
    for number, symbol, position, force in zip(
        atoms.numbers, atoms.symbols, atoms.positions, results["forces"], strict=True
    ):
        name = rng.choice([symbol, symbol.lower(), f"{symbol}1", f"{symbol}_a", str(number)])
        lines.append(" ".join([name, *map(repr, map(float, [*position, *force]))]))
    return end.join([*lines, ""])


def _case(key: str, rng: random.Random) -> str:
    return rng.choice([key, key.lower(), key.upper(), key.capitalize()])


def _tensor(values: np.ndarray, rng: random.Random) -> str:
    flat = " ".join(map(repr, map(float, np.ravel(values))))
    nested = str(values.tolist()).replace(" ", "")
    return rng.choice([f'"{flat}"', f"[{flat.replace(' ', ', ')}]", f"{{{flat}}}", nested])


# ---------------------------------------------------------------- from command to command


def handed_on(seed: int, folder: Path) -> str:
    """ "same" where ASE, by the name alone, and we read all that was written, and what was left out was told."""
    rng = random.Random(seed)
    atoms = labelled(seed, 5)
    atoms.info |= {f"key{number}": _entry(rng) for number in range(3)}
    for number in range(2):
        atoms.set_array(f"array{number}", _array(rng))
    atoms.set_constraint(_constraints(rng))
    path = folder / f"{file_name(rng.choice(NAMES))}.extxyz"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_extended_xyz(path, [atoms])
        ours, ases = structures_of(path)[0], read(path)
    told = " ".join(str(warning.message) for warning in caught)
    for again in (ours, ases):
        for kept, found in ((atoms.info, again.info), (atoms.arrays, again.arrays)):
            for key, value in kept.items():
                if key not in found:
                    if repr(key) not in told:
                        return f"{key} {value!r} is lost without a word"
                elif not _equal(found[key], value):
                    return f"{key} was {value!r}, is {found[key]!r}"
    if _held(ours) != _held(atoms):
        return f"constraints were {atoms.constraints}, are {ours.constraints}"
    return "same"


def _entry(rng: random.Random) -> Any:
    return rng.choice([
        rng.choice(TEXTS), rng.choice(TEXTS), rng.choice(TEXTS), None, 3, -1.5e-300, float("inf"), True, 1j, object(),
        {1: 2}, {"a": [1, "b"]}, [1, 2, 3], ["x", rng.choice(TEXTS)], np.arange(6.0), np.eye(3), np.array([]),
        np.float32(0.1), np.arange(3) > 1, (1, 2), np.array(["a", "b c"]), b"bytes",
    ])  # fmt: skip


def _array(rng: random.Random) -> np.ndarray:
    return np.asarray(rng.choice([
        np.arange(5), np.arange(5) * 0.5, np.arange(5) > 2, np.ones((5, 3)), np.ones((5, 3, 3)), np.ones(5, complex),
        np.array(["a", "b", "c", "d", "e"]), np.array(["a", "b c", "d", "e", ""]), np.full(5, 2**40), np.zeros((5, 0)),
        np.arange(5, dtype=np.uint8), np.array(["x", "y", "z", "u", "v"], dtype=object),
    ]))  # fmt: skip


def _constraints(rng: random.Random) -> list[Any]:
    atom = rng.randrange(5)
    mask = [rng.random() < 0.5 for _ in range(3)]
    choices = [
        FixAtoms([atom]), FixScaled([atom], mask), FixedPlane([atom], (0, 0, 1)), FixedLine([atom], (1, 0, 0)),
        FixCom(), FixCartesian([atom], mask), FixBondLengths([[0, 1]]), Hookean(0, 2, 3.0, 1.0),
    ]  # fmt: skip
    return rng.sample(choices, rng.randrange(3))


def _held(atoms: Atoms) -> list[Any]:
    """The constraints; where FixAtoms and FixCartesian are all there is, which coordinates do not move."""
    if not all(isinstance(one, (FixAtoms, FixCartesian)) for one in atoms.constraints):
        return [encode(one.todict()) for one in atoms.constraints]
    held = np.zeros((len(atoms), 3), dtype=bool)
    for one in atoms.constraints:
        held[one.index] |= one.mask if isinstance(one, FixCartesian) else True
    return held.tolist()


def _equal(found: Any, given: Any) -> bool:
    if isinstance(given, (str, dict)) or given is None:
        return bool(found == given)
    one, other = np.asarray(found), np.asarray(given)
    if one.dtype.kind == "f" and one.shape == other.shape:
        return bool(np.allclose(one, other, rtol=1e-15, atol=1e-8, equal_nan=True))
    return bool(one.shape == other.shape and one.tolist() == other.tolist())


# ---------------------------------------------------------------- copies


def copied(seed: int, folder: Path) -> str:
    """ "same" where a structure is known in whatever way it is written down, and another is not."""
    rng = np.random.default_rng(seed)
    atoms = labelled(seed, int(rng.integers(2, 9)))
    seen = Seen(fingerprints([atoms, labelled(seed + 1, 6)]))
    copy = atoms.copy()
    for step in rng.permutation(6)[:3]:
        copy = _changed(copy, int(step), rng)
    copy.positions = np.round(copy.positions, 5)
    if seen.nearest([copy]).tolist() != [0]:
        return f"{copy} is not known"
    other = copy.copy()
    other.positions[0] += 0.1 * rng.normal(size=3)
    return "same" if len(copy) == 1 or seen.nearest([other]).tolist() == [-1] else f"{other} is taken for known"


def _changed(atoms: Atoms, step: int, rng: np.random.Generator) -> Atoms:
    copy = atoms.copy()
    if step == 0:
        copy.positions += rng.integers(-2, 3, size=(len(copy), 3)) @ copy.cell.array
    elif step == 1:
        copy.positions += rng.normal(size=3)
    elif step == 2:
        copy = copy[rng.permutation(len(copy))]
    elif step == 3:
        copy.rotate(float(rng.uniform(0, 360)), rng.normal(size=3), rotate_cell=True)
    elif step == 4:
        copy = copy.repeat(tuple(rng.integers(1, 3, size=3)))
    else:
        copy.set_cell(np.array([[1, 1, 0], [0, 1, 0], [-1, 2, 1]]) @ copy.cell.array)
    return copy
