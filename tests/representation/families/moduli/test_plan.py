"""Moduli: against direct space, derivatives against differences, invariances, supports."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_wavescat.representation import Moduli, ScatteringSpec
from ase_wavescat.representation.execution import Execution
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.families.moduli.plan import ModuliPlan
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.reach import reach
from ase_wavescat.representation.scene import Scene
from ase_wavescat.representation.wavelets import Wavelet, direct_coefficients, direct_extent, solid_harmonics_at
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import SpecError
from finite_difference import best_relative_error

PAPERS = Moduli()
POLYNOMIAL = Moduli(powers=(Fraction(2), Fraction(4)), second_input="squared")
B18 = Moduli(scale_step=0.5, second_orbitals="ascending", density_width=0.4, normalisation="ratio")
E18 = Moduli(powers=(Fraction(1, 2), Fraction(1), Fraction(3)), second_orbitals="same", density_width=0.5)
CHANNELS = {"light": {3: 3.0, 14: 0.0}, "both": {3: 1.0, 14: 4.0}}


def make_spec(family=POLYNOMIAL, *, wavelets=((3, 1), (2, 0)), scales=(0.0, 1.0), tolerance=1e-4, **overrides):
    settings = {"species": (3, 14), "channels": CHANNELS, "beta": 0.6} | overrides
    return ScatteringSpec(wavelets=wavelets, scales=scales, tolerance=tolerance, families=(family,), **settings)


def softened(structure, epsilon=0.4, family=PAPERS, **settings):
    family = dataclasses.replace(family, softening=epsilon)
    return make_spec(family, **settings).measured_on([Structure(*structure)])


TRICLINIC = np.array([[4.1, 0.3, -0.2], [1.1, 3.8, 0.4], [-0.7, 0.9, 4.4]])
LONG = np.diag([2.0, 2.2, 40.0])
SMALL = np.array([[2.0, 0.0, 0.0], [0.1, 2.1, 0.0], [0.2, -0.1, 1.9]])


def atoms(cell, count, seed=3):
    generator = np.random.default_rng(seed)
    return cell, generator.random((count, 3)) @ cell, np.where(np.arange(count) % 3 == 1, 14, 3)


STRUCTURES = {"triclinic": atoms(TRICLINIC, 5), "one atom": atoms(SMALL, 1), "long": atoms(LONG, 9)}


class Case:
    """A plan evaluated on (cell, positions, numbers)."""

    def __init__(self, spec, features=None, refinement=1.0, points=0, execution=Execution()):
        self.spec = spec
        self.features = spec.features if features is None else features
        self.plan = ModuliPlan(spec, spec.families[0], self.features, refinement, points)
        self.execution = execution

    def state(self, cell, positions, numbers, reference_cell=None, keep=True):
        lattice = ReciprocalLattice(cell, self.plan.cutoff, reference_cell)
        scene = Scene(Structure(cell, positions, numbers), self.spec.species, lattice)
        return self.plan.prepare(lattice, self.execution).forward(scene, keep)

    def values(self, *structure, **options):
        return self.state(*structure, **options).values

    def gradient(self, *structure_and_weights, **options):
        *structure, weights = structure_and_weights
        return self.state(*structure, **options).pullback(weights)

    def tangent(self, *structure_and_directions):
        *structure, displacements, strains = structure_and_directions
        state = self.state(*structure)
        return state.values, state.pushforward(displacements, strains)


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


@pytest.mark.parametrize("name", STRUCTURES)
def test_derivatives_of_ratios(name):
    """Of polynomials on a smooth density: nothing but the ratios could be wrong."""
    family = dataclasses.replace(POLYNOMIAL, density_width=0.4, normalisation="ratio")
    assert max(derivative_errors(Case(make_spec(family)), STRUCTURES[name], STEPS)) <= 1e-7


@pytest.mark.parametrize("family", [B18, E18], ids=["B18", "E18"])
@pytest.mark.parametrize("name", ["triclinic", "one atom"])
def test_softened_derivatives_of_other_papers(name, family):
    spec = softened(STRUCTURES[name], family=family, wavelets=((2, 1), (3, 0)), scales=(0.0, 0.5))
    errors = derivative_errors(Case(spec), STRUCTURES[name], (1e-3, 3e-4, 1e-4, 3e-5))
    assert max(errors) <= 1e-7


@pytest.mark.parametrize("name", ["triclinic", "long"])
def test_papers_derivatives(name):
    """Kinks limit the differences: the best step is what counts."""
    steps = (1e-3, 1e-4, 1e-5, 1e-6)
    assert max(derivative_errors(Case(make_spec(PAPERS)), STRUCTURES[name], steps)) <= 1e-4


@pytest.mark.parametrize("kind", ["polynomial", "softened", "papers", "B18", "E18"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_tangent_agrees_with_reverse(name, kind):
    structure = STRUCTURES[name]
    specs = {"polynomial": make_spec(), "softened": softened(structure), "papers": make_spec(PAPERS)}
    case = Case(specs.get(kind) or make_spec({"B18": B18, "E18": E18}[kind]))
    generator = np.random.default_rng(1)
    displacements = generator.normal(size=(2, *structure[1].shape))
    strains = generator.normal(size=(2, 3, 3))
    strains += strains.swapaxes(1, 2)
    features, derivatives = case.tangent(*structure, displacements, strains)
    weights = balanced(features)
    forces, strain = case.gradient(*structure, weights)
    expected = np.einsum("na,dna->d", forces, displacements) + np.einsum("ab,dab->d", strain, strains)
    np.testing.assert_allclose(derivatives @ weights, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_array_equal(features, case.values(*structure))


def wavelet_in_direct_space(wavelet, beta, cell, points, centres=((0.0, 0.0, 0.0),), weights=(1.0,)):
    """sum_k weights_k psi_m(u - R_k) over all periodic images, at points (P, 3): (2l+1, P)."""
    width = beta * 2.0**wavelet.scale
    reach = direct_extent(wavelet.n, wavelet.l, 1e-8) * width
    counts = np.ceil(reach / (1 / np.linalg.norm(np.linalg.inv(cell), axis=0))).astype(int) + 1
    shifts = np.stack(np.meshgrid(*[np.arange(-c, c + 1) for c in counts], indexing="ij"), -1).reshape(-1, 3) @ cell
    total = np.zeros((2 * wavelet.l + 1, len(points)))
    for centre, weight in zip(centres, weights, strict=True):
        for shift in shifts:
            s = (points - centre - shift) / width
            squares = np.square(s).sum(axis=1) / 2
            near = 2 * squares < (reach / width) ** 2
            if near.any():
                harmonics = solid_harmonics_at(s[near], wavelet.l)[0][wavelet.l**2 :]
                radial = np.polynomial.polynomial.polyval(squares[near], direct_coefficients(wavelet.n, wavelet.l))
                total[:, near] += weight * width**-3 * radial * np.exp(-squares[near]) * harmonics
    return total


def direct_features(spec, structure, features, points):
    """Moduli of the density's maps by sums over images and over a grid of points^3: no filter in reciprocal space."""
    cell, positions, numbers = structure
    fractional = np.stack(np.meshgrid(*[np.arange(points) / points] * 3, indexing="ij"), -1).reshape(-1, 3)
    grid, volume = fractional @ cell, abs(np.linalg.det(cell))
    family = spec.families[0]

    @cache
    def kernel(wavelet):
        return wavelet_in_direct_space(wavelet, spec.beta, cell, grid).reshape(-1, *(points,) * 3)

    def convolved(signal, wavelet):
        outer = kernel(wavelet)
        products = np.fft.fftn(signal.reshape(outer.shape[1:])) * np.fft.fftn(outer, axes=(1, 2, 3))
        return np.fft.ifftn(products, axes=(1, 2, 3)).real.reshape(len(outer), -1) * volume / points**3

    @cache
    def modulus(channel, path):
        weights = [spec.channel(channel)[z] for z in numbers]
        if not path:
            gaussian = Wavelet(np.log2(family.density_width / spec.beta), 1, 0)
            fields = wavelet_in_direct_space(gaussian, spec.beta, cell, grid, positions, weights)
        elif len(path) == 1 and family.density_width == 0:
            fields = wavelet_in_direct_space(path[0], spec.beta, cell, grid, positions, weights)
        else:
            inner = modulus(channel, path[:-1])
            fields = convolved(inner**2 if family.second_input == "squared" and len(path) == 2 else inner, path[-1])
        return np.sqrt(np.square(fields).sum(axis=0))

    return np.array([(modulus(f.channel, f.path) ** float(f.power)).mean() * volume for f in features])


