"""The specification that is proposed for a data set, its reasons and the command."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from click.testing import CliRunner, Result

from ase_wavescat import ScatteringSpec, preset
from ase_wavescat.cli import main
from ase_wavescat.representation import Correlations
from ase_wavescat.representation.parameter_rules import width_from_overlap
from ase_wavescat.representation.specification_file import read_spec
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.suggest import measure_cost, propose, suggest
from ase_wavescat.training.survey import Survey, read_structures, survey_structures
from ase_wavescat.workflows.demo import shipped_structure


def wavescat(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def survey(*structures: Atoms) -> Survey:
    return survey_structures({f"structure {i}": atoms for i, atoms in enumerate(structures)})


@pytest.fixture(scope="module")
def glasses() -> list[Atoms]:
    """The shipped glass and the same a little larger, without labels."""
    first = shipped_structure()
    second = first.copy()
    second.set_cell(first.cell * 1.05, scale_atoms=True)
    return [first, second]


# ------------------------------------------------------------ survey


def test_survey_of_known_crystals() -> None:
    silicon, lithium = bulk("Si", "diamond", 5.43, cubic=True), bulk("Li", "bcc", 3.5, cubic=True)
    seen = survey(silicon, lithium)
    assert seen.structures == 2 and seen.species == (3, 14) and seen.kinds == (0, 0, 0, 2)
    assert seen.closest[14, 14].least == pytest.approx(5.43 * np.sqrt(3) / 4)
    assert seen.closest[3, 3].most == pytest.approx(3.5 * np.sqrt(3) / 2)
    assert (3, 14) not in seen.closest
    assert seen.density is not None and seen.density.least == pytest.approx(2 / 3.5**3)
    assert seen.room.least == pytest.approx(3.5 / 2) and seen.room.most == pytest.approx(5.43 / 2)
    assert seen.fractions == {3: (0.0, 1.0), 14: (0.0, 1.0)}
    assert seen.energies == 0


def test_survey_counts_boundaries_and_looks_as_far_as_it_must() -> None:
    slab = fcc111("Al", (2, 2, 2), vacuum=5.0)
    wire = Atoms("Xe", cell=[0, 0, 4.4], pbc=(False, False, True))
    seen = survey(slab, wire, molecule("H2O"), molecule("CH4"))
    assert seen.kinds == (2, 1, 1, 0) and seen.density is None
    assert seen.closest[54, 54].median == pytest.approx(4.4)  # beyond the first cutoff
    assert seen.closest[1, 8].median == pytest.approx(0.969, abs=0.01)
    assert (1, 13) not in seen.closest


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "structure 0 has no atoms"),
        (Atoms("Li", [[np.nan, 0, 0]]), "structure 0 has positions or cell vectors that are not finite"),
        (Atoms("Li2", [[0, 0, 0], [0, 0, 0.01]]), "structure 0 has two atoms 0.01 A apart"),
        (Atoms("Li", cell=[3, 3, 0], pbc=True), "structure 0 is periodic along .* not independent"),
        (Atoms("Li"), "no two atoms are within 32 A of each other in any of 1 structures"),
    ],
)
def test_structures_that_cannot_be_surveyed_are_named(atoms: Atoms, message: str) -> None:
    with pytest.raises(DataError, match=message):
        survey(atoms)


def test_files_of_every_kind_are_read_without_labels(glasses: list[Atoms], tmp_path: Path) -> None:
    text = io.StringIO()
    write(text, glasses, format="extxyz")
    with gzip.open(tmp_path / "a.extxyz.gz", "wt") as file:
        file.write(text.getvalue())
    with ase.db.connect(tmp_path / "b.db") as database:
        database.write(molecule("H2O"))
    found = read_structures([tmp_path / "a.extxyz.gz", tmp_path / "b.db"])
    assert list(found) == ["a.extxyz.gz#0", "a.extxyz.gz#1", "b.db#0"]
    assert [len(atoms) for atoms in found.values()] == [73, 73, 3]


# ------------------------------------------------------------ proposal


def test_the_glass_gets_the_choices_of_the_shipped_model(glasses: list[Atoms]) -> None:
    """B21's rules, from a relaxed Li-Si glass alone, find the width and the scales that fits chose."""
    spec, reasons = propose(survey(*glasses))
    plain = preset("correlations", ("Li", "Si"))
    assert abs(spec.beta - plain.beta) <= 0.05 + 1e-9
    assert spec.scales == plain.scales and spec.wavelets == plain.wavelets
    assert len(spec.keys) == len(plain.keys)
    assert "up to j = 1.4" in reasons["scales"] and "B21 sec. 2.4" in reasons["beta"]
    assert "sinz2020" in reasons["preset"]


def test_large_cells_do_not_go_beyond_the_preset(glasses: list[Atoms]) -> None:
    spec, reasons = propose(survey(glasses[0].repeat(3)))
    assert spec.scales == (0.0, 0.5, 1.0)
    assert "the preset stops at 1" in reasons["scales"]


def test_the_width_is_the_rule_for_the_typical_shortest_distance() -> None:
    crystals = [bulk("Si", "diamond", a, cubic=True).repeat(2) for a in (5.3, 5.43, 5.5)]
    spec, _ = propose(survey(*crystals))
    least = width_from_overlap(5.43 * np.sqrt(3) / 4)
    assert least <= spec.beta < least + 0.05
    # one squeezed structure among many does not decide
    squeezed = bulk("Si", "diamond", 3.6, cubic=True).repeat(2)
    other, reasons = propose(survey(*crystals, squeezed, crystals[1]))
    assert other.beta == spec.beta
    assert "read literally" in reasons["beta"]


