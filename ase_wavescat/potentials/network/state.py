"""One structure taken through a network, and every derivative by the way back."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.potentials.network import first_order, pairs, second_order
from ase_wavescat.potentials.network.dense import Activity
from ase_wavescat.potentials.network.prepared import PreparedNetwork
from ase_wavescat.potentials.network.rows import Part, Rows
from ase_wavescat.representation.execution import Execution
from ase_wavescat.system.blas import one_blas_thread

Array = NDArray[np.float64]
Work = NDArray[np.floating[Any]]


class NetworkState:
    """Invariants and site energies of all atoms of one structure.

    The results do not depend on the number of threads: parts of atoms write rows of their own.
    """

    def __init__(self, network: PreparedNetwork, rows: Rows, execution: Execution = Execution()) -> None:
        self._network, self._rows, self._execution = network, rows, execution
        specification = network.specification
        self._site_energies = np.zeros(len(rows.atoms))
        self._harmonics = self._work(len(rows.second), specification.harmonics)
        self._radial = self._work(len(rows.second), specification.radial.count)
        self._fields = [self._work(len(rows.atoms), specification.harmonics, q) for q in specification.channels]
        self._invariants = [self._work(len(rows.atoms), count) for count in specification.invariants]
        with one_blas_thread():
            self._activities = [execution.map(self._first, rows.parts)]
            if network.second:
                self._scalars = self._work(len(rows.atoms), network.scalar_bias.shape[1])
                for part, activity in zip(rows.parts, self._activities[0], strict=True):
                    weight, bias = network.scalar_weight[part.species], network.scalar_bias[part.species]
                    self._scalars[part.rows] = activity.outputs[-1] @ weight + bias
                self._activities.append(execution.map(self._second, list(enumerate(rows.parts))))

    @cached_property
    def atom_energies(self) -> Array:
        """(N,) eV; their sum is the energy."""
        return self._rows.by_atom(self._site_energies)

    @property
    def energy(self) -> float:
        """eV."""
        return float(self._site_energies.sum())

    @cached_property
    def values(self) -> Array:
        """(N, I) invariants of each atom, those of the first order first."""
        return self._rows.by_atom(np.concatenate(self._invariants, axis=1))

    def gradient(self) -> tuple[Array, Array]:
        """dE/dR (N, 3) in eV/A and dE/dstrain (3, 3) in eV, symmetric."""
        return self._pull(1.0, [None] * len(self._invariants))

    def pullback(self, by_values: Array) -> tuple[Array, Array]:
        """The same of sum by_values * values, by_values (N, I)."""
        by_rows = np.asarray(by_values, dtype=self._network.real)[self._rows.atoms]
        ends = np.cumsum(self._network.specification.invariants)[:-1]
        return self._pull(0.0, np.split(by_rows, ends, axis=1))

    def _work(self, *shape: int) -> Work:
        return np.empty(shape, self._network.real)

    def _pairs(self, part: Part) -> tuple[int, int]:
        return int(self._rows.starts[part.start, 0]), int(self._rows.starts[part.stop - 1, -1])

    def _first(self, part: Part) -> Activity:
        network, rows, order = self._network, self._rows, self._network.first[part.species]
        fields, invariants = self._fields[0], self._invariants[0][part.rows]
        begin, end = part.start, part.stop
        pairs.look_at_pairs(rows.vectors, *self._pairs(part), *network.pair_functions, self._harmonics, self._radial)
        first_order.sum_fields(begin, end, rows.starts, self._harmonics, self._radial, order.mixing, fields)
        first_order.invariants_of(begin, end, fields, *network.triples, invariants)
        activity = order.layers.forward((invariants - order.mean) * order.inverse_deviation)
        self._site_energies[part.rows] = activity.outputs[-1] @ order.energy_weight
        self._site_energies[part.rows] += network.energy_bias[part.species]
        return activity

    def _second(self, numbered: tuple[int, Part]) -> Activity:
        index, part = numbered
        rows, order = self._rows, self._network.second[part.species]
        (first, fields), invariants = self._fields, self._invariants[1][part.rows]
        begin, end = part.start, part.stop
        second_order.sum_second_fields(
            begin, end, rows.starts, rows.second, self._harmonics, self._radial, self._scalars, order.mixing, fields
        )
        second_order.second_invariants_of(begin, end, first, fields, invariants)
        standardised = (invariants - order.mean) * order.inverse_deviation
        beside = self._activities[0][index].outputs[0]
        activity = order.layers.forward(np.concatenate([standardised, beside], axis=1))
        self._site_energies[part.rows] += activity.outputs[-1] @ order.energy_weight
        return activity

    def _pull(self, energy: float, by_invariants: list[Any]) -> tuple[Array, Array]:
        """Of energy * E + sum by_invariants * invariants (by order, in rows, None for none)."""
        way = _WayBack(self, energy, by_invariants)
        with one_blas_thread():
            way.run()
        strain = (way.strain + way.strain.T) / 2
        return self._rows.by_atom(way.gradient), strain


class _WayBack:
    """The reverse pass: adjoints of what `NetworkState` computed, from the last order to the pairs."""

    def __init__(self, state: NetworkState, energy: float, by_invariants: list[Any]) -> None:
        self._state, self._energy, self._by_invariants = state, energy, by_invariants
        rows = state._rows
        self._by_fields = [np.zeros_like(fields) for fields in state._fields]
        self._by_harmonics = np.zeros_like(state._harmonics)
        self._by_radial = np.zeros_like(state._radial)
        self._by_hidden: list[Any] = [None] * len(rows.parts)
        self._pulls = np.empty((len(rows.second), 3))
        self.gradient, self.strain = np.zeros((len(rows.atoms), 3)), np.zeros((3, 3))

    def run(self) -> None:
        """Fill gradient (N, 3), by row, and strain (3, 3)."""
        state, rows = self._state, self._state._rows
        numbered = list(enumerate(rows.parts))
        if state._network.second:
            self._by_pair_scalars = state._work(len(rows.second), state._scalars.shape[1])
            state._execution.map(self._second, numbered)
            self._by_scalars = np.zeros_like(state._scalars)
            pairs.gather_rows(self._by_pair_scalars, rows.second, self._by_scalars)
        state._execution.map(self._first, numbered)
        pairs.gather_pulls(self._pulls, rows.starts, rows.second, rows.vectors, self.gradient, self.strain)

    def _slopes(self, order: int, part: Part, by_standardised: Work) -> Work:
        """dE/dinvariants of one order and part."""
        network = self._state._network
        slopes = by_standardised * (network.first, network.second)[order][part.species].inverse_deviation
        by_invariants = self._by_invariants[order]
        return slopes if by_invariants is None else slopes + by_invariants[part.rows]

    def _second(self, numbered: tuple[int, Part]) -> None:
        index, part = numbered
        state, rows = self._state, self._state._rows
        order, activity = state._network.second[part.species], state._activities[1][index]
        count = len(order.mean)
        by_last = np.broadcast_to(state._network.real(self._energy) * order.energy_weight, activity.outputs[-1].shape)
        by_inputs = activity.pull(by_last)
        self._by_hidden[index] = by_inputs[:, count:]
        slopes = self._slopes(1, part, by_inputs[:, :count])
        (first, fields), (by_first, by_fields) = state._fields, self._by_fields
        begin, end = part.start, part.stop
        second_order.pull_second_invariants(begin, end, first, fields, slopes, by_first, by_fields)
        second_order.pull_second_fields(
            begin,
            end,
            rows.starts,
            rows.second,
            state._harmonics,
            state._radial,
            state._scalars,
            order.mixing,
            by_fields,
            self._by_harmonics,
            self._by_radial,
            self._by_pair_scalars,
        )

    def _first(self, numbered: tuple[int, Part]) -> None:
        index, part = numbered
        state, rows, network = self._state, self._state._rows, self._state._network
        order, activity = network.first[part.species], state._activities[0][index]
        by_last = np.broadcast_to(network.real(self._energy) * order.energy_weight, activity.outputs[-1].shape)
        if network.second:
            by_last = by_last + self._by_scalars[part.rows] @ network.scalar_weight[part.species].T
        slopes = self._slopes(0, part, activity.pull(by_last, self._by_hidden[index]))
        begin, end, by_fields = part.start, part.stop, self._by_fields[0]
        first_order.pull_invariants(begin, end, state._fields[0], *network.triples, slopes, by_fields)
        first_order.pull_fields(
            begin,
            end,
            rows.starts,
            state._harmonics,
            state._radial,
            order.turned_mixing,
            by_fields,
            self._by_harmonics,
            self._by_radial,
        )
        pairs.pull_pairs(
            begin,
            end,
            rows.starts,
            rows.vectors,
            *network.pair_slopes,
            state._harmonics,
            self._by_harmonics,
            self._by_radial,
            self._pulls,
        )
