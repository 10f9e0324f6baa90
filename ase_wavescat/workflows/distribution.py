"""Partial radial distribution functions and coordination numbers, averaged over frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ase_wavescat.io.structures import check_structure
from ase_wavescat.system.errors import DataError
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BINS = 100_000
_SMOOTHING = 0.1  # A: noise of few frames is not a minimum
_FINE = 0.05  # A: bins of the search for shells, or finer
_PEAK = 0.3  # of g: a first peak stands out by so much at least, and by a tenth of the highest
_MINIMUM = 0.15  # of g: behind a first minimum, g rises by so much at least
_SHORTEST = 0.6  # of the sum of two covalent radii: bonds are longer, and what few pairs are closer makes no shell
_GAP = 0.3  # A without any neighbour up to the end of the range, which close a shell as well


@dataclass(frozen=True)
class Shell:
    """The first shell of neighbours.

    Attributes:
        peak, minimum: A, places of the first peak of g(r) and of the first minimum behind it, or the middle of the gap
            behind it where g does not rise again within the range.
        number: Neighbours up to the minimum.
    """

    peak: float
    minimum: float
    number: float


@dataclass(frozen=True, eq=False)
class Distribution(Result):
    """Radial distribution functions of each pair of elements, averages over frames.

    Attributes:
        frames: The structures.
        r: (B,) A, middles of the bins.
        edges: (B + 1,) A.
        pairs: Names as "Li-Si": Si around Li.
        g: (B,) by pair, without unit; of ordered pairs, though g of Li-Si is that of Si-Li.
        running: (B,) by pair, mean number of the second element around an atom of the first, up to the bin's upper
            edge.
        shells: By pair; None where g has no peak with a minimum or a gap behind it within the range.
    """

    frames: list[Atoms]
    r: np.ndarray
    edges: np.ndarray
    pairs: tuple[str, ...]
    g: dict[str, np.ndarray]
    running: dict[str, np.ndarray]
    shells: dict[str, Shell | None]

    @property
    def structures(self) -> list[Atoms]:
        return self.frames

    def summary(self) -> str:
        lines = [f"{len(self.frames)} frames, {len(self.r)} bins up to {self.edges[-1]:g} Å"]
        for pair in self.pairs:
            shell = self.shells[pair]
            if shell is None:
                lines.append(f"{pair:<6} no first shell within the range")
                continue
            first, second = pair.split("-")
            lines.append(
                f"{pair:<6} peak {shell.peak:.2f} Å, minimum {shell.minimum:.2f} Å,"
                f" {shell.number:.2f} {second} around {first}"
            )
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Left: g(r); right: coordination numbers, with a dot at the first minimum."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for pair in self.pairs:
            first, second = pair.split("-")
            if first <= second:
                left.plot(self.r, self.g[pair], label=pair)
            line = right.plot(self.edges[1:], self.running[pair], label=f"{second} around {first}")[0]
            shell = self.shells[pair]
            if shell is not None:
                right.plot([shell.minimum], [shell.number], "o", color=line.get_color())
        left.axhline(1, color="0.8", linewidth=0.8, zorder=0)
        left.set_ylabel("g(r)")
        right.set_ylabel("neighbours within r")
        # Far out the numbers grow with the volume and hide the shells
        shells = [shell for shell in self.shells.values() if shell is not None]
        if shells:
            right.set_ylim(0, 2.5 * max(shell.number for shell in shells) + 1)
        for axes in (left, right):
            axes.set_xlabel("r (Å)")
            axes.set_xlim(0, self.edges[-1])
            axes.legend(frameon=False)
        return figure


def rdf(structures: Sequence[Atoms] | Atoms, *, cutoff: float = 8.0, bins: int = 160) -> Distribution:
    """Partial radial distribution functions of pairs of elements, and running numbers of neighbours.

    Of elements a and b, with n_ab ordered pairs in the bin from r1 to r2::

        g_ab(r) = <n_ab(r)> / (N_a (N_b / V) 4/3 pi (r2^3 - r1^3))

    All periodic images are counted: the range may be larger than half the cell, and cells may have any shape. That is
    the g of `ase.geometry.rdf.get_rdf`, where that works. Means are over the frames that hold both elements. No
    calculator is needed.

    Args:
        cutoff: A, where the last bin ends.

    Raises:
        DataError: Without frames, for a range or bins that are not positive, and for frames without a volume.
    """
    frames = [structures] if isinstance(structures, Atoms) else list(structures)
    _check(frames, cutoff, bins)
    # Shells are looked for in parts of the bins, so that what is found does not depend on how wide these are
    parts = max(1, math.ceil(cutoff / bins / _FINE - 1e-9))
    fine = np.linspace(0.0, cutoff, bins * parts + 1)
    around, density = _means(frames, fine)
    pairs = tuple(sorted(around))
    running = {pair: np.cumsum(around[pair]) for pair in pairs}
    edges = fine[::parts]
    return Distribution(
        frames=[atoms.copy() for atoms in frames],
        r=(edges[1:] + edges[:-1]) / 2,
        edges=edges,
        pairs=pairs,
        g={pair: density[pair].reshape(bins, parts).sum(axis=1) / _shells(edges) for pair in pairs},
        running={pair: running[pair][parts - 1 :: parts] for pair in pairs},
        shells={pair: _first_shell(pair, fine, density[pair] / _shells(fine), running[pair]) for pair in pairs},
    )


def _means(frames: Sequence[Atoms], edges: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(B,) by pair: neighbours in each bin, and these over the density of their element; means over frames."""
    around: dict[str, list[np.ndarray]] = {}
    relative: dict[str, list[np.ndarray]] = {}
    for atoms in frames:
        counts = atoms.symbols.formula.count()
        for (first, second), found in _pair_counts(atoms, edges).items():
            pair = f"{first}-{second}"
            around.setdefault(pair, []).append(found / counts[first])
            relative.setdefault(pair, []).append(around[pair][-1] / (counts[second] / atoms.get_volume()))
    return _mean(around), _mean(relative)


