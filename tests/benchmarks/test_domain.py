"""The shipped models warn of what is unlike their training set, and hardly ever of cells like it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from ase import Atoms

from ase_wavescat import WaveScatCalculator
from ase_wavescat.system.errors import listening, unheard


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "robustness"))
    return importlib.import_module("domain")


def kinds(calculator: WaveScatCalculator, atoms: Atoms) -> set[str]:
    with listening(unheard):
        return set(calculator.get_domain_messages(atoms))


MODELS = ["lisi.h5", "lisi-fast.h5", pytest.param("lisi-linear.h5", marks=pytest.mark.slow)]


@pytest.mark.parametrize("model", MODELS)
def test_unlike_structures_are_told(benchmark: ModuleType, model: str) -> None:
    calculator = WaveScatCalculator(model)
    found = {name: kinds(calculator, atoms) for name, atoms in benchmark.unlike_structures().items()}
    silent = {name for name, outside in found.items() if not outside}
    assert silent <= (benchmark.UNTOLD if model == "lisi.h5" else set())
    for name, outside in found.items():
        if "open" in name or "alone" in name or "particle" in name:
            assert {"boundaries", "environments"} <= outside
        elif "slab" in name or "half" in name or "fcc" in name:
            assert "environments" in outside


@pytest.mark.parametrize("model", MODELS)
def test_held_out_cells_are_not(benchmark: ModuleType, model: str) -> None:
    calculator, cells = WaveScatCalculator(model), benchmark.held_out()
    warned = sum(bool(kinds(calculator, atoms)) for atoms in cells)
    assert len(cells) > 100 and warned <= benchmark.FALSE_ALARMS * len(cells)
