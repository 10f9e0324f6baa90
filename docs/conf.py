"""The documentation site: `sphinx-build -W --keep-going docs FOLDER`, with the extra `docs`; nothing is fetched."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from ase_wavescat import __version__

project = "ase_wavescat"
author = "ase_wavescat developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # links to headings, as they are in the repository
highlight_language = "none"  # blocks without a language are commands and formulas
smartquotes = False  # quotes and dashes in docstrings and options are code
default_role = "literal"  # help texts set code in single backticks
python_maximum_signature_line_length = 90
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_param = False  # types stand in the signature
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

html_theme = "furo"
html_title = f"ase_wavescat {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False

PACKAGES = (
    "ase_wavescat",
    "ase_wavescat.io",
    "ase_wavescat.workflows",
    "ase_wavescat.training",
    "ase_wavescat.evaluation",
    "ase_wavescat.active_learning",
    "ase_wavescat.testing",
)


def public_names() -> Iterator[str]:
    """What packages export, each name once: where the first of them has it."""
    seen = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if name != "__version__" and not any(value is other for other in seen):
                seen.append(value)
                yield f"{package}.{name}"


def require_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name stands in the reference, and says what it is."""
    logger = logging.getLogger(__name__)
    documented = env.get_domain("py").objects  # type: ignore[attr-defined]
    described_elsewhere = said_by_protocols()
    for name in public_names():
        module, _, last = name.rpartition(".")
        value = getattr(importlib.import_module(module), last)
        if name not in documented:
            logger.warning("%s is public and stands on no page of docs/reference", name)
        if not own_docstring(value):
            logger.warning("%s is public and has no docstring", name)
        for part, member in public_members(value):
            if part not in described_elsewhere and not own_docstring(member):
                logger.warning("%s.%s is public and has no docstring", name, part)


def public_members(value: Any) -> Iterator[tuple[str, Any]]:
    """Methods and properties that a class defines itself."""
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        method = inspect.isroutine(member) or isinstance(member, property | cached_property)
        if method and not name.startswith("_"):
            yield name, member


def said_by_protocols() -> set[str]:
    """What protocols of the package ask for, and describe for all that have it."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "ase_wavescat"]
    classes = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    return {
        name
        for protocol in classes
        if getattr(protocol, "_is_protocol", False) and protocol.__module__.startswith("ase_wavescat.")
        for name in vars(protocol)
        if not name.startswith("_")
    }


def own_docstring(value: Any) -> str:
    """Without those that dataclasses make: the signature once more."""
    text = inspect.getdoc(value) or ""
    return "" if inspect.isclass(value) and text.startswith(f"{value.__name__}(") else text


def keep_members(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Methods and properties that only a protocol describes stand there, too."""
    plain = isinstance(value, property) or inspect.isroutine(value)
    return False if plain and not inspect.getdoc(value) and name in said_by_protocols() else None


def keep_first_line(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in a property's first line for a type: let it look at another line."""
    if what == "property":
        lines.insert(0, "\\ ")  # nothing, as reStructuredText


def readable_defaults(
    app: Sphinx, what: str, name: str, value: Any, options: dict[str, Any], signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """`<factory>`, which dataclasses show for lists and the like, is no Python: Sphinx would not break such a line."""
    return signature and signature.replace("<factory>", "..."), returned


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", keep_members)
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)  # before Napoleon, which has 500
    app.connect("autodoc-process-signature", readable_defaults)
    app.connect("env-check-consistency", require_public_names)
