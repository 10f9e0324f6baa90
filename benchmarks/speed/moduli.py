"""Speed and grid convergence of the papers' moduli (`sinz2020`) and of their polynomial twin.

    OMP_NUM_THREADS=1 python benchmarks/speed/moduli.py [--quick] [--document FILE ...]

All 3740 (sinz2020) or 1870 (polynomial) features of a jittered Li-Si solid of 64 atoms in a cubic cell of 10 A.
The papers' recipe computes every map by complex FFTs on a grid of 104^3: 225 first-order fields, 75 transforms of
first-order moduli, 2565 second-order fields; one such FFT is timed and multiplied.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyfftw

from ase_wavescat.representation import Moduli, ScatteringSpec
from ase_wavescat.representation.families.moduli.plan import ModuliPlan
from ase_wavescat.representation.families.moduli.prepared import PreparedModuli
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.scene import Scene
from ase_wavescat.structure.structure import Structure

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, update_documents

RECIPE_FFTS = 2865
RECIPE_POINTS = 104
Prepared = tuple[ModuliPlan, PreparedModuli, Scene]


def structure(edge: float) -> Structure:
    """A cubic cell with an atom every 2.5 A, each moved by 0.35 A at random, three in five of them lithium."""
    count = round(edge / 2.5)
    sites = (np.stack(np.meshgrid(*[np.arange(count)] * 3), -1).reshape(-1, 3) + 0.5) * edge / count
    positions = sites + np.random.default_rng(1).normal(scale=0.35, size=sites.shape)
    return Structure(np.eye(3) * edge, positions, np.where(np.arange(len(sites)) % 5 < 3, 3, 14))


def prepare(spec: ScatteringSpec, edge: float, refinement: float = 1.0) -> Prepared:
    family, atoms = spec.families[0], structure(edge)
    assert isinstance(family, Moduli)
    plan = ModuliPlan(spec, family, spec.features, refinement)
    lattice = ReciprocalLattice(atoms.cell, plan.cutoff)
    return plan, plan.prepare(lattice), Scene(atoms, spec.species, lattice)


def best(function: Callable[[], object], repeats: int) -> float:
    """Shortest wall time (s)."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def recipe(repeats: int) -> float:
    """The papers' recipe, by one of its FFTs (s)."""
    data = pyfftw.zeros_aligned((RECIPE_POINTS,) * 3, dtype="complex128")
    transform = pyfftw.FFTW(data, data, axes=(0, 1, 2), flags=("FFTW_ESTIMATE",))
    return RECIPE_FFTS * best(transform.execute, repeats)


def speed(edge: float, repeats: int) -> Iterator[str]:
    papers = recipe(repeats)
    yield f"papers' recipe: {RECIPE_FFTS} complex FFTs on {RECIPE_POINTS}^3, {papers:.1f} s (one timed)"
    yield (
        f"{'preset':>10} {'features':>8} {'prepare':>8} {'energy':>8} {'+ forces, stress':>17} {'recipe / energy':>16}"
    )
    for name in ("sinz2020", "polynomial"):
        spec = preset(name, ["Li", "Si"])
        plan, prepared, scene = prepare(spec, edge)
        weights = np.ones(len(plan.features))

        def gradient(prepared=prepared, scene=scene, weights=weights):  # type: ignore[no-untyped-def]
            prepared.forward(scene).pullback(weights)

        gradient()
        energy = best(lambda p=prepared, s=scene: p.forward(s, keep=False), repeats)
        forces = best(gradient, repeats)
        building = best(lambda p=plan, c=prepared.lattice.cell: p.prepare(ReciprocalLattice(c, p.cutoff)), 3)
        yield (
            f"{name:>10} {len(plan.features):8d} {building * 1e3:5.0f} ms {energy * 1e3:5.0f} ms "
            f"{forces * 1e3:7.0f} ms ({forces / energy:.1f} x) {papers / energy:14.0f} x"
        )
    yield f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"


def convergence(name: str, edge: float, tolerances: list[float]) -> Iterator[str]:
    """Deviations from a converged grid at the same tolerance, and from a converged grid and cut."""
    yield f"\n{name}: relative deviations of features, {edge:g} A"
    yield "tolerance  finest grid  grid: median     90 %  largest  cut: median  zero"
    exact = values(name, edge, 1e-8, converged_refinement(name, 1e-8))[0]
    for tolerance in tolerances:
        features, shape = values(name, edge, tolerance, 1.0)
        converged = values(name, edge, tolerance, converged_refinement(name, tolerance))[0]
        alive = converged != 0
        grid = np.abs(features[alive] / converged[alive] - 1)
        cut = np.abs(features[alive] / exact[alive] - 1)
        yield (
            f"{tolerance:9.0e} {'x'.join(map(str, shape)):>12} {np.median(grid):13.1e} {np.quantile(grid, 0.9):8.1e} "
            f"{grid.max():8.1e} {np.median(cut):12.1e} {np.count_nonzero(~alive):5d}"
        )


def converged_refinement(name: str, tolerance: float) -> float:
    """Half as fine again for polynomials; for kinks 4.5 times as fine as at the default tolerance."""
    return 1.5 if name == "polynomial" else 4.5 * min(1.0, (tolerance / 1e-4) ** 0.25)


def values(name: str, edge: float, tolerance: float, refinement: float) -> tuple[np.ndarray, tuple[int, ...]]:
    _, prepared, scene = prepare(preset(name, ["Li", "Si"], tolerance=tolerance), edge, refinement)
    shape = max((stage.shape for stage in (*prepared.first, *prepared.second)), key=np.prod)
    return prepared.forward(scene, keep=False).values, shape


def report(quick: bool) -> Iterator[str]:
    edge = 5.0 if quick else 10.0
    yield from speed(edge, 3 if quick else 15)
    for name in ("sinz2020", "polynomial"):
        yield from convergence(name, edge, [1e-4] if quick else [1e-3, 1e-4, 1e-5])
    yield (
        "\ngrid: against a finer grid, wavelets cut alike; cut: against a finer grid and cut; both without the zeros."
        "\nThe largest deviations are of maps some thousand times below their wavelet's peak."
        "\nzero: features of wavelets so wide that the cell holds none of their waves at this tolerance."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a cell of 5 A and the default tolerance only")
    parser.add_argument("--document", type=Path, nargs="*", default=[], help="Markdown files whose table to renew")
    chosen = parser.parse_args()
    lines = [machine()]
    print(lines[0])
    for line in report(chosen.quick):
        print(line, flush=True)
        lines.append(line)
    update_documents(chosen.document, "moduli", "```\n" + "\n".join(lines) + "\n```")


if __name__ == "__main__":
    main()
