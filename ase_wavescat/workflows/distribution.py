"""Partial radial distribution functions and coordination numbers, averaged over frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ase_wavescat.errors import DataError
from ase_wavescat.structure_files import check_structure
from ase_wavescat.workflows.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BINS = 100_000
_SMOOTHING = 0.1  # A: noise of few frames is not a minimum
_PEAK = 0.3  # of g: a first peak stands out by so much at least, and by a tenth of the highest
_MINIMUM = 0.15  # of g: behind a first minimum, g rises by so much at least


@dataclass(frozen=True)
class Shell:
    """The first shell of neighbours.

    peak, minimum: A, places of the first peak of g(r) and of the first minimum behind it.
    number: neighbours up to the minimum.
    """

    peak: float
    minimum: float
    number: float


@dataclass(frozen=True, eq=False)
class Distribution(Result):
    """Radial distribution functions of each pair of elements, averages over frames.

    frames: the structures.
    r: (B,) A, middles of the bins.
    edges: (B + 1,) A.
    pairs: names as "Li-Si": Si around Li.
    g: (B,) by pair, without unit; of ordered pairs, though g of Li-Si is that of Si-Li.
    running: (B,) by pair, mean number of the second element around an atom of the first, up to the bin's upper edge.
    shells: by pair; None where g has no peak with a minimum behind it within the range.
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
    """Partial g_ab(r) = <n_ab(r)> / (N_a (N_b / V) 4/3 pi (r_+^3 - r_-^3)) and running numbers of neighbours.

    n_ab counts ordered pairs in the bin (r_-, r_+], with all periodic images: the range may be larger than half the
    cell, and cells may have any shape. That is the g of `ase.geometry.rdf.get_rdf`, where that works. Means are over
    the frames that hold both elements. No calculator is needed.

    cutoff: A, where the last bin ends.
    Raises DataError without frames, for a range or bins that are not positive, and for frames without a volume.
    """
    frames = [structures] if isinstance(structures, Atoms) else list(structures)
    _check(frames, cutoff, bins)
    edges = np.linspace(0.0, cutoff, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    running: dict[str, list[np.ndarray]] = {}
    g: dict[str, list[np.ndarray]] = {}
    for atoms in frames:
        counts = atoms.symbols.formula.count()
        for (first, second), found in _pair_counts(atoms, edges).items():
            around = found / counts[first]
            pair = f"{first}-{second}"
            running.setdefault(pair, []).append(np.cumsum(around))
            g.setdefault(pair, []).append(around / (counts[second] / atoms.get_volume() * shells))
    pairs = tuple(sorted(g))
    mean_g = {pair: np.mean(g[pair], axis=0) for pair in pairs}
    mean_running = {pair: np.mean(running[pair], axis=0) for pair in pairs}
    return Distribution(
        frames=[atoms.copy() for atoms in frames],
        r=(edges[1:] + edges[:-1]) / 2,
        edges=edges,
        pairs=pairs,
        g=mean_g,
        running=mean_running,
        shells={pair: _first_shell(edges, mean_g[pair], mean_running[pair]) for pair in pairs},
    )


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


def _first_shell(edges: np.ndarray, g: np.ndarray, running: np.ndarray) -> Shell | None:
    """The first peak of the smoothed g and the first minimum behind it; the middle of a gap where g is flat."""
    smooth = gaussian_filter1d(g, _SMOOTHING / edges[1], mode="nearest")
    peaks, _ = find_peaks(smooth, prominence=max(_PEAK, 0.1 * smooth.max()))
    if not len(peaks):
        return None
    minima, _ = find_peaks(-smooth[peaks[0] :], prominence=_MINIMUM)
    if not len(minima):
        return None
    middles = (edges[1:] + edges[:-1]) / 2
    minimum = float(middles[peaks[0] + minima[0]])
    number = float(np.interp(minimum, edges, np.concatenate([[0.0], running])))
    return Shell(float(middles[peaks[0]]), minimum, number)
