"""Structures of the three extrapolations and of a quench, made by a model, to be labelled.

Called by `dft_extrapolations.py --make`. Glasses and bands are kept as they are made, so that a second run goes on,
with the same model.
Frames say what belongs together: `config_type` (strain-curve, hop-path, larger, quenched), `parent` (the formula of the
relaxed glass), `linear_strain`, and `image` of a band whose first image is the unstrained glass of the curve.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import write

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import PathError, WaveScatError, WaveScatWarning
from ase_wavescat.workflows import Barrier, find_hops, melt_quench, neb, random_packing

STRAINS = (0.0, -0.02, 0.02, -0.04, 0.04)
"""Linear, of the side."""
FRACTIONS = (0.0, 0.5, 0.79, 0.25, 0.68, 1.0, 0.12, 0.6, 0.38, 0.74)
"""Of lithium, in an order in which any first few cover the range."""
HOPPING, BANDS = (0.5, 0.79, 0.25, 0.68, 0.38, 0.6, 0.74, 0.12), 6
"""In which hops are looked for, until so many bands are found."""
LARGER = ({"Li": 48, "Si": 48}, {"Si": 84}, {"Li": 80, "Si": 20}, {"Li": 24, "Si": 66})
QUENCHED = ({"Li": 32, "Si": 32}, {"Li": 51, "Si": 13})
"""The glasses of `dynamics.py`: 64 atoms near LiSi and near Li15Si4."""
LEAST_VOLUME = 555.0
LEAST_SIDE = 23.5 / 3
"""A: below, a mesh of 23.5 A turns from 3x3x3 to 4x4x4, and all points of a curve must have one mesh."""
SILICON, LITHIUM, ALLOYED_LITHIUM = 18.5, 20.3, 13.3
"""A^3 an atom that glasses of the model have, quenched so fast: silicon, lithium alone and beside silicon."""
TRIED_HOPS = 8
LEAST_BARRIER = 0.1
"""eV, both ways: lower ones say little about errors of barriers."""


def composition(fraction: float) -> dict[str, int]:
    """The fewest atoms that fill LEAST_VOLUME at a fraction of lithium."""
    volume = LITHIUM if fraction == 1 else ALLOYED_LITHIUM
    atoms = lithium = 0
    while lithium * volume + (atoms - lithium) * SILICON < LEAST_VOLUME:
        atoms += 1
        lithium = round(fraction * atoms)
    return {symbol: count for symbol, count in (("Li", lithium), ("Si", atoms - lithium)) if count}


def formula_of(atoms: Atoms) -> str:
    return str(atoms.symbols.formula.format("metal"))


def glass(counts: Mapping[str, int], calculator: Calculator, folder: Path, seed: int = 1) -> Atoms:
    """A glass quenched from its melt by the calculator, its volume relaxed, without results; kept in `folder`."""
    formula = "".join(f"{symbol}{count}" for symbol, count in counts.items())
    kept = folder / f"{formula}.extxyz"
    if kept.exists():
        return structures_of(kept)[0]
    packing = random_packing(counts, sum(counts.values()), seed=[seed, *map(ord, formula)])
    packing.calc = calculator
    quench = melt_quench(packing, seed=seed, cell="volume")
    print(f"{formula}: {quench.summary()}", flush=True)
    if quench.runaway:
        raise WaveScatError(f"the melt of {formula} ran away: {quench.stop_reason}; take another seed or model")
    structure = quench.structure
    result = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    result.info = {"x": round(counts.get("Li", 0) / len(result), 4)}
    _write(kept, [result])
    return result


def curve(relaxed: Atoms) -> list[Atoms]:
    """A relaxed glass strained along all axes, ions at fixed fractional positions."""
    side = float(relaxed.cell.lengths().min()) * (1 + min(STRAINS))
    if side < LEAST_SIDE:
        raise WaveScatError(
            f"{formula_of(relaxed)} strained has a side of {side:.2f} A, below {LEAST_SIDE:.2f}: take more atoms"
        )
    frames = []
    for strain in STRAINS:
        frame = named(relaxed, relaxed, "strain-curve", linear_strain=strain)
        frame.set_cell(relaxed.cell.array * (1 + strain), scale_atoms=True)
        frames.append(frame)
    return frames


def path(relaxed: Atoms, calculator: Calculator, folder: Path) -> list[Atoms]:
    """Images of the first converged band, of the most favourable hops of lithium, that leads over a barrier; or none.

    Without the first, which is the glass itself; the highest, then the last, come first. Kept in `folder`.
    """
    kept = folder / f"path-{formula_of(relaxed)}.extxyz"
    if not kept.exists():
        start = relaxed.copy()
        start.calc = calculator
        band = next(_bands(start), None)
        if band is None:
            print(f"{formula_of(relaxed)}: no hop leads over a barrier", flush=True)
            return []
        top, last = int(np.argmax(band.energies)), len(band.images) - 1
        order = [top, last, *(image for image in range(1, last) if image != top)]
        _write(kept, [named(band.images[image], relaxed, "hop-path", image=image, images=last + 1) for image in order])
    return structures_of(kept)


def _bands(start: Atoms) -> Iterator[Barrier]:
    for hop in find_hops(start, count=TRIED_HOPS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", WaveScatWarning)  # what they say is looked at
                band = neb(hop.initial, hop.final, images=5, steps=200)
        except PathError:  # the void does not hold the atom
            continue
        print(f"{formula_of(start)}, atom {hop.atom}: {band.summary()}", flush=True)
        if band.converged and min(band.forward, band.backward) >= LEAST_BARRIER:
            yield band


def named(atoms: Atoms, parent: Atoms, kind: str, **more: float | int) -> Atoms:
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    name = formula_of(parent)
    bare.info = {"config_type": kind, "group": f"{kind}-{name}", "parent": name, "x": parent.info["x"], **more}
    return bare


def _write(file: Path, frames: list[Atoms]) -> None:
    with atomic_path(file) as temporary:
        write(temporary, frames, format="extxyz")


def claim(glasses: Path, model: Path) -> None:
    """Note whose glasses these are. Raises WaveScatError where the folder holds those of another model, or of unknown:
    labels of what they led to would belong to nothing."""
    glasses.mkdir(parents=True, exist_ok=True)
    note, digest = glasses / "model.sha256", hashlib.sha256(model.read_bytes()).hexdigest()
    owner = note.read_text().strip() if note.exists() else "unknown" if any(glasses.glob("*.extxyz")) else digest
    if owner != digest:
        raise WaveScatError(
            f"{glasses} holds glasses of another model (SHA-256 {owner}, that of {model} is {digest}): take another"
            f" folder, or, where you know that they are of this model, write its SHA-256 into {note}"
        )
    with atomic_path(note) as temporary:
        temporary.write_text(digest + "\n")


def make(folder: Path, model: Path) -> None:
    """strains, bands, larger and quenched.extxyz in `folder`, each as soon as it can be, in the order of importance."""
    glasses, calculator = folder / "glasses", WaveScatCalculator(model)
    claim(glasses, model)

    def relaxed(fraction: float) -> Atoms:
        return glass(composition(fraction), calculator, glasses)

    def pool(name: str, parts: Iterable[list[Atoms]], most: int | None = None) -> None:
        frames: list[Atoms] = []
        for part in islice(filter(None, parts), most):
            frames += part
            _write(folder / f"{name}.extxyz", frames)  # after each, so that labelling can begin
        print(f"{name}: {len(frames)} structures", flush=True)

    def singles(name: str, kinds: Iterable[Mapping[str, int]]) -> None:
        found = (glass(counts, calculator, glasses) for counts in kinds)
        pool(name, ([named(atoms, atoms, name)] for atoms in found))

    pool("strains", (curve(relaxed(fraction)) for fraction in FRACTIONS))
    pool("bands", (path(relaxed(fraction), calculator, glasses) for fraction in HOPPING), BANDS)
    singles("quenched", QUENCHED)
    singles("larger", LARGER)
