"""How exact the workflows are: jumps along a volume scan, symmetry of elastic tensors, known potentials.

    python benchmarks/robustness/workflow_numerics.py [--model lisi-linear.h5] [--volumes 200] [--json FILE]
        [--document FILE ...]

Volume scan: 200 hydrostatic strains of the shipped glass, energies on the grids of the largest cell and on each
cell's own grids. A jump is what the step from one energy to the next differs from a polynomial of fourth degree through
the eight steps before and the eight after it.
Cubic crystals: the primitive cell, relaxed and turned at random; its tensor of clamped ions, turned back, against the
nearest cubic one, and against the tensor of the unturned cell.
Known potentials: copper and aluminium of EMT, the tensor against second derivatives of the energy by differences,
the bulk moduli of the equation of state against (C11 + 2 C12) / 3.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import BaseCalculator
from ase.calculators.emt import EMT
from ase.stress import voigt_6_to_full_3x3_strain
from ase.units import GPa
from scipy.spatial.transform import Rotation

from ase_wavescat import WaveScatCalculator
from ase_wavescat.workflows import elastic, eos, relax
from ase_wavescat.workflows.checks import on_grids_of
from ase_wavescat.workflows.crystal_axes import turned
from ase_wavescat.workflows.demo import shipped_structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

NEIGHBOURS, DEGREE = 8, 4
CUBIC = {"diamond Si": ("Si", "diamond", 5.47), "bcc Li": ("Li", "bcc", 3.44)}
EMT_METALS = {"fcc Cu, EMT": ("Cu", 3.6), "fcc Al, EMT": ("Al", 4.0)}


def scan(atoms: Atoms, strains: np.ndarray) -> np.ndarray:
    """Energies, meV/atom, at linear strains of the side, fractional positions fixed."""
    energies = []
    for strain in strains:
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        strained.calc = atoms.calc
        energies.append(1000 * strained.get_potential_energy() / len(atoms))
    return np.array(energies)


def largest_jump(energies: np.ndarray) -> float:
    """meV/atom, between two neighbouring energies of an even scan."""
    steps = np.diff(energies)
    places = np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    others = places != 0
    found = []
    for at in range(NEIGHBOURS, len(steps) - NEIGHBOURS):
        window = steps[at + places]
        found.append(abs(window[NEIGHBOURS] - np.polyfit(places[others], window[others], DEGREE)[-1]))
    return float(max(found))


def volume_scans(model: str, volumes: int) -> dict[str, float]:
    atoms = shipped_structure()
    atoms.calc = WaveScatCalculator(model)
    strains = np.linspace(-0.03, 0.03, volumes)
    own = scan(atoms, strains)
    atoms.calc = on_grids_of(atoms.calc, atoms.cell.array * (1 + strains[-1]))
    return {"fixed_grids": largest_jump(scan(atoms, strains)), "own_grids": largest_jump(own)}


def cubic(tensor: np.ndarray) -> np.ndarray:
    """The nearest tensor of cubic symmetry, axes along the cube's."""
    mean = [np.mean([tensor[i, j] for i, j in pairs]) for pairs in (
        [(0, 0), (1, 1), (2, 2)], [(0, 1), (0, 2), (1, 2)], [(3, 3), (4, 4), (5, 5)],
    )]  # fmt: skip
    nearest = np.zeros((6, 6))
    nearest[:3, :3] = mean[1]
    nearest[np.diag_indices(3)] = mean[0]
    nearest[range(3, 6), range(3, 6)] = mean[2]
    return nearest


def relaxed_crystal(atoms: Atoms, calculator: BaseCalculator) -> Atoms:
    atoms.calc = calculator
    relaxed = relax(atoms, cell="volume", smax=1e-3, fmax=1e-3).structure.copy()
    relaxed.calc = calculator
    return relaxed


def cubic_symmetry(model: str) -> dict[str, dict[str, float]]:
    """C11, C12, C44 (GPa) and deviations as shares of C11."""
    turn = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    figures = {}
    for name, (element, lattice, side) in CUBIC.items():
        crystal = relaxed_crystal(bulk(element, lattice, a=side), WaveScatCalculator(model))
        rotated = crystal.copy()
        rotated.set_cell(crystal.cell.array @ turn.T, scale_atoms=True)
        rotated.calc = crystal.calc
        first = elastic(crystal, relax_ions=False).clamped.stiffness
        second = turned(elastic(rotated, relax_ions=False).clamped.stiffness, turn.T)  # in the unturned axes
        figures[name] = {
            "c11": first[0, 0], "c12": first[0, 1], "c44": first[3, 3],
            "from_cubic": float(np.abs(first - cubic(first)).max() / first[0, 0]),
            "turned_from_cubic": float(np.abs(second - cubic(second)).max() / first[0, 0]),
            "turned_from_unturned": float(np.abs(second - first).max() / first[0, 0]),
        }  # fmt: skip
    return figures


