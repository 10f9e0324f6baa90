"""The tutorial's code runs from top to bottom, and comes to what its text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "tutorial.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the code of the page has defined at its end."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, pytest.warns(match="outside the training domain"):
        patch.chdir(tmp_path_factory.mktemp("afternoon"))
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            exec(block, found)
        found["written"] = sorted(path.name for path in Path("results").iterdir())
    return found


def test_the_crystal_of_the_file(names: dict[str, Any]) -> None:
    assert names["relaxed"].converged and names["silicon"].get_volume() == pytest.approx(163.4, rel=0.01)  # A^3
    assert names["curve"].parabola.bulk_modulus == pytest.approx(85, rel=0.15)  # GPa; PBE has 89
    assert names["constants"].relaxed.bulk_modulus == pytest.approx(names["curve"].parabola.bulk_modulus, rel=0.03)
    assert {"silicon.json", "silicon.extxyz", "silicon.png", "hop.png"} <= set(names["written"])


def test_the_voltage_and_the_hop(names: dict[str, Any]) -> None:
    first, second = names["steps"].voltages
    assert 0.3 < first < 0.6 and 0.0 < second < first  # V
    assert names["hop"].converged
    assert 0.4 < names["hop"].forward < 0.8  # eV; first principles have 0.6
    assert names["hop"].forward == pytest.approx(names["hop"].backward, abs=1e-3)  # by symmetry


def test_the_uncertainty_and_the_domain(names: dict[str, Any]) -> None:
    glass, calculator = names["glasses"][1], names["calculator"]
    assert calculator.get_energy_uncertainty(glass) / len(glass) < 0.03  # eV
    assert calculator.get_domain_messages(names["slab"])


def test_the_model_of_own_labels(names: dict[str, Any]) -> None:
    assert names["errors"].energy.mae < 0.02 and names["errors"].forces.mae < 0.2  # eV/atom, eV/A
    (error, spread, grade), (error_after, _, grade_after) = names["before"], names["after"]
    assert abs(error) > 0.03 and spread < 0.001 and grade > 1  # wrong, of one mind, and told
    assert abs(error_after) < 0.015 and grade_after < 1
