"""One structure taken through a network, and every derivative by the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network import first_order, pairs, second_order, triples
from ase_wavescat.potentials.network.dense import Activity
from ase_wavescat.potentials.network.prepared import Head, PreparedNetwork
from ase_wavescat.potentials.network.rows import AtomRows, Part
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.arena import borrowed, take
from ase_wavescat.system.blas import one_blas_thread

Array = NDArray[np.float64]
Work = NDArray[np.floating[Any]]


class NetworkState:
    """Invariants and site energies of all atoms of one structure.

    The results do not depend on the number of threads: parts of atoms write rows of their own.
    """

    def __init__(
        self,
        network: PreparedNetwork,
        rows: AtomRows,
        execution: Execution = Execution(),
        other: NetworkState | None = None,
    ) -> None:
        """other: a state of the same structure and specification, whose harmonics and radial functions it shares."""
        self._network, self._rows, self._execution, self._other = network, rows, execution, other
        own = [*self._shapes(), *((len(rows.atoms), count) for count in network.specification.invariants)]
        shapes = own if other is None else own[2:]
        memory = take(self, sum(map(math.prod, shapes)), network.real)
        arrays = _shaped(memory, shapes)
        self._seen: tuple[Work, Work]  # harmonics and radial functions of the pairs
        self._seen, arrays = ((arrays[0], arrays[1]), arrays[2:]) if other is None else (other._seen, arrays)
        orders = network.specification.orders
        self._fields, self._centred = arrays[:orders], arrays[orders:]  # (N, LM, Q); (N, I) invariants less their mean
        with one_blas_thread():
            self._activities = [execution.map(self._first, rows.parts)]
            if network.second:
                self._scalars = self._find_scalars()
                self._activities.append(execution.map(self._second, list(enumerate(rows.parts))))

    def atom_energies(self, head: Head | None = None) -> Array:
        """(N,) eV; their sum is the energy. head: by default the network's own."""
        return self._rows.by_atom(self._site_energies(head or self._network.head))

    def energy(self, head: Head | None = None) -> float:
        """eV."""
        return float(self._site_energies(head or self._network.head).sum())

    @cached_property
    def values(self) -> Array:
        """(N, I) invariants of each atom, those of the first order first."""
        values = np.concatenate(self._centred, axis=1).astype(float)
        orders = (self._network.first, self._network.second)[: len(self._centred)]
        for part in self._rows.parts:
            values[part.rows] += np.concatenate([order[part.species].mean for order in orders])
        return self._rows.by_atom(values)

    @cached_property
    def hidden(self) -> Array:
        """(N, orders x width) outputs of the last hidden layers: site energies are linear in them."""
        return self._rows.by_atom(
            np.concatenate([np.concatenate([own.outputs[-1] for own in order]) for order in self._activities], axis=1)
        ).astype(float)

    def gradient(self, head: Head | None = None) -> tuple[Array, Array]:
        """dE/dR (N, 3) in eV/A and dE/dstrain (3, 3) in eV, symmetric. head: by default the network's own."""
        return self._pull((head or self._network.head).weights, None)

    def pullback(self, by_values: Array) -> tuple[Array, Array]:
        """The same of sum by_values * values, by_values (N, I)."""
        by_rows = np.asarray(by_values, dtype=self._network.real)[self._rows.atoms]
        nothing = tuple(np.zeros_like(weight) for weight in self._network.head.weights)
        return self._pull(nothing, np.split(by_rows, np.cumsum(self._network.specification.invariants)[:-1], axis=1))

    def _shapes(self) -> list[tuple[int, ...]]:
        """Of what the pairs see, and of the fields by order."""
        specification, atoms, found = self._network.specification, len(self._rows.atoms), len(self._rows.second)
        seen = [(found, specification.harmonics), (found, specification.radial.count)]
        return [*seen, *((atoms, specification.harmonics, channels) for channels in specification.channels)]

    def _site_energies(self, head: Head) -> Array:
        """(N,) eV, by row."""
        energies = np.zeros(len(self._rows.atoms))
        for weight, activities in zip(head.weights, self._activities, strict=True):
            for part, activity in zip(self._rows.parts, activities, strict=True):
                energies[part.rows] += activity.outputs[-1] @ weight[part.species]
        for part in self._rows.parts:
            energies[part.rows] += head.bias[part.species]
        return energies

    def _pull(self, by_hidden: Sequence[Work], by_values: Sequence[Work] | None) -> tuple[Array, Array]:
        """Of what has the derivatives by_hidden (S, width) by the last hidden layers, and by_values (N, I), in rows, by
        the values; of each order."""
        rows, found = self._rows, len(self._rows.second)
        shapes = [*self._shapes(), *((found, channels) for channels in self._network.specification.channels[1:])]
        with (
            one_blas_thread(),
            borrowed((sum(map(math.prod, shapes)),), self._network.real) as memory,
            borrowed((found, 3), np.float64) as pulls,
        ):
            gradient, strain = _WayBack(self, by_hidden, by_values, _shaped(memory, shapes), pulls).run()
        return rows.by_atom(gradient), (strain + strain.T) / 2

    def _first(self, part: Part) -> Activity:
        network, rows, order = self._network, self._rows, self._network.first[part.species]
        fields, invariants = self._fields[0], self._centred[0][part.rows]
        seen, begin, end = self._seen, part.start, part.stop
        if self._other is None:
            pairs.look_at_pairs(begin, end, rows.starts, rows.vectors, *network.pair_functions, *seen)
        first_order.sum_fields(begin, end, rows.starts, *seen, order.mixing, fields)
        first_order.squares_of(begin, end, fields, invariants)
        triples.triples_of(begin, end, fields, *network.triples, invariants)
        invariants -= order.mean
        return order.layers.forward(invariants)

    def _find_scalars(self) -> Work:
        """h (N, (l_max + 1) Q2)."""
        network, rows = self._network, self._rows
        scalars = np.empty((len(rows.atoms), network.scalar_bias.shape[1]), network.real)
        for part, activity in zip(rows.parts, self._activities[0], strict=True):
            weight, bias = network.scalar_weight[part.species], network.scalar_bias[part.species]
            scalars[part.rows] = activity.outputs[-1] @ weight + bias
        return scalars

    def _second(self, numbered: tuple[int, Part]) -> Activity:
        index, part = numbered
        rows, order = self._rows, self._network.second[part.species]
        (first, fields), invariants = self._fields, self._centred[1][part.rows]
        seen, begin, end = self._seen, part.start, part.stop
        second_order.sum_second_fields(begin, end, rows.starts, rows.second, *seen, self._scalars, order.mixing, fields)
        second_order.second_invariants_of(begin, end, first, fields, invariants)
        invariants -= order.mean
        return order.layers.forward(invariants, self._activities[0][index].outputs[0])


