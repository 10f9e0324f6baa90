"""The documentation site: `sphinx-build -W --keep-going docs FOLDER`, with the extra `docs`; nothing is fetched."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from ase_wavescat import __version__

project = "ase_wavescat"
author = "ase_wavescat developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # links to headings, as they are in the repository
highlight_language = "none"  # blocks without a language are commands and formulas
smartquotes = False  # quotes and dashes in docstrings and options are code
default_role = "literal"  # help texts set code in single backticks
python_maximum_signature_line_length = 90
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"ase_wavescat {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False

PACKAGES = (
    "ase_wavescat",
    "ase_wavescat.workflows",
    "ase_wavescat.active_learning",
    "ase_wavescat.testing",
    "ase_wavescat.training",
)
OTHERS = ("ase_wavescat.io.structures.structures_of",)  # public, and exported by no package yet
NAME = r"[a-z_]\w*(?: \([^)]*\))?"
NAMES = re.compile(rf"{NAME}(?:, {NAME})*: ")
NEXT_ENTRY = re.compile(rf"  +(?={NAMES.pattern})")


def public_names() -> Iterator[str]:
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            if name != "__version__":
                yield f"{package}.{name}"
    yield from OTHERS


def require_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name stands in the reference, and says what it is."""
    logger = logging.getLogger(__name__)
    documented = env.get_domain("py").objects  # type: ignore[attr-defined]
    for name in public_names():
        module, _, last = name.rpartition(".")
        value = getattr(importlib.import_module(module), last)
        if name not in documented:
            logger.warning("%s is public and stands on no page of docs/reference", name)
        if callable(value) and not own_docstring(value):
            logger.warning("%s is public and has no docstring", name)


def own_docstring(value: Any) -> str:
    """Without those that dataclasses make: the signature once more."""
    text = inspect.getdoc(value) or ""
    return "" if inspect.isclass(value) and text.startswith(f"{value.__name__}(") else text


def as_restructured_text(
    app: Sphinx, what: str, name: str, value: Any, options: dict[str, Any], lines: list[str]
) -> None:
    """Docstrings as they are here: paragraphs, formulas indented by four, `name: what it is` by line."""
    if what == "class" and not own_docstring(value):
        lines.clear()
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = "\n\n".join(_block(block) for block in blocks).split("\n")


def _block(block: str) -> str:
    """A formula, a paragraph, or a list of `a: text` and `b (unit), c: text`, which may share a line."""
    if block.startswith("    "):
        return "::\n\n" + block
    lines = block.split("\n")
    entries: list[str] = []
    while lines and (NAMES.match(lines[0]) or (entries and lines[0].startswith(" "))):
        line = lines.pop(0)
        if line.startswith(" "):
            entries[-1] += " " + line.strip()
        else:
            entries.append(line)
    shown = "\n".join(_entry(part) for entry in entries for part in NEXT_ENTRY.split(entry))
    return "\n\n".join(part for part in (shown, _escaped("\n".join(lines))) if part)


def _entry(entry: str) -> str:
    names, _, text = entry.partition(": ")
    shown = ", ".join("``{}``{}{}".format(*name.partition(" ")) for name in names.split(", "))
    return f"- {shown}: {_escaped(text.strip())}"


def _escaped(text: str) -> str:
    """Signs that reStructuredText would take for markup are not meant so, but for backticks."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"`{part}`\\ " if index % 2 else re.sub(r"([\\*|_])", r"\\\1", part) for index, part in enumerate(parts)
    )


def readable_defaults(
    app: Sphinx, what: str, name: str, value: Any, options: dict[str, Any], signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """`<factory>`, which dataclasses show for lists and the like, is no Python: Sphinx would not break such a line."""
    return signature and signature.replace("<factory>", "..."), returned


def keep_methods(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: dict[str, Any]) -> bool | None:
    """Methods whose name says all and that have no docstring stand there, too; fields stand in that of their class."""
    plain = isinstance(value, property) or inspect.isroutine(value)
    return False if plain and not name.startswith("_") and not inspect.getdoc(value) else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", keep_methods)
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("autodoc-process-signature", readable_defaults)
    app.connect("env-check-consistency", require_public_names)
