"""Presets of the papers: how many features their rules give, and what leaves them unchanged."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.presets import preset, valence_electrons
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError

ROTATION = Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix()
CELL = np.array([[4.1, 0.3, -0.2], [1.1, 3.8, 0.4], [-0.7, 0.9, 4.4]])
POSITIONS = np.random.default_rng(3).random((5, 3)) @ CELL
NUMBERS = np.array([3, 14, 3, 3, 14])


def counts(spec):
    return [sum(isinstance(f, ModulusFeature) and len(f.path) == order for f in spec.features) for order in range(3)]


def test_brumwell2018_has_the_papers_features():
    """15 wavelets, 6 scales; 15 pairs of scales with j2 > j1, 105 pairs of wavelets in order; 5 channels, 4 powers."""
    spec = preset("brumwell2018", ["Li", "Si"])
    assert counts(spec) == [20 * 1, 20 * 15 * 6, 20 * (6 * 5 // 2) * (15 * 14 // 2)]
    family = spec.families[0]
    assert family.density_width > 0 and family.normalisation == "ratio"
    assert {z: np.sqrt(z) for z in (3, 14)} in [pytest.approx(dict(weights)) for _, weights in spec.channels]
    assert family.powers == (1, Fraction(4, 3), Fraction(5, 3), 2)


def test_solid_harmonic_has_the_papers_features():
    """4 wavelets at 3 scales; 3 pairs of scales with j2 > j1 for each l; 3 channels, 5 powers."""
    spec = preset("solid-harmonic", ["H", "C", "O"])
    assert counts(spec) == [15 * 1, 15 * 4 * 3, 15 * 4 * (3 * 2 // 2)]
    assert all(n == l + 1 for n, l in spec.wavelets)
    assert spec.families[0].powers == (Fraction(1, 2), 1, 2, 3, 4)
    assert spec.channel("charge") == {1: 1.0, 6: 6.0, 8: 8.0}
    assert spec.channel("valence") == {1: 1.0, 6: 4.0, 8: 6.0}
    assert spec.channel("core") == {1: 0.0, 6: 2.0, 8: 2.0}


def test_overrides_reach_the_family():
    papers = ("1", "4/3", "5/3", "2")
    spec = preset("solid-harmonic", ["H", "C"], powers=papers, density_width=0.3, beta=0.4)
    assert counts(spec) == [12, 12 * 4 * 3, 12 * 4 * 3]
    assert (spec.families[0].density_width, spec.beta) == (0.3, 0.4)
    assert spec.families[0].second_orbitals == "same"
    with pytest.raises(SpecError, match="unknown field 'power' for preset 'solid-harmonic'; did you mean 'powers'"):
        preset("solid-harmonic", ["H"], power=(1,))
    with pytest.raises(SpecError, match="unknown field 'density_width' for preset 'correlations'"):
        preset("correlations", ["H"], density_width=0.3)


def largest_deviation(values, expected):
    """Relative; features far below the largest of their power compared to a thousandth of it."""
    return np.max(np.abs(values - expected) / np.maximum(np.abs(expected), 1e-3 * np.abs(expected).max()))


def sample(name, step, **overrides):
    """Every step-th feature of a preset on Li and Si."""
    spec = preset(name, ["Li", "Si"], **overrides)
    return Transform(spec, spec.keys[::step])


@pytest.mark.parametrize(("name", "step", "tolerance"), [("brumwell2018", 331, 2e-2), ("solid-harmonic", 7, 3e-3)])
def test_presets_do_not_depend_on_how_a_crystal_is_written(name, step, tolerance):
    """Order, images, choice of cell and turning: rounding alone. Translation and supercells: kinks on other points."""
    transform = sample(name, step)

    def deviation(cell, positions, numbers, share=1):
        values = transform.evaluate(Structure(cell, positions, numbers)).features
        return largest_deviation(values / share, expected)

    expected = transform.evaluate(Structure(CELL, POSITIONS, NUMBERS)).features
    order = np.array([3, 1, 4, 0, 2])
    assert deviation(CELL, POSITIONS[order], NUMBERS[order]) < 1e-9
    images = np.array([[1, 0, 0], [0, -2, 1], [0, 0, 0], [3, 3, 3], [0, 0, 1]])
    assert deviation(CELL, POSITIONS + images @ CELL, NUMBERS) < 1e-9
    assert deviation(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ CELL, POSITIONS, NUMBERS) < 1e-9
    assert deviation(CELL @ ROTATION.T, POSITIONS @ ROTATION.T, NUMBERS) < 1e-9
    assert deviation(CELL, POSITIONS + np.array([0.03, 0.05, -0.04]), NUMBERS) < tolerance
    twice = np.concatenate([POSITIONS, POSITIONS + CELL[0]])
    assert deviation(np.diag([2, 1, 1]) @ CELL, twice, np.tile(NUMBERS, 2), 2) < tolerance


@pytest.mark.parametrize(("name", "step", "tolerance"), [("brumwell2018", 97, 1e-1), ("solid-harmonic", 7, 3e-3)])
def test_presets_do_not_depend_on_how_a_molecule_lies(name, step, tolerance):
    """Against the points of the grid: kinks."""
    transform = sample(name, step, scales=(0.0, 1.0))
    molecule = np.array([[0.0, 0.1, 0.2], [2.4, 0.0, 0.0], [0.3, 2.2, -1.1]])
    expected, moved, turned = (
        transform.evaluate(Structure(np.zeros((3, 3)), positions, NUMBERS[:3], pbc=(False,) * 3)).features
        for positions in (molecule, molecule + np.array([0.33, -0.41, 0.25]), molecule @ ROTATION.T)
    )
    for values in (moved, turned):
        assert largest_deviation(values, expected) < tolerance
        assert np.median(np.abs(values / expected - 1)) < 3e-3


@pytest.mark.parametrize(
    ("number", "electrons"),
    [(1, 1), (3, 1), (14, 4), (21, 3), (30, 12), (31, 3), (50, 4), (67, 13), (72, 18), (80, 26), (82, 4), (118, 8)],
)
def test_filled_shells_of_the_p_block_alone_are_core(number: int, electrons: int) -> None:
    assert valence_electrons(number) == electrons
