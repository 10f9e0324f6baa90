"""Compiled functions are kept on disk, and work where nothing can be."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType

import numba
import pytest

from ase_wavescat.system import compiled as module
from ase_wavescat.system.errors import WaveScatWarning
from module_files import load_module

SOURCE = """
from ase_wavescat.system.compiled import compiled

@compiled(fastmath=True)
def twice(x):
    return 2 * x

@compiled()
def thrice(x):
    return 3 * x
"""


@pytest.fixture(autouse=True)
def no_cache_but_beside_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files stand where the user's cache folder would be, which stops root as well."""
    (tmp_path / "file").touch()
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "file"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    module._say_that_nothing_is_kept.cache_clear()


def load(folder: Path) -> ModuleType:
    (folder / "loops.py").write_text(SOURCE)
    return load_module(folder / "loops.py")


def test_compiled_functions_are_kept_beside_the_module(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path).twice(3.0) == 6.0
    assert len(list((tmp_path / "__pycache__").glob("loops.twice-*.nbc"))) == 1
    assert load(tmp_path).twice(3.0) == 6.0


def test_where_nothing_can_be_kept_functions_work_and_one_warning_says_so(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").touch()
    with pytest.warns(WaveScatWarning, match="set NUMBA_CACHE_DIR to a folder that can be written") as caught:
        loops = load(tmp_path)
    assert len(caught) == 1
    assert (loops.twice(3.0), loops.thrice(3.0)) == (6.0, 9.0)


def test_other_errors_of_numba_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**settings: object) -> None:
        raise RuntimeError("another reason")

    monkeypatch.setattr(numba, "njit", refuses)
    with pytest.raises(RuntimeError, match="another reason"):
        module.compiled()(len)
