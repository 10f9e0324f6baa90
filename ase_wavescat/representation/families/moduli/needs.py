"""What moduli need: structure factors, fields of the species, powers of maps, spectra of those with children."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.families.moduli.tree import Layer, MapRow
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.protocol import Needs, Part
from ase_wavescat.structure.structure import Structure

if TYPE_CHECKING:
    from ase_wavescat.representation.families.moduli.plan import ModuliPlan

_CACHED = 40_000  # grid values of a transform that the second-level cache holds; beyond, each takes twice as long


def moduli_needs(plan: ModuliPlan, structure: Structure) -> list[Needs]:
    """The map of each feature; of the second order with its parent and the parent's spectrum."""
    work = _Work(plan, structure)
    return [work.needs(feature) for feature in plan.features]


class _Work:
    """The work of the maps of a plan on the grids of one structure."""

    def __init__(self, plan: ModuliPlan, structure: Structure) -> None:
        self._species = len(plan.spec.species)
        self._lattice = ReciprocalLattice(structure.cell, plan.cutoff)
        self._layers: dict[MapRow, Layer] = {row: layer for layer in [*plan.first, *plan.second] for row in layer.rows}

    def needs(self, feature: ModulusFeature) -> Needs:
        row = MapRow(feature.channel, feature.path)
        if row not in self._layers:  # of the zeroth order: counts of atoms
            return Needs([])
        first = MapRow(row.channel, row.path[:1])
        cutoff = self._layers[first].radial.cutoff
        powers = Part(first, {"powers": self._points(first), "parts": 1})
        fields = Part(("fields", first.path), {"parts": 1, **self._transforms(first, self._species)})
        if first == row:
            return Needs([powers, fields], cutoff)
        spectrum = Part(("spectrum", first), {"transformed_moduli": _transformed(self._points(first)), "parts": 1})
        own = Part(row, {"powers": self._points(row), "parts": 1, **self._transforms(row, 1)})
        return Needs([own, spectrum, powers, fields], cutoff)

    def _transforms(self, row: MapRow, fields: int) -> dict[str, float]:
        layer = self._layers[row]
        components = fields * (2 * layer.radial.l + 1)
        vectors = self._lattice.count(min(layer.radial.cutoff, layer.grid.cutoff))
        return {"transformed_moduli": components * _transformed(self._points(row)), "scattered": components * vectors}

    def _points(self, row: MapRow) -> int:
        layer = self._layers[row]
        return math.prod(self._lattice.shape(layer.grid.bandwidth, layer.grid.minimum))


def _transformed(points: int) -> int:
    """Work of a transform of a whole grid."""
    return points if points <= _CACHED else 2 * points
