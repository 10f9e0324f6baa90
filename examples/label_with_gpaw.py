"""PBE-DFT labels with GPAW, in the settings of the Li-Si data set: run one process a core, stop and start at will.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python label_with_gpaw.py POOL.extxyz LABELS [--mesh-length 15]

Needs gpaw and its setups (Debian: gpaw, gpaw-data, libopenblas0-serial). LABELS gets one file a structure, with energy
(free energy; `energy_sigma0` is extrapolated to no smearing), forces, stress and mesh (`kpts`), and is data for
`wavescat train`. Two meshes of k-points belong in two folders: 23.5 A is converged for cells of 24 to 44 atoms, 15 A
takes a quarter of the time, for many training labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_wavescat.active_learning import Labelling, label
from ase_wavescat.io import structures_of

CONVERGED = 23.5


def mesh(atoms: Atoms, length: float) -> list[int]:
    """k-points along each axis: ceil(length / distance of the lattice planes), length in A."""
    return [int(np.ceil(length * k)) for k in np.linalg.norm(atoms.cell.reciprocal(), axis=1)]


def settings(length: float) -> dict[str, Any]:
    """Plane waves 300 eV, PBE, Fermi smearing 0.1 eV; 300 against 400 eV: 0.4 meV/atom, 0.003 eV/A."""
    return {"code": "GPAW", "xc": "PBE", "plane_waves_ev": 300, "fermi_smearing_ev": 0.1, "mesh_length_a": length}


def calculator(atoms: Atoms, length: float) -> Any:
    from gpaw import GPAW, PW, FermiDirac, Mixer

    return GPAW(
        xc="PBE",
        mode=PW(300),
        kpts={"size": mesh(atoms, length)},
        occupations=FermiDirac(0.1),
        symmetry={"point_group": False},  # amorphous: time-reversal symmetry only
        # Three quarters of the default solver's time; labels differ by 0.001 meV/atom and 0.01 eV/A at most
        mixer=Mixer(0.25, 5, 50),
        eigensolver={"name": "dav", "niter": 1},
        convergence={"energy": 1e-4, "density": 5e-4, "eigenstates": 1e-5},
        maxiter=120,
        txt=None,
    )


def main(pool: Path, folder: Path, length: float = CONVERGED) -> Labelling:
    stem = pool.name.partition(".")[0]
    structures = {f"{stem}-{index:04d}": atoms for index, atoms in enumerate(structures_of(pool))}
    for atoms in structures.values():
        atoms.info["kpts"] = "x".join(map(str, mesh(atoms, length)))
    done = label(structures, folder, lambda atoms: calculator(atoms, length), settings(length))
    print(done.summary())
    print(f"labels: {folder}")
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path, help="structures to label")
    parser.add_argument("labels", type=Path, help="folder for the labels")
    parser.add_argument("--mesh-length", type=float, default=CONVERGED, help="A; see above")
    chosen = parser.parse_args()
    main(chosen.pool, chosen.labels, chosen.mesh_length)