def _mean(values: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {pair: np.mean(of_frames, axis=0) for pair, of_frames in values.items()}


def _shells(edges: np.ndarray) -> np.ndarray:
    """(B,) A^3 between spheres."""
    return 4 / 3 * np.pi * np.diff(edges**3)


def _check(frames: Sequence[Atoms], cutoff: float, bins: int) -> None:
    if not frames:
        raise DataError("there are no frames; give at least one structure")
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise DataError(f"the cutoff must be a positive length in A, got {cutoff}")
    if not 1 <= bins <= MOST_BINS:
        raise DataError(f"bins must be 1 to {MOST_BINS}, got {bins}")
    for index, atoms in enumerate(frames):
        check_structure(atoms, f"frame {index} ({atoms.get_chemical_formula()})")
        if abs(np.linalg.det(atoms.cell.array)) < 1e-9:
            raise DataError(
                f"frame {index} ({atoms.get_chemical_formula()}) has no volume, and g(r) is relative to the mean"
                " density; give it three cell vectors"
            )


def _pair_counts(atoms: Atoms, edges: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(B,) ordered pairs in each bin, for each ordered pair of elements of the frame."""
    elements, kinds = np.unique(atoms.get_chemical_symbols(), return_inverse=True)
    first, second, distances = neighbor_list("ijd", atoms, edges[-1])
    bins = len(edges) - 1
    # Bins are closed on the right, as ASE's
    at = np.clip(np.ceil(distances / edges[1]).astype(int) - 1, 0, bins - 1)
    flat = (kinds[first] * len(elements) + kinds[second]) * bins + at
    counts = np.bincount(flat, minlength=len(elements) ** 2 * bins).reshape(len(elements), len(elements), bins)
    return {(str(a), str(b)): counts[i, j] for i, a in enumerate(elements) for j, b in enumerate(elements)}


def _first_shell(pair: str, edges: np.ndarray, g: np.ndarray, running: np.ndarray) -> Shell | None:
    """The first peak of the smoothed g and the first minimum behind it; the middle of a gap where g is flat.

    Where g does not rise again, because the next shell is beyond the range or there is none, the gap up to its end.
    """
    smooth = gaussian_filter1d(g, _SMOOTHING / edges[1], mode="nearest")
    peaks, _ = find_peaks(smooth, prominence=max(_PEAK, 0.1 * smooth.max()))
    middles = (edges[1:] + edges[:-1]) / 2
    shortest = _SHORTEST * sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair.split("-"))
    peaks = peaks[middles[peaks] > shortest]
    if not len(peaks):
        return None
    minima, _ = find_peaks(-smooth[peaks[0] :], prominence=_MINIMUM)
    if len(minima):
        minimum = float(middles[peaks[0] + minima[0]])
    else:
        last = edges[np.flatnonzero(g)[-1] + 1]
        if edges[-1] - last < _GAP:
            return None
        minimum = float(last + edges[-1]) / 2
    number = float(np.interp(minimum, edges, np.concatenate([[0.0], running])))
    return Shell(float(middles[peaks[0]]), minimum, number)
