"""Correlation features: against a dense grid, derivatives, invariances, supports."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from scipy.integrate import trapezoid
from scipy.spatial.transform import Rotation

from ase_wavescat.representation import Bands, Correlations, Maps, ScatteringSpec
from ase_wavescat.representation.families.atoms.features import AtomFeature
from ase_wavescat.representation.families.correlations.features import BandFeature, PairFeature
from ase_wavescat.representation.lattice.bands import band_weights
from ase_wavescat.representation.lattice.filters import tapered_radial
from ase_wavescat.representation.maps import Map, SpeciesWavelet
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.transform import Transform
from ase_wavescat.representation.wavelets import Wavelet, fourier_extent, fourier_radial, solid_harmonics_at
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError
from finite_difference import best_relative_error

WAVELETS = ((3, 0), (3, 1), (3, 2), (4, 3))
FAMILY = Correlations(
    pair=Bands(6, 0.9),
    atom_maps=Maps(WAVELETS, (0.0, 0.5, 1.0), span=0.5),
    five_body=Maps(WAVELETS[:2], (0.5,)),
    grid_maps=Maps(WAVELETS[:3], (0.5, 1.0), span=0.5),
    three_body=Bands(2, 0.8),
    four_body=Bands(2, 0.8),
)
SMALL_FAMILY = Correlations(
    pair=Bands(3, 0.9),
    atom_maps=Maps(WAVELETS[1:3], (0.0, 1.0), span=1.0),
    five_body=Maps(WAVELETS[:2], (0.0,)),
    grid_maps=Maps(WAVELETS[:2], (0.0, 1.0), span=1.0),
    three_body=Bands(2, 0.8),
    four_body=Bands(2, 0.8),
)


def make_spec(family=FAMILY, species=(3, 14), tolerance=1e-4):
    return ScatteringSpec(species, WAVELETS, (0.0, 0.5, 1.0), 0.6, (family,), tolerance=tolerance)


def atoms(cell, count, seed=3, species=(3, 14)):
    cell = np.array(cell, dtype=float)
    rng = np.random.default_rng(seed)
    return cell, rng.random((count, 3)) @ cell, np.array(species)[np.arange(count) % len(species)]


STRUCTURES = {
    "triclinic": atoms([[5, 0, 0], [3, 6, 0], [-2, 4, 7]], 7),
    "one atom": atoms([[2.0, 0, 0], [0.1, 2.1, 0], [0.2, -0.1, 1.9]], 1),
    "long": atoms(np.diag([2.0, 2.2, 40.0]), 9),
    "three species": atoms([[4, 0, 0], [1, 5, 0], [0.5, 0.3, 4]], 6, species=(3, 8, 14)),
}


def transform_of(name):
    return Transform(make_spec(species=(3, 8, 14) if name == "three species" else (3, 14)))


def random_weights(transform, features):
    return np.random.default_rng(11).normal(size=len(features)) / (np.abs(features) + 1e-2 * np.abs(features).max())


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_and_stress_against_differences(name):
    cell, positions, numbers = STRUCTURES[name]
    transform = transform_of(name)
    evaluation = transform.evaluate(Structure(cell, positions, numbers))
    weights = random_weights(transform, evaluation.features)
    gradient, strain = evaluation.gradient(weights)
    rng = np.random.default_rng(5)
    move, stretch = rng.normal(size=positions.shape), rng.normal(size=(3, 3))
    stretch = (stretch + stretch.T) / 2

    def moved(t):
        return transform.evaluate(Structure(cell, positions + t * move, numbers)).features @ weights

    def strained(t):
        f = np.eye(3) + t * stretch
        return transform.evaluate(Structure(cell @ f, positions @ f, numbers), reference_cell=cell).features @ weights

    steps = (3e-3, 1e-3, 3e-4, 1e-4)
    if len(numbers) > 1:
        assert best_relative_error(moved, (gradient * move).sum(), steps=steps) < 1e-7
    else:
        assert np.abs(gradient).max() < 1e-10 * np.abs(strain).max()
    assert best_relative_error(strained, (strain * stretch).sum(), steps=steps) < 1e-7
    assert np.abs(gradient.sum(axis=0)).max() <= 1e-10 * max(np.abs(gradient).max(), 1.0)


@pytest.mark.parametrize("name", STRUCTURES)
def test_tangent_jacobian_and_reverse_agree(name):
    cell, positions, numbers = STRUCTURES[name]
    transform = transform_of(name)
    evaluation = transform.evaluate(Structure(cell, positions, numbers))
    weights = random_weights(transform, evaluation.features)
    gradient, strain = evaluation.gradient(weights)
    features, by_positions, by_strain = transform.jacobian(Structure(cell, positions, numbers))
    np.testing.assert_allclose(features, evaluation.features, rtol=1e-12)
    scale = np.abs(strain).max()
    contracted = np.einsum("f,fna->na", weights, by_positions)
    np.testing.assert_allclose(contracted, gradient, atol=1e-10 * max(np.abs(gradient).max(), scale))
    voigt = strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(weights @ by_strain, voigt, atol=1e-10 * scale)
    rng = np.random.default_rng(6)
    moves, strains = rng.normal(size=(2, *positions.shape)), rng.normal(size=(2, 3, 3))
    derivatives = transform.tangent(Structure(cell, positions, numbers), moves, strains)[1] @ weights
    expected = (gradient * moves).sum(axis=(1, 2)) + (strain * strains).sum(axis=(1, 2))
    np.testing.assert_allclose(derivatives, expected, atol=1e-10 * scale)


class DenseGrid:
    """The definitions, evaluated with plain FFTs on one fine grid that holds every product without aliases."""

    def __init__(self, spec, cell, positions, numbers, points):
        self.spec, self.volume, self.points = spec, abs(np.linalg.det(cell)), points
        h = np.stack(np.meshgrid(*[np.fft.fftfreq(points, 1 / points)] * 3, indexing="ij"), axis=-1)
        self.vectors = h @ (2 * np.pi * np.linalg.inv(cell).T)
        self.lengths = np.linalg.norm(self.vectors, axis=-1)
        self.densities = {z: np.exp(-1j * self.vectors @ positions[numbers == z].T).sum(axis=-1) for z in spec.species}
        self.positions, self.numbers = positions, numbers

    def fields(self, f, cut):
        """U_m on the grid; `cut` applies the spec's sphere."""
        w = f.wavelet
        width = self.spec.beta * 2**w.scale
        flat = width * self.vectors.reshape(-1, 3)
        values, _ = solid_harmonics_at(flat, w.l)
        x, extent = np.linalg.norm(flat, axis=1), fourier_extent(w.n, w.l, self.spec.tolerance)
        radial = tapered_radial(w, extent, x)[0] if cut else fourier_radial(w.n, w.l, x)[0]
        shape = self.lengths.shape
        kernels = (-1j) ** w.l * (radial * values[w.l**2 :]).reshape(-1, *shape) * self.densities[f.number]
        return np.fft.ifftn(kernels, axes=(1, 2, 3)).real * self.points**3 / self.volume

    def map(self, m, cut):
        """P(G) of a map, its integral against exp(-iGu)."""
        product = (self.fields(m.first, cut) * self.fields(m.second, cut)).sum(axis=0)
        return np.fft.fftn(product) * self.volume / self.points**3

    def at_atoms(self, m, centre):
        coefficients = self.map(m, cut=False)
        phases = np.exp(1j * self.vectors @ self.positions[self.numbers == centre].T)
        return np.einsum("abc,abcn->n", coefficients, phases).real / self.volume

    def atom_values(self, feature):
        """Of the atoms of the feature's centre."""
        return np.prod([self.at_atoms(m, feature.centre) for m in feature.maps], axis=0)

    def value(self, feature):
        if isinstance(feature, AtomFeature):
            return self.atom_values(feature).sum()
        family = self.spec.families[0]
        if isinstance(feature, PairFeature):
            bands, left, right = family.pair, *(self.densities[z] for z in feature.species)
        else:
            bands = family.four_body if isinstance(feature.first, Map) else family.three_body
            left = self.map(feature.first, True) if isinstance(feature.first, Map) else self.densities[feature.first]
            right = self.map(feature.second, True)
        weights = band_weights(bands, self.lengths.reshape(-1))[0][feature.band].reshape(self.lengths.shape)
        return (weights * (left.conj() * right).real).sum() / self.volume