DIRECT = {"wavelets": ((3, 2), (2, 0)), "scales": (0.0, 0.5), "tolerance": 1e-8}


def test_polynomial_against_direct_space():
    spec = make_spec(**DIRECT)
    features = [f for f in spec.features if f.path][1::3]
    expected = direct_features(spec, STRUCTURES["triclinic"], features, 18)
    np.testing.assert_allclose(Case(spec, features).values(*STRUCTURES["triclinic"]), expected, rtol=1e-6)


def test_papers_moduli_against_direct_space():
    """Two grids that do not match: kinks of the moduli limit the agreement."""
    spec = make_spec(PAPERS, **DIRECT | {"tolerance": 1e-5})
    features = [f for f in spec.features if f.path][::3]
    expected = direct_features(spec, STRUCTURES["triclinic"], features, 20)
    errors = np.abs(Case(spec, features).values(*STRUCTURES["triclinic"]) / expected - 1)
    assert np.median(errors) < 1e-3 and errors.max() < 1e-2


def test_gaussian_densities_against_direct_space():
    family = dataclasses.replace(POLYNOMIAL, density_width=0.35)
    spec = make_spec(family, **DIRECT)
    features = spec.features[::3]
    expected = direct_features(spec, STRUCTURES["triclinic"], features, 20)
    np.testing.assert_allclose(Case(spec, features).values(*STRUCTURES["triclinic"]), expected, rtol=1e-6)


