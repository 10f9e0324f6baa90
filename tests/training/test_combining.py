"""Several models as one, from the command line."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from ase_wavescat.cli import main
from ase_wavescat.potentials.composition import AtomEnergies
from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.model import Model


def test_models_are_combined_and_know_what_each_has_seen(small_ensemble: Model, tmp_path: Path) -> None:
    provenance = [{"data": [{"name": "a", "sha256": "1"}], "licence": "CC0", "structures": ["x"]}]
    provenance.append({"data": [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}], "structures": ["y"]})
    for name, told in zip("ab", provenance, strict=True):
        save_model(tmp_path / f"{name}.h5", Model(small_ensemble.potential, provenance=told))
    arguments = ["combine", str(tmp_path / "a.h5"), str(tmp_path / "b.h5"), "-o", str(tmp_path / "both.h5")]
    result = CliRunner().invoke(main, [*arguments, "--weight", "3", "--weight", "1"])
    assert result.exit_code == 0 and "not calibrated" in result.output
    both = load_model(tmp_path / "both.h5")
    assert both.members == 2 * small_ensemble.members
    assert [entry["name"] for entry in both.provenance["data"]] == ["a", "b"]
    assert both.provenance["licence"] == "CC0" and set(both.provenance["structures"]["digests"]) == {"x", "y"}
    card = CliRunner().invoke(main, ["info", str(tmp_path / "both.h5")]).output
    assert "weight 0.75" in card
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2 and "--overwrite" in again.output


def test_what_does_not_fit_is_refused(small_ensemble: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "a.h5", small_ensemble)
    save_model(tmp_path / "b.h5", Model(AtomEnergies((3,), [[1.0]])))
    files = [str(tmp_path / f"{name}.h5") for name in "ab"]
    for arguments, message in (
        (files, "unlike species"),
        (files[:1], "at least two potentials, got 1"),
        ([files[0], files[0], "--weight", "1"], "2 needs as many positive weights"),
    ):
        result = CliRunner().invoke(main, ["combine", *arguments, "-o", str(tmp_path / "c.h5")])
        assert result.exit_code != 0 and message in result.output
        assert not (tmp_path / "c.h5").exists()
