"""The specification of a network: bounds, counts, a round trip; its weights and what its fields are made of."""

from __future__ import annotations

import copy
import json
import pickle
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest

from ase_wavescat.potentials.network.couplings import gaunt, triple_terms
from ase_wavescat.potentials.network.radial import Gaussians, Radial, RadialWavelets
from ase_wavescat.potentials.network.radial_table import RadialTable
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.potentials.network.weights import NetworkWeights
from ase_wavescat.representation.wavelets import direct_coefficients
from ase_wavescat.system.errors import DataError, SpecError

LI_SI = NetworkSpecification((3, 14))
SPECIFICATIONS = [
    LI_SI,
    NetworkSpecification(("Si",), channels=(5,), triples=(), l_max=0, hidden=(3,)),
    NetworkSpecification((8, 3, 14), 4.5, RadialWavelets(0.7, (0.0, 1.0), 2), 2, (4, 3), ((2, 2, 2),), (7, 5)),
]


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_plain_data_and_back(specification: NetworkSpecification) -> None:
    plain = json.loads(json.dumps(specification.to_dict()))
    assert NetworkSpecification.from_dict(plain) == specification


def test_numbers_of_the_usual_network() -> None:
    assert LI_SI.invariants == (372, 528)
    assert LI_SI.shapes["second_weight_0"] == (2, 528 + 64, 64)
    assert LI_SI.parameters == sum(
        NetworkWeights.random(LI_SI, 0)[name].size for name in LI_SI.shapes if name[-4:] not in ("mean", "tion")
    )


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_invariants_are_as_many_as_their_list(specification: NetworkSpecification) -> None:
    channels = range(specification.channels[0])
    degrees = range(specification.l_max + 1)
    first = [("mean", q) for q in channels]
    first += [("square", l, *pair) for l in degrees for pair in combinations_with_replacement(channels, 2)]
    first += [("triple", t, q) for t in specification.triples for q in channels]
    lists: list[list[Any]] = [first]
    for count in specification.channels[1:]:
        second = [(l, *pair) for l in degrees for pair in combinations_with_replacement(range(count), 2)]
        lists.append(second + [(l, q, other) for l in degrees for q in range(count) for other in channels])
    assert specification.invariants == tuple(map(len, lists))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": ()}, "at least one species"),
        ({"species": (3, 3)}, "named twice"),
        ({"species": ("Xx",)}, "unknown element 'Xx'"),
        ({"cutoff": 0.5}, "2.0 to 20.0 A, got 0.5"),
        ({"cutoff": float("nan")}, "length in A, got nan"),
        ({"cutoff": True}, "length in A, got True"),
        ({"radial": 12}, "Gaussians or RadialWavelets, got 12"),
        ({"l_max": 7}, "from 0 to 6, got 7"),
        ({"l_max": 2}, "each l of a triple is a whole number from 1 to 2, got 3"),
        ({"channels": ()}, "channels are 1 to 2 whole numbers"),
        ({"channels": (4, 4, 4)}, "channels are 1 to 2 whole numbers"),
        ({"channels": (129,)}, "from 1 to 128, got 129"),
        ({"triples": ((1, 1, 1),)}, "has no invariant"),
        ({"triples": ((1, 1, 3),)}, "has no invariant"),
        ({"triples": ((2, 1, 1),)}, "ascend"),
        ({"triples": ((1, 1, 2), (1, 1, 2))}, "named twice"),
        ({"triples": ((1, 1),)}, "a triple is"),
        ({"hidden": (0,)}, "each of hidden is a whole number from 1 to 1024, got 0"),
        ({"hidden": (64.0,)}, "got 64.0"),
        ({"species": tuple(range(1, 90)), "hidden": (1024, 1024)}, "parameters, the limit is"),
    ],
)
def test_what_cannot_be_used_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        NetworkSpecification(**{"species": (3, 14), **change})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "lacks its species"),
        ({"species": ["Li"], "chanels": [3]}, "did you mean 'channels'"),
        ({"species": "Li"}, "species are a list"),
        ({"species": ["Li"], "radial": {"kind": "splines"}}, "unknown kind of radial functions 'splines'"),
        ({"species": ["Li"], "radial": {"kind": "gaussians", "cuont": 3}}, "did you mean 'count'"),
        ({"species": ["Li"], "radial": {"kind": "gaussians", "count": 1}}, "2 to 64, got 1"),
        ({"species": ["Li"], "radial": {"kind": "wavelets", "beta": 0.0}}, "0.1 to 10.0 A wide"),
        ({"species": ["Li"], "radial": {"kind": "wavelets", "scales": [1, 0]}}, "ascend"),
        ({"species": ["Li"], "radial": {"kind": "wavelets", "orders": 40}}, "64 radial functions, got 160"),
    ],
)
def test_plain_data_that_cannot_be_read(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        NetworkSpecification.from_dict(data)


def test_weights_follow_their_seed_and_have_one_digest() -> None:
    weights = NetworkWeights.random(LI_SI, 3)
    assert weights.digest == NetworkWeights.random(LI_SI, 3).digest != NetworkWeights.random(LI_SI, 4).digest
    assert pickle.loads(pickle.dumps(weights)).digest == weights.digest
    assert copy.deepcopy(weights) is weights
    with pytest.raises(ValueError, match="read-only"):
        weights["first_mixing"][:] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_mixin": np.zeros(1)}, "did you mean 'first_mixing'"),
        ({"first_mixing": np.zeros((2, 2))}, r"first_mixing must have the shape \(2, 2, 4, 12, 12\), got \(2, 2\)"),
        ({"first_deviation": np.zeros((2, 372))}, "first_deviation must be positive"),
        ({"scalar_bias": np.full((2, 8), np.nan)}, "scalar_bias holds 16 values that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        NetworkWeights(LI_SI, {**NetworkWeights.random(LI_SI, 0).arrays, **change})
    with pytest.raises(DataError, match="the weights lack first_mixing"):
        NetworkWeights(LI_SI, {})


@pytest.mark.parametrize("radial", [Gaussians(12), RadialWavelets()])
def test_radial_functions_vanish_smoothly_at_the_cutoff(radial: Radial) -> None:
    near = 6.0 - np.array([1e-2, 5e-3])
    assert not radial.values(np.array([6.0, 7.0]), 6.0).any()
    ratio = np.abs(radial.values(near, 6.0)).max(axis=1)
    assert ratio[0] / ratio[1] == pytest.approx(8.0, rel=0.05)  # as the third power


def test_wavelets_have_the_span_of_their_radial_parts() -> None:
    """psi_nl(r) f(r) / r^l, n - l = 1, 2, 3, is a sum of the functions of its scale, at every l."""
    radial = RadialWavelets(0.8, (0.5,), 3)
    distances = np.linspace(0.3, 5.9, 40)
    functions = radial.values(distances, 6.0)
    half_square = (distances / (0.8 * 2**0.5)) ** 2 / 2
    cut = (1 - (distances / 6.0) ** 2) ** 3
    for l in (0, 1, 3):
        for n in (l + 1, l + 2, l + 3):
            wavelet = np.polyval(direct_coefficients(n, l)[::-1], half_square) * np.exp(-half_square) * cut
            weights = np.linalg.lstsq(functions, wavelet, rcond=None)[0]
            assert np.abs(functions @ weights - wavelet).max() < 1e-12 * np.abs(wavelet).max()


@pytest.mark.parametrize("radial", [Gaussians(12), Gaussians(30), RadialWavelets(0.4, (0.0, 1.0, 2.0), 5)])
def test_the_table_is_exact_to_rounding(radial: Radial) -> None:
    specification = NetworkSpecification((3,), radial=radial)
    table = RadialTable.build(specification)
    distances = np.random.default_rng(0).uniform(0.0, 6.0, 1000)
    piece = (distances / table.width).astype(int)
    t = 2 * (distances / table.width - piece) - 1
    powers = t[:, None] ** np.arange(table.coefficients.shape[1])
    values = np.einsum("nd,ndp->np", powers, table.coefficients[piece])
    assert np.abs(values - radial.values(distances, 6.0)).max() < 2e-14


def test_gaunt_coefficients_of_known_values() -> None:
    assert gaunt(0, 0, 0)[0, 0, 0] == pytest.approx(1.0)
    assert gaunt(0, 2, 2)[0] == pytest.approx(np.eye(5) / 5, abs=1e-14)
    assert gaunt(1, 1, 2)[1, 1, 2] == pytest.approx(2 / 15)  # <z z (3 z^2 - 1) / 2>
    assert np.abs(gaunt(1, 1, 1)).max() < 1e-14


def test_terms_are_all_of_the_sum() -> None:
    triples = LI_SI.triples
    terms = triple_terms(triples)
    fields = np.random.default_rng(1).normal(size=16)
    products = terms.coefficients * fields[terms.components].prod(axis=1)
    for t, (a, b, c) in enumerate(triples):
        parts = [fields[l * l : (l + 1) ** 2] for l in (a, b, c)]
        full = np.einsum("ijk,i,j,k->", gaunt(a, b, c), *parts)
        assert products[terms.starts[t] : terms.starts[t + 1]].sum() == pytest.approx(full, rel=1e-12)
