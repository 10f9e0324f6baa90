"""Labelled data that are broken, mixed or odd."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Frame, read_frames

TOKENS = [
    "nan", "inf", "-1e400", "1_0", "0x10", "T", "", "-", "1,5", "1.0D+00", "Li", "X", "Uue", "\x00", "é", "\u2028",
    "{", "}", "[", '"', "=", "99999999999999", "-3", "0", "energy=-1", "energy=abc", "pbc=maybe", 'pbc="T T"',
    'stress="1 2 3"', 'stress="1 2 3 4 5 6"', 'Lattice="1 0 0"', 'Lattice="0 0 0 0 0 0 0 0 0"',
    "Properties=species:S:1:pos:R:3", "Properties=species:S:1:pos:R:3:forces:R:2", "Properties=pos:R:3",
    "Properties=:::", "Properties=species:S:1:pos:R:-3", "Properties=species:S:1:pos:R:999999999",
    'REF_energy="_JSON [1, {}]"',
]  # fmt: skip
"""What is put into files of numbers."""


def labelled(seed: int, atoms: int = 3, **labels: object) -> Atoms:
    """A structure with energy, forces and stress; labels given as None are left out."""
    rng = np.random.default_rng(seed)
    cell = np.array([[5.0, 0, 0], [0.5, 5.2, 0], [0, 0.3, 5.4]]) * rng.uniform(0.9, 1.1)
    numbers = np.where(rng.random(atoms) < 0.5, 3, 14)
    structure = Atoms(numbers, rng.uniform(size=(atoms, 3)) @ cell, cell=cell, pbc=True)
    structure.info.update(group=f"melt-{seed}", config_type="liquid")
    pressure = 0.5 * np.log(structure.get_volume() / 140)
    values = {
        "energy": -3.0 * np.count_nonzero(numbers == 3) - 5.0 * np.count_nonzero(numbers == 14) + rng.normal(scale=0.1),
        "forces": rng.normal(size=(atoms, 3)),
        "stress": np.r_[np.full(3, pressure), np.zeros(3)] + rng.normal(scale=1e-3, size=6),
    } | labels
    structure.calc = SinglePointCalculator(structure, **{k: v for k, v in values.items() if v is not None})
    return structure


def good_text(folder: Path) -> str:
    """Three frames of extended XYZ."""
    write(folder / "good.extxyz", [labelled(seed) for seed in range(3)], format="extxyz")
    return (folder / "good.extxyz").read_text()


def broken(text: str, seed: int) -> str:
    """Words replaced, lines dropped, doubled and exchanged, letters removed and put in, the end cut off."""
    rng = random.Random(seed)
    lines = text.split("\n")
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(lines))
        kind = rng.choice(["word"] * 5 + ["add"] * 3 + ["drop", "double", "exchange", "letter", "cut", "key"])
        words = lines[at].split(" ")
        which = rng.randrange(len(words))
        if kind == "word":
            words[which] = rng.choice(TOKENS)
            lines[at] = " ".join(words)
        elif kind == "add":
            lines[at] = " ".join([*words[:which], rng.choice(TOKENS), *words[which:]])
        elif kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "exchange":
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "letter" and lines[at]:
            place = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + rng.choice(["", chr(rng.randrange(1, 256))]) + lines[at][place + 1 :]
        elif kind == "cut":
            lines = lines[: at + 1]
            lines[-1] = lines[-1][: len(lines[-1]) // 2]
        elif kind == "key" and "=" in lines[at]:
            lines[at] = " ".join(word for word in words if "=" not in word or rng.random() < 0.7)
    return "\n".join(lines)


def outcome_of(path: Path) -> str:
    """ "refused", "read" (frames that make sense), or what is wrong with them; what is raised but DataError goes on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = read_frames(path, "none")
    except DataError as error:
        return "refused" if str(path.name) in str(error) else f"a message without the file's name: {error}"
    wrong = [frame.name for frame in frames if not _sensible(frame)]
    return f"senseless frames: {wrong}" if wrong else "read"


def _sensible(frame: Frame) -> bool:
    count = len(frame)
    shapes = [(frame.positions, (count, 3)), (frame.forces, (count, 3)), (frame.stress, (6,)), (frame.cell, (3, 3))]
    return (
        count > 0
        and bool(np.isfinite(frame.energy))
        and bool((frame.numbers > 0).all())
        and all(value is None or (value.shape == shape and np.isfinite(value).all()) for value, shape in shapes)
    )
