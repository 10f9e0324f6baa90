"""Ready-made specifications by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from ase.data import chemical_symbols

from ase_wavescat.representation.families.correlations.family import Correlations
from ase_wavescat.representation.families.moduli.family import Moduli
from ase_wavescat.representation.families.points.family import Points
from ase_wavescat.representation.lattice.bands import Bands
from ase_wavescat.representation.maps import Maps
from ase_wavescat.representation.specification import Channel, ScatteringSpec, element_number
from ase_wavescat.system.errors import SpecError, did_you_mean

_NOBLE_CORES = (0, 2, 10, 18, 36, 54, 86)


def valence_electrons(number: int) -> int:
    """Electrons outside the noble-gas core; filled d and f shells of p-block elements count as core."""
    core = max(core for core in _NOBLE_CORES if core < number)
    outside, filled = number - core, 24 if core >= 54 else 10
    return outside - filled if outside > filled + 2 else outside


def papers_channels(species: Sequence[int]) -> tuple[Channel, ...]:
    """The channels of S20 app. A: one a species (Z at its own atoms), valence, ionic (core), kinetic sqrt(Z)."""
    channels = {chemical_symbols[z]: {other: float(z) if other == z else 0.0 for other in species} for z in species}
    channels["valence"] = {z: float(valence_electrons(z)) for z in species}
    channels["ionic"] = {z: float(z - valence_electrons(z)) for z in species}
    channels["kinetic"] = {z: math.sqrt(z) for z in species}
    return tuple((name, tuple(sorted(weights.items()))) for name, weights in channels.items())


def _papers_tree(species: Sequence[int | str], family: Moduli) -> ScatteringSpec:
    numbers = _numbers(species)
    return ScatteringSpec(
        species=numbers,
        channels=papers_channels(numbers),
        wavelets=((3, 0), (3, 1), (3, 2)),
        scales=(0.0, 1.0, 2.0, 3.0, 4.0),
        beta=0.6,
        families=(family,),
    )


def sinz2020(species: Sequence[int | str]) -> ScatteringSpec:
    """S20: n = 3, l = 0..2, five octaves, q in {1, 4/3, 5/3, 2}; with Li and Si 20 + 300 + 3420 features."""
    return _papers_tree(species, Moduli())


def polynomial(species: Sequence[int | str]) -> ScatteringSpec:
    """The smooth twin of `sinz2020`: even powers, second layer on the squared modulus."""
    return _papers_tree(species, Moduli(powers=(Fraction(2), Fraction(4)), second_input="squared"))


def brumwell2018(species: Sequence[int | str]) -> ScatteringSpec:
    """B18: 1 <= n <= 5, all l < n, six half octaves, Gaussian density, ratio normalisation; Li and Si: 33320 features.

    Second-order paths have j2 > j1 and (n2, l2) > (n1, l1). Of the five channels `kinetic` is the square-root one;
    that the others are those of S20, and both widths, 0.6 A, are our choice: Gaussians of neighbours in Li-Si meet at
    an eighth of their height.
    """
    numbers = _numbers(species)
    family = Moduli(scale_step=0.5, second_orbitals="ascending", density_width=0.6, normalisation="ratio")
    return ScatteringSpec(
        species=numbers,
        channels=papers_channels(numbers),
        wavelets=tuple((n, l) for n in range(1, 6) for l in range(n)),
        scales=tuple(j / 2 for j in range(6)),
        beta=0.6,
        families=(family,),
    )


def solid_harmonic(species: Sequence[int | str]) -> ScatteringSpec:
    """E18, for molecules: l = n - 1 = 0..3, integer scales, Gaussian density, q in {1/2, 1, 2, 3, 4}; 375 features.

    Second-order paths keep l and have j2 > j1. Channels: total charge Z, valence, core. The papers' other powers:
    preset("solid-harmonic", species, powers=("1", "4/3", "5/3", "2")). Our choice: both widths, 0.5 A, as close to
    bonds as boxes of reasonable size allow; three scales, the widest as wide as a small molecule; the tolerance, at
    which the square root of what is left in vacuum is small enough.
    """
    numbers = _numbers(species)
    channels = {
        "charge": {z: float(z) for z in numbers},
        "valence": {z: float(valence_electrons(z)) for z in numbers},
        "core": {z: float(z - valence_electrons(z)) for z in numbers},
    }
    powers = (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3), Fraction(4))
    family = Moduli(powers=powers, scale_step=1.0, second_orbitals="same", density_width=0.5)
    return ScatteringSpec(
        species=numbers,
        channels=tuple((name, tuple(weights.items())) for name, weights in channels.items()),
        wavelets=tuple((l + 1, l) for l in range(4)),
        scales=(0.0, 1.0, 2.0),
        beta=0.5,
        families=(family,),
    )


def correlations(species: Sequence[int | str]) -> ScatteringSpec:
    """Pair bands, three-body at the atoms, four-body correlations of maps in bands: the production family.

    Three half-octave scales with all products of them at the atoms, the two coarser ones on the grid; four bands up to
    5/A between the maps: fewer bands or products of equal scales only cost accuracy on amorphous Li-Si, coarser scales
    and more pair bands add none.
    """
    wavelets = ((3, 0), (3, 1), (3, 2), (4, 3))
    scales = (0.0, 0.5, 1.0)
    family = Correlations(
        pair=Bands(count=12, spacing=0.45),
        atom_maps=Maps(wavelets, scales, span=1.0),
        grid_maps=Maps(wavelets[:3], scales[1:], span=0.5),
        four_body=Bands(count=4, spacing=1.0),
    )
    return ScatteringSpec(species=_numbers(species), wavelets=wavelets, scales=scales, beta=0.6, families=(family,))


def many_body(species: Sequence[int | str]) -> ScatteringSpec:
    """`correlations` with products of two maps at the atoms (five-body) and more bands: more exact, and slower.

    On held-out melts of Li-Si a tenth less error in the energies, a thirtieth less in the forces.
    """
    wavelets = ((3, 0), (3, 1), (3, 2), (4, 3), (5, 4))
    scales = (0.0, 0.5, 1.0)
    family = Correlations(
        pair=Bands(count=24, spacing=0.3),
        atom_maps=Maps(wavelets, scales, span=1.0),
        five_body=Maps(wavelets, scales),
        grid_maps=Maps(wavelets[:3], scales[1:], span=0.5),
        four_body=Bands(count=8, spacing=0.8),
    )
    return ScatteringSpec(species=_numbers(species), wavelets=wavelets, scales=scales, beta=0.6, families=(family,))


def point_scattering(species: Sequence[int | str]) -> ScatteringSpec:
    """Moduli of both orders at the atoms, without a grid: l = 0..3, three half octaves; Li and Si: 366 features.

    Channels: one a species, with weight 1, and valence. Of two species these three give all products of two densities.
    Paths have j2 > j1; with those of j2 = j1, which B21 has too, they are 654 (scale_step=0), of about the same errors
    on held-out cells of Li-Si.
    """
    numbers = _numbers(species)
    channels = {chemical_symbols[z]: {other: float(other == z) for other in numbers} for z in numbers}
    channels["valence"] = {z: float(valence_electrons(z)) for z in numbers}
    return ScatteringSpec(
        species=numbers,
        channels=tuple((name, tuple(weights.items())) for name, weights in channels.items()),
        wavelets=((3, 0), (3, 1), (3, 2), (4, 3)),
        scales=(0.0, 0.5, 1.0),
        beta=0.6,
        families=(Points(scale_step=0.5, softening=0.01),),
    )


PRESETS: dict[str, Callable[[Sequence[int | str]], ScatteringSpec]] = {
    "brumwell2018": brumwell2018,
    "correlations": correlations,
    "many-body": many_body,
    "point-scattering": point_scattering,
    "polynomial": polynomial,
    "sinz2020": sinz2020,
    "solid-harmonic": solid_harmonic,
}


def preset(name: str, species: Sequence[int | str], **overrides: Any) -> ScatteringSpec:
    """A preset for the given species.

    Args:
        overrides: Fields of the spec (beta=0.5, tolerance=1e-5, ...) or of its family (powers=(2,), density_width=0.3,
            ...) to replace.

    Raises:
        SpecError: For an unknown name or field.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise SpecError(f"no preset {name!r}{did_you_mean(str(name), list(PRESETS))}; known are {sorted(PRESETS)}")
    spec = PRESETS[name](species)
    of_spec = [f.name for f in dataclasses.fields(spec) if f.init]
    of_family = [f.name for f in dataclasses.fields(spec.families[0])]
    for key in overrides:
        if key not in of_spec + of_family:
            raise SpecError(f"unknown field {key!r} for preset {name!r}{did_you_mean(key, of_spec + of_family)}")
    changes = {key: value for key, value in overrides.items() if key in of_family}
    rest = {key: value for key, value in overrides.items() if key not in of_family}
    if changes and "families" in rest:
        raise SpecError(f"families and {sorted(changes)} of a family cannot both be given: put them into the families")
    if changes:
        rest["families"] = (dataclasses.replace(spec.families[0], **changes),)
    return dataclasses.replace(spec, **rest)


def _numbers(species: Sequence[int | str]) -> tuple[int, ...]:
    return tuple(sorted(element_number(z) for z in species))
