r"""Widths, scales and sampling of wavelets from a few plain numbers of a structure (B21 ch. 2).

    width      beta >= sqrt((Delta/2)^2 / (2 ln 1/eps_o))     Gaussians of neighbours overlap (sec. 2.4)
    scales     reach(eps) beta 2^J <= room                    the widest wavelet fits half of the box
    sampling   h <= pi / K,   R_nl(beta 2^j K) = eps_a        a grid of spacing h holds the wavelet

with Delta the shortest distance between atoms, R_nl the wavelet's radial part in reciprocal space and reach(eps) the
r / (beta 2^j) beyond which it has fallen to eps in real space. B21 gives the rules; the default thresholds are ours,
from fits of amorphous Li-Si and of silicon (see the functions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.wavelets import direct_extent, fourier_extent

Array = NDArray[np.float64]

OVERLAP = 0.15
"""eps_o: with it beta is 0.58 A for Delta = 2.25 A of amorphous Li-Si, where 0.5 and 0.6 A fitted equally well."""

TAIL = 0.1
"""eps of a wavelet's reach: with it the scales of `correlations`, chosen by fits in cells of 8 A, just fit these."""


def width_from_overlap(distance: float, overlap: float = OVERLAP) -> float:
    """The least width beta (A) at which Gaussians on atoms `distance` (A) apart still overlap (B21 sec. 2.4).

    beta = sqrt((Delta/2)^2 / (2 ln 1/eps_o)): halfway between the atoms each Gaussian exp(-r^2 / 2 beta^2) has fallen
    to eps_o = `overlap` of its height. A smaller width sees nothing between neighbours, a larger one blurs them.
    Raises ValueError unless distance > 0 and 0 < overlap < 1.
    """
    _check_positive("distance", distance)
    if not 0 < overlap < 1:
        raise ValueError(f"overlap must lie between 0 and 1, the Gaussian's height, got {overlap}")
    return math.sqrt((distance / 2) ** 2 / (2 * math.log(1 / overlap)))


def overlap_of_width(distance: float, width: float) -> float:
    """eps_o of a width (A): what `width_from_overlap` turns into that width. Raises ValueError unless both are > 0."""
    _check_positive("distance", distance)
    _check_positive("width", width)
    return math.exp(-((distance / 2) ** 2) / (2 * width**2))


def room(cell: Array, pbc: Sequence[bool] | NDArray[np.bool_], positions: Array) -> float:
    """The longest distance (A) at which a structure has anything new to tell: the room for its widest wavelet.

    cell: (3, 3) rows, A; positions: (N, 3), A. With periodic directions, half of the shortest distance between
    neighbouring lattice planes (lines, points) of these directions: further away lie images of what is nearer (half
    the box, B21 ch. 2). A molecule has no images, and nothing further away than its size: the diameter of the
    sphere about the mean position that holds all atoms, 0 for a single one.
    """
    periodic = np.asarray(pbc, dtype=bool)
    if not periodic.any():
        return 2 * float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
    dual = np.linalg.pinv(np.asarray(cell, dtype=float)[periodic])
    return float(1 / np.linalg.norm(dual, axis=0).max()) / 2


def wavelet_reach(wavelets: Sequence[tuple[int, int]], tail: float = TAIL) -> float:
    """r / (beta 2^j) beyond which each of the wavelets (n, l) stays below `tail` times its largest value."""
    return max(direct_extent(n, l, tail) for n, l in wavelets)


def largest_scale(width: float, wavelets: Sequence[tuple[int, int]], room: float, tail: float = TAIL) -> float:
    """The exponent J (real) at which the widest of the wavelets (n, l) just fits the room (A) (B21 ch. 2).

    J = log2(room / (reach beta)), beta = `width` (A) and reach = `wavelet_reach`; minus infinity for no room.
    A wider wavelet overlaps with its own images, so that in a periodic cell it sees little but the mean density.
    """
    _check_positive("width", width)
    return math.log2(room / (wavelet_reach(wavelets, tail) * width)) if room > 0 else -math.inf


def scales_up_to(largest: float, step: float = 1.0) -> tuple[float, ...]:
    """Exponents 0, step, 2 step ... <= largest; 0 at least, because a spec needs a scale. step: 1 for octaves."""
    _check_positive("step", step)
    count = math.floor(largest / step + 1e-9) if largest > 0 else 0
    return tuple(step * i for i in range(count + 1))


def spacing_from_tolerance(
    width: float, wavelets: Sequence[tuple[int, int]], tolerance: float, scale: float = 0.0
) -> float:
    """The widest grid spacing h = pi / K (A) that holds fields of the wavelets (n, l) at a scale (B21 ch. 2).

    Beyond K all their radial parts R_nl(beta 2^j |G|), of height one, stay below eps_a = `tolerance`; a grid of spacing
    h distinguishes reciprocal vectors up to pi / h. Products of fields need finer grids, which the families choose.
    """
    _check_positive("width", width)
    cutoff = max(fourier_extent(n, l, tolerance) for n, l in wavelets) / (width * 2.0**scale)
    return math.pi / cutoff


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value}")
