"""Dialects, files that we write, and copies, a few hundred of each; `benchmarks/fuzz.py` tries thousands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from hostile import file_attacks


@pytest.mark.parametrize("attack", [file_attacks.dialect, file_attacks.written, file_attacks.copied])
def test_nothing_is_lost_or_taken_for_something_else(attack: Callable[[int, Path], str], tmp_path: Path) -> None:
    found = Counter(attack(seed, tmp_path) for seed in range(200))
    assert dict(found) == {"same": 200}
