"""The formula of learned point scattering, slowly: sums over lattice vectors, scipy's harmonics, einsum."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy.special import lpmv

from ase_wavescat.potentials.network.radial import Gaussians, RadialWavelets
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.structure.structure import Structure


def reference_energies(weights: NetworkWeights, structure: Structure) -> np.ndarray:
    """(N,) eV, site energies."""
    specification = weights.specification
    kinds = np.searchsorted(specification.species, structure.numbers)
    pairs = [
        (i, k, vector)
        for i in range(len(kinds))
        for k in range(len(kinds))
        for vector in _vectors(structure, i, k, specification.cutoff)
    ]
    first = _fields(weights, "first", kinds, pairs, np.ones((len(kinds), specification.channels[0])))
    inputs = [_first_invariants(specification.triples, field) for field in first]
    energies = np.zeros(len(kinds))
    hidden, scalars = [], []
    for i, z in enumerate(kinds):
        x = (inputs[i] - weights["first_mean"][z]) / weights["first_deviation"][z]
        layers = _layers(weights, "first", z, x)
        energies[i] = layers[-1] @ weights["first_energy_weight"][z] + weights["first_energy_bias"][z]
        hidden.append(layers[0])
        if specification.orders == 2:
            scalars.append(layers[-1] @ weights["scalar_weight"][z] + weights["scalar_bias"][z])
    if specification.orders == 2:
        second = _fields(weights, "second", kinds, pairs, np.array(scalars))
        for i, z in enumerate(kinds):
            invariants = _second_invariants(first[i], second[i])
            x = (invariants - weights["second_mean"][z]) / weights["second_deviation"][z]
            layers = _layers(weights, "second", z, np.concatenate([x, hidden[i]]))
            energies[i] += layers[-1] @ weights["second_energy_weight"][z]
    return energies


def real_harmonics(l: int, direction: np.ndarray) -> np.ndarray:
    """C_lm (2l + 1,), m = -l..l, sum of squares 1, from scipy's Legendre functions."""
    x, y, z = direction
    azimuth, values = np.arctan2(y, x), []
    for m in range(-l, l + 1):
        order = abs(m)
        size = np.sqrt((2 if m else 1) * math.factorial(l - order) / math.factorial(l + order))
        wave = np.cos(m * azimuth) if m >= 0 else np.sin(order * azimuth)
        values.append((-1) ** order * size * lpmv(order, l, np.clip(z, -1, 1)) * wave)
    return np.array(values)


def _vectors(structure: Structure, i: int, k: int, cutoff: float) -> list[np.ndarray]:
    """From atom i to the images of atom k within the cutoff."""
    cell = structure.cell[list(structure.pbc)]
    difference = structure.positions[k] - structure.positions[i]
    reach = [0, 0, 0][: len(cell)]
    if len(cell):
        inverse = np.linalg.pinv(cell)  # (3, p)
        reach = np.ceil((cutoff + np.linalg.norm(difference)) * np.linalg.norm(inverse, axis=0)).astype(int).tolist()
    found = []
    for shift in product(*(range(-n, n + 1) for n in reach)):
        vector = difference + np.array(shift, dtype=float) @ cell if len(cell) else difference
        if 1e-9 < np.linalg.norm(vector) < cutoff:
            found.append(vector)
    return found


def _radial(weights: NetworkWeights, r: float, l: int) -> np.ndarray:
    """(P,) g_p(r) with what of the distance belongs to the angular part."""
    radial, cutoff = weights.specification.radial, weights.specification.cutoff
    smooth = (1 - (r / cutoff) ** 2) ** 3
    if isinstance(radial, Gaussians):
        step = (cutoff - 0.5) / (radial.count - 1)
        return np.array([np.exp(-((r - 0.5 - p * step) ** 2) / (2 * step**2)) for p in range(radial.count)]) * smooth
    assert isinstance(radial, RadialWavelets) and radial.orders <= 3
    values = []
    for j in radial.scales:
        t = (r / (radial.beta * 2**j)) ** 2 / 2
        laguerre = [1.0, 1.5 - t, (t**2 - 5 * t + 3.75) / 2]  # L_k^(1/2)
        values += [laguerre[k] * np.exp(-t) for k in range(radial.orders)]
    return np.array(values) * smooth * r**l


def _fields(weights: NetworkWeights, order: str, kinds: np.ndarray, pairs: list, scalars: np.ndarray) -> list:
    """Of each atom, by l, (Q, 2l + 1)."""
    mixing, degrees = weights[f"{order}_mixing"], range(weights.specification.l_max + 1)
    fields = [[np.zeros((mixing.shape[-1], 2 * l + 1)) for l in degrees] for _ in kinds]
    for i, k, vector in pairs:
        r = float(np.linalg.norm(vector))
        for l in degrees:
            seen = scalars[k] * (_radial(weights, r, l) @ mixing[kinds[i], kinds[k], l])
            fields[i][l] += np.outer(seen, real_harmonics(l, vector / r))
    return fields


def _first_invariants(triples: tuple, field: list) -> np.ndarray:
    channels = range(len(field[0]))
    values = [field[0][q, 0] for q in channels]
    values += [block[q] @ block[p] for block in field for q in channels for p in channels if p >= q]
    for a, b, c in triples:
        coupling = _gaunt(a, b, c)
        values += [np.einsum("ijk,i,j,k->", coupling, field[a][q], field[b][q], field[c][q]) for q in channels]
    return np.array(values)


def _second_invariants(first: list, second: list) -> np.ndarray:
    values = []
    for ours, theirs in zip(second, first, strict=True):
        values += [ours[q] @ ours[p] for q in range(len(ours)) for p in range(q, len(ours))]
        values += [ours[q] @ theirs[p] for q in range(len(ours)) for p in range(len(theirs))]
    return np.array(values)


def _gaunt(a: int, b: int, c: int) -> np.ndarray:
    """Mean over the sphere, by a product of Gauss points and even angles."""
    total = np.zeros((2 * a + 1, 2 * b + 1, 2 * c + 1))
    for z, weight in zip(*np.polynomial.legendre.leggauss(8), strict=True):
        for phi in np.arange(16) * np.pi / 8:
            s = np.sqrt(1 - z * z)
            direction = np.array([s * np.cos(phi), s * np.sin(phi), z])
            harmonics = [real_harmonics(l, direction) for l in (a, b, c)]
            total += weight / 32 * np.einsum("i,j,k->ijk", *harmonics)
    return total


def _layers(weights: NetworkWeights, order: str, z: int, x: np.ndarray) -> list:
    outputs = []
    for layer in range(len(weights.specification.hidden)):
        x = x @ weights[f"{order}_weight_{layer}"][z] + weights[f"{order}_bias_{layer}"][z]
        x = x / (1 + np.exp(-x))
        outputs.append(x)
    return outputs
