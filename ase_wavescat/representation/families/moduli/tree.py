"""The tree of a support of moduli: which maps are computed, on which grids, for which features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.families.moduli import pointwise
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.families.moduli.grids import Grid, GridRules
from ase_wavescat.representation.families.moduli.ratios import Ratios
from ase_wavescat.representation.lattice.filters import RadialPart
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet
from ase_wavescat.system.errors import SpecError

if TYPE_CHECKING:
    from ase_wavescat.representation.families.moduli.family import Moduli

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class MapRow(NamedTuple):
    """One map: a channel and a path of wavelets, none for the density itself."""

    channel: str
    path: tuple[Wavelet, ...]

    @property
    def key(self) -> str:
        """The map's name in `softening_rms`."""
        return f"{self.channel}:" + ">".join(w.key for w in self.path)


@dataclass
class Layer:
    """Maps of one wavelet that share a grid.

    radial: of the layer's filters. sources (R,): of each map, the channel (orders 0 and 1) or the row among all
    first-order maps (order 2). columns (R, Q): the integral that takes each power of each map, -1 for none;
    offsets (R,): epsilon^2 s^2; vacuum (R, Q): (epsilon s)^q, what a softened map is where its field vanishes.
    """

    radial: RadialPart
    grid: Grid
    rows: list[MapRow] = field(default_factory=list)
    sources: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    powers: tuple[Fraction, ...] = ()
    columns: IntArray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    offsets: Array = field(default_factory=lambda: np.empty(0))
    vacuum: Array = field(default_factory=lambda: np.empty((0, 0)))
    table: Array = field(default_factory=lambda: np.empty((0, 8)))
    spectra: slice = field(default_factory=lambda: slice(0, 0))

    @property
    def wanted(self) -> NDArray[np.bool_]:
        return self.columns >= 0

    def coefficients(self, weights: Array) -> Array:
        """(R, Q): the weight of each power of each map, 0 where it is no feature."""
        return np.where(self.wanted, weights[self.columns], 0.0)


class ModuliTree:
    """The maps that a support needs, and nothing else.

    features: the support, in column order; its parents, if it is normalised by them, follow as further integrals.
    refinement: multiplies the points of every grid along each axis, for studies of convergence. points: every grid
    has so many points along each axis instead, to compare with codes that have one grid.
    Raises SpecError for a softened family without its root mean squares.
    """

    def __init__(
        self,
        spec: ScatteringSpec,
        family: Moduli,
        features: Sequence[ModulusFeature],
        refinement: float = 1.0,
        points: int = 0,
    ) -> None:
        self.spec, self.family, self.features = spec, family, list(features)
        self.squared = family.second_input == "squared"
        self.ratios = Ratios(features) if family.normalisation == "ratio" else None
        integrals = features if self.ratios is None else self.ratios.integrals
        self.channels = [name for name, _ in spec.channels]
        self.weights: Array = np.array([[spec.channel(c)[z] for z in spec.species] for c in self.channels])
        smooth = family.density_width > 0
        self.zeroth = [
            (column, self.channels.index(f.channel), float(f.power))
            for column, f in enumerate(integrals)
            if not f.path and not smooth
        ]
        self._columns: dict[MapRow, dict[Fraction, int]] = {}
        for column, f in enumerate(integrals):
            if f.path or smooth:
                self._columns.setdefault(MapRow(f.channel, f.path), {})[f.power] = column
        self.integral_count = len(integrals)
        self._softening_rms = dict(family.softening_rms)
        self.rules = GridRules(spec, family, refinement, points)
        seconds = [row for row in self._columns if len(row.path) == 2]
        firsts = dict.fromkeys([row for row in self._columns if len(row.path) < 2])
        firsts.update(dict.fromkeys(MapRow(row.channel, row.path[:1]) for row in seconds))
        self.first = self._first_layers(list(firsts), seconds)
        self.second = self._second_layers(seconds)
        self.l_max = max((layer.radial.l for layer in [*self.first, *self.second]), default=0)

    def _powers(self, row: MapRow) -> set[Fraction]:
        return set(self._columns.get(row, {}))

    def _first_layers(self, rows: list[MapRow], seconds: list[MapRow]) -> list[Layer]:
        """One layer a wavelet, one of the density; `spectra` = its rows among all spectra, maps with children first."""
        parents = {MapRow(row.channel, row.path[:1]) for row in seconds}
        layers, start = [], 0
        for path in sorted({row.path for row in rows}):
            own = sorted((r for r in rows if r.path == path), key=lambda r: r not in parents)
            layer = self._first_layer(path, own, {row.path[1] for row in seconds if row.path[:1] == path})
            layer.sources = np.array([self.channels.index(r.channel) for r in own])
            layer.spectra = slice(start, start + sum(r in parents for r in own))
            start = layer.spectra.stop
            layers.append(self._finish(layer))
        return layers

    def _first_layer(self, path: tuple[Wavelet, ...], rows: list[MapRow], children: set[Wavelet]) -> Layer:
        """Of one wavelet, or of the density itself."""
        powers: set[Fraction] = set().union(*map(self._powers, rows))
        if not path:
            return Layer(self.rules.density(), self.rules.zeroth(powers), rows)
        return Layer(self.rules.first_radial(path[0]), self.rules.first(path[0], powers, children), rows)

    def _second_layers(self, seconds: list[MapRow]) -> list[Layer]:
        """One layer for each second wavelet and grid; grids depend on the first wavelet's scale only."""
        grids: dict[tuple[Wavelet, float], Grid] = {}
        for row in seconds:
            key = (row.path[1], row.path[0].scale)
            grid = self.rules.second(row.path[0], row.path[1], self._powers(row))
            grids[key] = grid.union(grids[key]) if key in grids else grid
        layers: dict[tuple[Wavelet, Grid], Layer] = {}
        for row in sorted(seconds, key=lambda r: (r.path[1], r.path[0], r.channel)):
            grid = grids[row.path[1], row.path[0].scale]
            new = Layer(self.rules.second_radial(row.path[1]), grid)
            layers.setdefault((row.path[1], grid), new).rows.append(row)
        spectrum = {row: layer.spectra.start + i for layer in self.first for i, row in enumerate(layer.rows)}
        for layer in layers.values():
            layer.sources = np.array([spectrum[MapRow(r.channel, r.path[:1])] for r in layer.rows])
            self._finish(layer)
        return list(layers.values())

    def _finish(self, layer: Layer) -> Layer:
        layer.powers = tuple(sorted(set().union(*map(self._powers, layer.rows))))
        layer.table = pointwise.power_table(layer.powers)
        layer.columns = np.array(
            [[self._columns.get(row, {}).get(q, -1) for q in layer.powers] for row in layer.rows], dtype=np.int64
        ).reshape(len(layer.rows), len(layer.powers))
        layer.offsets = np.array([self._offset(row) for row in layer.rows])
        layer.vacuum = layer.offsets[:, None] ** (np.array(layer.powers, dtype=float) / 2)
        return layer

    def _offset(self, row: MapRow) -> float:
        if self.family.softening == 0 or not row.path:  # a smooth density has no kinks to soften
            return 0.0
        if row.key not in self._softening_rms:
            raise SpecError(
                f"softening = {self.family.softening:g} needs the root mean square of every map, and softening_rms "
                f"lacks {row.key!r}: measure them with spec.measured_on(structures), or set softening = 0"
            )
        return (self.family.softening * self._softening_rms[row.key]) ** 2

    @property
    def cutoff(self) -> float:
        """The largest |G| that any feature needs (1/A)."""
        return max((layer.radial.cutoff for layer in [*self.first, *self.second]), default=0.0)
