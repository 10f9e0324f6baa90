"""The documentation site: public names that stand nowhere are found, and docstrings name what is there."""

from __future__ import annotations

import ast
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


def test_a_colon_in_the_first_line_of_a_property_is_text(conf: ModuleType) -> None:
    napoleon = pytest.importorskip("sphinx.ext.napoleon")
    lines = ["The first fall; None: there is none.", "More."]
    conf.keep_first_line(None, "property", "a.b", None, {}, lines)
    shown = str(napoleon.GoogleDocstring(lines, napoleon.Config(), what="property", name="a.b"))
    assert "The first fall; None: there is none." in shown and ":type:" not in shown


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


PARAMETER_RULES = {"largest_scale", "room", "spacing_from_tolerance", "width_from_overlap"}
INSIDE = PARAMETER_RULES | {"Bands", "BLUE", "ORANGE", "bundled_folder", "save_figure"}
"""Not public, and yet used by a page or an example: what only those need who look inside."""


@pytest.mark.parametrize(
    "file",
    [*DOCS.rglob("*.md"), *DOCS.parent.glob("examples/*.py"), DOCS.parent / "README.md"],
    ids=lambda file: file.name,
)
def test_pages_and_examples_use_public_names(conf: ModuleType, file: Path) -> None:
    """But for pages about what is added to the package."""
    if file.name.startswith("add-a-"):
        pytest.skip("for those who work inside the package")
    text = file.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if file.suffix == ".md" else [text]
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ase_wavescat":
            for name in {alias.name for alias in node.names} - INSIDE:
                known = node.module in conf.PACKAGES and name in importlib.import_module(node.module).__all__
                assert known or f"{node.module}.{name}" in conf.PACKAGES, (node.module, name)


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
