"""The page of the conformance kit's figures."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from ase_wavescat.testing.outcome import FAILS, NOT_APPLICABLE, PASSES, Conformance, Figure, Outcome


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "robustness"))
    return importlib.import_module("conformance")


def test_every_figure_has_a_row_and_every_note_a_line(benchmark: ModuleType) -> None:
    figures = (Figure("energy", 2e-12, "eV/atom", 1e-8), Figure("forces", 3e-6, "eV/Å", 1e-7))
    outcomes = (
        Outcome("rotation", figures, FAILS, "", 1.0),
        Outcome("stress", (), NOT_APPLICABLE, "no stress", 0.1),
        Outcome("species", (Figure("without an answer", 0, "", 0),), PASSES, "", 0.2),
    )
    text = benchmark.report("some.h5", Conformance("Some", ("Li",), outcomes), 90.0)
    lines = text.splitlines()
    assert "`wavescat check some.h5`, 1.5 minutes of one core (rotation 77%, species 15%, stress 8%):" in lines
    assert "| rotation | energy | 2.0e-12 eV/atom | 1e-08 | passes |" in lines
    assert "| rotation | forces | 3.0e-06 eV/Å | 1e-07 | fails |" in lines
    assert "| stress |  |  |  | not applicable |" in lines
    assert "| species | without an answer | 0.0e+00 | 0e+00 | passes |" in lines
    assert lines[-1] == "- stress: no stress"
