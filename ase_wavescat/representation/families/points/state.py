"""Moduli at the atoms of one structure, and the sums of their powers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.direct.pairs import pair_parts
from ase_wavescat.representation.protocol import State
from ase_wavescat.representation.scene import Scene

if TYPE_CHECKING:
    from ase_wavescat.representation.families.points.plan import Layer, PointPlan

Array = NDArray[np.float64]


class _Computed(NamedTuple):
    """One layer: inputs (N, inputs), fields (N, columns), squares of the moduli (N, M)."""

    layer: Layer
    inputs: Array
    fields: Array
    squares: Array


class PointState(State):
    """Scattering at the atoms of one structure, and its derivatives."""

    def __init__(self, plan: PointPlan, scene: Scene) -> None:
        self.scene, self._plan = scene, plan
        self._parts = pair_parts(scene.structure.neighbours(plan.neighbour_reach), len(scene.structure))
        self._layers: list[_Computed] = []
        inputs = plan.channels[scene.species]
        for layer in plan.layers:
            fields = layer.convolution.fields(inputs, self._parts, scene.execution)
            squares = layer.convolution.squares(fields)
            self._layers.append(_Computed(layer, inputs, fields, squares))
            inputs = layer.powers.lengths(squares)
        self._atom_values = self._values_at_atoms()
        self.values = self._atom_values.sum(axis=0)

    def _values_at_atoms(self) -> Array:
        values = np.empty((len(self.scene.structure), len(self._plan.features)))
        columns, of_species = self._plan.zeroth
        values[:, columns] = of_species[self.scene.species]
        for computed in self._layers:
            computed.layer.powers.add_values(computed.squares, values)
        return values

    def atom_values(self) -> Array:
        return self._atom_values

    def pullback(self, weights: Array) -> tuple[Array, Array]:
        gradient, strain = np.zeros((len(self.scene.structure), 3)), np.zeros((3, 3))
        of_lengths: Array | None = None
        for layer, inputs, fields, squares in reversed(self._layers):
            of_squares = layer.powers.adjoint(weights, squares)
            if of_lengths is not None:
                of_squares += of_lengths * layer.powers.length_slopes(squares)
            adjoint = layer.convolution.squares_adjoint(of_squares, fields)
            moduli = layer is not self._plan.layers[0]
            execution = self.scene.execution
            pulled = layer.convolution.pullback(adjoint, inputs, self._parts, execution, of_inputs=moduli)
            gradient += pulled[0]
            strain += pulled[1]
            of_lengths = pulled[2]
        return gradient, (strain + strain.T) / 2

    def pushforward(self, displacements: Array, strains: Array) -> Array:
        derivatives = np.zeros((len(displacements), len(self.values)))
        for row, move, strain in zip(derivatives, displacements, strains, strict=True):
            self._push(np.ascontiguousarray(move), np.ascontiguousarray((strain + strain.T) / 2), row)
        return derivatives

    def _push(self, move: Array, strain: Array, derivatives: Array) -> None:
        """Derivatives (F,) along one direction."""
        change = np.zeros_like(self._plan.channels[self.scene.species])
        for layer, inputs, fields, squares in self._layers:
            convolution, execution = layer.convolution, self.scene.execution
            fields_change = convolution.pushforward(change, move, strain, inputs, self._parts, execution)
            squares_change = convolution.squares_tangent(fields_change, fields)
            layer.powers.add_tangent(squares_change, squares, derivatives)
            change = layer.powers.length_slopes(squares) * squares_change
