"""Labels whose size or sign gives away another unit or convention; warnings only, because some odd labels are right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import gcd

import numpy as np
from ase.units import GPa, Hartree, Rydberg, kcal, kJ, mol

from ase_wavescat.system.errors import warn
from ase_wavescat.training.data.frames import Frame

FEWEST = 10
"""Frames from which on there is something to say about their usual size."""
LARGE_FORCE = 10.0
"""eV/A, median over frames of the root mean square component; liquids at 2500 K have 1.5."""
LARGE_STRESS = 1.0
"""eV/A^3 (160 GPa), median over frames of the largest component."""
LARGE_MODULUS = 6.0
"""eV/A^3 (960 GPa), twice that of diamond."""
ENERGY_OFF = 2.0, 15.0
"""eV/atom, and multiples of the usual deviation, from what atoms of such a composition have in the other frames."""
LARGE_SPREAD = 3.0
"""eV/atom, usual deviation of the energies from what atoms of such a composition have."""

_ENERGY_UNITS = {"Hartree": Hartree, "Rydberg": Rydberg, "kcal/mol": kcal / mol, "kJ/mol": kJ / mol, "meV": 1e-3}
_NORMAL = 1.4826  # standard deviation over median absolute deviation of a normal distribution


def warn_of_magnitudes(frames: Sequence[Frame], name: str) -> None:
    """Say (WaveScatWarning) what is odd about the labels of frames that were made in one way; `name` is theirs.

    Energies far from the rest, forces and stresses too large for eV/A and eV/A^3, and stresses that fall when cells are
    stretched, which have the sign opposite to ASE's. Fewer than `FEWEST` frames say nothing. Whether energies and
    forces belong together cannot be told from their sizes.
    """
    if len(frames) < FEWEST:
        return
    for problem in (_of_energies(frames), _of_forces(frames), _of_stresses(frames)):
        if problem:
            warn(f"{name}: {problem}", stacklevel=4)


def _of_energies(frames: Sequence[Frame]) -> str | None:
    bound = [frame for frame in frames if len(frame) > 1]  # a single atom has no neighbours to be bound to
    if len(bound) < FEWEST:
        return None
    energies = np.array([frame.energy / len(frame) for frame in bound])
    expected = _by_composition(bound, energies)
    off = np.abs(energies - expected)
    usual = _NORMAL * float(np.median(off))
    if usual > LARGE_SPREAD:
        return (
            f"energies deviate by {usual:.3g} eV/atom from what atoms of such a composition have in the other frames;"
            " are they of several units, codes or settings? Give eV, and each kind a source of its own"
        )
    far = off > max(ENERGY_OFF[0], ENERGY_OFF[1] * usual)
    if not far.any():
        return None
    worst = int(np.argmax(off))
    given, wanted = float(energies[worst]), float(expected[worst])
    return (
        f"{np.count_nonzero(far)} of {len(bound)} energies are far from the others, most that of {bound[worst].name}:"
        f" {given:.6g} eV/atom, where {wanted:.6g} would be usual{_unit(wanted, given)}; mend or leave out these frames"
    )


def _by_composition(frames: Sequence[Frame], energies: np.ndarray) -> np.ndarray:
    """Energies (n,) eV/atom that a sum over species gives: least absolute deviations, by reweighted least squares."""
    species = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    fractions = np.array([frame.count(species) / len(frame) for frame in frames])
    weights, expected = np.ones(len(frames)), np.zeros(len(frames))
    for _ in range(30):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(fractions * root[:, None], energies * root, rcond=1e-10)[0]
        expected = fractions @ solution
        weights = 1 / np.maximum(np.abs(energies - expected), 1e-3)
    return expected


def _unit(expected: float, given: float) -> str:
    for unit, size in _ENERGY_UNITS.items():
        if given and abs(expected / (given * size) - 1) < 0.1:
            return f", as if in {unit}"
    return ""


def _of_forces(frames: Sequence[Frame]) -> str | None:
    sizes = [float(np.sqrt(np.mean(frame.forces**2))) for frame in frames if frame.forces is not None]
    if len(sizes) < FEWEST or np.median(sizes) <= LARGE_FORCE:
        return None
    return (
        f"half of the frames have forces above {np.median(sizes):.3g} eV/A (root mean square); are they in eV/A, not in"
        " kcal/mol/A, kJ/mol/nm or meV/A?"
    )


def _of_stresses(frames: Sequence[Frame]) -> str | None:
    known = [frame for frame in frames if frame.stress is not None]
    stresses = np.array([frame.stress for frame in known])
    if len(known) < FEWEST:
        return None
    remedy = "give eV/A^3 (160.2 GPa, 1602 kbar), positive under tension"
    largest = float(np.median(np.abs(stresses).max(axis=1)))
    if largest > LARGE_STRESS:
        return f"half of the frames have stresses above {largest:.3g} eV/A^3 ({largest / GPa:.3g} GPa); {remedy}"
    modulus, correlation, count = _bulk_modulus(known, stresses[:, :3].mean(axis=1))
    if correlation < -0.5:
        return (
            f"stresses fall when cells are stretched (correlation {correlation:.2f} over {count} frames of the same"
            f" compositions), so that their sign is opposite to ASE's; {remedy}"
        )
    if correlation > 0.5 and modulus > LARGE_MODULUS:
        return (
            f"stresses rise by {modulus:.3g} eV/A^3 ({modulus / GPa:.3g} GPa) a relative volume, a bulk modulus of no"
            f" matter; {remedy}"
        )
    return None


def _bulk_modulus(frames: Sequence[Frame], tensions: np.ndarray) -> tuple[float, float, int]:
    """d tension / d ln V among frames of equal composition, its correlation (0 where it means nothing) and how many
    frames it is of; `tensions` (n,) a third of the stress's trace."""
    members: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        numbers, counts = np.unique(frame.numbers, return_counts=True)
        common = gcd(*counts.tolist())
        members[tuple(zip(numbers.tolist(), (counts // common).tolist(), strict=True))].append(index)
    logs = np.log([frame.volume / len(frame) for frame in frames])
    groups = [np.array(group) for group in members.values() if len(group) > 2]
    if not groups:
        return 0.0, 0.0, 0
    x = np.concatenate([logs[group] - logs[group].mean() for group in groups])
    y = np.concatenate([tensions[group] - tensions[group].mean() for group in groups])
    if len(x) < FEWEST or np.std(x) < 0.01 or not y.any():
        return 0.0, 0.0, len(x)
    return float(x @ y / (x @ x)), float(x @ y / np.sqrt((x @ x) * (y @ y))), len(x)
