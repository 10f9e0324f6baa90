"""Surroundings of single atoms: what they do not depend on, and that unlike ones are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.db import connect

from ase_wavescat import WaveScatCalculator, load_model, save_model
from ase_wavescat.active_learning.selection import Limits, select
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.environments import Environments, EnvironmentVectors, leverages, moments
from ase_wavescat.potentials.model import Model
from ase_wavescat.representation.wavelets import solid_harmonics_at
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import CalculatorError, WaveScatWarning
from ase_wavescat.training.data.frames import Frame
from ase_wavescat.training.data.surroundings import WIDTH, collect_environments, typical_distance
from ase_wavescat.workflows import relax, screen
from linear_models import changed, linear, species_energies

SPECIES = (3, 14)


def vectors_of(atoms: Atoms, width: float = 1.0) -> np.ndarray:
    return EnvironmentVectors(SPECIES, width)(Structure.from_atoms(atoms))


def frame_of(atoms: Atoms, group: str = "a") -> Frame:
    return Frame(Structure.from_atoms(atoms), 0.0, None, None, group, "", "a frame")


def crystals(count: int, size: float = 0.1, seed: int = 0) -> list[Atoms]:
    """Zincblende LiSi, rattled."""
    made = []
    for number in range(count):
        atoms = bulk("LiSi", "zincblende", 5.9, cubic=True)
        atoms.rattle(size, seed=seed + number)
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def seen() -> Environments:
    frames = [frame_of(atoms) for atoms in crystals(100)]
    return collect_environments(frames, SPECIES, np.arange(100) % 5)


# ---------------------------------------------------------------- the numbers


def test_they_are_norms_of_sums_over_neighbours(make_structure: Callable[..., Atoms]) -> None:
    """The formula, term by term, over images near enough."""
    atoms, width = make_structure(), 0.8
    found = vectors_of(atoms, width)
    shifts = np.array(list(np.ndindex(5, 5, 5))) - 2
    expected = np.zeros_like(found)
    for k, place in enumerate(atoms.positions):
        for column, z in enumerate(SPECIES):
            others = atoms.positions[atoms.numbers == z]
            between = (others[:, None] + shifts @ atoms.cell.array - place).reshape(-1, 3) / width
            lengths = np.linalg.norm(between, axis=1)
            between, lengths = between[lengths > 0], lengths[lengths > 0]
            weights = np.exp(-0.5 * lengths**2)
            t = np.clip((4.5 - lengths) / 0.9, 0, 1)
            weights *= t**3 * (10 - 15 * t + 6 * t**2)
            fields = solid_harmonics_at(between, 6)[0] @ weights
            expected[k, 7 * column : 7 * column + 7] = [np.linalg.norm(fields[l * l : (l + 1) ** 2]) for l in range(7)]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_they_do_not_change_with_the_choice_of_cell_origin_order_and_orientation(
    make_structure: Callable[..., Atoms],
) -> None:
    atoms = make_structure()
    own = vectors_of(atoms)
    moved = atoms.copy()
    moved.positions += [0.3, -7.0, 11.0]
    moved.wrap()
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    skewed = atoms.copy()
    skewed.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell.array)
    for other in (moved, turned, skewed):
        np.testing.assert_allclose(vectors_of(other), own, rtol=1e-10, atol=1e-10)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(vectors_of(atoms[order]), own[order], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(vectors_of(atoms.repeat((1, 2, 3))), np.tile(own, (6, 1)), rtol=1e-10, atol=1e-10)


def test_a_neighbour_enters_without_a_jump() -> None:
    reach = EnvironmentVectors(SPECIES, 1.0).reach
    found = [
        vectors_of(Atoms("Si2", [[0, 0, 0], [0, 0, reach + x]], cell=3 * [30], pbc=True)) for x in (-1e-4, 0, 1e-4)
    ]
    assert np.abs(found[0]).max() < 1e-9
    assert np.all(found[1] == 0) and np.all(found[2] == 0)


# ---------------------------------------------------------------- the grades


def test_leverages_are_one_on_average_and_do_not_depend_on_units() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)) + 3
    species = rng.integers(2, size=4000)
    found = leverages(values, species, *moments(values, species, 2))
    assert [found[species == s].mean() for s in (0, 1)] == pytest.approx([1, 1], abs=0.03)
    scaled = values * np.array([1e-3, 1, 10, 1e3, 1e5])
    np.testing.assert_allclose(leverages(scaled, species, *moments(scaled, species, 2)), found, rtol=1e-6)


def test_held_out_cells_are_inside_and_unlike_ones_are_not(seen: Environments) -> None:
    def largest(atoms: Atoms) -> float:
        return float(seen.grades(Structure.from_atoms(atoms)).max())

    inside = [largest(atoms) for atoms in crystals(100, seed=1000)]
    assert np.mean(np.array(inside) > 1) <= 0.05
    surface, swapped, hole, squeezed = (crystals(1)[0] for _ in range(4))
    surface.cell[2] *= 2
    swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]
    del hole[3]
    squeezed.set_cell(squeezed.cell.array * [[0.9], [1], [1]], scale_atoms=True)
    assert min(map(largest, (surface, swapped, hole, squeezed))) > 1.5


def test_a_species_that_one_fold_alone_has_and_one_that_is_absent() -> None:
    frames = [frame_of(atoms) for atoms in [*crystals(10), bulk("Si", "diamond", 5.47)]]
    only_silicon = [frame_of(bulk("Si", "diamond", a)) for a in (5.4, 5.5, 5.6, 5.7)]
    for given, fold in ((frames, np.arange(11) % 2), (only_silicon, np.arange(4) % 2)):
        found = collect_environments(given, SPECIES, fold)
        assert np.isfinite(found.limit) and found.limit > 0


def test_the_width_follows_the_nearest_neighbours() -> None:
    frames = [frame_of(bulk("Si", "diamond", 5.47)), frame_of(Atoms("Si", cell=3 * [20], pbc=True))]
    assert typical_distance(frames) == pytest.approx(5.47 * np.sqrt(3) / 4)
    found = collect_environments(frames, SPECIES, np.array([0, 1]))
    assert found.vectors.width == pytest.approx(WIDTH * 5.47 * np.sqrt(3) / 4)
    assert typical_distance(frames[1:]) == 2.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": np.zeros((2, 3))}, "mean must have the shape"),
        ({"whitening": np.full((2, 14, 14), np.nan)}, "not finite"),
        ({"limit": 0.0}, "limit must be a positive number"),
        ({"limit": np.nan}, "limit must be a positive number"),
    ],
)
def test_inconsistent_ones_are_refused(seen: Environments, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(seen, **changes)


def test_a_width_that_sees_no_shell_is_refused() -> None:
    for width in (0.0, 1e3, np.nan):
        with pytest.raises(ValueError, match="seen through"):
            EnvironmentVectors(SPECIES, width)


# ---------------------------------------------------------------- what users see


@pytest.fixture
def judging(small_ensemble: Model, wide_domain: Domain, seen: Environments) -> Model:
    domain = replace(wide_domain, environments=seen, typical_spread=1e3, periodic_only=True)
    return replace(small_ensemble, domain=domain)


def test_the_worst_atom_is_named(judging: Model) -> None:
    atoms = crystals(1)[0]
    del atoms[3]
    calculator = WaveScatCalculator(judging)
    with pytest.warns(WaveScatWarning, match="environment"):
        messages = calculator.get_domain_messages(atoms)
    grades = calculator.get_extrapolation_grades(atoms)
    assert list(messages) == ["environments"] and len(grades) == len(atoms)
    name = {3: "lithium", 14: "silicon"}[int(atoms.numbers[grades.argmax()])]
    assert f"{name} atom {grades.argmax()} " in messages["environments"]
    calculator.annotate(atoms)
    np.testing.assert_array_equal(atoms.arrays["extrapolation_grade"], grades)


def test_few_of_thousands_of_atoms_need_not_be_told(wide_domain: Domain) -> None:
    grades, numbers = np.full(5000, 0.5), np.full(5000, 14)
    grades[7] = 1.5
    assert wide_domain.environments_outside(grades, numbers) is None
    assert wide_domain.environments_outside(grades[:500], numbers[:500]) == (
        "silicon atom 7 has an environment unlike any seen (grade 1.50, the limit is 1)"
    )
    grades[7] = 2.5
    assert "silicon atom 7 " in str(wide_domain.environments_outside(grades, numbers))
    grades[:6] = 1.2
    assert "7 of 5000 atoms" in str(wide_domain.environments_outside(grades, numbers))


def test_open_directions_and_spreads(judging: Model) -> None:
    slab = crystals(1)[0]
    slab.pbc = (True, False, True)
    calculator = WaveScatCalculator(judging)
    with pytest.warns(WaveScatWarning, match="open along b;"):
        assert "boundaries" in calculator.get_domain_messages(slab)
    atoms = crystals(1)[0]
    spread = calculator.get_energy_uncertainty(atoms) / len(atoms)
    assert judging.domain is not None
    for typical, kinds in ((spread / 2.9, set()), (spread / 3.1, {"spread"})):
        ensemble = replace(judging, domain=replace(judging.domain, typical_spread=typical))
        quiet = WaveScatCalculator(ensemble)
        quiet._warned.add("spread")
        assert set(quiet.get_domain_messages(atoms)) == kinds


def test_models_that_record_no_environments_say_so(small_ensemble: Model) -> None:
    with pytest.raises(CalculatorError, match="records no environments"):
        WaveScatCalculator(small_ensemble).get_extrapolation_grades(crystals(1)[0])


@pytest.mark.parametrize("members", [5, 1])
def test_relaxations_and_screenings_carry_what_is_outside(judging: Model, members: int, tmp_path: Path) -> None:
    few = changed(
        judging, weights=linear(judging).weights[:members], species_energies=species_energies(judging)[:members]
    )
    atoms = crystals(1)[0]
    del atoms[3]
    atoms.calc = WaveScatCalculator(few)
    with pytest.warns(WaveScatWarning, match="unlike any seen"):
        relaxation = relax(atoms, steps=0)
    grades = atoms.calc.get_extrapolation_grades(relaxation.structure)
    assert relaxation.outside == atoms.calc.get_domain_messages(relaxation.structure) != {}
    assert f"outside the training domain: {relaxation.outside['environments']}" in relaxation.summary()
    np.testing.assert_allclose(relaxation.structure.arrays["extrapolation_grade"], grades)
    assert json.loads(relaxation.to_json())["outside"] == relaxation.outside
    bare = atoms.copy()
    save_model(tmp_path / "model.h5", few)
    screening = screen(
        [bare], model=tmp_path / "model.h5", output=tmp_path / "screening", relax=False, workers=1,
        references={"Li": -7.0, "Si": -160.0},
    )  # fmt: skip
    assert "environments" in screening.table[0].flags
    with connect(tmp_path / "screening" / "screening.db") as database:
        row = database.get(1)
    assert row.largest_grade == pytest.approx(grades.max())
    np.testing.assert_allclose(row.data["grades"], grades)


def test_active_learning_takes_what_is_unlike(judging: Model) -> None:
    hole = crystals(1)[0]
    del hole[3]
    pool = {"crystal": crystals(1, seed=5001)[0], "hole": hole}
    selection = select(pool, 1, judging, Limits(1e6, 1e6), workers=1, progress=False)
    assert [selection.candidates[index].name for index in selection.chosen] == ["hole"]
    assert selection.structures[0].info["largest_grade"] > 1 > selection.candidates[0].grade


def test_a_saved_model_judges_alike(judging: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "model.h5", judging)
    loaded, atoms = load_model(tmp_path / "model.h5"), crystals(1)[0]
    assert loaded.domain is not None and loaded.domain.periodic_only and loaded.domain.typical_spread == 1e3
    own, other = (WaveScatCalculator(model).get_extrapolation_grades(atoms) for model in (judging, loaded))
    np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("typical", [0.0, -1.0, np.inf])
def test_a_senseless_typical_spread_is_refused(wide_domain: Domain, typical: float) -> None:
    with pytest.raises(ValueError, match="typical spread"):
        replace(wide_domain, typical_spread=typical)
