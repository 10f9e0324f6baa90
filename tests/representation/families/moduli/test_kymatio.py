r"""Solid-harmonic moduli against kymatio's `HarmonicScattering3D` on the same density.

kymatio's wavelets are N_l (2 pi)^(3/2) (-i)^l x^l exp(-x^2/2) Y_lm, x = sigma_0 2^j |G|, with N_l = 1 / (2 pi
(l + 1/2)^(1/2) (l + 1)!!) for even l > 0 and 1 / (2^((l+3)/2) (pi (2l+1))^(1/2) ((l+1)/2)!) for odd l; for l = 0,
exp(-x^2/2). With sum_m |Y_lm|^2 = (2l+1) / (4 pi), (l+1)!! = 2^((l+1)/2) ((l+1)/2)! for odd l, and our radial part of
peak one, x^l exp(-x^2/2) = (l/e)^(l/2) R(x), a modulus of kymatio is K_l times ours, one of second order K_l^2 times:

    K_l = (l/e)^(l/2) / (l+1)!!  x  (1 for even l, (pi/2)^(1/2) for odd l).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.special

from ase_wavescat.representation.families.moduli.plan import ModuliPlan
from ase_wavescat.representation.lattice.reciprocal import ReciprocalLattice
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.scene import Scene
from ase_wavescat.structure.structure import Structure

pytest.importorskip("kymatio")

EDGE = 32  # voxels of 1 A
L_MAX, SCALES, POWERS = 3, 3, ("1/2", "1", "4/3", "2", "3")
WIDTH, DENSITY_WIDTH = 2.0, 2.2
POSITIONS = np.array([[5.3, 7.1, 9.7], [12.2, 8.4, 11.9], [9.1, 14.6, 7.5], [27.8, 20.3, 25.1]])
NUMBERS = np.array([3, 14, 3, 8])


@pytest.fixture(scope="module")
def harmonic_scattering():
    """kymatio's transform; 0.3.0 asks SciPy for `sph_harm`, which newer ones have under another name."""
    with pytest.MonkeyPatch.context() as patch:
        if not hasattr(scipy.special, "sph_harm"):
            patch.setattr(
                scipy.special,
                "sph_harm",
                lambda m, n, azimuth, polar: scipy.special.sph_harm_y(n, m, polar, azimuth),
                raising=False,
            )
        from kymatio.numpy import HarmonicScattering3D

        powers = [float(Fraction(q)) for q in POWERS]
        yield HarmonicScattering3D(SCALES - 1, (EDGE,) * 3, L_MAX, sigma_0=WIDTH, integral_powers=powers)


def density(weights):
    """The sum of Gaussians of unit integral on the voxels, with the nearest images."""
    result = np.ones((len(POSITIONS), EDGE, EDGE, EDGE))
    for axis in range(3):
        distances = np.arange(EDGE) - POSITIONS[:, axis, None]
        images = distances[..., None] + EDGE * np.arange(-2, 3)
        line = np.exp(-(images**2) / (2 * DENSITY_WIDTH**2)).sum(axis=-1) / np.sqrt(2 * np.pi * DENSITY_WIDTH**2)
        result *= np.expand_dims(line, tuple(1 + other for other in range(3) if other != axis))
    return np.tensordot(weights, result, axes=1)


def ours(points):
    """{(channel, q, scales, l): integral} on a grid of so many points, 0 for our own grids; and the spec."""
    spec = preset(
        "solid-harmonic", sorted({*NUMBERS}), beta=WIDTH, density_width=DENSITY_WIDTH, powers=POWERS, tolerance=3e-5
    )
    plan = ModuliPlan(spec, spec.families[0], spec.features, points=points)
    lattice = ReciprocalLattice(EDGE * np.eye(3), plan.cutoff)
    scene = Scene(Structure(lattice.cell, POSITIONS, NUMBERS), spec.species, lattice)
    values = plan.prepare(lattice).forward(scene).values
    keys = [(f.channel, f.power, tuple(w.scale for w in f.path), f.path[-1].l if f.path else 0) for f in spec.features]
    return dict(zip(keys, values, strict=True)), spec


def theirs(scattering, spec):
    """The same from kymatio, in units of our wavelets; its table is (paths, l, q) for each density."""
    paths = [(j,) for j in range(SCALES)] + [(i, j) for i in range(SCALES) for j in range(i + 1, SCALES)]
    result = {}
    for channel, weights in spec.channels:
        table = scattering.scattering(density([dict(weights)[z] for z in NUMBERS]))
        for row, path in enumerate(paths):
            for l in range(L_MAX + 1):
                factor = (l / np.e) ** (l / 2) / scipy.special.factorial2(l + 1) * (np.sqrt(np.pi / 2) if l % 2 else 1)
                for column, q in enumerate(map(Fraction, POWERS)):
                    result[channel, q, path, l] = table[row, l, column] / factor ** (float(q) * len(path))
    return result


@pytest.mark.parametrize(("points", "tolerance"), [(EDGE, 3e-6), (0, 3e-4)], ids=["kymatio's grid", "own grids"])
def test_coefficients_are_kymatios(harmonic_scattering, points, tolerance):
    """On the same points but for kymatio's 32-bit filters and sums; on our own by the kinks, at a tolerance of 3e-5."""
    values, spec = ours(points)
    expected = theirs(harmonic_scattering, spec)
    assert len(expected) == 3 * len(POWERS) * (4 * 3 + 4 * 3)
    assert max(abs(values[key] / expected[key] - 1) for key in expected) < tolerance


def test_zeroth_order_is_of_the_same_density():
    values, spec = ours(EDGE)
    for channel, weights in spec.channels:
        rho = density([dict(weights)[z] for z in NUMBERS])
        for q in map(Fraction, POWERS):
            assert values[channel, q, (), 0] == pytest.approx((rho ** float(q)).sum(), rel=1e-4 if q < 1 else 1e-8)
