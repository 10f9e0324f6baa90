"""The code of the pages for those who add to the package runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.registry import POTENTIALS

PAGES = Path(__file__).parents[1] / "docs" / "how-to"


def run(page: str) -> dict[str, Any]:
    """The names that its code defines, blocks run one after the other."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec", dont_inherit=True), names)
    return names


def test_add_a_potential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, known in list(POTENTIALS.items()):
        monkeypatch.setitem(POTENTIALS, kind, known)
    monkeypatch.setitem(POTENTIALS, "morse", None)  # put back to nothing afterwards
    names = run("add-a-potential.md")
    monkeypatch.delitem(POTENTIALS, "morse")
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = WaveScatCalculator(names["model"])
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.calc.set(forces="finite-difference")
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-7)
