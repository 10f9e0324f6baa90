"""Moduli: against direct space, derivatives against differences, invariances, supports."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from finite_difference import best_relative_error
from scipy.spatial.transform import Rotation

from ase_wavescat.scattering.features import ModulusFeature, Wavelet
from ase_wavescat.scattering.grid import ReciprocalLattice
from ase_wavescat.scattering.moduli import ModuliPlan, measure_softening
from ase_wavescat.scattering.spec import Moduli, ScatteringSpec, SpecError
from ase_wavescat.scattering.structure_factor import Phases
from ase_wavescat.scattering.wavelets import direct_coefficients, direct_extent, solid_harmonics_at

PAPERS = Moduli()
POLYNOMIAL = Moduli(powers=(Fraction(2), Fraction(4)), second_input="squared")
CHANNELS = {"light": {3: 3.0, 14: 0.0}, "both": {3: 1.0, 14: 4.0}}


def make_spec(family=POLYNOMIAL, *, wavelets=((3, 1), (2, 0)), scales=(0.0, 1.0), tolerance=1e-4, **overrides):
    settings = {"species": (3, 14), "channels": CHANNELS, "beta": 0.6} | overrides
    return ScatteringSpec(wavelets=wavelets, scales=scales, tolerance=tolerance, families=(family,), **settings)


def softened(structure, epsilon=0.4, **settings):
    family = dataclasses.replace(PAPERS, softening=epsilon)
    return measure_softening(make_spec(family, **settings), [structure])


TRICLINIC = np.array([[4.1, 0.3, -0.2], [1.1, 3.8, 0.4], [-0.7, 0.9, 4.4]])
LONG = np.diag([2.0, 2.2, 40.0])
SMALL = np.array([[2.0, 0.0, 0.0], [0.1, 2.1, 0.0], [0.2, -0.1, 1.9]])


def atoms(cell, count, seed=3):
    generator = np.random.default_rng(seed)
    return cell, generator.random((count, 3)) @ cell, np.where(np.arange(count) % 3 == 1, 14, 3)


STRUCTURES = {"triclinic": atoms(TRICLINIC, 5), "one atom": atoms(SMALL, 1), "long": atoms(LONG, 9)}


class Case:
    """A plan evaluated on (cell, positions, numbers)."""

    def __init__(self, spec, features=None, refinement=1.0):
        self.spec = spec
        self.features = spec.features if features is None else features
        self.plan = ModuliPlan(spec, spec.families[0], self.features, refinement)

    def state(self, cell, positions, numbers, reference_cell=None, keep=True):
        self.lattice = ReciprocalLattice(cell, self.plan.cutoff, reference_cell)
        self.phases = [Phases(self.lattice, positions[numbers == z]) for z in self.spec.species]
        self.counts = np.array([np.count_nonzero(numbers == z) for z in self.spec.species])
        self.densities = np.array([p.structure_factor() for p in self.phases])
        self.prepared = self.plan.prepare(self.lattice)
        return self.prepared.forward(self.densities, self.counts, keep)

    def values(self, *structure, **options):
        return self.state(*structure, **options).features

    def gradient(self, cell, positions, numbers, weights, **options):
        adjoint, strain = self.state(cell, positions, numbers, **options).adjoint(weights)
        forces = np.zeros_like(positions)
        for row, phases, z in zip(adjoint, self.phases, self.spec.species, strict=True):
            forces[numbers == z] = phases.gradient(row)
        return forces, strain

    def tangent(self, cell, positions, numbers, displacements, strains):
        self.state(cell, positions, numbers)
        changes = np.array(
            [
                [p.tangent(d[numbers == z]) for p, z in zip(self.phases, self.spec.species, strict=True)]
                for d in displacements
            ]
        )
        return self.prepared.tangent(self.densities, self.counts, changes, strains)


def balanced(features, seed=0):
    """Random weights that let every feature matter."""
    sizes = np.abs(features)
    return np.random.default_rng(seed).normal(size=len(features)) / np.where(sizes > 1e-8 * sizes.max(), sizes, np.inf)


def derivative_errors(case, structure, steps):
    """Best errors of the gradient along a displacement, and along a strain at a fixed reference cell."""
    cell, positions, numbers = structure
    generator = np.random.default_rng(5)
    weights = balanced(case.values(*structure))
    forces, strain = case.gradient(*structure, weights)
    direction = generator.normal(size=positions.shape)
    change = generator.normal(size=(3, 3)) / 3
    change = change + change.T
    moved = best_relative_error(
        lambda t: weights @ case.values(cell, positions + t * direction, numbers),
        float((forces * direction).sum()),
        scale=max(float(np.linalg.norm(forces)), 1e-6),
        steps=steps,
    )

    def strained(t):
        deform = np.eye(3) + t * change
        return weights @ case.values(cell @ deform, positions @ deform, numbers, reference_cell=cell)

    return moved, best_relative_error(strained, float((strain * change).sum()), float(np.linalg.norm(strain)), steps)


STEPS = (1e-2, 3e-3, 1e-3, 3e-4)


@pytest.mark.parametrize("name", STRUCTURES)
def test_polynomial_derivatives(name):
    assert max(derivative_errors(Case(make_spec()), STRUCTURES[name], STEPS)) <= 1e-7


@pytest.mark.parametrize("name", STRUCTURES)
def test_softened_derivatives(name):
    spec = softened(STRUCTURES[name])
    assert max(derivative_errors(Case(spec), STRUCTURES[name], STEPS)) <= 1e-6


@pytest.mark.parametrize("name", ["triclinic", "long"])
def test_papers_derivatives(name):
    """Kinks limit the differences: the best step is what counts."""
    steps = (1e-3, 1e-4, 1e-5, 1e-6)
    assert max(derivative_errors(Case(make_spec(PAPERS)), STRUCTURES[name], steps)) <= 1e-4