@pytest.mark.parametrize("width", [0.0, 0.4])
def test_ratios_are_of_the_parents_integral(width):
    family = dataclasses.replace(PAPERS, density_width=width)
    cell, positions, numbers = STRUCTURES["triclinic"]
    plain = make_spec(family)
    integrals = dict(zip(plain.features, Case(plain).values(cell, positions, numbers), strict=True))
    spec = make_spec(dataclasses.replace(family, normalisation="ratio"))
    chosen = spec.features[::5]  # parents are computed whether they are features or not
    for feature, value in zip(chosen, Case(spec, chosen).values(cell, positions, numbers), strict=True):
        parent = dataclasses.replace(feature, path=feature.path[:-1])
        expected = len(numbers) * integrals[feature] / integrals[parent] if feature.path else integrals[feature]
        assert value == pytest.approx(expected, rel=1e-10)


def test_ratios_to_nothing_are_zero():
    """Simple cubic silicon: the fields of l = 1 vanish but for rounding, and the channel of lithium does exactly."""
    sites = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), -1).reshape(-1, 3) * 1.3
    structure = 2.6 * np.eye(3), sites, np.full(8, 14)
    channels = {"Li": {3: 3, 14: 0}, "Si": {3: 0, 14: 4}}
    family = Moduli(powers=(Fraction(1), Fraction(2)), density_width=0.4)
    settings = {"wavelets": ((2, 1), (1, 0)), "scales": (1.0,), "channels": channels}
    plain = make_spec(family, **settings)
    integrals = Case(plain).values(*structure)
    case = Case(make_spec(dataclasses.replace(family, normalisation="ratio"), **settings))
    hollow = [f.channel == "Si" and len(f.path) == 2 and f.path[0].l == 1 for f in plain.features]
    assert 0 < np.abs(integrals[hollow]).max() < 1e-12
    dead = np.array(hollow) | [f.channel == "Li" for f in plain.features]
    values = case.values(*structure)
    alive = [f.channel == "Si" and all(w.l == 0 for w in f.path) for f in plain.features]
    assert not values[dead].any() and values[alive].all()
    forces, strain = case.gradient(*structure, dead.astype(float))
    assert not forces.any() and not strain.any()


def test_zeroth_order_counts_the_channels_charge():
    cell, positions, numbers = STRUCTURES["triclinic"]
    spec = make_spec(PAPERS)
    features = [f for f in spec.features if not f.path]
    expected = [sum(spec.channel(f.channel)[z] ** float(f.power) for z in numbers) for f in features]
    np.testing.assert_allclose(Case(spec, features).values(cell, positions, numbers), expected)
    forces, strain = Case(spec, features).gradient(cell, positions, numbers, np.ones(len(features)))
    assert not forces.any() and not strain.any()


def deviation(values, expected):
    """Relative, features far below the largest compared to a thousandth of it."""
    return np.max(np.abs(values - expected) / np.maximum(np.abs(expected), 1e-3 * np.abs(expected).max()))


def test_permutation_and_wrapping():
    cell, positions, numbers = STRUCTURES["triclinic"]
    case = Case(make_spec(PAPERS))
    expected = case.values(cell, positions, numbers)
    order = np.array([3, 1, 4, 0, 2])
    assert deviation(case.values(cell, positions[order], numbers[order]), expected) < 1e-12
    shifts = np.array([[1, 0, 0], [0, -2, 1], [0, 0, 0], [3, 3, 3], [0, 0, 1]]) @ cell
    assert deviation(case.values(cell, positions + shifts, numbers), expected) < 1e-12
    skewed = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ cell
    assert deviation(case.values(skewed, positions, numbers), expected) < 1e-12