def second_derivative(function: Callable[[float], float], step: float = 4e-3) -> float:
    """By five points, error of order step^4."""
    f = [function(number * step) for number in (-2, -1, 0, 1, 2)]
    return (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * step**2)


def by_energies(crystal: Atoms) -> tuple[float, float, float]:
    """C11, C12, C44 in GPa from second derivatives of the energy of a cubic crystal without stress."""

    def energy(voigt: list[float]) -> Callable[[float], float]:
        def at(strain: float) -> float:
            strained = crystal.copy()
            deformation = voigt_6_to_full_3x3_strain(strain * np.array(voigt))
            strained.set_cell(crystal.cell.array @ deformation, scale_atoms=True)
            strained.calc = crystal.calc
            return float(strained.get_potential_energy())

        return at

    unit = crystal.get_volume() * GPa
    c11 = second_derivative(energy([1, 0, 0, 0, 0, 0])) / unit
    both = second_derivative(energy([1, 1, 0, 0, 0, 0])) / unit  # 2 C11 + 2 C12
    return c11, both / 2 - c11, second_derivative(energy([0, 0, 0, 1, 0, 0])) / unit


def known_potentials() -> dict[str, dict[str, float]]:
    figures = {}
    for name, (element, side) in EMT_METALS.items():
        crystal = relaxed_crystal(bulk(element, "fcc", a=side), EMT())
        tensor = elastic(crystal, relax_ions=False).clamped
        curve = eos(crystal)
        c11, c12, c44 = by_energies(crystal)
        figures[name] = {
            "c11": tensor.stiffness[0, 0], "c12": tensor.stiffness[0, 1], "c44": tensor.stiffness[3, 3],
            "c11_energy": c11, "c12_energy": c12, "c44_energy": c44, "b_tensor": tensor.bulk_modulus,
            "b_parabola": curve.parabola.bulk_modulus if curve.parabola else np.nan,
            "b_birch_murnaghan": curve.birch_murnaghan.bulk_modulus if curve.birch_murnaghan else np.nan,
        }  # fmt: skip
    return figures


def rows(figures: dict[str, Any], volumes: int) -> list[list[str]]:
    scans, metals = figures["volume_scan"], figures["known_potentials"]
    found = [
        [f"largest jump in {volumes} volumes, grids of the largest cell", f"{scans['fixed_grids']:.1e} meV/atom"],
        ["the same, each cell its own grids", f"{scans['own_grids']:.1e} meV/atom"],
    ]
    for name, row in figures["cubic_symmetry"].items():
        moduli = f"C11 {row['c11']:.1f}, C12 {row['c12']:.1f}, C44 {row['c44']:.1f} GPa"
        found += [
            [f"{name}, {moduli}: from the nearest cubic tensor, as a share of C11", f"{row['from_cubic']:.1e}"],
            [f"{name}, turned at random: the same", f"{row['turned_from_cubic']:.1e}"],
            [f"{name}, turned at random: from the unturned tensor", f"{row['turned_from_unturned']:.1e}"],
        ]
    for name, row in metals.items():
        pairs = [f"{row[key]:.2f} ({row[key + '_energy']:.2f})" for key in ("c11", "c12", "c44")]
        found.append([f"{name}: C11, C12, C44 (from energies), GPa", ", ".join(pairs)])
        fits = [row[key] for key in ("b_tensor", "b_parabola", "b_birch_murnaghan")]
        found.append([f"{name}: B by tensor, parabola, Birch-Murnaghan, GPa", ", ".join(f"{b:.2f}" for b in fits)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi-linear.h5")
    parser.add_argument("--volumes", type=int, default=200)
    standard_options(parser, "workflow_numerics")
    chosen = parser.parse_args()
    figures = {
        "volume_scan": volume_scans(chosen.model, chosen.volumes),
        "cubic_symmetry": cubic_symmetry(chosen.model),
        "known_potentials": known_potentials(),
    }
    text = table(["", ""], rows(figures, chosen.volumes))
    print(text)
    update_documents(chosen.document, "workflow_numerics", f"{machine()}\n\n{text}")
    write_json(chosen.json, {"model": chosen.model, "volumes": chosen.volumes, **figures})


if __name__ == "__main__":
    main()
