"""Models written before there were sums of potentials are still read."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.system.errors import ModelFileError
from hostile.model_attacks import good_model, same

OLD = Path(__file__).with_name("version_2.h5")


def test_a_model_of_version_2_is_read_and_written_as_version_3(tmp_path: Path) -> None:
    old = load_model(OLD)
    assert same(old, good_model())
    save_model(tmp_path / "new.h5", old)
    new = load_model(tmp_path / "new.h5")
    assert same(new, old) and new.digest == old.digest == good_model().digest


@pytest.mark.parametrize("name", ["members/weights", "spec", "domain/std", "calibration"])
def test_what_it_lacks_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "old.h5"
    path.write_bytes(OLD.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(ModelFileError, match=rf"old\.h5 .*lacks {name}"):
        load_model(path)
