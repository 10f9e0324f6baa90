"""Scattering at the atoms: against sums over pairs of neighbours, counts, symmetric sites, locality, training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from scipy.special import eval_genlaguerre, eval_legendre

from ase_wavescat import WaveScatCalculator, scattering_features
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.representation import Points, ScatteringSpec
from ase_wavescat.representation.direct.radial_table import DIRECT_TAIL
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.transform import Transform
from ase_wavescat.representation.wavelets import Wavelet, direct_coefficients, direct_extent
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError
from ase_wavescat.training.cost import support_cost
from ase_wavescat.training.fitting import train
from family_checks import OF_SPECS, OF_STRUCTURES, STRUCTURES, structure
from linear_models import linear

CHANNELS = (("light", ((3, 3.0), (14, 0.0))), ("mixed", ((3, 1.0), (14, -4.0))))


def spec_of(family: Points, wavelets: tuple[tuple[int, int], ...] = ((2, 0), (2, 1), (3, 2))) -> ScatteringSpec:
    return ScatteringSpec((3, 14), wavelets, (0.0, 1.0), 0.6, (family,), CHANNELS)


# ------------------------------------------------------------ against another route


def radial(spec: ScatteringSpec, wavelet: Wavelet, distance: np.ndarray) -> np.ndarray:
    """psi along its axis, where C_lm = 1."""
    width = spec.beta * 2.0**wavelet.scale
    s, k = distance / width, wavelet.n - 1 - wavelet.l
    scale = direct_coefficients(wavelet.n, wavelet.l)[0] / eval_genlaguerre(k, wavelet.l + 0.5, 0.0)
    laguerre = eval_genlaguerre(k, wavelet.l + 0.5, s * s / 2)
    return scale * width**-3 * laguerre * s**wavelet.l * np.exp(-s * s / 2)


def moduli_by_pairs(spec: ScatteringSpec, one: Structure, wavelet: Wavelet, held: np.ndarray) -> np.ndarray:
    """sigma at each atom by the addition theorem: sum over pairs of sources of radial parts and Legendre polynomials.

    It needs no harmonics. held (N,): what the atoms and their images hold.
    """
    images = np.array(list(product(range(-6, 7), repeat=3))) @ one.cell
    squares = []
    for centre in one.positions:
        vectors = (centre - one.positions[:, None] - images[None]).reshape(-1, 3)
        amounts = np.repeat(held, len(images))
        distances = np.linalg.norm(vectors, axis=1)
        near = distances < 9 * spec.beta * 2.0**wavelet.scale
        units = vectors[near] / np.maximum(distances[near], 1e-300)[:, None]
        seen = amounts[near] * radial(spec, wavelet, distances[near])
        angles = eval_legendre(wavelet.l, np.clip(units @ units.T, -1, 1)) if wavelet.l else 1.0
        squares.append(seen @ (angles * np.outer(np.ones_like(seen), seen)).sum(axis=1))
    return np.sqrt(squares)


@pytest.mark.parametrize("softening", [0.0, 0.3])
def test_features_are_sums_over_pairs_of_neighbours(softening: float) -> None:
    """To what the taper leaves out, which is little at this tolerance. Softened moduli are those of the definition."""
    family = Points(powers=(Fraction(1), Fraction(4, 3), Fraction(3)), softening=softening)
    spec, one = dataclasses.replace(spec_of(family), tolerance=1e-10), structure("tiny")
    found = dict(zip(spec.keys, Transform(spec).evaluate(one).features, strict=True))
    tolerance = 1e-6 if softening else 1e-9  # the unit is the largest of a table
    charges = dict(CHANNELS[1][1])
    held = np.array([charges[z] for z in one.numbers])

    def unit(path: tuple[Wavelet, ...]) -> float:
        r = np.linspace(0, 12, 100001)
        return softening * 4.0 * float(np.prod([np.abs(radial(spec, w, r)).max() for w in path]))

    def soft(lengths: np.ndarray, path: tuple[Wavelet, ...], q: float) -> np.ndarray:
        return (lengths**2 + unit(path) ** 2) ** (q / 2) - unit(path) ** q

    for q in family.powers:
        assert found[f"point:mixed:{q}:"] == pytest.approx((np.abs(held) ** float(q)).sum(), rel=1e-14)
    for n, l in spec.wavelets:
        first, second = Wavelet(0.0, n, l), Wavelet(1.0, 2, 1)
        sigma = moduli_by_pairs(spec, one, first, held)
        below = soft(sigma, (first,), 1.0)
        sigma_2 = moduli_by_pairs(spec, one, second, below)
        for q in family.powers:
            expected = soft(sigma, (first,), float(q)).sum(), soft(sigma_2, (first, second), float(q)).sum()
            assert found[f"point:mixed:{q}:{first.key}"] == pytest.approx(expected[0], rel=tolerance)
            assert found[f"point:mixed:{q}:{first.key}>{second.key}"] == pytest.approx(expected[1], rel=tolerance)


# ------------------------------------------------------------ all that families keep, with other settings

SETTINGS = {
    "softened": Points(softening=0.2, powers=(Fraction(1), Fraction(4, 3), Fraction(4)), scale_step=-1.0),
    "first": Points(orders=(1,), powers=(Fraction(1),)),
    "second": Points(orders=(2,), powers=(Fraction(2),), scale_step=-1.0),
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("check", OF_SPECS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_other_settings(settings: str, check: Callable[[ScatteringSpec], None]) -> None:
    check(spec_of(SETTINGS[settings], ((2, 0), (2, 1))))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("check", OF_STRUCTURES, ids=lambda check: check.__name__.removeprefix("check_"))
def test_derivatives_with_other_settings(
    settings: str, check: Callable[[ScatteringSpec, str], None], name: str
) -> None:
    check(spec_of(SETTINGS[settings], ((2, 0), (2, 1))), name)


def test_the_zeroth_order_alone_counts_atoms() -> None:
    spec = spec_of(Points(orders=(0,)))
    evaluation = Transform(spec).evaluate(structure("triclinic"))
    found = dict(zip(spec.keys, evaluation.features, strict=True))
    expected = {"light:1": 9.0, "light:2": 27.0, "mixed:1": 11.0, "mixed:2": 35.0}  # three Li, two Si
    assert found == pytest.approx({f"point:{key}:": value for key, value in expected.items()})
    gradient, strain = evaluation.gradient(np.ones(4))
    assert not gradient.any() and not strain.any()


# ------------------------------------------------------------ counts


@pytest.mark.parametrize("step", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("orders", [(0, 1, 2), (1,), (0, 2)])
def test_the_number_of_features_is_the_formula(step: float, orders: tuple[int, ...]) -> None:
    """C Q (1 + W S + W^2 P), by orders."""
    scales, wavelets = (0.0, 0.5, 1.0, 2.0), ((1, 0), (2, 1), (3, 0))
    family = Points(scale_step=step, orders=orders, powers=(Fraction(1), Fraction(2), Fraction(3)))
    spec = dataclasses.replace(spec_of(family), scales=scales, wavelets=wavelets)
    pairs = sum(second - first >= step for first in scales for second in scales)
    terms = 1, len(wavelets) * len(scales), len(wavelets) ** 2 * pairs
    assert len(spec.keys) == len(CHANNELS) * 3 * sum(terms[order] for order in orders)


def test_the_preset_has_few_hundred_features() -> None:
    spec = preset("point-scattering", ("Li", "Si"))
    assert len(spec.keys) == 3 * 2 * (1 + 4 * 3 + 16 * 3) == 366
    assert spec.channel("valence") == {3: 1.0, 14: 4.0} and spec.channel("Li") == {3: 1.0, 14: 0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"powers": ("1/2",)}, "powers q must be at least 1, got 1/2: derivatives"),
        ({"powers": (1, 1)}, "powers q must be given once each"),
        ({"softening": -0.1}, "softening must be a number, zero or positive, got -0.1"),
        ({"scale_step": float("nan")}, "scale_step must be a number of octaves, got nan"),
        ({"orders": (3,)}, "orders are among 0, 1, 2, got"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Points(**settings)


def test_channels_are_needed_with_a_weight_for_each_species() -> None:
    spec = spec_of(Points())
    with pytest.raises(SpecError, match="the points family needs at least one channel"):
        dataclasses.replace(spec, channels=())
    with pytest.raises(SpecError, match="channel 'light' has no weight for"):
        dataclasses.replace(spec, channels={"light": {3: 1.0}})


# ------------------------------------------------------------ symmetric sites


def test_derivatives_are_finite_where_moduli_vanish() -> None:
    """Lithium in bcc is a centre of inversion: moduli of odd l are zero but for rounding, and so are all forces."""
    crystal = bulk("Li", "bcc", 3.44, cubic=True)
    for softening in (0.0, 0.01):
        spec = spec_of(Points(softening=softening, powers=(Fraction(1), Fraction(4, 3))))
        evaluation = Transform(spec).evaluate(Structure.from_atoms(crystal))
        odd = [spec.index(key) for key in spec.keys if key.endswith("2,1") and ">" not in key]
        assert np.abs(evaluation.features[odd]).max() < 1e-13
        by_positions, by_strain = evaluation.jacobian()
        assert np.abs(by_positions).max() < 1e-10 * np.abs(by_strain).max()


def test_a_softened_modulus_is_smooth_where_it_vanishes() -> None:
    """Energies along a displacement from a symmetric site are even: a kink without softening, a parabola with it."""
    crystal = bulk("Li", "bcc", 3.44, cubic=True)

    def rise(softening: float, step: float) -> float:
        spec = spec_of(Points(softening=softening, powers=(Fraction(1),), orders=(1,)))
        key = "point:light:1:1,2,1"
        moved = crystal.copy()
        moved.positions[0, 0] += step
        transform = Transform(spec, [key])
        found = [transform.evaluate(Structure.from_atoms(atoms)).features[0] for atoms in (moved, crystal)]
        return float(found[0] - found[1])

    assert rise(0.0, 1e-3) / rise(0.0, 5e-4) == pytest.approx(2, rel=1e-2)
    assert rise(0.1, 1e-3) / rise(0.1, 5e-4) == pytest.approx(4, rel=1e-2)


# ------------------------------------------------------------ locality


def test_structures_out_of_range_of_each_other_add_up() -> None:
    spec = spec_of(Points())
    transform, open_ = Transform(spec), (False, False, False)
    one = structure("molecule")
    gap = np.array([np.ptp(one.positions[:, 0]) + transform.neighbour_reach + 1e-6, 0, 0])
    both = np.concatenate([one.positions, one.positions + gap])
    pair = Structure(np.zeros((3, 3)), both, np.tile(one.numbers, 2), open_)
    values = transform.evaluate(one).features
    np.testing.assert_allclose(transform.evaluate(pair).features, 2 * values, rtol=1e-12)


def test_nothing_jumps_where_a_neighbour_leaves() -> None:
    """The taper is twice continuously differentiable: values and slopes vanish where the range of a scale ends."""
    spec = spec_of(Points(orders=(1, 2)))
    transform = Transform(spec)
    ends = [
        0.6 * 2.0**j * max(direct_extent(n, l, DIRECT_TAIL * spec.tolerance) for n, l in spec.wavelets) for j in (0, 1)
    ]
    assert transform.neighbour_reach == pytest.approx(max(ends))
    for end in ends:
        results = []
        for distance in (end - 1e-4, end + 1e-4):
            positions = np.array([[0.0, 0, 0], [distance, 0, 0], [0.4, 2.4, 0]])
            one = Structure(np.zeros((3, 3)), positions, np.array([3, 14, 14]), (False,) * 3)
            evaluation = transform.evaluate(one)
            results.append((evaluation.features, evaluation.tangent(np.eye(9).reshape(9, 3, 3), np.zeros((9, 3, 3)))))
        (values, slopes), (others, other_slopes) = results
        # within 2e-4 A everything moves by its slope times that
        np.testing.assert_allclose(others, values + 2e-4 * slopes[3], atol=1e-7 * np.abs(values).max())
        np.testing.assert_allclose(other_slopes, slopes, atol=2e-3 * np.abs(slopes).max())


def test_open_structures_need_no_vacuum() -> None:
    """There is no grid: a molecule has the same numbers alone and in any box."""
    spec = spec_of(Points())
    transform, one = Transform(spec), structure("molecule")
    assert transform.cutoff == 0
    boxed = Structure(60 * np.eye(3), one.positions, one.numbers)
    np.testing.assert_allclose(transform.evaluate(boxed).features, transform.evaluate(one).features, rtol=1e-12)


# ------------------------------------------------------------ what the rest of the package asks


def test_maps_of_the_second_order_pay_for_their_parents() -> None:
    spec, one = preset("point-scattering", ("Li", "Si")), structure("triclinic")
    keys = ["point:Li:1:", "point:Li:1:0,3,1", "point:Li:2:0,3,1", "point:Li:1:0,3,1>1,3,1", "point:Si:1:0,3,1"]
    cost = support_cost(spec, keys, one)
    assert cost.total([0]) == cost.base
    assert cost.total([1]) == cost.total([1, 2]) < cost.total([1, 4]) < cost.total([1]) + cost.total([4]) - cost.base
    assert cost.total([1]) < cost.total([3]) == cost.total([1, 3])


def test_texts_and_rules_of_the_prior() -> None:
    features = {feature.key: feature for feature in spec_of(Points()).features}
    second = features["point:light:2:0,2,1>1,2,0"]
    assert second.label == ("sum over the atoms of ||light * psi(j=0, n=2, l=1)| * psi(j=1, n=2, l=0)|^2")
    assert second.heading == "point scattering of order 2"
    assert second.steep and not features["point:light:2:0,2,1"].steep
    assert second.peers == features["point:light:2:1,2,0>1,2,0"].peers != features["point:light:2:0,2,1"].peers


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small cells with the labels of a Morse potential, in groups."""
    rng, frames = np.random.default_rng(4), []
    for group in range(8):
        for _ in range(2):
            atoms = bulk("Li", "bcc", 3.3 + 0.2 * rng.random(), cubic=True).repeat((2, 1, 1))
            atoms.numbers[rng.integers(4)] = 14
            atoms.positions += rng.normal(scale=0.15, size=(4, 3))
            atoms.calc = MorsePotential(epsilon=0.3, r0=2.9, rho0=4.0, rcut1=4.0, rcut2=6.0)
            results = {
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces(),
                "stress": atoms.get_stress(),
            }
            atoms.info["group"] = f"group {group}"
            atoms.calc = SinglePointCalculator(atoms, **results)
            frames.append(atoms)
    path = tmp_path_factory.mktemp("points") / "frames.extxyz"
    write(path, frames)
    return path


def test_a_model_is_trained_written_and_used(labelled: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.h5"
    settings = {"members": 3, "folds": 3, "workers": 1, "progress": False}
    train(labelled, output, "point-scattering", directions=4, strengths=(1e-6, 1e-4), **settings)
    model, frames = load_model(output), read(labelled, ":")
    assert {key.split(":")[0] for key in linear(model).keys} == {"point"}
    atoms, step = frames[0].copy(), 1e-4
    atoms.calc = WaveScatCalculator(output)
    force = atoms.get_forces()[0, 2]
    atoms.positions[0, 2] += step
    above = atoms.get_potential_energy()
    atoms.positions[0, 2] -= 2 * step
    assert force == pytest.approx(-(above - atoms.get_potential_energy()) / (2 * step), rel=1e-5)
    size = np.mean([np.abs(frame.get_forces()) for frame in frames])
    assert model.provenance["metrics"]["force_mae_ev_per_a"] < 0.5 * size


def test_features_of_ase_atoms_by_the_name_of_the_preset() -> None:
    found = scattering_features(bulk("Si", cubic=True), "point-scattering", ["point:Si:2:"])
    assert found["point:Si:2:"] == 8
