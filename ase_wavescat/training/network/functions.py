"""Harmonics and radial functions of pairs, by torch: the formulas of the compiled kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from ase_wavescat.potentials.network.radial import Gaussians, Radial
from ase_wavescat.representation.wavelets import harmonic_factors


def solid_harmonics(vectors: Tensor, l_max: int) -> Tensor:
    """S_lm (n, (l_max + 1)^2) of vectors (n, 3), by the recursions of `ase_wavescat.representation.wavelets`."""
    x, y, z = vectors.unbind(1)
    square = (vectors**2).sum(dim=1)
    cosine, sine, legendre = [torch.ones_like(x)], [torch.zeros_like(x)], {(0, 0): torch.ones_like(x)}
    for m in range(1, l_max + 1):
        cosine.append(x * cosine[m - 1] - y * sine[m - 1])
        sine.append(x * sine[m - 1] + y * cosine[m - 1])
        legendre[m, m] = -(2 * m - 1) * legendre[m - 1, m - 1]
    for l in range(1, l_max + 1):
        legendre[l, l - 1] = (2 * l - 1) * z * legendre[l - 1, l - 1]
        for m in range(l - 1):
            higher, lower = (2 * l - 1) * z * legendre[l - 1, m], (l + m - 1) * square * legendre[l - 2, m]
            legendre[l, m] = (higher - lower) / (l - m)
    factors, columns = harmonic_factors(l_max), []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            wave = cosine[m] if m >= 0 else sine[-m]
            columns.append(float(factors[l, abs(m)]) * legendre[l, abs(m)] * wave)
    return torch.stack(columns, dim=1)


def angular_functions(vectors: Tensor, distances: Tensor, radial: Radial, l_max: int) -> Tensor:
    """S_lm of the vector in A, or C_lm of its direction, (n, (l_max + 1)^2), as goes with the radial functions."""
    return solid_harmonics(vectors if radial.solid else vectors / distances[:, None], l_max)


def radial_functions(distances: Tensor, radial: Radial, cutoff: float) -> Tensor:
    """g_p (n, P) at distances (n,), A."""
    smooth = torch.clamp(1 - (distances / cutoff) ** 2, min=0) ** 3
    if isinstance(radial, Gaussians):
        centres = torch.as_tensor(radial.centres(cutoff), dtype=distances.dtype, device=distances.device)
        values = torch.exp(-(((distances[:, None] - centres) / radial.finest(cutoff)) ** 2) / 2)
        return values * smooth[:, None]
    columns = []
    for j in radial.scales:
        half_square = (distances / (radial.beta * 2.0**j)) ** 2 / 2
        columns += _laguerre(half_square, radial.orders)
    return torch.stack(columns, dim=1) * smooth[:, None]


def _laguerre(t: Tensor, orders: int) -> list[Tensor]:
    """L_k^(1/2)(t) exp(-t), k = 0 .. orders - 1, by their recursion."""
    values = [torch.exp(-t), (1.5 - t) * torch.exp(-t)]
    for k in range(1, orders - 1):
        values.append(((2 * k + 1.5 - t) * values[k] - (k + 0.5) * values[k - 1]) / (k + 1))
    return values[:orders]
