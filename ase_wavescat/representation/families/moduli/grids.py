r"""How fine the grids of the moduli are.

A field filtered by wavelets decays in reciprocal space as R(B|G|), R(x) ~ x^p exp(-x^2/2), its *envelope*. An integral
of a product of fields over a grid of spacing h is exact but for the product's components at |G| = 2 pi / h, at most

    max prod_i R_i(G_i)  with  sum_i G_i = 2 pi / h =: bandwidth,

so even powers get the bandwidth at which this falls below the tolerance.

A modulus has kinks where its field crosses zero, and integrals of its powers converge algebraically, with the spacing
squared: such maps get the bandwidth of their field's square, times (1e-4 / tolerance)^(1/4) for tighter tolerances than
1e-4, and a minimum of points along each axis: few points average badly over kinks, and coarse grids cost nothing.

A power q < 1 raises what is left of a field where it should vanish, in vacuum: for it wavelets are cut where they are
below tolerance^(1/q), so that sigma^q is clean to the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from scipy.optimize import brentq

from ase_wavescat.representation.lattice.filters import RadialPart
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet, direct_extent, fourier_extent, radial_power

if TYPE_CHECKING:
    from ase_wavescat.representation.families.moduli.family import Moduli

_KINK_TOLERANCE = 1e-4  # at which the bandwidth of a map with kinks is twice its field's cutoff
_KINK_POINTS = 16  # least number of points along each axis of a map with kinks, at that tolerance


@dataclass(frozen=True)
class Grid:
    """bandwidth, minimum: as in `ReciprocalLattice.shape`; cutoff: of the fields on it; input_cutoff: of what its maps
    hand to the second layer (1/A)."""

    bandwidth: float
    minimum: int
    cutoff: float
    input_cutoff: float = 0.0

    def union(self, other: Grid) -> Grid:
        return Grid(
            max(self.bandwidth, other.bandwidth),
            max(self.minimum, other.minimum),
            max(self.cutoff, other.cutoff),
            max(self.input_cutoff, other.input_cutoff),
        )


@dataclass(frozen=True)
class Envelope:
    """R(B|G|) of a field: power p, width B (A)."""

    power: int
    width: float

    def extent(self, tolerance: float) -> float:
        """The |G| beyond which R < tolerance."""
        odd = self.power % 2
        return fourier_extent((self.power + odd) // 2 + 1, odd, tolerance) / self.width

    def log(self, wavevector: float) -> float:
        x = self.width * wavevector
        peak = self.power * (1 - math.log(self.power)) / 2 if self.power else 0.0
        return (self.power * math.log(x) if self.power else 0.0) - x * x / 2 + peak

    def tilted(self, tilt: float) -> float:
        """The |G| at which log R falls with slope `tilt`."""
        return (tilt + math.sqrt(tilt**2 + 4 * self.power * self.width**2)) / (2 * self.width**2)


def product_extent(envelopes: Sequence[Envelope], tolerance: float) -> float:
    """The largest sum of |G_i| at which the product of the envelopes is still `tolerance`.

    At the maximum all logarithms fall with the same slope, which is therefore the one unknown.
    """

    def excess(tilt: float) -> float:
        return sum(e.log(e.tilted(tilt)) for e in envelopes) - math.log(tolerance)

    upper = 1.0
    while excess(upper) > 0:
        upper *= 2
    tilt = brentq(excess, 1e-12, upper)
    return sum(e.tilted(tilt) for e in envelopes)


class GridRules:
    """Radial parts of the filters of one spec and the grids of their maps.

    refinement: multiplies the points along each axis. points: every grid has so many along each axis, no rules.
    """

    def __init__(self, spec: ScatteringSpec, family: Moduli, refinement: float = 1.0, points: int = 0) -> None:
        self._spec, self._family, self._refinement, self._points = spec, family, refinement, points
        self._squared = family.second_input == "squared"
        self._tolerance = spec.tolerance ** (1 / min(1.0, float(min(family.powers))))
        self._oversampling = max(1.0, (_KINK_TOLERANCE / spec.tolerance) ** 0.25)
        self._minimum = math.ceil(_KINK_POINTS * self._oversampling)

    def density(self) -> RadialPart:
        """Of the Gaussians that make the density."""
        return RadialPart(1, 0, self._family.density_width, self._tolerance)

    def first_radial(self, wavelet: Wavelet) -> RadialPart:
        """Of a first-layer wavelet and the density's Gaussian together."""
        return self.second_radial(wavelet).smeared(self._family.density_width)

    def second_radial(self, wavelet: Wavelet) -> RadialPart:
        """Of a second-layer wavelet."""
        return RadialPart.of(self._spec, wavelet, self._tolerance)

    def zeroth(self, powers: Iterable[Fraction]) -> Grid:
        """Grid of the density itself."""
        radial = self.density()
        return self._chosen(self._integrals(_envelope(radial), radial.cutoff, powers))

    def first(self, wavelet: Wavelet, powers: Iterable[Fraction], children: Iterable[Wavelet]) -> Grid:
        """Grid of the first-order maps of a wavelet: good for integrals of sigma^q and for the children."""
        radial = self.first_radial(wavelet)
        grid = self._integrals(_envelope(radial), radial.cutoff, powers)
        for child in children:
            grid = grid.union(self._input(radial, child))
        return self._chosen(grid)

    def second(self, first: Wavelet, second: Wavelet, powers: Iterable[Fraction]) -> Grid:
        """Grid of a second-order map."""
        envelope, cutoff = self._second_field(self.first_radial(first), self.second_radial(second))
        return self._chosen(self._integrals(envelope, cutoff, powers))

    def reach(self, path: Sequence[Wavelet]) -> float:
        """The gap (A) between two structures at which their maps along a path do not feel each other.

        A map of either falls below tolerance^(1/q), q the smallest power if below 1, of its peak within its extent:
        twice that. Of the second order it is a convolution of Gaussians (times polynomials), whose squares of
        extents add.
        """
        radial = self.first_radial(path[0]) if path else self.density()
        # a square falls below the tolerance where its root falls below the tolerance's root
        tolerance = math.sqrt(self._tolerance) if len(path) == 2 and self._squared else self._tolerance
        extent = _direct_extent(radial, tolerance)
        for wavelet in path[1:]:
            extent = math.hypot(extent, _direct_extent(self.second_radial(wavelet), self._tolerance))
        return 2 * extent

    def _second_field(self, inner: RadialPart, outer: RadialPart) -> tuple[Envelope, float]:
        """Envelope and cutoff of sigma_1 or sigma_1^2 seen through the second wavelet.

        sigma_1^2 itself decays as R_1(|G|/2)^2; a modulus decays slowly, so that the second wavelet alone counts.
        """
        if not self._squared:
            return _envelope(outer), outer.cutoff
        first, second = _envelope(inner), _envelope(outer)
        envelope = Envelope(2 * first.power + second.power, math.hypot(first.width / math.sqrt(2), second.width))
        return envelope, min(outer.cutoff, envelope.extent(self._tolerance))

    def _input(self, inner: RadialPart, second: Wavelet) -> Grid:
        """What the second layer asks of the first: sigma_1 (or its square) free of aliases where the child looks."""
        outer, cutoff = self.second_radial(second), inner.cutoff
        _, reach = self._second_field(inner, outer)
        if self._squared:
            envelopes = [_envelope(inner), _envelope(inner), _envelope(outer)]
            bandwidth = max(2 * cutoff, 2 * reach, product_extent(envelopes, self._tolerance))
            return Grid(bandwidth, 1, cutoff, reach)
        return Grid(self._oversampling * 2 * max(cutoff, reach), self._minimum, cutoff, reach)

    def _integrals(self, envelope: Envelope, cutoff: float, powers: Iterable[Fraction]) -> Grid:
        bandwidth, minimum = 2 * cutoff, 1
        for q in powers:
            even = 2 * math.ceil(q / 2)
            bandwidth = max(bandwidth, even * envelope.extent(self._spec.tolerance ** (1 / even)))
            if q != even:
                bandwidth, minimum = max(bandwidth, self._oversampling * 2 * cutoff), self._minimum
        return Grid(bandwidth, minimum, cutoff)

    def _chosen(self, grid: Grid) -> Grid:
        if self._points:
            return Grid(0.0, self._points, grid.cutoff, grid.input_cutoff)
        minimum = math.ceil(self._refinement * grid.minimum)
        return Grid(self._refinement * grid.bandwidth, minimum, grid.cutoff, grid.input_cutoff)


def _envelope(radial: RadialPart) -> Envelope:
    return Envelope(radial_power(radial.n, radial.l), radial.width)


def _direct_extent(radial: RadialPart, tolerance: float) -> float:
    """The |r| (A) beyond which the filter in direct space stays below the tolerance times its peak."""
    return radial.width * direct_extent(radial.n, radial.l, tolerance)
