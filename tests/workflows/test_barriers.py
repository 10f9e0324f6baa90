"""Barriers along given paths and by nudged elastic bands, with potentials whose barriers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read
from ase.optimize import BFGS

from ase_wavescat import WaveScatCalculator
from ase_wavescat.ensemble import Ensemble
from ase_wavescat.errors import CalculatorError, DataError, PathError, WaveScatWarning
from ase_wavescat.workflows import Barrier, barriers, neb, path_energies
from ase_wavescat.workflows.endpoints import matched, warn_of_exchange


@pytest.fixture(scope="module")
def adatom() -> tuple[Atoms, Atoms, float]:
    """Au on Al(100) in neighbouring hollows, and the barrier over the bridge between them, which symmetry knows."""
    slab = fcc100("Al", (2, 2, 2), vacuum=4.0)
    slab.info.clear()
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    side = slab.cell[0, 0]
    top = slab.positions[:, 2].max()
    hollow = slab.get_scaled_positions()[slab.positions[:, 2] < top - 1][0] @ slab.cell.array

    def relaxed(shift: float) -> Atoms:
        atoms = slab + Atoms("Au", [(hollow[0] + shift, hollow[1], top + 1.7)])
        held = [FixCartesian([len(slab)], mask=(True, True, False))] if shift else []
        atoms.set_constraint([*slab.constraints, *held])
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.01)
        return atoms

    initial, bridge = relaxed(0.0), relaxed(side / 4)
    final = initial.copy()
    final.positions[-1, 0] += side / 2
    barrier = bridge.get_potential_energy() - initial.get_potential_energy()
    return initial, final, barrier


@pytest.fixture(scope="module")
def adatom_band(adatom: tuple[Atoms, Atoms, float]) -> Barrier:
    initial, final, _ = adatom
    return neb(initial, final, images=5, fmax=0.03)


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
def test_a_shared_calculator_gives_the_path_of_one_for_each_image(small_ensemble: Ensemble) -> None:
    """Same places to 1e-8 A, same energies and spreads."""
    glass, final = _hop(WaveScatCalculator(small_ensemble))
    one = neb(glass, final, images=4, steps=4, relax_endpoints=False)
    many = neb(glass, final, images=4, steps=4, relax_endpoints=False, shared=False)
    for mine, other in zip(one.images, many.images, strict=True):
        assert np.abs(mine.positions - other.positions).max() < 1e-8
    assert one.energies == pytest.approx(many.energies, abs=1e-8)
    assert one.forward_spread == pytest.approx(many.forward_spread, rel=1e-6)


def _hop(calculator: WaveScatCalculator) -> tuple[Atoms, Atoms]:
    """Lithium from one interstitial site of a small silicon cell to the next."""
    initial = bulk("Si", cubic=True) + Atoms("Li", [(2.7, 2.7, 2.7)])
    final = initial.copy()
    final.positions[-1] = (4.07, 4.07, 4.07)
    initial.calc = calculator
    return initial, final


@pytest.mark.filterwarnings("ignore::ase_wavescat.WaveScatWarning")
def test_spreads_are_those_of_the_members_own_differences(small_ensemble: Ensemble) -> None:
    calculator = WaveScatCalculator(small_ensemble)
    initial, final = _hop(calculator)
    middle = initial.copy()
    middle.positions[-1] = (3.4, 3.4, 3.4)
    band = path_energies([initial, middle, final], calculator)
    members = np.array([calculator.get_member_energies(image) for image in band.images])
    scale = small_ensemble.calibration.energy_scale
    expected = scale * (members[band.highest] - members[0]).std(ddof=1)
    assert band.forward_spread == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert band.reaction_spread == pytest.approx(scale * (members[-1] - members[0]).std(ddof=1), rel=1e-9)
    assert band.energy_spreads is not None and band.energy_spreads[0] == 0
    # Errors that the members share cancel: far below the spreads of the energies themselves
    assert band.reaction_spread < 0.5 * scale * members.std(axis=1, ddof=1).max()


def test_stored_energies_are_taken_as_they_are(adatom_band: Barrier) -> None:
    band = path_energies(adatom_band.images)
    assert band.energies == pytest.approx(adatom_band.energies, abs=1e-12)
    assert band.forward_fit == pytest.approx(adatom_band.forward_fit, abs=1e-9)
    again = path_energies(adatom_band.images, EMT())
    assert again.energies == pytest.approx(band.energies, abs=1e-9)


def test_a_path_wrapped_into_the_cell_is_the_same_path(adatom_band: Barrier) -> None:
    wrapped = [image.copy() for image in adatom_band.images]
    for number, image in enumerate(wrapped):
        image.set_constraint()
        image.positions += 0.3 * number  # a drift that no force sees
        image.wrap()
    plain = [image.copy() for image in adatom_band.images]
    for image in plain:
        image.set_constraint()
    assert np.abs(wrapped[-1].positions - plain[-1].positions).max() > 2
    first, second = path_energies(wrapped, EMT()), path_energies(plain, EMT())
    assert first.energies == pytest.approx(second.energies, abs=1e-9)
    assert first.forward_fit == pytest.approx(second.forward_fit, abs=1e-6)
    assert first.lengths == pytest.approx(second.lengths, abs=1e-6)


def test_minima_between_the_ends_are_named() -> None:
    """An argon pair drawn apart along a third atom: in, over, in again."""
    chain = [Atoms("Ar3", [(0, 0, 0), (8, 0, 0), (x, 0, 0)]) for x in (2.0, 1.2, 4.0, 6.9, 6.0)]
    with pytest.warns(WaveScatWarning, match=r"minimum between the ends at image 2: the path is several hops"):
        band = path_energies(chain, LennardJones(sigma=1.5, epsilon=1.0))
    assert band.minima == [2]


def test_a_downhill_path_has_no_barrier() -> None:
    pair = [Atoms("Ar2", [(0, 0, 0), (x, 0, 0)]) for x in (2.4, 2.1, 1.9, 1.7)]
    with pytest.warns(WaveScatWarning, match="no image between the ends is above both"):
        band = path_energies(pair, LennardJones(sigma=1.5, epsilon=1.0))
    assert band.highest == 0 and band.forward == 0 and band.backward > 0.1


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


# ------------------------------------------------------------ endpoints


def test_atoms_across_the_boundary_do_not_travel_through_the_cell(make_structure: Callable[..., Atoms]) -> None:
    initial = make_structure(3, atoms=8)
    moved = initial.positions.copy()
    moved[2] += (0.9, -0.4, 0.2)
    final = initial.copy()
    final.positions = moved + np.array([4.0, -1.3, 2.2])  # more than half of the cell
    final.wrap()
    shift = matched(initial, final).positions - initial.positions
    assert shift[2] == pytest.approx((0.9, -0.4, 0.2), abs=1e-9)
    assert np.abs(np.delete(shift, 2, axis=0)).max() < 1e-9


def test_a_molecule_is_turned_back() -> None:
    triangle = Atoms("Ar3", [(0, 0, 0), (1.7, 0, 0), (0.85, 1.47, 0)])
    triangle.calc = LennardJones(sigma=1.5)
    turned = triangle.copy()
    turned.rotate(50, (1, 2, 3))
    with pytest.raises(PathError, match="initial and final structure are equal"):
        neb(triangle, turned)


def test_endpoints_that_do_not_match_are_named(make_structure: Callable[..., Atoms]) -> None:
    initial = make_structure(3, atoms=8)
    initial.calc = EMT()
    with pytest.raises(PathError, match=r"same atoms at both ends: \w+ has 8, \w+ has 7"):
        matched(initial, initial[:-1])
    with pytest.raises(PathError, match=r"atom 0 is Si in the initial structure and Li in the final; their atoms are"):
        matched(
            initial, initial[::-1][[1, *range(1, 8)]] if initial[-1].symbol == "Si" else initial[[1, 0, *range(2, 8)]]
        )
    other = initial.copy()
    other.symbols[1] = "Si"
    with pytest.raises(PathError, match=r"atom 1 is Li in the initial structure and Si in the final; they are"):
        matched(initial, other)
    other = initial.copy()
    other.set_cell(1.01 * other.cell, scale_atoms=True)
    with pytest.raises(PathError, match="same cell at both ends"):
        matched(initial, other)
    other = initial.copy()
    other.pbc = (True, True, False)
    with pytest.raises(PathError, match="same pbc at both ends"):
        matched(initial, other)


def test_atoms_that_constraints_hold_must_not_differ(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    final = final.copy()
    held = int(initial.constraints[0].index[1])
    final.set_constraint()
    final.positions[held, 2] += 0.1
    with pytest.raises(PathError, match=rf"hold atom {held} \(Al\), which is elsewhere in the final one by 0.1000"):
        neb(initial, final)


def test_equal_ends_and_ends_of_one_minimum_are_named(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, _, _ = adatom
    with pytest.raises(PathError, match="initial and final structure are equal"):
        neb(initial, initial.copy())
    near = initial.copy()
    near.positions[-1] += (0.3, 0.1, 0.2)
    with pytest.raises(PathError, match="relax into the same minimum"):
        neb(initial, near)


def test_like_atoms_that_change_places_are_warned_of(adatom: tuple[Atoms, Atoms, float]) -> None:
    initial, final, _ = adatom
    warn_of_exchange(initial, final)  # another way of one atom is no exchange
    final = final.copy()
    free = [atom.index for atom in initial if atom.symbol == "Al" and atom.tag == 1][:2]
    final.positions[free] = final.positions[free[::-1]]
    with pytest.warns(WaveScatWarning, match=f"like atoms {free[0]}, {free[1]} in another order"):
        warn_of_exchange(initial, final)


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


def test_what_is_written_reads_back(adatom_band: Barrier, tmp_path: Path) -> None:
    path = adatom_band.write(tmp_path, "hop")
    figures = json.loads(path.read_text())
    assert figures["forward"] == adatom_band.forward and figures["converged"] is True and figures["minima"] == []
    assert figures["forward_spread"] is None
    images = read(tmp_path / "hop.extxyz", ":")
    assert [image.get_potential_energy() for image in images] == pytest.approx(adatom_band.energies, abs=1e-6)
    assert (tmp_path / "hop.png").read_bytes().startswith(b"\x89PNG")
