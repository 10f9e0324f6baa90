"""The page about adding a workflow: its file is written and entered as it says, and its code and test run."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_wavescat import WaveScatCalculator, workflows
from ase_wavescat.system.errors import CalculatorError, DataError

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "add-a-workflow.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package of workflows, with the page's file in it and the page's entries in its list."""
    (name,) = re.findall(r"^`ase_wavescat/workflows/(\w+)\.py`:$", PAGE, re.MULTILINE)
    (tmp_path / f"{name}.py").write_text(BLOCKS[0], encoding="utf-8")
    monkeypatch.setattr(workflows, "__path__", [*workflows.__path__, str(tmp_path)])
    for entry, module in re.findall(r'^    "(\w+)": "(\w+)",$', PAGE, re.MULTILINE):
        assert f"    from ase_wavescat.workflows.{module} import {entry} as {entry}\n" in PAGE
        monkeypatch.setitem(workflows._MODULE_OF, entry, module)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield workflows
    sys.modules.pop(f"ase_wavescat.workflows.{name}", None)
    for entry in ("Vacancy", "vacancy", name):
        vars(workflows).pop(entry, None)


def test_the_code_of_the_page_runs(added: Any) -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS[1], names)
    said = re.search(r"# (vacancy [\d.]+ eV, unrelaxed [\d.]+ eV; .*)$", BLOCKS[1], re.MULTILINE)
    assert said is not None and names["result"].summary() == said[1]
    record = json.loads(Path("results/copper-vacancy.json").read_text(encoding="utf-8"))
    assert record["energy"] == pytest.approx(names["result"].energy) and record["calculators"][0]["name"] == "emt"
    assert Path("results/copper-vacancy.png").is_file()
    exec(BLOCKS[2], names)
    for name, test in list(names.items()):
        if name.startswith("test_"):
            test()


@pytest.mark.filterwarnings("ignore:outside the training domain")
def test_a_model_gives_its_spread(added: Any) -> None:
    crystal = bulk("Si", cubic=True)
    crystal.calc = WaveScatCalculator("lisi.h5")
    result = added.vacancy(crystal, steps=0)
    member_energies = [crystal.calc.get_member_energies(atoms) for atoms in result.structures]
    own = member_energies[1] - 7 / 8 * member_energies[0]
    assert result.energy == pytest.approx(own.mean(), abs=1e-9)
    scale = crystal.calc.get_energy_uncertainty(crystal) / crystal.calc.get_member_energies(crystal).std(ddof=1)
    assert result.energy_spread == pytest.approx(scale * own.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize(
    ("crystal", "message"), [(bulk("Cu"), "got Cu"), (bulk("NaCl", "rocksalt", a=5.6), "got ClNa")]
)
def test_what_is_no_crystal_of_one_element_is_refused(added: Any, crystal: Atoms, message: str) -> None:
    crystal.calc = EMT()
    with pytest.raises(DataError, match=message):
        added.vacancy(crystal)


def test_atoms_that_are_not_there_and_missing_calculators_are_refused(added: Any) -> None:
    crystal = bulk("Cu", cubic=True)
    with pytest.raises(CalculatorError, match="no calculator"):
        added.vacancy(crystal)
    crystal.calc = EMT()
    with pytest.raises(DataError, match="no atom 4 among 4"):
        added.vacancy(crystal, 4)
