"""The documentation site: docstrings become reStructuredText, and public names that stand nowhere are found."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        (["Take `step` of |F|."], ["Take ``step``\\  of \\|F\\|."]),
        (["    E_m = w * x"], ["::", "", "    E_m = w * x"]),
        (["a: one,", "    two;  b, c (eV): `d` _.", "All."],
         ["- ``a``: one, two;", "- ``b``, ``c`` (eV): ``d``\\  \\_.", "", "All."]),
        (["One", "two: no list.", "", "a: b"], ["One", "two: no list.", "", "- ``a``: b"]),
    ],
)  # fmt: skip
def test_a_docstring_is_shown_as_it_is_meant(conf: ModuleType, docstring: list[str], shown: list[str]) -> None:
    conf.as_restructured_text(None, "function", "f", lambda: None, {}, docstring)
    assert docstring == shown


def test_names_on_no_page_are_told(conf: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    public = list(conf.public_names())
    assert {f"ase_wavescat.{name}" for name in ase_wavescat.__all__} - set(public) == {"ase_wavescat.__version__"}

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