class _WayBack:
    """The reverse pass, from the last order to the pairs: what dE/d(each thing that `NetworkState` computed) is."""

    def __init__(
        self,
        state: NetworkState,
        by_last: Sequence[Work],
        by_values: Sequence[Work] | None,
        arrays: Sequence[Work],
        pulls: Array,
    ) -> None:
        self._state, self._by_last, self._by_values = state, by_last, by_values
        self._pulls = pulls
        self._by_harmonics, self._by_radial, *others = arrays
        orders = state._network.specification.orders
        self._by_fields, self._by_pair_scalars = others[:orders], others[orders:]
        self._by_hidden: list[Work | None] = [None] * len(state._rows.parts)
        self._by_fields[0][:] = 0
        if orders == 1:  # which a second order fills
            self._by_harmonics[:] = 0
            self._by_radial[:] = 0

    def run(self) -> tuple[Array, Array]:
        """Gradient (N, 3), by row, and strain gradient (3, 3)."""
        state, rows = self._state, self._state._rows
        numbered = list(enumerate(rows.parts))
        if state._network.second:
            state._execution.map(self._second, numbered)
            by_pairs = self._by_pair_scalars[0]
            self._by_scalars = np.zeros((len(rows.atoms), by_pairs.shape[1]), state._network.real)
            pairs.gather_rows(by_pairs, rows.second, self._by_scalars)
        state._execution.map(self._first, numbered)
        gradient, strain = np.zeros((len(rows.atoms), 3)), np.zeros((3, 3))
        pairs.gather_pulls(self._pulls, rows.starts, rows.second, rows.vectors, gradient, strain)
        return gradient, strain

    @contextmanager
    def _onto_invariants(self, order: int, part: Part, by_sums: Work) -> Iterator[Work]:
        """dE/dinvariants (rows, I) from dE/d(sums that enter the first layer)."""
        network = self._state._network
        weight = (network.first, network.second)[order][part.species].layers.weights[0]
        with borrowed((len(by_sums), len(weight)), network.real) as slopes:
            np.matmul(by_sums, weight.T, out=slopes)
            if self._by_values is not None:
                slopes += self._by_values[order][part.rows]
            yield slopes

    def _second(self, numbered: tuple[int, Part]) -> None:
        index, part = numbered
        state, rows = self._state, self._state._rows
        order, activity = state._network.second[part.species], state._activities[1][index]
        by_sums = activity.pull(self._by_last[1][part.species])
        assert order.layers.beside is not None
        self._by_hidden[index] = by_sums @ order.layers.beside.T
        (first, fields), (by_first, by_fields), begin, end = state._fields, self._by_fields, part.start, part.stop
        with self._onto_invariants(1, part, by_sums) as slopes:
            second_order.pull_second_invariants(begin, end, first, fields, slopes, by_first, by_fields)
        seen, by_seen = state._seen, (self._by_harmonics, self._by_radial)
        neighbours = (rows.starts, rows.second)
        second_order.pull_second_fields(
            begin, end, *neighbours, *seen, state._scalars, order.mixing, by_fields, *by_seen, self._by_pair_scalars[0]
        )

    def _first(self, numbered: tuple[int, Part]) -> None:
        index, part = numbered
        state, rows, network = self._state, self._state._rows, self._state._network
        order, activity = network.first[part.species], state._activities[0][index]
        by_last = self._by_last[0][part.species]
        if network.second:
            weight = network.scalar_weight[part.species][:, : self._by_scalars.shape[1]]
            by_last = by_last + self._by_scalars[part.rows] @ weight.T
        fields, by_fields, begin, end = state._fields[0], self._by_fields[0], part.start, part.stop
        with self._onto_invariants(0, part, activity.pull(by_last, self._by_hidden[index])) as slopes:
            first_order.pull_squares(begin, end, fields, slopes, by_fields)
            triples.pull_triples(begin, end, fields, *network.triples, slopes, by_fields)
        seen, by_seen = state._seen, (self._by_harmonics, self._by_radial)
        first_order.pull_fields(begin, end, rows.starts, *seen, order.turned_mixing, by_fields, *by_seen)
        pairs.pull_pairs(begin, end, rows.starts, rows.vectors, *network.pair_functions, *by_seen, self._pulls)


def _shaped(memory: Work, shapes: Sequence[tuple[int, ...]]) -> list[Work]:
    """Consecutive parts of the memory."""
    arrays, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        arrays.append(memory[start:stop].reshape(shape))
        start = stop
    return arrays
