"""All scripts of benchmarks/: they start, need nothing outside the repository unasked, and are where documents say."""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*/*.py")) if "ArgumentParser" in path.read_text(encoding="utf-8")]
NEEDED = {"kymatio_oracle": "kymatio"}
"""Optional packages that a script cannot start without."""


@pytest.fixture
def modules() -> Iterator[None]:
    """What a script imports from beside it is forgotten: names such as `common` are no one else's."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if BENCHMARKS in Path(getattr(sys.modules[name], "__file__", None) or ROOT).parents:
            del sys.modules[name]


def texts(value: object) -> list[str]:
    """A default, or each of several, as text."""
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_script_answers_help_and_its_defaults_lie_in_the_repository(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem in NEEDED:
        pytest.importorskip(NEEDED[path.stem])
    asked: list[argparse.ArgumentParser] = []
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda parser: asked.append(parser))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(str(path.parent))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    (parser,) = asked
    defaults = {text for action in parser._actions for text in texts(action.default) if "/" in text}
    for default in defaults - {sys.executable}:
        for part in default.split("=")[-1].split(","):
            assert (ROOT / part).exists() and ROOT in (ROOT / part).resolve().parents, default


def test_no_script_names_a_path_outside_the_repository() -> None:
    scripts = [*BENCHMARKS.rglob("*.py"), BENCHMARKS / "renew.sh"]
    outside = re.compile(r"\.\./|[\"' =]/(?:home|usr|tmp)\b")
    assert [path.name for path in scripts if outside.search(path.read_text(encoding="utf-8"))] == []


def test_documents_name_scripts_that_are_there() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/**/*.md"), *BENCHMARKS.glob("*.md")]
    pages = [page for page in pages if page.name != "CHANGELOG.md"]  # says where things were
    everything = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"benchmarks/[\w/.]+\.(?:py|sh|toml|json)", everything))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / name).is_file()} == set()
