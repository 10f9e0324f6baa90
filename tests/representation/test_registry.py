"""The list of families is the only one: nothing outside their rooms knows them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ase_wavescat

SOURCE = Path(ase_wavescat.__file__).parent
ROOMS = SOURCE / "representation" / "families"
LISTS = {"representation/registry.py", "representation/presets.py", "representation/__init__.py"}
"""What may name families: the list, ready-made specifications, and what is exported."""


def imports_of_families(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ase_wavescat.representation.families"):
            yield str(node.module)


def test_nothing_outside_the_rooms_imports_a_family() -> None:
    others = [path for path in SOURCE.rglob("*.py") if ROOMS not in path.parents]
    found = {path.relative_to(SOURCE).as_posix() for path in others if any(imports_of_families(path))}
    assert found == LISTS


def test_rooms_know_only_those_that_they_are_made_of() -> None:
    rooms = {path.name: path for path in ROOMS.iterdir() if (path / "__init__.py").exists()}
    known = {
        name: {module.split(".")[3] for path in room.glob("*.py") for module in imports_of_families(path)} - {name}
        for name, room in rooms.items()
    }
    assert {name: others for name, others in known.items() if others} == {"correlations": {"atoms"}}
