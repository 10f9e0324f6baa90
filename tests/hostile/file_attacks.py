"""Files as other programs write them, what we write of odd structures, and copies of one structure: seeds of each."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
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
from scipy.spatial.transform import Rotation

from ase_wavescat.errors import DataError
from ase_wavescat.extended_xyz import write_extended_xyz
from ase_wavescat.file_formats import file_name
from ase_wavescat.structure_files import structures_of
from ase_wavescat.training.dataset import Frame, read_frames
from ase_wavescat.training.fingerprints import TOLERANCE, fingerprint
from hostile.data_attacks import labelled

# ---------------------------------------------------------------- dialects of extended XYZ

GROUPS = [
    "12e4567", "007", "01", "1_2", "0.10", "20240101123456789012", "mp-149", "T", "nan", "inf", "1e400", "-0", "é",
]  # fmt: skip


def dialect(seed: int, folder: Path) -> str:
    """One labelled frame, its header and columns in another spelling: the same frame is read, or the file refused."""
    rng = random.Random(seed)
    atoms = labelled(seed, atoms=rng.choice([1, 3, 7]))
    atoms.info["group"] = rng.choice(GROUPS)
    write(folder / "plain.extxyz", atoms, format="extxyz")
    text = _respelled((folder / "plain.extxyz").read_text(), atoms, rng)
    path = folder / "dialect.xyz"
    path.write_bytes(text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            (frame,) = read_frames(path)
        except DataError as error:
            return f"refused a plain file: {error}"
    return _compared(frame, atoms)


def _respelled(text: str, atoms: Atoms, rng: random.Random) -> str:
    count, header, *rows = text.rstrip("\n").split("\n")
    for key in ("Lattice", "Properties", "pbc"):
        header = header.replace(f"{key}=", rng.choice([key, key.lower(), key.upper(), key.capitalize()]) + "=")
    group = str(atoms.info["group"])
    header = " ".join(word for word in header.split(" ") if not word.startswith("group="))
    header += f" group={rng.choice([group, chr(34) + group + chr(34)])}"
    start = header.index('stress="')
    end = header.index('"', start + 8) + 1
    header = header[:start] + _stress(atoms, rng) + header[end:]
    if rng.random() < 0.3:
        header += rng.choice([" virial=none", ' virial="1 2 3 4 5 6"', ' note="a b"', " dft_energy=-1", ' tags="x, y"'])
    style = rng.choice(["same", "number", "label", "lower"])
    return "\n".join([count, header, *(_renamed(row, index, style) for index, row in enumerate(rows))]) + "\n"


def _stress(atoms: Atoms, rng: random.Random) -> str:
    """Six or nine numbers, in quotes, brackets or nested lists."""
    six = atoms.calc.results["stress"]
    nine = six[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
    key = rng.choice(["stress", "REF_stress"])
    flat = [repr(float(x)) for x in (six if rng.random() < 0.5 else nine)]
    if len(flat) == 9 and rng.random() < 0.4:
        rows = ["[" + ", ".join(flat[i : i + 3]) + "]" for i in (0, 3, 6)]
        return f"{key}=[{', '.join(rows)}]"
    return f'{key}="{" ".join(flat)}"'


def _renamed(row: str, index: int, style: str) -> str:
    symbol, rest = row.split(maxsplit=1)
    number = {"Li": 3, "Si": 14}[symbol]
    written = {"same": symbol, "number": str(number), "label": f"{symbol}{index + 1}", "lower": symbol.lower()}
    return f"{written[style]} {rest}"


def _compared(frame: Frame, atoms: Atoms) -> str:
    results = atoms.calc.results
    pairs = {
        "cell": (frame.cell, atoms.cell.array), "positions": (frame.positions, atoms.positions),
        "forces": (frame.forces, results["forces"]), "stress": (frame.stress, results["stress"]),
        "energy": (frame.energy, results["energy"]), "numbers": (frame.numbers, atoms.numbers),
    }  # fmt: skip
    for name, (found, wanted) in pairs.items():
        if found is None or not np.allclose(found, wanted, rtol=0, atol=1e-7):
            return f"another {name}: {found} for {wanted}"
    if frame.group != atoms.info["group"] or frame.pbc != (True, True, True):
        return f"another group or pbc: {frame.group!r} for {atoms.info['group']!r}, {frame.pbc}"
    return "same"


# ---------------------------------------------------------------- written, and read again

NAMES = [
    "plain", "POSCAR", "POSCAR-1", "a CONTCAR", "OUTCAR", "vasprun", "XDATCAR", "CONFIG", "control.in", "geometry.in",
    "coord", "dump", "x.cif", "li@si", "0", "é", "a=b", "%d", "#1", "out.xyz", "md.traj", "structure.json",
]  # fmt: skip
TEXTS = [
    "", "x", "two words", "two\nlines", 'a "quote"', "back\\slash", "{", "[1, 2", "=", "T", "None", "1e5", "é", "_JSON",
]  # fmt: skip


def written(seed: int, folder: Path) -> str:
    """A structure with odd entries, constraints and name, written by us: ASE and we read back what it was."""
    rng = random.Random(seed)
    atoms = labelled(seed, atoms=6)
    held = _constraint(rng)
    atoms.set_constraint(held)
    for _ in range(rng.choice([0, 1, 3])):
        atoms.info[rng.choice(["note", "Lattice", "a b", "key=", "virial", "energy", "é", "mp_id"])] = _value(rng)
    if rng.random() < 0.5:
        atoms.set_array(rng.choice(["site", "born", "tags", "phase"]), _array(rng, len(atoms)))
    path = folder / f"{file_name(rng.choice(NAMES))}.extxyz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_extended_xyz(path, [atoms])
        (ours,), theirs = structures_of(path), read(str(path), do_not_split_by_at_sign=True)
    path.unlink()
    for found in (ours, theirs):
        same = np.array_equal(found.numbers, atoms.numbers) and np.allclose(found.positions, atoms.positions, atol=1e-7)
        if not same or not np.allclose(found.cell.array, atoms.cell.array, atol=1e-7):
            return "another structure"
        if not np.allclose(found.get_forces(apply_constraint=False), atoms.calc.results["forces"], atol=1e-7):
            return "other forces"
    moved = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return "same" if np.allclose(_projected(ours, moved), _projected(atoms, moved), atol=1e-7) else f"{held} is lost"


def _projected(atoms: Atoms, forces: np.ndarray) -> np.ndarray:
    """What the constraints leave of forces."""
    left = forces.copy()
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, left)
    return left


def _constraint(rng: random.Random) -> object:
    some = sorted(rng.sample(range(6), rng.choice([1, 2, 5])))
    return rng.choice(
        [
            [], FixAtoms(some), FixCartesian(some, (True, False, True)), FixScaled(some, (False, True, True)),
            FixedPlane(some, (1, 2, 0)), FixedLine(some, (0, 1, 1)), FixCom(), FixBondLengths([[0, 1], [2, 3]]),
            Hookean(0, 1, 2.0, rt=0.1), [FixAtoms([0]), FixedPlane([1], (0, 0, 1))],
        ]
    )  # fmt: skip


def _value(rng: random.Random) -> object:
    return rng.choice(
        [
            rng.choice(TEXTS), [rng.choice(TEXTS), "y"], None, True, 7, 1e300, float("nan"), np.zeros(6), np.eye(3),
            np.zeros((2, 2, 2)), 1j, {"a": [1, 2]}, {1, 2}, object(), b"bytes", np.array(["a b", "c"]),
        ]
    )  # fmt: skip


def _array(rng: random.Random, atoms: int) -> np.ndarray:
    return rng.choice(
        [
            np.arange(atoms), np.zeros((atoms, 3, 3)), np.zeros(atoms, complex), np.array(["Wyckoff 8a"] * atoms),
            np.array([""] * atoms), np.full(atoms, np.nan), np.arange(atoms) % 2 == 0, np.array(["a"] * atoms, object),
            np.zeros((atoms, 2)),
        ]
    )  # fmt: skip


# ---------------------------------------------------------------- copies


CHANGES = ["wrap", "origin", "order", "vectors", "orientation", "repeat"]


def copied(seed: int, folder: Path) -> str:
    """A structure written down in another way has the same fingerprint; with one atom moved, another."""
    rng = np.random.default_rng(seed)
    if seed % 3:
        atoms = labelled(seed, atoms=int(rng.integers(1, 12)))
    else:
        atoms = bulk("LiSi", "zincblende", 5.9, cubic=bool(seed % 2)).repeat((1, 1, 2))
        atoms.rattle(0.05, seed=seed)
    atoms.calc, own = None, fingerprint(atoms)
    other = atoms.copy()
    for change in rng.permutation(CHANGES)[: rng.integers(1, 7)]:
        other = _rewritten(other, str(change), rng)
    if np.linalg.norm(fingerprint(other) - own) > TOLERANCE:
        return "a copy that is not noticed"
    other.positions[0] += 0.05 * np.array([0.6, -0.48, 0.64])
    alone = len(other) == 1  # in a lattice of one atom, moving it is moving the origin
    return "same" if alone or np.linalg.norm(fingerprint(other) - own) > TOLERANCE else "another structure as a copy"


def _rewritten(atoms: Atoms, change: str, rng: np.random.Generator) -> Atoms:
    other = atoms.copy()
    if change == "wrap":
        other.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    elif change == "origin":
        other.positions += rng.uniform(-9, 9, 3)
    elif change == "order":
        other = other[rng.permutation(len(atoms))]
    elif change == "vectors":
        steps = np.eye(3, dtype=int)
        steps[rng.integers(3)] += rng.integers(-1, 2) * np.roll(steps, 1, axis=0)[rng.integers(3)]
        if round(abs(np.linalg.det(steps))) == 1:
            other.set_cell(steps @ atoms.cell.array)
    elif change == "orientation":
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        other.set_cell(atoms.cell.array @ turn.T)
        other.positions = atoms.positions @ turn.T
    elif len(atoms) < 12:
        other = other.repeat([int(k) for k in rng.permutation([1, 1, 2])])
    return other
