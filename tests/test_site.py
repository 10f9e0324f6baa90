"""The documentation site: public names that stand nowhere are found, and docstrings name what is there."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ase_wavescat
from module_files import load_module

pytest.importorskip("sphinx")

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    return load_module(DOCS / "conf.py")


def test_names_on_no_page_are_told(conf: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    public = list(conf.public_names())
    assert {f"ase_wavescat.{name}" for name in ase_wavescat.__all__} - set(public) == {"ase_wavescat.__version__"}
    assert "ase_wavescat.evaluation.Errors" in public and "ase_wavescat.evaluation.evaluate" not in public  # once each

    class Pages:
        def get_domain(self, name: str) -> Any:
            return type("Domain", (), {"objects": set(public[1:])})

    told: list[str] = []
    logger = type("Logger", (), {"warning": lambda self, text, name: told.append(text % name)})()
    monkeypatch.setattr(conf.logging, "getLogger", lambda name: logger)
    conf.require_public_names(None, Pages())
    assert told == [f"{public[0]} is public and stands on no page of docs/reference"]


def test_every_page_is_in_the_table_of_contents_of_its_folder() -> None:
    for page in DOCS.rglob("*.md"):
        index = (page.parent / "index.md").read_text(encoding="utf-8")
        entry = page.stem
        assert entry == "index" or f"\n{entry}\n" in index.split("{toctree}")[1], page


def test_docstrings_name_parameters_and_fields_that_are_there(conf: ModuleType) -> None:
    """Each name of a section is one of the function's, or of the class's; `a, b: text` names two."""
    seen = 0
    for public in conf.public_names():
        module, _, name = public.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        methods = vars(value).values() if inspect.isclass(value) else ()
        for owner in (value, *(method for method in methods if inspect.isfunction(method))):
            found = section_names(inspect.getdoc(owner) or "")
            seen += len(found)
            if found:
                assert found <= names_of(owner), (public, owner, found - names_of(owner))
    assert seen > 300


def test_properties_say_what_they_are_without_a_colon(conf: ModuleType) -> None:
    """What stands before one, in the first line, would be shown as a type."""
    for public in conf.public_names():
        module, _, name = public.rpartition(".")
        for member, described in conf.public_members(getattr(importlib.import_module(module), name)):
            if not inspect.isroutine(described):
                assert ": " not in (inspect.getdoc(described) or "").split("\n")[0], (public, member)


def section_names(docstring: str) -> set[str]:
    """What the sections Args and Attributes list."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?)+)", docstring, re.MULTILINE)
    heads = [head for section in sections for head in re.findall(r"^[ ]{4}(\w[\w, ]*):", section, re.MULTILINE)]
    return {name for head in heads for name in head.split(", ")}


def names_of(owner: Any) -> set[str]:
    names = set(inspect.signature(owner).parameters)
    if inspect.isclass(owner):
        names |= {name for base in owner.__mro__ for name in vars(base).get("__annotations__", ())}
    return names
