"""kymatio's solid-harmonic scattering beside ours: its own coefficients, the same density, one thread each.

    OMP_NUM_THREADS=1 python benchmarks/accuracy/kymatio_oracle.py [--points 64 128] [--document FILE ...]

64 atoms of Li-Si in a periodic box, three channels (charge, valence, core) as Gaussian densities, l = 0..3, three
octaves, first and second order, q in {1/2, 1, 2, 3, 4}. kymatio takes every map on the box's points; so does "same
points" of ours, "own grids" lets each map have the coarsest that its tolerance allows. Filters are made beforehand on
both sides. Constants between the coefficients are those of
tests/representation/families/moduli/test_kymatio.py. Needs kymatio.
"""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special

from ase_wavescat.representation.families.moduli.plan import ModuliPlan
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.structure.structure import Structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, median_time, standard_options, table, update_documents, write_json

ATOMS = glass()
SPEC = preset("solid-harmonic", ["Li", "Si"], orders=(1, 2))
MAPS = sum(len(f.path) > 0 for f in SPEC.features) // len(SPEC.families[0].powers)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=[64, 128], help="points of the box along each axis")
    standard_options(parser, "kymatio_oracle")
    return parser.parse_args()


def kymatio_scattering(spec: ScatteringSpec, points: int) -> Any:
    """kymatio's transform; 0.3.0 asks SciPy for `sph_harm`, which newer ones have under another name."""
    if not hasattr(scipy.special, "sph_harm"):
        scipy.special.sph_harm = lambda m, n, azimuth, polar: scipy.special.sph_harm_y(n, m, polar, azimuth)
    from kymatio.numpy import HarmonicScattering3D

    powers = [float(q) for q in spec.families[0].powers]
    width = spec.beta * points / ATOMS.cell[0, 0]
    return HarmonicScattering3D(len(spec.scales) - 1, (points,) * 3, 3, sigma_0=width, integral_powers=powers)


def density(spec: ScatteringSpec, points: int) -> np.ndarray:
    """(channels, points, points, points): sums of Gaussians of unit integral, per voxel."""
    edge, width = ATOMS.cell[0, 0], spec.families[0].density_width
    distances = np.arange(points)[:, None] * edge / points - ATOMS.positions.T[:, None, :]
    images = distances[..., None] + edge * np.arange(-2, 3)
    lines = np.exp(-(images**2) / (2 * width**2)).sum(axis=-1) / np.sqrt(2 * np.pi) / width * edge / points
    weights = np.array([[dict(channel)[z] for z in ATOMS.numbers] for _, channel in spec.channels])
    return np.einsum("ca,xa,ya,za->cxyz", weights, *lines, optimize=True)


def kymatio_values(spec: ScatteringSpec, coefficients: np.ndarray, points: int) -> np.ndarray:
    """kymatio's (channels, paths, l, q) in the order and units of our features; its integrals count voxels."""
    count = len(spec.scales)
    paths = [(j,) for j in range(count)] + [(i, j) for i in range(count) for j in range(i + 1, count)]
    channels, powers = [name for name, _ in spec.channels], list(spec.families[0].powers)
    voxel = (ATOMS.cell[0, 0] / points) ** 3
    values = []
    for feature in spec.features:
        l, q = feature.path[-1].l, float(feature.power)
        factor = (l / np.e) ** (l / 2) / scipy.special.factorial2(l + 1) * (np.sqrt(np.pi / 2) if l % 2 else 1)
        row = paths.index(tuple(int(w.scale) for w in feature.path))
        value = coefficients[channels.index(feature.channel), row, l, powers.index(Fraction(feature.power))]
        # a density per voxel is voxel times one per A^3
        values.append(value / factor ** (q * len(feature.path)) * voxel ** (1 - q))
    return np.array(values)


def our_values(spec: ScatteringSpec, points: int, repeats: int) -> tuple[np.ndarray, float]:
    """Values and median time (s), from the atoms' positions on; points = 0: own grids."""
    plan = ModuliPlan(spec, spec.families[0], spec.features, points=points)
    lattice = ReciprocalLattice(ATOMS.cell.array, plan.cutoff)
    prepared = plan.prepare(lattice)
    structure = Structure.from_atoms(ATOMS)

    def run() -> np.ndarray:
        return prepared.forward(Scene(structure, spec.species, lattice), keep=False).values

    return run(), median_time(run, repeats)


def their_values(spec: ScatteringSpec, points: int) -> tuple[np.ndarray, float]:
    """Values and median time (s) of kymatio, from the density on."""
    scattering, channels = kymatio_scattering(spec, points), density(spec, points)
    times, coefficients = [], np.empty(0)
    for _ in range(3):
        start = time.perf_counter()
        coefficients = np.stack([scattering.scattering(channel) for channel in channels])
        times.append(time.perf_counter() - start)
    return kymatio_values(spec, coefficients, points), float(np.median(times))


def rows(points: int, figures: dict[str, float]) -> list[list[str]]:
    theirs, seconds = their_values(SPEC, points)
    figures[f"kymatio_{points}_ms"] = 1e3 * seconds
    lines = [[f"kymatio, {points}^3", f"{1e3 * seconds:.0f}", f"{1e3 * seconds / MAPS:.2f}", "", ""]]
    for name, chosen in ((f"ours, same points, {points}^3", points), ("ours, own grids", 0)):
        values, ours = our_values(SPEC, chosen, 9)
        deviation = np.abs(values / theirs - 1)
        ratio, largest, median = seconds / ours, deviation.max(), np.median(deviation)
        key = f"{'same_points' if chosen else 'own_grids'}_{points}"
        figures |= {f"{key}_ms": 1e3 * ours, f"{key}_ratio": ratio, f"{key}_deviation": largest}
        times = [f"{1e3 * ours:.0f}", f"{1e3 * ours / MAPS:.2f}", f"{ratio:.0f} x"]
        lines.append([name, *times, f"{largest:.0e}, {median:.0e}"])
    return lines


def main() -> None:
    chosen = options()
    figures: dict[str, float] = {"maps": MAPS}
    print(machine(), "\n")
    lines = [line for points in chosen.points for line in rows(points, figures)]
    size = f"{MAPS} maps, {len(SPEC.features)} coefficients"
    text = table([size, "ms", "ms a map", "faster", "deviation: largest, median"], lines)
    print("\n" + text)
    update_documents(chosen.document, "kymatio_oracle", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
