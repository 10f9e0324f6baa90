"""Structure factors S_z(G) = sum_k exp(-iG.R_k) by separable phases, and the adjoint that turns dE/dS into forces.

Both are matrix products over a box of reciprocal indices: with R_k = sum_i s_i a_i the phase is
exp(-2 pi i h.s) = product over axes of exp(-2 pi i h_i s_i).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ase_wavescat.scattering.grid import ReciprocalLattice

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


class Phases:
    """The one-dimensional phases of a set of atoms, computed once and used for S, its tangent and its adjoint."""

    def __init__(self, lattice: ReciprocalLattice, positions: Array) -> None:
        self._lattice = lattice
        fractional = positions @ lattice.reciprocal.T / (2 * np.pi)
        m1, m2, m3 = (int(m) for m in lattice.extent)
        ranges = (np.arange(-m1, m1 + 1), np.arange(-m2, m2 + 1), np.arange(m3 + 1))
        self._indices = ranges
        self._axis = [np.exp(-2j * np.pi * np.outer(h, s)) for h, s in zip(ranges, fractional.T, strict=True)]

    def structure_factor(self) -> ComplexArray:
        """S(G) on the lattice's vectors."""
        first, second, third = self._axis
        plane = (first[:, None, :] * second[None, :, :]).reshape(len(first) * len(second), first.shape[1])
        return (plane @ third.T).reshape(-1)[self._lattice.box_index]

    def by_atom(self) -> ComplexArray:
        """exp(-iG.R_k), (N, P)."""
        lattice = self._lattice
        shifted = lattice.indices + np.array([lattice.extent[0], lattice.extent[1], 0])
        first, second, third = (axis[h] for axis, h in zip(self._axis, shifted.T, strict=True))
        return np.ascontiguousarray((first * second * third).T)

    def tangent(self, displacements: Array) -> ComplexArray:
        """dS(G) = sum_k -iG.d_k exp(-iG.R_k) for displacements d (N, 3)."""
        lattice = self._lattice
        first, second, third = self._axis
        along = displacements @ lattice.reciprocal.T  # G.d_k = sum_i h_i (b_i.d_k)
        total = np.zeros(len(lattice), dtype=complex)
        plane = (first[:, None, :] * second[None, :, :]).reshape(len(first) * len(second), first.shape[1])
        for axis in range(3):
            moved = ((plane * along[:, axis]) @ third.T).reshape(-1)[lattice.box_index]
            total += -1j * lattice.indices[:, axis] * moved
        return total

    def gradient(self, adjoint: ComplexArray) -> Array:
        """dE/dR (N, 3) from the adjoint A of E, dE = Re sum_G conj(A(G)) dS(G)."""
        lattice = self._lattice
        first, second, third = self._axis
        h1, h2, h3 = self._indices
        box = np.zeros(int(np.prod(lattice.box_shape)), dtype=complex)
        box[lattice.box_index[: len(adjoint)]] = adjoint.conj()
        rows = box.reshape(-1, len(h3))
        inner = (rows @ third).reshape(len(h1), len(h2), third.shape[1]) * second
        inner_third = (rows @ (h3[:, None] * third)).reshape(len(h1), len(h2), third.shape[1]) * second
        summed = inner.sum(axis=1)
        sums = np.stack(
            [
                (h1[:, None] * first * summed).sum(axis=0),
                (first * np.einsum("j,ijk->ik", h2, inner)).sum(axis=0),
                (first * inner_third.sum(axis=1)).sum(axis=0),
            ]
        )
        return sums.imag.T @ lattice.reciprocal
