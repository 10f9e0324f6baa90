"""Structure factors S_z(G) = sum_k exp(-iG.R_k) and the adjoint that turns dE/dS into forces.

Both are matrix products over a box of reciprocal indices: with R_k = sum_i s_i a_i the phase is
exp(-2 pi i h.s) = product over axes of exp(-2 pi i h_i s_i). The box is taken in parts along its first axis, so that
what is between stays in the cache. The cost grows as N^2: beyond a thousand atoms or so non-uniform FFTs of type 1
and 2 (Barnett, Magland, af Klinteberg, SIAM J. Sci. Comput. 41, C479, 2019) are faster, if finufft is installed (the
extra `large`); they grow as N log N.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.system.compiled import compiled

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

_CHUNK = 2**17  # complex values between the matrix products
_CROSSOVER = 2 * 10**8  # atoms x reciprocal vectors in the box from which on non-uniform FFTs are faster
# Errors of S, relative to the largest, are 2e-13; a smaller fine grid with a wider kernel is the faster of the two.
# One thread: its threads would change bits from run to run and do not survive a fork.
_NONUNIFORM: dict[str, Any] = {"eps": 1e-12, "upsampfac": 1.5, "isign": -1, "nthreads": 1}


def structure_phases(lattice: ReciprocalLattice, positions: Array, execution: Execution) -> Phases | NonuniformPhases:
    """What is faster for so many atoms (N, 3) and vectors."""
    large = len(positions) * np.prod(2 * lattice.extent + 1) / 2 > _CROSSOVER
    if large and find_spec("finufft") is not None:
        return NonuniformPhases(lattice, positions)
    return Phases(lattice, positions, execution)


def _fractional(lattice: ReciprocalLattice, positions: Array) -> Array:
    return positions @ lattice.reciprocal.T / (2 * np.pi)


class Phases:
    """The one-dimensional phases of a set of atoms, computed once and used for S, its tangent and its adjoint."""

    def __init__(self, lattice: ReciprocalLattice, positions: Array, execution: Execution = Execution()) -> None:
        self._lattice, self._execution = lattice, execution
        fractional = _fractional(lattice, positions)
        m1, m2, m3 = (int(m) for m in lattice.extent)
        self._indices = (np.arange(-m1, m1 + 1), np.arange(-m2, m2 + 1), np.arange(m3 + 1))
        self._axis = [np.exp(-2j * np.pi * np.outer(h, s)) for h, s in zip(self._indices, fractional.T, strict=True)]

    def _parts(self) -> Iterator[slice]:
        """The first axis in parts."""
        first, second, _ = self._axis
        size = max(1, _CHUNK // max(1, second.size))
        for start in range(0, len(first), size):
            yield slice(start, min(start + size, len(first)))

    def _sum(self, weights: ComplexArray | Array | None = None) -> ComplexArray:
        """sum_k weights_k exp(-iG.R_k) on the lattice's vectors."""
        first, second, third = self._axis
        third = third if weights is None else third * weights
        box = np.empty((len(first), len(second), len(third)), dtype=complex)

        def fill(part: slice) -> None:
            np.matmul(first[part, None, :] * second[None, :, :], third.T, out=box[part])

        self._execution.map(fill, self._parts())
        return box.reshape(-1)[self._lattice.box_index]

    def structure_factor(self) -> ComplexArray:
        """S(G) on the lattice's vectors."""
        return self._sum()

    def by_atom(self) -> ComplexArray:
        """exp(-iG.R_k), (N, P)."""
        lattice = self._lattice
        shifted = lattice.indices + np.array([lattice.extent[0], lattice.extent[1], 0])
        first, second, third = (axis[h] for axis, h in zip(self._axis, shifted.T, strict=True))
        return np.ascontiguousarray((first * second * third).T)

    def tangent(self, displacements: Array) -> ComplexArray:
        """dS(G) = sum_k -iG.d_k exp(-iG.R_k) for displacements d (N, 3)."""
        lattice = self._lattice
        along = displacements @ lattice.reciprocal.T  # G.d_k = sum_i h_i (b_i.d_k)
        total = np.zeros(len(lattice), dtype=complex)
        for axis in range(3):
            total += -1j * lattice.indices[:, axis] * self._sum(along[:, axis])
        return total

    def gradient(self, adjoint: ComplexArray) -> Array:
        """dE/dR (N, 3) from the adjoint A of E, dE = Re sum_G conj(A(G)) dS(G)."""
        lattice = self._lattice
        first, second, third = self._axis
        h1, h2, h3 = self._indices
        box = np.zeros(lattice.box_shape, dtype=complex)
        box.reshape(-1)[lattice.box_index[: len(adjoint)]] = adjoint.conj()
        both = np.ascontiguousarray(np.concatenate([third, h3[:, None] * third], axis=1))

        def contract(part: slice) -> Array:
            sums = np.zeros((3, third.shape[1]))
            _contract(box[part] @ both, first[part], second, h1[part], h2, sums)
            return sums

        return np.sum(self._execution.map(contract, self._parts()), axis=0).T @ lattice.reciprocal


