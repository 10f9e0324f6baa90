"""Structures written down in many ways, by chance: read as they were meant, or left out with a word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hostile import file_attacks


@pytest.mark.parametrize("attack", [file_attacks.dialect, file_attacks.handed_on, file_attacks.copied])
def test_what_is_written_down_in_other_ways_is_the_same(attack, tmp_path: Path) -> None:
    assert set(Counter(attack(seed, tmp_path) for seed in range(300))) == {"same"}