@pytest.mark.parametrize(("family", "tolerance"), [(POLYNOMIAL, 1e-6), (PAPERS, 1e-2)])
def test_translation_and_supercells(family, tolerance):
    """Exact for polynomials but for tails; kinks and grids that do not match limit the papers' moduli."""
    cell, positions, numbers = STRUCTURES["triclinic"]
    case = Case(make_spec(family))
    expected = case.values(cell, positions, numbers)
    assert deviation(case.values(cell, positions + np.array([0.03, 0.05, -0.04]), numbers), expected) < tolerance
    for counts in ((2, 1, 1), (2, 2, 1), (1, 1, 3)):
        shifts = np.stack(np.meshgrid(*[np.arange(n) for n in counts]), -1).reshape(-1, 3) @ cell
        atoms_of_all = (positions[None] + shifts[:, None]).reshape(-1, 3)
        values = case.values(np.diag(counts) @ cell, atoms_of_all, np.tile(numbers, len(shifts)))
        assert deviation(values / len(shifts), expected) < tolerance


@pytest.mark.parametrize(("family", "tolerance"), [(POLYNOMIAL, 1e-4), (PAPERS, 2e-2)])
def test_rotation_of_a_cluster(family, tolerance):
    """Against the grid, in a box that it does not feel."""
    box, centre = np.eye(3) * 9.0, np.full(3, 4.5)
    cluster = np.array([[-0.5, 0.0, 0.0], [1.2, -0.3, 0.4], [0.1, 0.6, -1.6]])
    turned = cluster @ Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix().T
    case = Case(make_spec(family, scales=(0.0, 0.5)))
    numbers = np.array([3, 14, 3])
    expected = case.values(box, cluster + centre, numbers)
    assert deviation(case.values(box, turned + centre, numbers), expected) < tolerance


@pytest.mark.parametrize(("family", "tolerance"), [(POLYNOMIAL, 1e-4), (PAPERS, 1e-12)])
def test_support_equals_full(family, tolerance):
    """A support may do with coarser grids where the tolerance allows it."""
    spec = make_spec(family)
    expected = Case(spec).values(*STRUCTURES["triclinic"])
    for chosen in (slice(5, None, 7), slice(-1, None), slice(0, 6)):
        support = Case(spec, spec.features[chosen])
        np.testing.assert_allclose(support.values(*STRUCTURES["triclinic"]), expected[chosen], rtol=tolerance)
    reverse = Case(spec, spec.features[::-1])
    np.testing.assert_allclose(reverse.values(*STRUCTURES["triclinic"]), expected[::-1], rtol=1e-12)


def test_plan_holds_nothing_outside_the_support():
    spec = make_spec(PAPERS)
    path = (Wavelet(0.0, 2, 0), Wavelet(1.0, 3, 1))
    plan = ModuliPlan(spec, PAPERS, [ModulusFeature("both", Fraction(5, 3), path)])
    assert [layer.rows[0].path for layer in (*plan.first, *plan.second)] == [path[:1], path]
    assert [len(layer.rows) for layer in (*plan.first, *plan.second)] == [1, 1]
    assert [layer.powers for layer in (*plan.first, *plan.second)] == [(), (Fraction(5, 3),)]


def test_kept_and_recomputed_fields_give_the_same_gradient():
    structure, case = STRUCTURES["triclinic"], Case(make_spec(PAPERS))
    weights = balanced(case.values(*structure))
    kept, computed = (case.gradient(*structure, weights, keep=keep) for keep in (True, False))
    np.testing.assert_array_equal(kept[0], computed[0])
    np.testing.assert_array_equal(kept[1], computed[1])


def test_gradient_is_linear_and_repeatable():
    state = Case(make_spec(PAPERS)).state(*STRUCTURES["triclinic"])
    first, second = np.random.default_rng(0).normal(size=(2, len(state.values)))
    together = state.pullback(first + second)
    for whole, a, b in zip(together, state.pullback(first), state.pullback(second), strict=True):
        np.testing.assert_allclose(whole, a + b, atol=1e-10 * np.abs(whole).max())


def test_three_species_and_odd_powers():
    channels = {"a": {3: 3.0, 8: 0.0, 14: 1.0}, "b": {3: 1.0, 8: -2.0, 14: 4.0}}
    cell, positions, _ = atoms(TRICLINIC, 6)
    structure = cell, positions, np.array([3, 8, 14, 3, 14, 8])
    powers = (Fraction(1), Fraction(3, 2), Fraction(7, 3), Fraction(3), Fraction(6))
    spec = make_spec(Moduli(powers=powers), species=(3, 8, 14), channels=channels, wavelets=((2, 1), (1, 0)))
    case = Case(
        dataclasses.replace(spec, families=(Moduli(powers, softening=0.3),)).measured_on([Structure(*structure)])
    )
    assert max(derivative_errors(case, structure, STEPS)) <= 1e-6


