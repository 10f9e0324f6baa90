"""What every family of features must keep, checked on a small specification: `Family.example()`, say."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from scipy.spatial.transform import Rotation

from ase_wavescat.representation import ScatteringSpec
from ase_wavescat.representation.reach import reach
from ase_wavescat.representation.registry import parse_key
from ase_wavescat.representation.strains import voigt_components
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError, printable
from ase_wavescat.training.cost import BASE, RATES, support_cost
from finite_difference import best_relative_error

DERIVATIVES = 1e-6
"""Of differences, relative to the derivative along all directions together."""
ROUNDING = 1e-9
"""Of what reorders sums and nothing else."""
STEPS = (1e-2, 3e-3, 1e-3, 3e-4)
OPEN, SLAB = (False, False, False), (True, True, False)


def structure(name: str) -> Structure:
    rng = np.random.default_rng(3)
    if name == "tiny":  # a cell that wavelets do not fit
        cell = np.array([[2.3, 0.0, 0.0], [0.2, 2.4, 0.0], [0.3, -0.2, 2.2]])
        return Structure(cell, np.array([[0.1, 0.0, 0.2], [0.45, 0.6, 0.5]]) @ cell, np.array([3, 14]))
    cell = np.array([[4.1, 0.3, -0.2], [1.1, 3.8, 0.4], [-0.7, 0.9, 4.4]])
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    positions = (sites + 0.06 * rng.uniform(-1, 1, sites.shape)) @ cell
    pbc = {"triclinic": (True, True, True), "molecule": OPEN, "slab": SLAB}[name]
    return Structure(cell, positions, np.array([3, 14, 3, 3, 14]), pbc)


STRUCTURES = ("triclinic", "tiny", "molecule", "slab")


def moved(one: Structure, displacement: np.ndarray, strain: np.ndarray) -> Structure:
    deform = np.eye(3) + strain
    return Structure(one.cell @ deform, (one.positions + displacement) @ deform, one.numbers, one.pbc)


def differences(
    function: Callable[[Structure], np.ndarray], one: Structure, derivative: Callable[..., np.ndarray]
) -> float:
    """The largest of the best errors of derivatives (K,) of a function (K,), along a displacement and along a strain.

    Relative to the largest of each number along any direction; numbers that hardly change count by a millionth of the
    largest of all.
    """
    rng = np.random.default_rng(5)
    move, strain = rng.normal(size=one.positions.shape), rng.normal(size=(3, 3)) / 3
    strain, still, rigid = strain + strain.T, np.zeros_like(move), np.zeros((3, 3))
    directions = [(move, rigid)] + ([(still, strain)] if one.periodic else [])  # a strain changes the vacuum
    along = np.array([derivative(*direction) for direction in directions])
    scale = np.abs(along).max(axis=0)
    scale = np.maximum(scale, 1e-6 * scale.max())
    assert scale.max() > 0
    return max(
        best_relative_error(
            lambda t, m=by[0], s=by[1]: function(moved(one, t * m, t * s)) / scale, row / scale, 1.0, STEPS
        )
        for by, row in zip(directions, along, strict=True)
    )


def deviation(values: np.ndarray, expected: np.ndarray) -> float:
    """Largest relative one; numbers far below the largest are compared to a thousandth of it."""
    return float(np.max(np.abs(values - expected) / np.maximum(np.abs(expected), 1e-3 * np.abs(expected).max())))


def features_of(transform: Transform, one: Structure, cell: np.ndarray | None = None) -> np.ndarray:
    return transform.evaluate(one, cell if one.periodic else None).features


def balanced(features: np.ndarray) -> np.ndarray:
    """Random weights that let every feature matter."""
    return np.random.default_rng(0).normal(size=len(features)) / (np.abs(features) + 1e-3 * np.abs(features).max())


# ------------------------------------------------------------ names and settings


def check_names(spec: ScatteringSpec) -> None:
    family = spec.families[0]
    assert spec.features and len(set(spec.keys)) == len(spec.keys)
    for feature in spec.features:
        assert type(feature) in family.feature_classes
        assert parse_key(feature.key) == feature == pickle.loads(pickle.dumps(feature))
        assert hash(parse_key(feature.key)) == hash(feature)
        assert feature.key.startswith(feature.kind + ":")
    assert {type(feature) for feature in spec.features} == set(family.feature_classes)
    assert len(spec.features) <= family.most_features(spec)


def check_texts(spec: ScatteringSpec) -> None:
    """What model cards and breakdowns of features print."""
    found: dict[str, set] = {}
    for feature in spec.features:
        for text in (feature.label, feature.heading, *feature.properties):
            assert text and text == printable(text)
        assert feature.peers == printable(feature.peers) and feature.steep in (True, False)
        for title, value in feature.properties.items():
            found.setdefault(title, set()).add(value)
    assert found and all(sorted(values) for values in found.values())


def check_settings(spec: ScatteringSpec) -> None:
    data = json.loads(json.dumps(spec.to_dict()))
    assert ScatteringSpec.from_dict(data) == spec == pickle.loads(pickle.dumps(spec))
    (settings,) = data["families"]
    assert settings["family"] == spec.families[0].name
    with pytest.raises(SpecError, match=f"unknown key 'wrong' in the {settings['family']} family"):
        ScatteringSpec.from_dict(data | {"families": [settings | {"wrong": 1}]})
    with pytest.raises(SpecError, match="each kind of family once"):
        dataclasses.replace(spec, families=spec.families * 2)


def check_unknown_keys(spec: ScatteringSpec) -> None:
    with pytest.raises(SpecError, match="no feature"):
        Transform(spec, [spec.keys[0] + "7"])
    for feature_class in spec.families[0].feature_classes:
        for rest in ("", "nonsense", "Xx-Xx:1"):
            with pytest.raises(ValueError, match="cannot read the feature key"):
                parse_key(f"{feature_class.kind}:{rest}")


def check_other_settings(spec: ScatteringSpec) -> None:
    """What suggestions and training make of the family is a family for the specification."""
    (family,) = spec.families
    scales = spec.scales[:1]
    assert dataclasses.replace(spec, scales=scales, families=(family.resized(1.5, scales),)).features
    fewer, text = family.thinned()
    thinned = dataclasses.replace(spec, families=(fewer,))
    assert bool(text) == (thinned != spec) and len(thinned.features) <= len(spec.features)
    measured = spec.measured_on([structure("triclinic")])
    assert measured.keys == spec.keys and not measured.unmeasured


# ------------------------------------------------------------ plans


def check_plans(spec: ScatteringSpec) -> None:
    """Each feature belongs to one plan; some of them alone have the same values."""
    keys = spec.keys[::-3]
    part, whole = Transform(spec, keys), Transform(spec)
    assert sorted(np.concatenate([columns for columns, _ in part.plans])) == list(range(len(keys)))
    one = structure("triclinic")
    expected = features_of(whole, one)[[spec.index(key) for key in keys]]
    assert deviation(features_of(part, one), expected) < spec.tolerance


def check_costs(spec: ScatteringSpec) -> None:
    one = structure("triclinic")
    for columns, plan in spec.plans(spec.keys):
        needs = plan.needs(one)
        assert len(needs) == len(columns)
        for need in needs:
            assert 0 <= need.cutoff <= plan.cutoff
            assert all(set(part.work) <= set(RATES) and min(part.work.values()) >= 0 for part in need.parts)
    cost = support_cost(spec, spec.keys, one)
    everything = range(len(spec.keys))
    assert BASE == cost.total([]) < cost.total(everything[::2]) <= cost.total(everything)


def check_pickles(spec: ScatteringSpec) -> None:
    transform, one = Transform(spec), structure("triclinic")
    copy = pickle.loads(pickle.dumps(transform))
    assert copy.keys == transform.keys
    for _ in range(2):  # of a new cell, of a known one
        np.testing.assert_array_equal(features_of(copy, one), features_of(transform, one))


# ------------------------------------------------------------ derivatives


def check_pushforward(spec: ScatteringSpec, name: str) -> None:
    transform, one = Transform(spec), structure(name)
    evaluation = transform.evaluate(one)

    def derivative(move: np.ndarray, strain: np.ndarray) -> np.ndarray:
        return evaluation.tangent(move[None], strain[None])[0]

    assert differences(lambda s: features_of(transform, s, one.cell), one, derivative) < DERIVATIVES


def check_pullback(spec: ScatteringSpec, name: str) -> None:
    transform, one = Transform(spec), structure(name)
    evaluation = transform.evaluate(one)
    weights = balanced(evaluation.features)
    gradient, strained = evaluation.gradient(weights)
    np.testing.assert_allclose(strained, strained.T, atol=1e-12 * np.abs(strained).max())
    assert np.abs(gradient.sum(axis=0)).max() < 10 * spec.tolerance * np.abs(gradient).max()

    def derivative(move: np.ndarray, strain: np.ndarray) -> np.ndarray:
        return np.array([(gradient * move).sum() + (strained * strain).sum()])

    def energy(s: Structure) -> np.ndarray:
        return np.array([weights @ features_of(transform, s, one.cell)])

    assert differences(energy, one, derivative) < DERIVATIVES


def check_jacobian(spec: ScatteringSpec, name: str) -> None:
    """That of all directions at once is that of single ones, with a pass of its own or without."""
    evaluation = Transform(spec).evaluate(structure(name))
    by_positions, by_strain = evaluation.jacobian()
    rng = np.random.default_rng(6)
    moves, strains = rng.normal(size=(2, *by_positions.shape[1:])), rng.normal(size=(2, 3, 3))
    expected = evaluation.tangent(moves, strains)
    found = np.einsum("fna,dna->df", by_positions, moves) + voigt_components(strains) @ by_strain.T
    scale = np.abs(by_positions).max(axis=(1, 2)) + np.abs(by_strain).max(axis=1)
    assert (np.abs(found - expected) / np.maximum(scale, 1e-9 * scale.max())).max() < ROUNDING


def check_atom_values(spec: ScatteringSpec, name: str) -> None:
    """Values per atom sum up to the features; weights per atom have a gradient of their own."""
    transform, one = Transform(spec), structure(name)
    evaluation = transform.evaluate(one)
    values = evaluation.atom_values()
    assert values.shape == (len(one), len(transform.atom_columns))
    np.testing.assert_allclose(values.sum(axis=0), evaluation.features[transform.atom_columns], rtol=ROUNDING)
    if values.size == 0:
        return
    rng, weights = np.random.default_rng(7), balanced(evaluation.features)
    atom_weights = rng.normal(size=values.shape) * np.abs(weights[transform.atom_columns])
    gradient, strained = evaluation.gradient(weights, atom_weights)

    def derivative(move: np.ndarray, strain: np.ndarray) -> np.ndarray:
        return np.array([(gradient * move).sum() + (strained * strain).sum()])

    def energy(s: Structure) -> np.ndarray:
        there = transform.evaluate(s, one.cell if one.periodic else None)
        return np.array([weights @ there.features + (atom_weights * there.atom_values()).sum()])

    assert differences(energy, one, derivative) < DERIVATIVES


# ------------------------------------------------------------ symmetries


def check_permutation_and_wrapping(spec: ScatteringSpec) -> None:
    transform, one = Transform(spec), structure("triclinic")
    rng = np.random.default_rng(8)
    order = rng.permutation(len(one))
    wrapped = one.positions + rng.integers(-2, 3, one.positions.shape) @ one.cell
    other = Structure(one.cell, wrapped[order], one.numbers[order])
    assert deviation(features_of(transform, other), features_of(transform, one)) < ROUNDING


def check_translation(spec: ScatteringSpec) -> None:
    """To the tolerance of the specification, to which grids are made."""
    transform = Transform(spec)
    for name in STRUCTURES:
        one = structure(name)
        shifted = Structure(one.cell, one.positions + np.array([0.037, 0.81, -0.35]), one.numbers, one.pbc)
        assert deviation(features_of(transform, shifted), features_of(transform, one)) < spec.tolerance, name


def check_rotation(spec: ScatteringSpec) -> None:
    transform, one = Transform(spec), structure("triclinic")
    expected = features_of(transform, one)
    for turn in (*Rotation.from_quat(np.random.default_rng(2).normal(size=(2, 4))).as_matrix(), -np.eye(3)):
        turned = Structure(one.cell @ turn.T, one.positions @ turn.T, one.numbers)
        assert deviation(features_of(transform, turned), expected) < spec.tolerance
    # against the grid, which turns with a cell but not with a molecule in it
    turn = Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix()
    cluster = np.array([[-0.5, 0.0, 0.0], [1.2, -0.3, 0.4], [0.1, 0.6, -1.6]])
    box = (3.0 + reach(spec)) * np.eye(3)
    found = [features_of(transform, Structure(box, at, np.array([3, 14, 3]))) for at in (cluster, cluster @ turn)]
    assert deviation(*found) < spec.tolerance


def check_supercells(spec: ScatteringSpec) -> None:
    transform, one = Transform(spec), structure("triclinic")
    small = Atoms(one.numbers, one.positions, cell=one.cell, pbc=True)
    for matrix in (np.diag([2, 1, 1]), np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])):
        large = make_supercell(small, matrix)
        values = features_of(transform, Structure.from_atoms(large)) * len(small) / len(large)
        assert deviation(values, features_of(transform, one)) < spec.tolerance


def check_reach(spec: ScatteringSpec) -> None:
    """A molecule in its vacuum has the features of one in more of it, but for what the tolerance leaves."""
    assert reach(spec) > 0
    transform, one = Transform(spec), structure("molecule")
    edge = np.ptp(one.positions, axis=0).max() + 1.5 * reach(spec)
    alone = Structure(edge * np.eye(3), one.positions, one.numbers)
    assert deviation(features_of(transform, one), features_of(transform, alone)) < spec.tolerance


OF_SPECS = (
    check_names,
    check_texts,
    check_settings,
    check_unknown_keys,
    check_other_settings,
    check_plans,
    check_costs,
    check_pickles,
    check_permutation_and_wrapping,
    check_translation,
    check_rotation,
    check_supercells,
    check_reach,
)
OF_STRUCTURES = (check_pushforward, check_pullback, check_jacobian, check_atom_values)
