"""Every registered family, by its own example: a new one inherits all of these checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ase_wavescat.representation import ScatteringSpec
from ase_wavescat.representation.protocol import Family
from ase_wavescat.representation.registry import FAMILIES
from family_checks import OF_SPECS, OF_STRUCTURES, STRUCTURES

NAMES = [family.name for family in FAMILIES]


def test_names_and_kinds_of_features_belong_to_one_family_each() -> None:
    assert len(set(NAMES)) == len(NAMES)
    kinds = [feature.kind for family in FAMILIES for feature in family.feature_classes]
    assert len(set(kinds)) == len(kinds) and not any(":" in kind for kind in kinds)


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
@pytest.mark.parametrize("check", OF_SPECS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_family(family: type[Family], check: Callable[[ScatteringSpec], None]) -> None:
    check(family.example())


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("check", OF_STRUCTURES, ids=lambda check: check.__name__.removeprefix("check_"))
def test_derivatives(family: type[Family], check: Callable[[ScatteringSpec, str], None], name: str) -> None:
    check(family.example(), name)
