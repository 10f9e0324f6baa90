"""The family of the page "Add a family of features" runs, and keeps what every family must keep."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ase_wavescat.representation import ScatteringSpec, registry
from family_checks import OF_SPECS, OF_STRUCTURES, STRUCTURES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-family.md"


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    """All code of the page, as one module."""
    module, known = ModuleType("shells_of_the_page"), registry.FAMILIES
    sys.modules[module.__name__] = module
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec("\n".join(blocks), module.__dict__)
    yield module
    registry.FAMILIES = known
    del sys.modules[module.__name__]


def test_its_code_runs_and_the_list_of_the_page_is_that_of_the_package(page: ModuleType) -> None:
    (shown,) = re.findall(r"^FAMILIES: .*?^\)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert shown.replace("    Shells,\n", "") in Path(str(registry.__file__)).read_text(encoding="utf-8")
    assert registry.FAMILIES[-1] is page.Shells


@pytest.mark.parametrize("check", OF_SPECS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_family(page: ModuleType, check: Callable[[ScatteringSpec], None]) -> None:
    check(page.Shells.example())


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("check", OF_STRUCTURES, ids=lambda check: check.__name__.removeprefix("check_"))
def test_derivatives(page: ModuleType, check: Callable[[ScatteringSpec, str], None], name: str) -> None:
    check(page.Shells.example(), name)