def test_derivatives_stay_finite_where_moduli_vanish():
    """One atom a cell: its field of l = 1 is zero at points of symmetry, and its forces are zero."""
    case = Case(make_spec(PAPERS, wavelets=((2, 1), (2, 0))))
    structure = np.eye(3) * 3.0, np.zeros((1, 3)), np.array([14])
    weights = np.ones(len(case.features))
    forces, strain = case.gradient(*structure, weights)
    assert np.isfinite(strain).all()
    assert np.abs(forces).max() < 1e-8 * np.abs(strain).max()
    no_atoms = Case(make_spec(PAPERS, species=(3, 8, 14), channels={"o": {3: 0, 8: 1, 14: 0}}))
    forces, strain = no_atoms.gradient(*STRUCTURES["triclinic"], np.ones(len(no_atoms.features)))
    assert not forces.any() and not strain.any()


def test_softening_without_its_root_mean_squares_is_refused():
    with pytest.raises(SpecError, match="measured_on"):
        Case(make_spec(Moduli(softening=0.4)))
    with pytest.raises(SpecError, match="at least one"):
        make_spec(PAPERS).measured_on([])


CLUSTER = np.array([[-0.5, 0.0, 0.0], [1.2, -0.3, 0.4], [0.1, 0.6, -1.6]])


def in_box(case, edge):
    return case.values(edge * np.eye(3), CLUSTER + edge / 2, np.array([3, 14, 3]))


def test_vacuum_adds_nothing_to_softened_moduli():
    """Of a wavelet that passes constants, too."""
    spec = softened(STRUCTURES["triclinic"], wavelets=((1, 0), (2, 1)), scales=(0.0,))
    near, far = (in_box(Case(spec, points=points), points / 4) for points in (32, 48))
    assert deviation(near, far) < 1e-5


def test_measured_softening_is_the_root_mean_square():
    cell, positions, numbers = STRUCTURES["triclinic"]
    spec = make_spec(PAPERS).measured_on([Structure(*STRUCTURES["triclinic"])])
    feature = ModulusFeature("both", Fraction(2), (Wavelet(0.0, 3, 1), Wavelet(1.0, 2, 0)))
    value = Case(make_spec(PAPERS), [feature]).values(cell, positions, numbers)[0]
    rms = dict(spec.families[0].softening_rms)["both:0,3,1>1,2,0"]
    assert rms == pytest.approx(np.sqrt(value / abs(np.linalg.det(cell))))
    assert ScatteringSpec.from_dict(spec.to_dict()) == spec


REACHES = {
    "papers": (PAPERS, ((3, 1), (1, 0)), 48, 2e-3),
    "squared": (POLYNOMIAL, ((3, 1), (1, 0)), 48, 1e-5),
    "roots of smooth densities": (E18, ((2, 1),), 64, 1e-2),
}


@pytest.mark.parametrize("name", REACHES)
def test_images_beyond_the_reach_are_not_felt(name):
    """On grids of one spacing, which errors by kinks have in common.

    Eight times the volume has eight times what cut wavelets leave in vacuum, below 1e-4 of the peak: it matters most
    to the smallest power.
    """
    family, wavelets, points, tolerance = REACHES[name]
    spec = make_spec(family, wavelets=wavelets, scales=(0.0,))
    nearest = np.ptp(CLUSTER, axis=0).max() + reach(spec)
    values = [in_box(Case(spec, points=factor * points // 4), factor * nearest / 4) for factor in (4, 6, 8)]
    assert max(deviation(v, values[-1]) for v in values) < tolerance


@pytest.mark.parametrize("kind", ["polynomial", "B18"])
def test_threads_change_nothing_and_single_precision_little(kind):
    spec = make_spec({"polynomial": POLYNOMIAL, "B18": B18}[kind], wavelets=((3, 1), (2, 0), (3, 2)))
    structure = STRUCTURES["triclinic"]
    weights = balanced(Case(spec).values(*structure))

    def results(execution):
        case = Case(spec, execution=execution)
        return case.values(*structure), *case.gradient(*structure, weights)

    expected = results(Execution())
    for found, wanted in zip(results(Execution(threads=3)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    features, forces, strain = results(Execution(precision="single"))
    assert np.any(features != expected[0])
    np.testing.assert_allclose(features, expected[0], rtol=1e-5)
    for found, wanted in ((forces, expected[1]), (strain, expected[2])):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
