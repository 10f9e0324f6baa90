r"""Point convolutions: what the atoms hold, seen from the atoms through wavelets.

U_m(i) = sum_k a(k) psi_m(R_i - R_k)          a(k): a weight of a channel, or a modulus, at atom k and its images
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.direct.pairs import Pairs
from ase_wavescat.representation.direct.radial_table import RadialTable
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.points.kernels import convolve, pull, push
from ase_wavescat.representation.paths import WaveletPath

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
MapName = tuple[str, WaveletPath]
"""Channel and path."""


@dataclass(frozen=True, eq=False)
class PointConvolution:
    """M maps, each of one of the inputs and one wavelet.

    Attributes:
        table: the wavelets.
        maps: (M,) channel and path of each, sorted by wavelet as the table is.
        inputs: (M,) the input of each.
        starts: (wavelets + 1,) the first map of each wavelet.
        columns: (wavelets + 1,) the first component of each wavelet in fields (N, columns): (2l+1, maps of it).
    """

    table: RadialTable
    maps: list[MapName]
    inputs: IntArray
    starts: IntArray
    columns: IntArray

    @classmethod
    def build(cls, table: RadialTable, maps: Sequence[MapName], inputs: Sequence[MapName]) -> PointConvolution:
        """Of maps by channel and path, from inputs whose paths lack the last wavelet."""
        ordered = sorted(maps, key=lambda name: table.wavelets.index(name[1][-1]))
        counts = np.array([sum(path[-1] == wavelet for _, path in maps) for wavelet in table.wavelets])
        components = [(2 * wavelet.l + 1) * count for wavelet, count in zip(table.wavelets, counts, strict=True)]
        places = {name: place for place, name in enumerate(inputs)}
        return cls(
            table=table,
            maps=ordered,
            inputs=np.array([places[channel, path[:-1]] for channel, path in ordered]),
            starts=np.cumsum([0, *counts]),
            columns=np.cumsum([0, *components]),
        )

    def _blocks(self, fields: Array) -> Iterator[tuple[slice, Array]]:
        """Of each wavelet its maps, and its components (N, 2l+1, maps)."""
        for w, wavelet in enumerate(self.table.wavelets):
            block = fields[:, self.columns[w] : self.columns[w + 1]]
            yield slice(self.starts[w], self.starts[w + 1]), block.reshape(len(fields), 2 * wavelet.l + 1, -1)

    def _own(self) -> Iterator[tuple[float, slice, slice]]:
        """Of each wavelet of l = 0 its value at distance zero, its maps and its components."""
        for w in range(self.table.starts[1]):
            maps, columns = self.starts[w : w + 2], self.columns[w : w + 2]
            yield float(self.table.coefficients[w, 0]), slice(*maps), slice(*columns)

    def fields(self, inputs: Array, parts: Sequence[Pairs], execution: Execution) -> Array:
        """U (N, columns) of inputs (N, inputs)."""
        sources, fields = self._sources(inputs), np.zeros((len(inputs), int(self.columns[-1])))
        for at_zero, maps, columns in self._own():
            fields[:, columns] += at_zero * sources[:, maps]

        def fill(pairs: Pairs) -> None:
            convolve(pairs, self.table.arguments, self.starts, self.columns, sources, fields)

        execution.map(fill, parts)
        return fields

    def _sources(self, inputs: Array) -> Array:
        """What each map takes, (N, M)."""
        return np.ascontiguousarray(inputs[:, self.inputs])

    def squares(self, fields: Array) -> Array:
        """sum_m U_m^2, (N, M)."""
        return np.concatenate([np.einsum("nmc,nmc->nc", u, u) for _, u in self._blocks(fields)], axis=1)

    def squares_adjoint(self, weights: Array, fields: Array) -> Array:
        """Of the fields (N, columns) from that of the squares (N, M)."""
        parts = [2 * weights[:, None, maps] * u for maps, u in self._blocks(fields)]
        return np.concatenate([part.reshape(len(fields), -1) for part in parts], axis=1)

    def squares_tangent(self, change: Array, fields: Array) -> Array:
        """Of the squares (N, M) along a change of the fields (N, columns)."""
        pairs = zip(self._blocks(change), self._blocks(fields), strict=True)
        return np.concatenate([2 * np.einsum("nmc,nmc->nc", du, u) for (_, du), (_, u) in pairs], axis=1)

    def pullback(
        self, adjoint: Array, inputs: Array, parts: Sequence[Pairs], execution: Execution, of_inputs: bool
    ) -> tuple[Array, Array, Array]:
        """From the adjoint of the fields dE/dR (N, 3), dE/dstrain (3, 3), and dE/dinputs (N, inputs) if wanted."""
        sources = self._sources(inputs)
        source_adjoint = np.zeros_like(sources) if of_inputs else np.empty((0, 0))

        def contract(pairs: Pairs) -> tuple[Array, Array]:
            gradient, strain = np.zeros((len(inputs), 3)), np.zeros((3, 3))
            arguments = self.table.arguments, self.starts, self.columns, sources, adjoint
            pull(pairs, *arguments, source_adjoint, gradient, strain)
            return gradient, strain

        gradients, strains = zip(*execution.map(contract, parts), strict=True)
        input_adjoint = self._input_adjoint(source_adjoint, adjoint, inputs) if of_inputs else source_adjoint
        return np.sum(gradients, axis=0), np.sum(strains, axis=0), input_adjoint

    def _input_adjoint(self, source_adjoint: Array, adjoint: Array, inputs: Array) -> Array:
        for at_zero, maps, columns in self._own():
            source_adjoint[:, maps] += at_zero * adjoint[:, columns]
        result = np.zeros_like(inputs.T)
        np.add.at(result, self.inputs, source_adjoint.T)
        return np.ascontiguousarray(result.T)

    def pushforward(
        self,
        change: Array,
        displacements: Array,
        strain: Array,
        inputs: Array,
        parts: Sequence[Pairs],
        execution: Execution,
    ) -> Array:
        """Change (N, columns) of the fields along that of the inputs (N, inputs), displacements and a strain."""
        sources, moved = self._sources(inputs), self._sources(change)
        fields = np.zeros((len(inputs), int(self.columns[-1])))
        for at_zero, maps, columns in self._own():
            fields[:, columns] += at_zero * moved[:, maps]

        def fill(pairs: Pairs) -> None:
            arguments = self.table.arguments, self.starts, self.columns, sources, moved
            push(pairs, *arguments, displacements, strain, fields)

        execution.map(fill, parts)
        return fields
