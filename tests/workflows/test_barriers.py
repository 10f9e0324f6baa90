"""Nudged elastic bands, with potentials whose barriers are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLengths

from ase_wavescat.system.errors import CalculatorError, DataError, PathError, WaveScatWarning
from ase_wavescat.workflows import Barrier, barriers, neb, path_energies


def test_the_barrier_is_that_of_the_saddle_that_symmetry_knows(
    adatom: tuple[Atoms, Atoms, float], adatom_band: Barrier
) -> None:
    initial, _, known = adatom
    assert adatom_band.converged and adatom_band.climbed and adatom_band.highest == 2
    assert adatom_band.forward == pytest.approx(known, abs=2e-3)
    assert adatom_band.backward == pytest.approx(known, abs=2e-3)
    assert adatom_band.forward_fit == pytest.approx(known, abs=2e-3)
    assert adatom_band.reaction == pytest.approx(0, abs=1e-3)
    assert adatom_band.residual_force <= 0.03 and adatom_band.endpoint_forces.max() <= 0.03
    assert len(adatom_band.residual_forces) == adatom_band.steps + 1
    assert adatom_band.forward_spread is None and adatom_band.energy_spreads is None
    fixed = initial.constraints[0].index
    for image in adatom_band.images:
        assert np.array_equal(image.positions[fixed], initial.positions[fixed])
        assert image.get_potential_energy() < initial.get_potential_energy() + known + 0.01


@pytest.mark.filterwarnings("ignore::ase_wavescat.WaveScatWarning")
def test_the_caller_s_structures_stay_as_they_are(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    before = initial.positions.copy(), final.positions.copy(), initial.calc
    neb(initial, final, images=3, steps=1)
    assert np.array_equal(initial.positions, before[0]) and np.array_equal(final.positions, before[1])
    assert initial.calc is before[2] and final.calc is None


@pytest.mark.filterwarnings("ignore:the final structure is not relaxed")
def test_a_band_cut_short_says_so(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    with pytest.warns(WaveScatWarning, match="the band did not converge"):
        band = neb(initial, final, images=5, fmax=0.01, steps=3, relax_endpoints=False)
    assert not band.converged and band.steps == 3 and not band.climbed and "not converged" in band.summary()


def test_ends_that_are_not_relaxed_are_said_to_be_so(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    final = final.copy()
    final.positions[-1, 2] += 0.2
    with pytest.warns(WaveScatWarning, match="the final structure is not relaxed"):
        band = neb(initial, final, images=5, relax_endpoints=False)
    assert not band.converged and band.residual_force <= band.fmax < band.endpoint_forces[1]


@pytest.mark.filterwarnings("ignore:the band did not converge")
def test_a_shared_calculator_gives_the_path_of_one_for_each_image(silicon_hop: tuple[Atoms, Atoms]) -> None:
    """Same places to 1e-8 A, same energies and spreads."""
    initial, final = silicon_hop
    one = neb(initial, final, images=4, steps=4, relax_endpoints=False)
    many = neb(initial, final, images=4, steps=4, relax_endpoints=False, shared=False)
    for mine, other in zip(one.images, many.images, strict=True):
        assert np.abs(mine.positions - other.positions).max() < 1e-8
    assert one.energies == pytest.approx(many.energies, abs=1e-8)
    assert one.forward_spread == pytest.approx(many.forward_spread, rel=1e-6)


def test_a_band_begins_with_images_that_are_given(adatom: tuple[Atoms, Atoms, float], adatom_band: Barrier) -> None:
    initial, final, _ = adatom
    band = neb(initial, final, images=adatom_band.images[1:-1], fmax=0.03)
    assert band.steps < 5 and band.forward == pytest.approx(adatom_band.forward, abs=1e-3)


def test_a_climbing_image_that_runs_away_is_left_out(
    adatom: tuple[Atoms, Atoms, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barriers, "RUNAWAY", 0.3)  # the band of the adatom never runs away: call a small force one
    initial, final, known = adatom
    with pytest.warns(WaveScatWarning, match=r"the climbing image ran away \(force above 0.\d\d eV/Å\)"):
        band = neb(initial, final, images=4, fmax=0.05)
    assert band.converged and not band.climbed and band.residual_force <= 0.05
    assert band.forward < known - 0.02  # without climbing, the images stand beside the saddle
    assert band.forward_fit == pytest.approx(known, abs=0.03)
    assert len(band.residual_forces) == band.steps + 1


@pytest.mark.filterwarnings("ignore:the initial structure is not relaxed")
def test_where_no_image_is_above_the_ends_none_climbs(adatom: tuple[Atoms, Atoms, float]) -> None:
    """From halfway up the barrier down to the hollow."""
    initial, final, _ = adatom
    high = initial.copy()
    high.positions[-1, 0] += 0.45 * (final.positions[-1, 0] - initial.positions[-1, 0])
    high.positions[-1, 2] += 0.35
    high.calc = EMT()
    with pytest.warns(WaveScatWarning, match="no image between the ends is above both"):
        band = neb(high, initial, images=4, relax_endpoints=False)
    assert not band.climbed and band.highest == 0 and band.forward == 0


def test_a_molecule_is_turned_back() -> None:
    triangle = Atoms("Ar3", [(0, 0, 0), (1.7, 0, 0), (0.85, 1.47, 0)])
    triangle.calc = LennardJones(sigma=1.5)
    turned = triangle.copy()
    turned.rotate(50, (1, 2, 3))
    with pytest.raises(PathError, match="initial and final structure are equal"):
        neb(triangle, turned)


def test_atoms_that_constraints_hold_must_not_differ(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    final = final.copy()
    held = int(initial.constraints[0].index[1])
    final.set_constraint()
    final.positions[held, 2] += 0.1
    with pytest.raises(PathError, match=rf"hold atom {held} \(Al\), which is elsewhere in the final one by 0.1000"):
        neb(initial, final)


def test_equal_ends_and_ends_of_one_minimum_are_named(
    adatom: tuple[Atoms, Atoms, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    initial, _, _ = adatom
    with pytest.raises(PathError, match="initial and final structure are equal"):
        neb(initial, initial.copy())
    near = initial.copy()
    near.positions[-1] += (0.3, 0.1, 0.2)
    with pytest.raises(PathError, match="relax into the same minimum"):
        neb(initial, near)
    monkeypatch.setattr(barriers, "SAME", 1e-6)  # as in a softer minimum: by the energy halfway
    with pytest.raises(PathError, match="relax into the same minimum"):
        neb(initial, near, fmax=0.1)


def test_atoms_that_would_go_through_one_another_are_an_error() -> None:
    pair = Atoms("ArNe", [(1, 1, 1), (3, 1, 1)])
    pair.calc = LennardJones(sigma=1.5)
    final = pair.copy()
    final.positions[[0, 1]] = final.positions[[1, 0]]
    final.set_constraint(FixAtoms([]))
    pair.set_constraint(FixAtoms([]))  # otherwise the molecule would be turned
    with pytest.raises(PathError, match="atoms run into each other on the way"):
        neb(pair, final, images=3, relax_endpoints=False)


def test_settings_and_calculators_that_cannot_be(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    with pytest.raises(DataError, match="at least three images, one of them between the ends, got 2"):
        neb(initial, final, images=2)
    with pytest.raises(DataError, match="fmax must be a positive number"):
        neb(initial, final, fmax=0)
    with pytest.raises(DataError, match="steps must not be negative"):
        neb(initial, final, steps=-1)
    with pytest.raises(CalculatorError, match="no calculator"):
        neb(final, initial)
    with pytest.raises(PathError, match="at least three images, got 2"):
        path_energies([initial, initial], EMT())
    with pytest.raises(PathError, match="images 0 and 1 of the path are equal"):
        path_energies([initial, initial, final], EMT())


def test_ends_that_do_not_go_together() -> None:
    first = bulk("Cu", cubic=True) * 2
    del first[0]
    first.calc = EMT()
    last = first.copy()
    last.positions[0] = 0.0
    last.set_constraint(FixAtoms([5]))
    with pytest.raises(PathError, match="constraints of the final structure are not those of the initial"):
        neb(first, last)
    last.set_constraint()
    last.positions[3, 1] = np.nan
    with pytest.raises(DataError, match="not finite"):
        neb(first, last)


def test_bonds_that_are_held_go_along() -> None:
    first = bulk("Cu", cubic=True) * 2
    del first[0]
    first.calc = EMT()
    last = first.copy()
    last.positions[0] = 0.0
    bond = FixBondLengths([(20, 21)])
    first.set_constraint(bond)
    last.set_constraint(bond)
    for end in (last, last.copy()):
        band = neb(first, end, images=3, steps=3, relax_endpoints=False)
        lengths = [image.get_distance(20, 21, mic=True) for image in band.images]
        assert lengths == pytest.approx([lengths[0]] * 3, abs=1e-4)
        end.set_constraint()
