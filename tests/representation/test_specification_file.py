"""Specifications as JSON files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ase_wavescat import ScatteringSpec, preset
from ase_wavescat.representation.presets import PRESETS
from ase_wavescat.representation.specification_file import read_spec, write_spec
from ase_wavescat.system.errors import SpecError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    spec = preset(name, ("Li", "Si"), beta=0.55)
    write_spec(spec, tmp_path / "spec.json")
    assert read_spec(tmp_path / "spec.json") == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is not JSON"),
        ("[1, 2]", "holds a list, not the fields"),
        ('{"species": ["Li"]}', "is no specification: the spec lacks"),
        ('{"species": 3, "wavelets": [[2, 1]], "scales": [0], "beta": 1, "families": []}', "is no specification"),
        ('{"specie": ["Li"]}', "unknown key 'specie' in the spec; did you mean 'species'"),
    ],
)
def test_what_is_no_specification_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(path)
    assert str(path) in str(caught.value)


def test_a_failed_write_leaves_the_old_file(small_spec: ScatteringSpec, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_spec(small_spec, tmp_path / "nowhere" / "spec.json")
    write_spec(small_spec, tmp_path / "spec.json")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]
