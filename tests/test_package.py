"""The package itself: lazy names, no side effects of an import, versions that agree."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import ase_wavescat

ROOT = Path(__file__).parent.parent


def test_every_exported_name_is_there() -> None:
    for name in ase_wavescat.__all__:
        assert getattr(ase_wavescat, name) is not None
    assert set(dir(ase_wavescat)) == set(ase_wavescat.__all__)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'WaveCalculator'; it has .*WaveScatCalculator"):
        ase_wavescat.WaveCalculator  # noqa: B018


def test_the_import_loads_nothing_heavy_and_makes_no_figure_backend() -> None:
    heavy = "'numpy', 'scipy', 'numba', 'h5py', 'ase', 'matplotlib', 'pyfftw'"
    code = f"import sys, ase_wavescat; print([name for name in ({heavy}) if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    code = "import sys, ase_wavescat.calculator, ase_wavescat.workflows.demo; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_versions_agree() -> None:
    assert version("ase_wavescat") == ase_wavescat.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(ase_wavescat.__version__)}$", citation, re.MULTILINE)
    assert f"## {ase_wavescat.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_hosted_checks_run_on_all_versions_of_python_that_are_supported() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    matrix = re.search(r"^ +python: \[(.*)\]$", workflow, re.MULTILINE)
    assert matrix is not None and re.findall(r'"([\d.]+)"', matrix[1]) == supported
    assert f'requires-python = ">={supported[0]}"' in project


def test_entry_points_are_registered() -> None:
    assert "ase_wavescat" in {point.name for point in entry_points(group="ase.plugins")}
    assert "wavescat" in {point.name for point in entry_points(group="console_scripts")}
