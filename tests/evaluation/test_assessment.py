"""A model against labels whose errors are known beforehand."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress

import ase_wavescat
from ase_wavescat import Assessment, evaluate, save_model
from ase_wavescat.evaluation import assessment as evaluation
from ase_wavescat.evaluation.assessment import Deviation, check_calibration, measure_speed, read_data
from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.model import Model
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import DataError, WaveScatWarning
from ase_wavescat.training.data.duplicates import Seen, fingerprints
from ase_wavescat.training.data.duplicates import digest as fingerprint_of_older_models
from ase_wavescat.training.data.frames import Frame
from linear_models import changed, linear, species_energies

ENERGY_ERRORS = 1e-3 * np.array([1.0, -2.0, 3.0, -4.0, 5.0, 6.0, -7.0, 2.0, 1.0, -1.0, 0.5, -3.0])  # eV/atom
FORCE_ERROR, STRESS_ERROR = 0.05, 0.002


@pytest.fixture(scope="module")
def frames(small_ensemble: Model) -> list[Frame]:
    """Twelve cells in six groups; the model is wrong by ENERGY_ERRORS, FORCE_ERROR and STRESS_ERROR."""
    rng = np.random.default_rng(5)
    found = []
    for index, error in enumerate(ENERGY_ERRORS):
        count = 3 + index % 3
        sites = 2.4 * rng.permutation(np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3))[:count]
        positions = sites + rng.normal(scale=0.1, size=(count, 3))
        numbers = np.where(np.arange(count) <= (index * 5) % (count + 1) - 1, 3, 14)
        cell = 4.9 * np.eye(3) + rng.normal(scale=0.1, size=(3, 3))
        structure = Structure(cell, positions, numbers)
        prediction = small_ensemble.predict(structure)
        stress = full_3x3_to_voigt_6_stress(prediction.strain_gradient / abs(np.linalg.det(cell)))
        found.append(
            Frame(
                structure, prediction.energy - error * count, -prediction.gradient - FORCE_ERROR,
                stress - STRESS_ERROR, f"melt {index // 2}", "liquid" if index < 4 else "glass", f"data#{index}",
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def assessment(small_ensemble: Model, frames: list[Frame]) -> Assessment:
    return evaluate(small_ensemble, frames, workers=1, progress=False)


def moved(frames: Sequence[Frame], lithium: float, silicon: float, **changes: Any) -> list[Frame]:
    """Labels with another zero of energy, eV an atom of each species."""
    return [
        dataclasses.replace(f, energy=f.energy + float(f.count([3, 14]) @ [lithium, silicon]), **changes)
        for f in frames
    ]


def as_atoms(frame: Frame) -> Atoms:
    info = {"group": frame.group, "config_type": frame.config_type}
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True, info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces, stress=frame.stress)
    return atoms


def test_errors_are_those_put_into_the_labels(assessment: Assessment) -> None:
    errors = assessment.errors()
    assert (errors.frames, errors.groups) == (12, 6)
    assert errors.energy.mae == pytest.approx(np.abs(ENERGY_ERRORS).mean())
    assert errors.energy.rmse == pytest.approx(np.sqrt((ENERGY_ERRORS**2).mean()))
    assert errors.energy.mean == pytest.approx(ENERGY_ERRORS.mean())
    assert errors.energy.largest == pytest.approx(7e-3)
    assert errors.forces.mae == pytest.approx(FORCE_ERROR) and errors.forces.mean == pytest.approx(FORCE_ERROR)
    assert errors.forces.count == 3 * sum(len(frame) for frame in assessment.frames)
    assert errors.stress.rmse == pytest.approx(STRESS_ERROR) and errors.stress.count == 72


def test_errors_by_kind_and_composition_are_of_these_frames(assessment: Assessment) -> None:
    table = assessment.by_config_type
    assert list(table) == ["glass", "liquid"]
    assert table["liquid"].energy.mae == pytest.approx(np.abs(ENERGY_ERRORS[:4]).mean())
    assert table["liquid"].groups == 2 and table["glass"].frames == 8
    bins = assessment.by_composition
    assert all(label.startswith("Li ") for label in bins) and len(bins) > 2
    assert sum(errors.frames for errors in bins.values()) == 12
    pure = [i for i, frame in enumerate(assessment.frames) if np.all(frame.numbers == 14)]
    assert pure
    low = [i for i, frame in enumerate(assessment.frames) if np.mean(frame.numbers == 3) < 0.2]
    assert bins["Li 0.0-0.2"].energy.mae == pytest.approx(np.abs(ENERGY_ERRORS[low]).mean())


def test_worst_frames_come_first(assessment: Assessment) -> None:
    assert assessment.worst_energies(3)[:1] == [6]
    assert [abs(ENERGY_ERRORS[i]) for i in assessment.worst_energies(4)] == [7e-3, 6e-3, 5e-3, 4e-3]
    assert sorted(assessment.worst_forces(50)) == list(range(12))


def test_another_zero_of_energy_is_found_and_removed(
    small_ensemble: Model, frames: list[Frame], assessment: Assessment
) -> None:
    assert not assessment.has_other_zero
    np.testing.assert_array_equal(assessment.comparable_energy_errors, assessment.energy_errors)
    found = evaluate(small_ensemble, moved(frames, 0.7, -1.3), workers=1, progress=False)
    assert found.has_other_zero
    change = found.offsets["labels"] - assessment.offsets["labels"]
    np.testing.assert_allclose(change, [-0.7, 1.3], atol=1e-9)
    np.testing.assert_allclose(found.shifted_energy_errors, assessment.shifted_energy_errors, atol=1e-9)
    np.testing.assert_array_equal(found.comparable_energy_errors, found.shifted_energy_errors)
    assert found.errors().shifted.rmse <= found.errors().energy.rmse / 50
    # what is left has no part linear in the composition
    np.testing.assert_allclose(found.fractions.T @ found.shifted_energy_errors, 0, atol=1e-10)


def test_each_label_source_has_its_own_zero(small_ensemble: Model, frames: list[Frame]) -> None:
    cheap = moved(frames, 5.0, 6.0, source="cheap")
    found = evaluate(small_ensemble, [*frames, *cheap], workers=1, progress=False)
    np.testing.assert_allclose(found.offsets["cheap"] - found.offsets["labels"], [-5.0, -6.0], atol=1e-9)
    np.testing.assert_allclose(found.shifted_energy_errors[:12], found.shifted_energy_errors[12:], atol=1e-9)


def test_few_frames_do_not_tell_an_offset_from_an_error(small_ensemble: Model, frames: list[Frame]) -> None:
    found = evaluate(small_ensemble, frames[:4], workers=1, progress=False)
    assert found.offsets == {} and found.errors().shifted is None and not found.has_other_zero


def test_missing_labels_are_missing_errors(small_ensemble: Model, frames: list[Frame]) -> None:
    bare = [dataclasses.replace(frame, forces=None, stress=None) for frame in frames[:6]]
    found = evaluate(small_ensemble, bare, workers=1, progress=False)
    assert found.errors().forces is None and found.errors().stress is None and found.force_reliability is None
    assert found.worst_forces() == [] and found.results[0].forces is None
    assert found.errors().energy.mae == pytest.approx(np.abs(ENERGY_ERRORS[:6]).mean())
    assert Deviation.of(np.empty(0)) is None


def test_frames_outside_the_domain_are_told_apart(
    small_ensemble: Model, wide_domain: Domain, frames: list[Frame]
) -> None:
    narrow = dataclasses.replace(wide_domain, fractions={3: (0.0, 0.5)})
    found = evaluate(dataclasses.replace(small_ensemble, domain=narrow), frames, workers=1, progress=False)
    rich = sum(np.mean(frame.numbers == 3) > 0.505 for frame in frames)
    assert 0 < rich < 12
    assert {name: row.frames for name, row in found.by_domain.items()} == {
        "inside": 12 - rich, "outside by composition": rich,
    }  # fmt: skip


def test_scales_are_rms_error_over_rms_spread_of_the_bare_members(
    small_ensemble: Model, assessment: Assessment
) -> None:
    predictions = [small_ensemble.predict(Structure(f.cell, f.positions, f.numbers)) for f in assessment.frames]
    bare = [p.member_energies.std(ddof=1) / len(f) for p, f in zip(predictions, assessment.frames, strict=True)]
    expected = np.sqrt(np.mean(ENERGY_ERRORS**2) / np.mean(np.square(bare)))
    assert assessment.energy_reliability.scale == pytest.approx(expected)
    spreads = np.concatenate([p.forces_uncertainty.ravel() for p in predictions]) / 2.0  # the stored force scale
    assert assessment.force_reliability.scale == pytest.approx(FORCE_ERROR / np.sqrt(np.mean(spreads**2)))
    assert len(np.unique(assessment.force_reliability.groups)) == 6


def test_a_calibrated_model_asks_for_no_other_scale(
    small_ensemble: Model, frames: list[Frame], assessment: Assessment
) -> None:
    model = assessment.calibrated()
    again = evaluate(model, frames, workers=1, progress=False)
    assert again.energy_reliability.scale == pytest.approx(model.calibration.energy_scale)
    assert again.force_reliability.scale == pytest.approx(model.calibration.force_scale)
    record = model.provenance["calibration"]
    assert (record["frames"], record["groups"]) == (12, 6)
    assert record["before"] == {"energy_scale": 1.5, "force_scale": 2.0}
    assert model.provenance["label_source"] == "random numbers" and small_ensemble.calibration == Calibration(1.5, 2.0)


def test_a_calibration_needs_groups_members_and_the_same_zero(small_ensemble: Model, frames: list[Frame]) -> None:
    with pytest.raises(DataError, match="at least 5 groups of frames, the data hold 3"):
        check_calibration(small_ensemble, (), frames[:6])
    single = changed(
        small_ensemble,
        weights=linear(small_ensemble).weights[:1],
        species_energies=species_energies(small_ensemble)[:1],
    )
    with pytest.raises(DataError, match="one member"):
        check_calibration(single, (), frames)
    assert evaluate(single, frames, workers=1, progress=False).energy_reliability is None
    shifted = evaluate(small_ensemble, moved(frames, 0.7, -1.3), workers=1, progress=False)
    with pytest.raises(DataError, match=r"add to the labels.*Li -0\.70.* eV, Si \+1\.30"):
        shifted.calibrated()


def test_files_that_the_model_was_trained_on_are_known_by_their_contents(
    tmp_path: Path, small_ensemble: Model, frames: list[Frame]
) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.extxyz", [as_atoms(frame) for frame in frames[:3]])
    write(tmp_path / "data" / "b.extxyz", [as_atoms(frame) for frame in frames[3:]])
    digest = hashlib.sha256((tmp_path / "data" / "b.extxyz").read_bytes()).hexdigest()
    for part in ("data", "prior"):
        provenance = {part: [{"name": "another name", "sha256": digest}]}
        files, read = read_data(dataclasses.replace(small_ensemble, provenance=provenance), tmp_path / "data")
        assert [(file.name, file.trained_on) for file in files] == [("a.extxyz", False), ("b.extxyz", True)]
        assert files[1].sha256 == digest and len(read) == 12
    with pytest.raises(DataError, match=r"trained on b\.extxyz.*has not seen"):
        check_calibration(small_ensemble, files, read)
    assert not read_data(small_ensemble, str(tmp_path / "data" / "b.*"))[0][0].trained_on
    for known, expected in ((read[3:], [False, True]), (read[5:6], [False, False])):
        for record in (Seen(fingerprints(known)).to_record(), sorted(map(fingerprint_of_older_models, known))):
            saved_again = dataclasses.replace(small_ensemble, provenance={"structures": record})
            told = pytest.warns(WaveScatWarning, match=r"on 1 of these 12 .*b\.extxyz#2")
            with nullcontext() if expected[1] else told:
                files, again = read_data(saved_again, tmp_path / "data")
            assert [file.trained_on for file in files] == expected
            with pytest.raises(DataError, match=r"trained on b\.extxyz|on 1 of these 12 .* such as b\.extxyz#2"):
                check_calibration(saved_again, files, again)


def test_a_training_frame_written_down_in_another_way_is_noticed(small_ensemble: Model, frames: list[Frame]) -> None:
    """At a periodic image, moved, in another order, repeated."""
    known = dataclasses.replace(small_ensemble, provenance={"structures": Seen(fingerprints(frames[:2])).to_record()})
    atoms = as_atoms(frames[0])
    image, moved_, repeated = atoms.copy(), atoms[::-1], atoms.repeat((2, 1, 1))
    image.positions[0] += image.cell[1]
    moved_.positions += [0.7, 0.0, 0.0]
    for same in (image, moved_, repeated):
        other = dataclasses.replace(frames[0], structure=Structure.from_atoms(same), name="written#0")
        with pytest.warns(WaveScatWarning, match="trained on 1 of these 2 structures, such as written#0"):
            read_data(known, [other, frames[5]])


def test_unknown_elements_are_refused_by_name(small_ensemble: Model, frames: list[Frame]) -> None:
    numbers = frames[1].numbers.copy()
    numbers[0] = 8
    structure = dataclasses.replace(frames[1].structure, numbers=numbers)
    foreign = [frames[0], dataclasses.replace(frames[1], structure=structure)]
    with pytest.raises(DataError, match=r"1 of 2 frames hold O.*knows Li, Si\): data#1; leave"):
        evaluate(small_ensemble, foreign, progress=False)
    with pytest.raises(DataError, match="no data files"):
        evaluate(small_ensemble, [], progress=False)
    with pytest.raises(DataError, match="either files or frames"):
        evaluate(small_ensemble, [frames[0], "file.xyz"], progress=False)  # type: ignore[list-item]


def test_processes_do_not_change_the_results(
    tmp_path: Path, small_ensemble: Model, frames: list[Frame], assessment: Assessment
) -> None:
    save_model(tmp_path / "m.h5", small_ensemble)
    shared = evaluate(tmp_path / "m.h5", frames[:5], workers=2, progress=False)
    assert shared.name == "m.h5"
    for one, two in zip(assessment.results, shared.results, strict=False):
        assert one.energy == two.energy and one.energy_spread == two.energy_spread
        for name in ("forces", "stress", "forces_spread"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_molecules_are_predicted_in_open_boundaries(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    positions, numbers = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.3]]), np.array([3, 14])
    dimer = Structure(np.zeros((3, 3)), positions, numbers, (False, False, False))
    open_ = Frame(dimer, 0.0, np.zeros((2, 3)), None, "g", "dimer", "d#0")
    found = evaluate(small_ensemble, [open_], workers=1, progress=False)
    pair = Atoms(numbers, positions, calculator=ase_wavescat.WaveScatCalculator(small_ensemble))
    assert found.results[0].energy == pytest.approx(pair.get_potential_energy())
    np.testing.assert_allclose(found.force_errors[0], pair.get_forces())


def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_ensemble: Model, frames: list[Frame]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "evaluation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "new-melts").mkdir()
    write(tmp_path / "new-melts" / "a.extxyz", [as_atoms(frame) for frame in frames])
    save_model(tmp_path / "lisi.h5", small_ensemble)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "cores", lambda: 1)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["assessment"].errors().energy.largest == pytest.approx(7e-3)
    assert names["found"].dimers[0].name == "Al-Al"


def test_speed_is_measured_on_the_frame_of_median_size(small_ensemble: Model, frames: list[Frame]) -> None:
    speed = measure_speed(small_ensemble, frames)
    assert speed.atoms == 4
    assert 0 < speed.energy < speed.energy_forces_stress < 1e4
    assert speed.per_atom == speed.energy_forces_stress / 4
