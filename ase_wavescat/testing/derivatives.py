"""Forces, stress and smoothness: the energy along small movements and strains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from ase_wavescat.testing.outcome import Findings
from ase_wavescat.testing.subject import Subject, energy_of

_STEP = 0.04
"""A along a direction of unit length in the space of all coordinates."""
_STRAIN = 0.01
_LEVELS = 4
# 33 cells on a line of strains from -0.4 to 0.4 %: what a polynomial of degree 8 leaves of a smooth energy there is
# rounding.
_FINE_STRAINS = np.linspace(-0.004, 0.004, 33)
_DEGREE = 8


def richardson(function: Callable[[float], float], step: float) -> float:
    """Derivative at zero from central differences D(h) = (f(h) - f(-h)) / 2h with h = step, step/2, step/4, step/8.

    D(h) = f' + c h^2 + d h^4 + ..., so that (4^k D_k(h/2) - D_k(h)) / (4^k - 1) cancels one power after another
    (Richardson 1911; Ridders 1982); of the extrapolated values the one that agrees best with its neighbours is taken.
    """
    best, error = np.nan, np.inf
    last: list[float] = []
    for level in range(_LEVELS):
        h = step / 2**level
        row = [(function(h) - function(-h)) / (2 * h)]
        for order, coarser in enumerate(last, 1):
            row.append((4.0**order * row[-1] - coarser) / (4.0**order - 1))
            trial = max(abs(row[-1] - row[-2]), abs(row[-1] - coarser))
            if trial < error:
                best, error = row[-1], trial
        last = row
    return best


def forces(subject: Subject) -> Findings:
    """|dE/ds + F . d| for unit vectors d in the space of all coordinates: two random ones, two single coordinates."""
    findings, calculator, rng = Findings(), subject.new_with("forces"), subject.rng()
    for atoms in subject.structures:
        found = calculator.get_property("forces", atoms)
        for direction in _directions(len(atoms), rng):

            def energy(s: float, atoms: Atoms = atoms, direction: np.ndarray = direction) -> float:
                return energy_of(calculator, _moved(atoms, s * direction))

            error = abs(richardson(energy, _STEP) + float(np.sum(found * direction)))
            findings.add("forces", error, "eV/Å", subject.tolerances.numerical_forces)
    return findings


def _directions(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    everywhere = [rng.normal(size=(count, 3)) for _ in range(2)]
    single = [np.eye(3 * count)[rng.integers(3 * count)].reshape(count, 3) for _ in range(2)]
    return [direction / np.linalg.norm(direction) for direction in [*everywhere, *single]]


def _moved(atoms: Atoms, change: np.ndarray) -> Atoms:
    trial = atoms.copy()
    trial.positions += change
    return trial


def stress(subject: Subject) -> Findings:
    """|(1/V) dE/ds - stress : S| for three random symmetric strains S of unit norm, atoms moving with the cell.

    Each strained cell is computed as it comes: with grids of its own, where there are grids.
    """
    findings, calculator, rng = Findings(), subject.new_with("stress"), subject.rng()
    for atoms in subject.structures:
        found = voigt_6_to_full_3x3_stress(calculator.get_property("stress", atoms))
        for _ in range(3):
            strain = random_strain(rng)

            def energy(s: float, atoms: Atoms = atoms, strain: np.ndarray = strain) -> float:
                return energy_of(calculator, strained(atoms, s * strain))

            error = abs(richardson(energy, _STRAIN) / atoms.get_volume() - float(np.sum(found * strain)))
            findings.add_stress("stress", error, subject.tolerances.numerical_stress)
    return findings


def smoothness(subject: Subject) -> Findings:
    """Energies of cells strained in fine steps, against the polynomial of degree 8 through them: largest deviation.

    A method on grids has other grids, and other plane waves, in another cell: its energy may have steps there.
    """
    findings, calculator, rng = Findings(), subject.new(), subject.rng()
    for atoms in subject.structures:
        strain = random_strain(rng)
        cells = [strained(atoms, s * strain) for s in _FINE_STRAINS]
        energies = np.array([energy_of(calculator, cell) for cell in cells]) / len(atoms)
        curve = np.polynomial.Polynomial.fit(_FINE_STRAINS, energies, _DEGREE)
        error = float(np.abs(curve(_FINE_STRAINS) - energies).max())
        findings.add("energy", error, "eV/atom", subject.tolerances.roughness)
    return findings


def random_strain(rng: np.random.Generator) -> np.ndarray:
    """(3, 3), symmetric, of unit Frobenius norm."""
    strain = rng.normal(size=(3, 3))
    strain += strain.T
    return strain / np.linalg.norm(strain)


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Cell and atoms deformed by 1 + strain."""
    trial = atoms.copy()
    trial.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return trial