def test_features_against_a_dense_grid():
    """Every kind of feature; those at the atoms are neighbour sums here and Fourier sums there."""
    spec = make_spec(SMALL_FAMILY, tolerance=1e-7)
    cell, positions, numbers = atoms([[3.1, 0, 0], [0.6, 2.9, 0], [-0.5, 0.4, 3.3]], 3)
    features = Transform(spec).evaluate(Structure(cell, positions, numbers)).features
    dense = DenseGrid(spec, cell, positions, numbers, points=48)
    order = np.random.default_rng(0).permutation(len(spec.features))
    kinds = (PairFeature, AtomFeature, BandFeature)
    chosen = np.concatenate([[i for i in order if isinstance(spec.features[i], kind)][:25] for kind in kinds])
    expected = np.array([dense.value(spec.features[i]) for i in chosen])
    at_atoms = np.array([isinstance(spec.features[i], AtomFeature) for i in chosen])
    scale = np.abs(expected) + 1e-3 * np.median(np.abs(expected))
    error = np.abs(features[chosen] - expected) / scale
    assert error[~at_atoms].max() < 1e-10  # the same discrete sum by other means
    assert error[at_atoms].max() < 1e-5  # the real-space tail is cut and tapered


def test_values_per_atom_against_a_dense_grid():
    spec = make_spec(SMALL_FAMILY, tolerance=1e-7)
    cell, positions, numbers = atoms([[3.1, 0, 0], [0.6, 2.9, 0], [-0.5, 0.4, 3.3]], 3)
    chosen = [i for i, f in enumerate(spec.features) if isinstance(f, AtomFeature)][::17]
    assert {len(spec.features[i].maps) for i in chosen} == {1, 2}
    transform = Transform(spec, [spec.keys[0], *(spec.keys[i] for i in chosen)])  # the pair feature has none
    values = transform.evaluate(Structure(cell, positions, numbers)).atom_values()
    dense = DenseGrid(spec, cell, positions, numbers, points=48)
    for column, feature in zip(values.T, (spec.features[i] for i in chosen), strict=True):
        expected = np.zeros(len(numbers))
        expected[numbers == feature.centre] = dense.atom_values(feature)
        np.testing.assert_allclose(column, expected, rtol=1e-5, atol=1e-5 * np.abs(values).mean())


