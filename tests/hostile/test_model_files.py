"""Damaged and hostile model files: the named error, in bounded time and memory, and nothing of other files read."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("resource")  # limits of a child process

from hostile.children import outcomes
from hostile.model_attacks import AFTERWARDS, ATTACKS


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
