"""Small labelled structures whose labels are an exact linear model of the features."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation import Bands, Correlations, Maps, Moduli, ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from linear_models import whole

SPECIES_ENERGIES = np.array([-1.9, -5.4])


@pytest.fixture(scope="session")
def spec() -> ScatteringSpec:
    family = Correlations(pair=Bands(4, 0.8), atom_maps=Maps(((2, 0), (2, 1)), (0.0,)))
    return ScatteringSpec(
        species=(3, 14), wavelets=((2, 0), (2, 1)), scales=(0.0,), beta=0.9, families=(family,), tolerance=1e-3
    )


@pytest.fixture(scope="session")
def moduli_spec() -> ScatteringSpec:
    family = Moduli(powers=(2,), second_input="squared", orders=(0, 1))
    return ScatteringSpec(
        species=(3, 14), wavelets=((2, 0), (2, 1)), scales=(0.0, 1.0), beta=0.9, families=(family,), tolerance=1e-3,
        channels={"lithium": {3: 3, 14: 0}, "silicon": {3: 0, 14: 14}},
    )  # fmt: skip


def melt(rng: np.random.Generator, group: int) -> Atoms:
    """Six to nine atoms on a jittered lattice, so that none fuse."""
    sites = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(1)], dtype=float)
    sites = sites[rng.permutation(len(sites))[: rng.integers(6, 10)]]
    positions = 2.3 * sites + rng.normal(scale=0.15, size=sites.shape)
    numbers = np.where(np.arange(len(sites)) < rng.integers(1, len(sites)), 3, 14)
    cell = np.diag([6.9, 6.9, 3.0]) + rng.normal(scale=0.1, size=(3, 3))
    info = {"group": f"melt-{group}", "config_type": "liquid" if group % 2 else "relaxed"}
    return Atoms(numbers, positions, cell=cell, pbc=True, info=info)


def make_structures(
    spec: ScatteringSpec, groups: int = 6, noise: float = 0.0, repel: bool = True
) -> tuple[list[Atoms], np.ndarray]:
    """Two frames a group with exact labels (plus noise on the energies per atom), and the weights behind them.

    repel: whether the labels hold the pair repulsion.
    """
    rng = np.random.default_rng(11)
    transform, repulsion = Transform(spec), PairRepulsion.from_species(spec.species) if repel else PairRepulsion({})
    frames = [melt(rng, group) for group in range(groups) for _ in range(2)]
    structures = [(atoms.cell.array, atoms.positions, atoms.numbers) for atoms in frames]
    jacobians = [transform.jacobian(Structure(*structure)) for structure in structures]
    sizes = np.sqrt(sum(np.mean(positions**2, axis=(1, 2)) for _, positions, _ in jacobians))
    weights = rng.normal(scale=0.1, size=len(sizes)) / sizes
    for atoms, structure, (features, positions, strain) in zip(frames, structures, jacobians, strict=True):
        base, gradient, stretch = whole(repulsion.predict(Structure(*structure)))
        counts = np.array([np.count_nonzero(atoms.numbers == z) for z in spec.species])
        energy = features @ weights + counts @ SPECIES_ENERGIES + base + noise * len(atoms) * rng.normal()
        forces = -np.einsum("fnc,f->nc", positions, weights) - gradient
        voigt = stretch[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        stress = (strain.T @ weights + voigt) / atoms.get_volume()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return frames, weights


def write_frames(path: Path, frames: list[Atoms]) -> Path:
    text = io.StringIO()
    write(text, frames, format="extxyz")
    path.write_bytes(lzma.compress(text.getvalue().encode()))
    return path


@pytest.fixture(scope="session")
def labelled(tmp_path_factory, spec) -> tuple[Path, np.ndarray]:
    """A file of exactly labelled frames, and the weights behind the labels."""
    frames, weights = make_structures(spec)
    return write_frames(tmp_path_factory.mktemp("data") / "exact.extxyz.xz", frames), weights