def test_pair_bands_against_a_direct_space_sum():
    """(1/V) sum_G w(G) |S|^2 = sum over all pairs, images and self included, of the band's inverse transform."""
    cell, positions, numbers = atoms(9.0 * np.eye(3), 4, species=(3,))
    spec = ScatteringSpec((3,), ((1, 0),), (0.0,), 0.6, (Correlations(pair=Bands(4, 1.0)),))
    features = Transform(spec).evaluate(Structure(cell, positions, numbers)).features
    g = np.linspace(0, 7, 1401)
    weights = band_weights(Bands(4, 1.0), g)[0]
    shifts = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3), axis=-1).reshape(-1, 3) @ cell
    r = np.linalg.norm(positions[:, None, None] - positions[None, :, None] + shifts, axis=-1).ravel()
    r = r[r < 40]
    table = np.linspace(0, 40, 8001)
    kernel = np.array([trapezoid(weights * g**2 * np.sinc(g * x / np.pi), g) for x in table]) / (2 * np.pi**2)
    sums = np.array([np.interp(r, table, k).sum() for k in kernel.T])
    # band 0 holds G = 0, whose slowly decaying tail a finite sum misses
    np.testing.assert_allclose(features[1:], sums[1:], atol=5e-3 * np.abs(features).max())


def test_permutation_wrapping_and_lattice_shifts():
    cell, positions, numbers = STRUCTURES["triclinic"]
    transform = transform_of("triclinic")
    features = transform.evaluate(Structure(cell, positions, numbers)).features
    rng = np.random.default_rng(8)
    order = rng.permutation(len(numbers))
    shifted = positions + rng.integers(-3, 4, size=positions.shape) @ cell
    other = transform.evaluate(Structure(cell, shifted[order], numbers[order])).features
    assert np.abs(other / features - 1).max() < 1e-10


def test_translation_rotation_and_inversion_leave_the_features():
    cell, positions, numbers = STRUCTURES["triclinic"]
    transform = transform_of("triclinic")
    evaluation = transform.evaluate(Structure(cell, positions, numbers))
    weights = random_weights(transform, evaluation.features)
    gradient, strain = evaluation.gradient(weights)
    scale = np.abs(evaluation.features)
    for shift in ([0.037, 0.11, -0.05], [1.3, 0.2, 0.9]):
        moved = transform.evaluate(Structure(cell, positions + shift, numbers))
        assert (np.abs(moved.features - evaluation.features) / scale).max() < 1e-9
        np.testing.assert_allclose(moved.gradient(weights)[0], gradient, atol=1e-9 * np.abs(gradient).max())
    for r in (*Rotation.from_quat(np.random.default_rng(2).normal(size=(3, 4))).as_matrix(), -np.eye(3)):
        turned = transform.evaluate(Structure(cell @ r.T, positions @ r.T, numbers))
        assert (np.abs(turned.features - evaluation.features) / scale).max() < 1e-9
        new_gradient, new_strain = turned.gradient(weights)
        np.testing.assert_allclose(new_gradient, gradient @ r.T, atol=1e-9 * np.abs(gradient).max())
        np.testing.assert_allclose(new_strain, r @ strain @ r.T, atol=1e-9 * np.abs(strain).max())


@pytest.mark.parametrize("matrix", [np.diag([2, 1, 1]), np.diag([2, 2, 2]), [[0, 1, 1], [1, 0, 1], [1, 1, 0]]])
def test_supercells_and_other_cells_of_one_crystal(matrix):
    cell, positions, numbers = STRUCTURES["triclinic"]
    transform = transform_of("triclinic")
    small = Atoms(numbers, positions, cell=cell, pbc=True)
    large = make_supercell(small, np.array(matrix))
    features = transform.evaluate(Structure.from_atoms(large)).features
    expected = transform.evaluate(Structure(cell, positions, numbers)).features * len(large) / len(small)
    assert np.abs(features / expected - 1).max() < 1e-9