def test_small_cells_get_fewer_scales_and_say_why() -> None:
    spec, reasons = propose(survey(bulk("Si", "diamond", 5.43, cubic=True)), "sinz2020")
    assert spec.scales == (0.0,)
    assert "the preset alone would go on to 4" in reasons["scales"]
    larger, _ = propose(survey(bulk("Si", "diamond", 5.43, cubic=True).repeat(4)), "sinz2020")
    assert larger.scales == (0.0, 1.0, 2.0)


def test_molecules_get_widths_and_bands_of_their_own_size() -> None:
    water, methane = molecule("H2O"), molecule("CH4")
    spec, reasons = propose(survey(water, methane))
    assert "solid-harmonic" in reasons["preset"] and "molecule" in reasons["scales"]
    # no images: the larger molecule decides
    assert f"within {2 * np.ptp(methane.positions, axis=0)[0] * np.sqrt(3) / 2:.2f}" in reasons["scales"]
    assert 0.2 < spec.beta < 0.4
    plain = preset("correlations", ("H", "C", "O"))
    mine, usual = spec.families[0], plain.families[0]
    assert isinstance(mine, Correlations) and isinstance(usual, Correlations)
    assert mine.pair is not None and usual.pair is not None
    # the ratio of what bands and wavelets resolve stays
    assert mine.pair.spacing * spec.beta == pytest.approx(usual.pair.spacing * plain.beta, rel=1e-3)


def test_many_species_get_fewer_four_body_features() -> None:
    crystals = [bulk(name, "fcc", 4.0, cubic=True).repeat(3) for name in ("Al", "Cu", "Ag", "Au")]
    spec, reasons = propose(survey(*crystals))
    full = preset("correlations", spec.species)
    assert len(spec.keys) < 10_000 < len(full.keys)
    assert f"{len(spec.keys)} features instead of" in reasons["preset"]
    kept, whole = spec.families[0], full.families[0]
    assert isinstance(kept, Correlations) and isinstance(whole, Correlations) and kept.grid_maps and whole.atom_maps
    assert kept.grid_maps.scales == spec.scales[-1:] and kept.atom_maps == whole.atom_maps


def test_cost_counts_the_rows_of_training(small_spec: ScatteringSpec, make_structure: Callable[..., Atoms]) -> None:
    structures = [make_structure(0, atoms=2), make_structure(1, atoms=4), make_structure(2, atoms=5)]
    cost = measure_cost(small_spec, structures)
    count = len(small_spec.keys)
    assert cost.atoms == 4 and cost.rows == 8 * count * (1 + 12 + 6)
    assert cost.all_rows == 8 * count * (3 * 7 + 3 * 11)
    assert cost.features > 0 and 0 < cost.derivatives < cost.all_time


# ------------------------------------------------------------ the command


def test_suggest_prints_reasons_and_writes_a_spec_that_train_takes(
    make_structure: Callable[..., Atoms], tmp_path: Path
) -> None:
    frames = []
    for seed in range(6):
        atoms = make_structure(seed, atoms=3, side=4.8)
        forces = np.random.default_rng(seed).normal(scale=0.1, size=(3, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-4.0 * len(atoms), forces=forces - forces.mean(axis=0))
        atoms.info["group"] = f"melt {seed % 3}"
        frames.append(atoms)
    data, file = tmp_path / "data.extxyz", tmp_path / "spec.json"
    write(data, frames)
    result = wavescat("suggest", data, "--json", file)
    assert result.exit_code == 0, result.output
    for text in (
        "structures  6: 6 fully periodic; 6 with an energy", "closest     Li-Li", "preset      correlations",
        "beta        ", "scales      ", "B21 sec. 2.4", f"--spec {file}", "scattering_features(atoms",
    ):  # fmt: skip
        assert text in result.output
    assert "--group-key" not in result.output
    spec = read_spec(file)
    assert f"features    {len(spec.keys)}" in result.output
    trained = wavescat(
        "train", data, "-o", tmp_path / "m.h5", "--spec", file, "--members", 2, "--folds", 3, "--workers", 1, "--quiet"
    )
    assert trained.exit_code == 0, trained.output
    assert f"of the {len(spec.keys)} of its specification" in wavescat("info", tmp_path / "m.h5").output


def test_suggest_says_what_training_lacks(tmp_path: Path) -> None:
    data = tmp_path / "crystals.xyz"
    write(data, [bulk("Si", "diamond", a) for a in (5.4, 5.5)], format="extxyz")
    suggestion = suggest(data)
    assert suggestion.survey.energies == 0 and suggestion.spec.species == (14,)
    output = wavescat("suggest", data).output
    assert "2 structures lack the energy" in output and "--group-key" in output and "--json spec.json" in output


def test_files_without_structures_are_messages(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.extxyz", tmp_path / "text.extxyz"
    empty.write_text("")
    text.write_text("no structure\n")
    for path, message in ((empty, "holds no structures"), (text, "cannot read")):
        result = wavescat("suggest", path)
        assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


def test_train_takes_a_preset_or_a_spec_not_both(tmp_path: Path, glasses: list[Atoms]) -> None:
    write(tmp_path / "data.extxyz", glasses)
    (tmp_path / "spec.json").write_text("{}")
    data, model, file = tmp_path / "data.extxyz", tmp_path / "m.h5", tmp_path / "spec.json"
    both = wavescat("train", data, "-o", model, "--preset", "sinz2020", "--spec", file)
    assert both.exit_code == 2 and "give one of them" in both.output
    bad = wavescat("train", data, "-o", model, "--spec", file)
    assert bad.exit_code == 1 and "is no specification: the spec lacks" in bad.output
