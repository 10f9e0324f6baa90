"""Damaged and hostile model files: the named error, in bounded time and memory, and nothing of other files read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("resource")  # limits of a child process

from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.system.errors import ModelFileError
from hostile.children import outcomes
from hostile.model_attacks import AFTERWARDS, ATTACKS, attacked, good_bytes, same, sealed, unsealed


def test_every_part_made_with_bad_intent_is_refused() -> None:
    names = [*ATTACKS, *AFTERWARDS]
    found = dict(zip(names, outcomes([("model files made with bad intent", name) for name in names]), strict=True))
    assert {name: outcome for name, outcome in found.items() if outcome != "refused"} == {}


def test_damaged_files_are_refused_or_read_as_they_were() -> None:
    found = Counter(outcomes([("model files, damaged", seed) for seed in range(250)]))
    assert set(found) <= {"refused", "same"}
    assert found["refused"] > 200


def test_damage_with_a_checksum_that_fits_ends_in_a_named_error_or_a_checked_model() -> None:
    found = Counter(outcomes([("model files, damaged, with a checksum that fits", seed) for seed in range(250)]))
    assert set(found) <= {"refused", "same", "different"}
    assert found["refused"] > 50


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "10^9 bands": "up to 3000000045 features, the limit is 1000000",
        "wavelets wider than cells": "wavelets are 0.01 to 100.0 A wide",
        "weights of 10^12, never stored": r"declares the shape \(1000000, 1000000\), more than the file stores",
        "weights never stored": "more than the file stores",
        "compressed by lzf": r"compressed or filtered \(HDF5 filters \[32000\]\)",
        "weights in another file, virtual": "weights lies in other files",
        "domain in another file, link": "domain is a link to elsewhere",
        "five thousand links": r"\\x1b\[31m.* is a link to elsewhere",
        "keys that share one long text": "a feature's key has 4194304 characters, the limit is 1000",
        "provenance of 10^5 objects": "provenance is nested too deeply",
        "provenance of 20 MB": "characters, the limit is 16777216",
        "spec with a key twice": "a JSON object has a key twice",
        "a closest pair named twice": "closest names something twice",
        "a repulsion across the world": "1000000000.0 A, the limit 10.0",
        "format of arrays": "attribute format must be a single value",
        "a file of a terabyte": "1099511627776 bytes, no model has more than 1073741824",
    }.items(),
)
def test_the_reason_is_named(tmp_path: Path, name: str, message: str) -> None:
    _, content = good_bytes(tmp_path)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(attacked(name, content, tmp_path))
    assert "model.h5" in str(caught.value) and str(caught.value).isprintable()


def test_files_without_a_checksum_are_read_and_one_that_does_not_agree_is_refused(tmp_path: Path) -> None:
    good, content = good_bytes(tmp_path)
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    bare = unsealed(path)
    assert len(bare) < len(content) and same(load_model(path), good)  # changed on purpose: the checksum is gone
    path.write_bytes(sealed(bare))
    assert same(load_model(path), good)
    for wrong in (content + b"more", content[:-1], content[: len(bare) // 2] + content[len(bare) // 2 + 1 :]):
        path.write_bytes(wrong)
        with pytest.raises(ModelFileError, match="its checksum does not agree"):
            load_model(path)


def test_a_heap_that_never_ends_is_refused_before_hdf5_walks_through_it(tmp_path: Path) -> None:
    _, content = good_bytes(tmp_path)
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    bare = bytearray(unsealed(path))
    start = bare.index(b"GCOL") + 16
    bare[start : start + 16] = bytes(16)  # free space of the size zero
    path.write_bytes(bare)
    with pytest.raises(ModelFileError, match="a heap of texts at byte"):
        load_model(path)