def test_a_support_gives_the_same_numbers_and_needs_fewer_maps():
    cell, positions, numbers = STRUCTURES["triclinic"]
    full = transform_of("triclinic")
    chosen = np.sort(np.random.default_rng(4).permutation(len(full.keys))[:12])
    part = Transform(full.spec, [full.keys[i] for i in chosen])
    evaluation = part.evaluate(Structure(cell, positions, numbers))
    expected = full.evaluate(Structure(cell, positions, numbers)).features[chosen]
    np.testing.assert_allclose(evaluation.features, expected, rtol=1e-9)
    weights = random_weights(part, evaluation.features)
    spread = np.zeros(len(full.keys))
    spread[chosen] = weights
    gradient, strain = evaluation.gradient(weights)
    whole_gradient, whole_strain = full.evaluate(Structure(cell, positions, numbers)).gradient(spread)
    np.testing.assert_allclose(gradient, whole_gradient, atol=1e-9 * np.abs(gradient).max())
    np.testing.assert_allclose(strain, whole_strain, atol=1e-9 * np.abs(strain).max())
    (_, of_part), (_, of_all) = part.plans[-1], full.plans[-1]
    assert len(of_part.maps) < len(of_all.maps)


def test_a_support_with_as_many_maps_as_fields():
    """Fields and maps then have buffers of the same shape, which must not be the same buffers."""
    spec, cell = preset("correlations", ["Li", "Si"]), 2.3 * np.eye(3)
    positions, numbers = np.array([[0, 0, 0], [0.5, 0.5, 0.47], [0.2, 0.6, 0.9]]) @ cell, np.array([3, 14, 3])
    lithium, silicon = (SpeciesWavelet(z, Wavelet(0.5, 3, 0)) for z in (3, 14))
    square, mixed = Map(lithium, lithium), Map(lithium, silicon)
    keys = [BandFeature(square, other, 0).key for other in (square, mixed, Map(silicon, silicon))]
    evaluations = {
        count: Transform(spec, keys[:count]).evaluate(Structure(cell, positions, numbers)) for count in (1, 2, 3)
    }
    for count, evaluation in evaluations.items():
        np.testing.assert_allclose(evaluation.features, evaluations[3].features[:count], rtol=1e-9)
        gradient = evaluation.gradient(np.ones(count))[0]
        expected = evaluations[3].gradient(np.arange(3) < count)[0]
        np.testing.assert_allclose(gradient, expected, atol=1e-9 * np.abs(expected).max())


def test_cached_cells_change_nothing_and_are_bounded():
    cell, positions, numbers = STRUCTURES["triclinic"]
    transform = Transform(make_spec(), cache_size=2)
    first = transform.evaluate(Structure(cell, positions, numbers)).features
    for scale in (1.01, 1.02, 1.03):
        transform.evaluate(Structure(cell * scale, positions * scale, numbers))
    assert len(transform._prepared) == 2
    np.testing.assert_array_equal(transform.evaluate(Structure(cell, positions, numbers)).features, first)


def test_energy_is_continuous_where_grids_and_vectors_change():
    """A fine scan of the volume without a reference cell: steps stay far below 0.01 meV/atom-like sizes."""
    transform = Transform(preset("correlations", ("Li", "Si")))
    cell, positions, numbers = STRUCTURES["triclinic"]
    scales = np.linspace(0.99, 1.01, 81)
    rows = np.array([transform.evaluate(Structure(cell * s, positions * s, numbers)).features for s in scales])
    kinks = np.abs(np.diff(rows, n=3, axis=0)).max(axis=0) / np.ptp(rows, axis=0)
    assert np.median(kinks) < 1e-4
    assert kinks.max() < 1e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, p, z: (c, p[:0], z[:0]), "no atoms"),
        (lambda c, p, z: (c, np.where(np.arange(len(p))[:, None] == 2, np.nan, p), z), "position of atom 2"),
        (lambda c, p, z: (0 * c, p, z), "no volume"),
        (lambda c, p, z: (np.where(c > 4, np.inf, c), p, z), "finite"),
        (lambda c, p, z: (c, p, np.where(z == 3, 8, z)), "the model knows Li, Si, not O"),
        (lambda c, p, z: (c, p[:-1], z), "positions must be"),
    ],
)
def test_structures_that_cannot_be_evaluated(change, message):
    with pytest.raises(StructureError, match=message):
        transform_of("triclinic").evaluate(Structure(*change(*STRUCTURES["triclinic"])))
