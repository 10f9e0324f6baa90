"""Structures that the kit makes of a list of species: dense, skewed, tiny and crystalline cells, clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii

# Edge of a simple cubic lattice with an atom a site, in sums of two covalent radii: dense, and no pair fused when
# each coordinate is moved by up to 12 % of the edge.
_SPACING = 1.1
_JITTER = 0.12
# Nearest neighbours in a crystal, in sums of two covalent radii.
_BOND = 1.05
_SKEW = np.array([[1.0, 0.0, 0.0], [0.45, 0.95, 0.0], [-0.35, 0.4, 0.9]])


def bond_length(*species: str) -> float:
    """Twice the mean covalent radius, A: of two species, the sum of their radii."""
    return 2.0 * float(np.mean([covalent_radii[atomic_numbers[symbol]] for symbol in species]))


def packing(
    species: Sequence[str], shape: tuple[int, int, int], rng: np.random.Generator, skew: np.ndarray | None = None
) -> Atoms:
    """An atom on each site of a jittered lattice, species in turn over shuffled sites; periodic.

    Args:
        shape: Sites along the three vectors.
        skew: (3, 3) rows that turn a cubic cell into another of any volume.
    """
    count = int(np.prod(shape))
    form = np.eye(3) if skew is None else skew / np.linalg.det(skew) ** (1 / 3)
    sites = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    scaled = (sites + 0.5 + rng.uniform(-_JITTER, _JITTER, (count, 3))) / shape
    cell = _SPACING * bond_length(*species) * np.array(shape)[:, None] * form
    symbols = [species[k % len(species)] for k in rng.permutation(count)]
    return Atoms(symbols, cell=cell, scaled_positions=scaled, pbc=True)


def crystal(species: Sequence[str], rng: np.random.Generator) -> Atoms:
    """A face-centred cubic cell of four atoms, species in turn, each coordinate moved a little."""
    atoms = bulk("Cu", "fcc", a=np.sqrt(2.0) * _BOND * bond_length(*species), cubic=True)
    atoms.symbols = [species[k % len(species)] for k in range(4)]
    atoms.positions += rng.normal(scale=0.05, size=(4, 3))
    return atoms


def usual_structures(species: Sequence[str], seed: int) -> tuple[Atoms, ...]:
    """A dense cell of twelve atoms, a skewed one of eight, a crystal of four, tiny ones of two atoms and of one."""
    rng = np.random.default_rng(seed)
    return (
        packing(species, (2, 2, 3), rng),
        packing(species, (2, 2, 2), rng, _SKEW),
        crystal(species, rng),
        packing(species, (2, 1, 1), rng, _SKEW),
        packing(species[:1], (1, 1, 1), rng),
    )


def cluster(species: Sequence[str], seed: int, pbc: Sequence[bool]) -> Atoms:
    """Four atoms in a skewed cell that repeats along some of its vectors."""
    atoms = packing(species, (2, 2, 1), np.random.default_rng(seed), _SKEW)
    atoms.pbc = pbc
    return atoms


def boxed(atoms: Atoms, vacuum: float) -> Atoms:
    """The same piece, fully periodic, with vacuum (A) to its images along the directions that were open."""
    box = atoms.copy()
    box.center(vacuum=0.5 * vacuum, axis=[axis for axis in range(3) if not atoms.pbc[axis]])
    box.pbc = True
    return box


def bare(atoms: Atoms) -> Atoms:
    """Species, positions, cell and periodicity, and nothing else."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
