"""The transform over several families at once."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

from ase_wavescat.representation import Bands, Correlations, Maps, Moduli, ScatteringSpec
from ase_wavescat.representation.presets import papers_channels
from ase_wavescat.representation.strains import voigt_components
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError

WAVELETS = ((3, 1), (2, 0))
CELL = np.array([[4.0, 0, 0], [1.2, 4.4, 0], [-0.8, 0.7, 3.9]])
POSITIONS = np.random.default_rng(0).random((5, 3)) @ CELL
NUMBERS = np.array([3, 14, 3, 3, 14])


@pytest.fixture(scope="module")
def mixed():
    """Moduli and correlations in one spec, and a support that takes from both."""
    families = (
        Moduli(powers=(Fraction(2), Fraction(4)), second_input="squared"),
        Correlations(pair=Bands(3, 0.8), atom_maps=Maps(WAVELETS, (0.0, 1.0)), five_body=Maps(WAVELETS, (0.0,))),
    )
    spec = ScatteringSpec((3, 14), WAVELETS, (0.0, 1.0), 0.6, families, channels=papers_channels((3, 14)))
    chosen = np.sort(np.random.default_rng(1).permutation(len(spec.keys))[:90])
    return Transform(spec, [spec.keys[i] for i in chosen])


def test_families_share_one_gradient_and_one_tangent(mixed):
    assert not mixed.has_jacobian
    evaluation = mixed.evaluate(Structure(CELL, POSITIONS, NUMBERS))
    weights = np.random.default_rng(2).normal(size=len(mixed.keys)) / (np.abs(evaluation.features) + 1e-3)
    gradient, strain = evaluation.gradient(weights)
    rng = np.random.default_rng(3)
    moves, strains = rng.normal(size=(3, *POSITIONS.shape)), rng.normal(size=(3, 3, 3))
    features, derivatives = mixed.tangent(Structure(CELL, POSITIONS, NUMBERS), moves, strains)
    np.testing.assert_array_equal(features, evaluation.features)
    expected = (gradient * moves).sum(axis=(1, 2)) + (strain * strains).sum(axis=(1, 2))
    np.testing.assert_allclose(derivatives @ weights, expected, rtol=1e-9)


def test_a_mixed_support_has_the_features_of_its_families(mixed):
    features = mixed.evaluate(Structure(CELL, POSITIONS, NUMBERS)).features
    for kind in ("modulus", "pair", "atom"):
        own = [i for i, key in enumerate(mixed.keys) if key.startswith(kind)]
        assert own
        alone = Transform(mixed.spec, [mixed.keys[i] for i in own])
        assert alone.has_jacobian == (kind != "modulus")
        np.testing.assert_allclose(
            alone.evaluate(Structure(CELL, POSITIONS, NUMBERS)).features, features[own], rtol=1e-9
        )


def test_the_jacobian_of_features_without_a_pass_is_that_of_tangents(mixed):
    evaluation = mixed.evaluate(Structure(CELL, POSITIONS, NUMBERS))
    by_positions, by_strain = evaluation.jacobian()
    rng = np.random.default_rng(4)
    moves, strains = rng.normal(size=(2, *POSITIONS.shape)), rng.normal(size=(2, 3, 3))
    expected = np.einsum("fna,dna->df", by_positions, moves) + voigt_components(strains) @ by_strain.T
    scale = np.abs(expected).max(axis=0) + 1e-12
    assert (np.abs(evaluation.tangent(moves, strains) - expected) / scale).max() < 1e-9


def test_unknown_keys_are_refused(mixed):
    with pytest.raises(SpecError, match="no feature 'pair:Li-Li:77'"):
        Transform(mixed.spec, ["pair:Li-Li:77"])


def test_pickle_and_threads_give_the_same_bits(mixed):
    copy = pickle.loads(pickle.dumps(mixed))
    assert copy.keys == mixed.keys
    scales = [1.0, 1.01, 1.02, 1.03] * 4

    def features(scale):
        return copy.evaluate(Structure(CELL * scale, POSITIONS * scale, NUMBERS)).features

    expected = {s: mixed.evaluate(Structure(CELL * s, POSITIONS * s, NUMBERS)).features for s in set(scales)}
    with ThreadPoolExecutor(4) as pool:
        for scale, found in zip(scales, pool.map(features, scales), strict=True):
            np.testing.assert_array_equal(found, expected[scale])
