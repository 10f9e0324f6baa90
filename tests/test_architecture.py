"""Imports between rooms point down, and the list of rooms, its page and its picture are complete."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from module_files import load_module

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    return load_module(DOCS / "rooms.py")


def test_imports_point_down(rooms: ModuleType) -> None:
    order = list(rooms.ROOMS)
    upward = [one for one in rooms.imports() if order.index(one.imported) > order.index(one.importer)]
    assert upward == []


def test_imports_are_found_wherever_they_stand(
    rooms: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In functions, too; not those for type checkers, of the version, of other packages, and inside a room."""
    (tmp_path / "structure").mkdir()
    (tmp_path / "structure" / "cells.py").write_text(
        "import ase_wavescat.io\n"
        "import ase\n"
        "from ase_wavescat import __version__, training\n"
        "from ase_wavescat.structure.limits import check\n"
        "if TYPE_CHECKING:\n    from ase_wavescat.calculator import WaveScatCalculator\n"
        "else:\n    from ase_wavescat.system.errors import warn\n"
        "def late():\n    from ase_wavescat.cli.group import main\n"
    )
    monkeypatch.setattr(rooms, "SOURCE", tmp_path)
    found = [(one.line, one.imported) for one in rooms.imports()]
    assert found == [(1, "io"), (3, "training"), (8, "system"), (10, "cli")]


def test_every_room_is_listed_and_described(rooms: ModuleType) -> None:
    there = {path.stem for path in rooms.SOURCE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert there - {"__init__", "__main__", "__pycache__", "data", "py", "models"} <= rooms.ROOMS.keys()
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^- \*\*`(\w+)`", page, re.MULTILINE)) == rooms.ROOMS.keys()