class NonuniformPhases:
    """The same sums as `Phases` by non-uniform FFTs."""

    def __init__(self, lattice: ReciprocalLattice, positions: Array) -> None:
        self._lattice = lattice
        fractional = _fractional(lattice, positions)
        self._points = np.ascontiguousarray(2 * np.pi * (fractional - np.round(fractional)).T)
        self._places = tuple((lattice.indices + lattice.extent).T)
        self._shape = tuple(int(n) for n in 2 * lattice.extent + 1)

    def _sum(self, weights: ComplexArray) -> ComplexArray:
        import finufft

        return finufft.nufft3d1(*self._points, weights, self._shape, **_NONUNIFORM)[self._places]

    def structure_factor(self) -> ComplexArray:
        """S(G) on the lattice's vectors."""
        return self._sum(np.ones(self._points.shape[1], dtype=complex))

    def by_atom(self) -> ComplexArray:
        """exp(-iG.R_k), (N, P)."""
        return np.exp(-1j * (self._points.T @ self._lattice.indices.T))

    def tangent(self, displacements: Array) -> ComplexArray:
        """dS(G) = sum_k -iG.d_k exp(-iG.R_k) for displacements d (N, 3)."""
        along = (self._lattice.reciprocal @ displacements.T).astype(complex)
        total = np.zeros(len(self._lattice), dtype=complex)
        for axis in range(3):
            total += -1j * self._lattice.indices[:, axis] * self._sum(along[axis])
        return total

    def gradient(self, adjoint: ComplexArray) -> Array:
        """dE/dR (N, 3) from the adjoint A of E, dE = Re sum_G conj(A(G)) dS(G)."""
        import finufft

        places = tuple(place[: len(adjoint)] for place in self._places)
        boxes = np.zeros((3, *self._shape), dtype=complex)
        for box, components in zip(boxes, self._lattice.vectors[: len(adjoint)].T, strict=True):
            box[places] = -0.5j * components * adjoint.conj()
            box += box[::-1, ::-1, ::-1].conj()  # of G and -G: the sum is real, so that two fit one transform
        boxes[0] += 1j * boxes[1]
        sums = finufft.nufft3d2(*self._points, np.ascontiguousarray(boxes[::2]), **_NONUNIFORM)
        return np.stack([sums[0].real, sums[0].imag, sums[1].real], axis=1)


@compiled(fastmath=True, nogil=True)
def _contract(inner, first, second, h1, h2, sums):  # type: ignore[no-untyped-def]
    """sums[axis, k] += Im sum over h1, h2 of h_axis first second inner; the last half of inner carries h3."""
    atoms = second.shape[1]
    total = np.empty(atoms, np.complex128)
    by_second = np.empty(atoms, np.complex128)
    by_third = np.empty(atoms, np.complex128)
    for a in range(h1.shape[0]):
        total[:] = 0.0
        by_second[:] = 0.0
        by_third[:] = 0.0
        for b in range(h2.shape[0]):
            line, phase, h = inner[a, b], second[b], float(h2[b])
            for k in range(atoms):
                value = line[k] * phase[k]
                total[k] += value
                by_second[k] += h * value
                by_third[k] += line[atoms + k] * phase[k]
        for k in range(atoms):
            sums[0, k] += h1[a] * (first[a, k] * total[k]).imag
            sums[1, k] += (first[a, k] * by_second[k]).imag
            sums[2, k] += (first[a, k] * by_third[k]).imag
