"""What the package states about itself is true: its requirements, bounds, Pythons and the files of its wheel."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

import ase_wavescat

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGE = Path(ase_wavescat.__file__).parent  # that which is installed, beside the tests or elsewhere
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
REQUIREMENTS = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
PROVIDED = packages_distributions()
STANDARD = {*sys.stdlib_module_names, "tomllib"}  # the latter from Python 3.11 on


def names_of(lines: list[str]) -> set[str]:
    return {Requirement(line).name.lower() for line in lines}


@cache
def imported(folder: Path) -> dict[str, set[str]]:
    """Modules by their first name, and the files that import them."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(path.name)
    return {name: files for name, files in found.items() if name not in STANDARD}


def test_every_import_of_the_package_is_a_stated_requirement() -> None:
    stated = names_of(REQUIREMENTS)
    for module, files in imported(PACKAGE).items():
        if module != "ase_wavescat":
            distributions = {name.lower() for name in PROVIDED.get(module, [module])}
            assert distributions & stated, f"{module}, imported by {files}, comes from {distributions}"


def test_nothing_is_required_that_is_never_imported() -> None:
    used = {name.lower() for module in imported(PACKAGE) for name in PROVIDED.get(module, [module])}
    assert names_of(PROJECT["dependencies"]) <= used


def test_a_requirement_has_one_lower_bound_everywhere() -> None:
    bounds: dict[str, set[str]] = {}
    for line in REQUIREMENTS:
        requirement = Requirement(line)
        bounds.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}
    assert all(re.fullmatch(r">=[\d.]+", *found) for found in bounds.values())


def test_the_tests_have_all_optional_packages() -> None:
    optional = EXTRAS["large"] + EXTRAS["dataframe"] + EXTRAS["dask"] + EXTRAS["crystal"]
    assert names_of(optional) <= names_of(EXTRAS["test"])


def test_pythons_are_those_of_the_bound_the_style_and_the_matrix(matrix: ModuleType) -> None:
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    stated = [found[1] for line in PROJECT["classifiers"] if (found := re.fullmatch(pattern, line))]
    assert PROJECT["requires-python"] == f">={stated[0]}"
    assert set(stated) <= {row.python for row in matrix.ROWS}
    assert f'target-version = "py{stated[0].replace(".", "")}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (PACKAGE / "py.typed").is_file() == ("Typing :: Typed" in PROJECT["classifiers"])


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "release"))
    import install_matrix

    return install_matrix


def test_lower_bounds_are_pinned_with_their_markers(matrix: ModuleType, tmp_path: Path) -> None:
    lines = matrix.lower_bounds(ROOT / "pyproject.toml").splitlines()
    assert 'tomli==2.0; python_version < "3.11"' in lines
    pinned = {Requirement(line).name for line in lines}
    assert pinned == {Requirement(line).name for line in REQUIREMENTS}
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy"]\noptional-dependencies = {}\n')
    with pytest.raises(SystemExit, match="'numpy' has no single lower bound"):
        matrix.lower_bounds(tmp_path / "pyproject.toml")


METADATA = tuple(f"p-1.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt"))
LICENCE = "p-1.dist-info/licenses/LICENSE"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ((*METADATA, LICENCE, "p/a.py", "p/py.typed"), ""),
        ((*METADATA, LICENCE, "p/a.py"), "lacks p/py.typed"),
        ((*METADATA, "p/a.py", "p/py.typed"), "lacks licenses/LICENSE"),
        ((*METADATA, LICENCE, "p/a.py", "p/py.typed", "p/rows.h5"), "has p/rows.h5, which git does not keep"),
    ],
)
def test_wheels_with_too_little_or_too_much_are_found(
    matrix: ModuleType, tmp_path: Path, names: tuple[str, ...], complaint: str
) -> None:
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    assert matrix.complaint_about(tmp_path / "p.whl", {"p/a.py", "p/py.typed"}) == complaint


def test_a_missing_interpreter_and_a_failing_step_are_verdicts(matrix: ModuleType, tmp_path: Path) -> None:
    assert matrix.interpreter("3.1") is None
    assert matrix.interpreter(matrix.HERE) is not None
    with pytest.raises(matrix.Failure, match=r"^step: the last word$"):
        matrix.run(
            [sys.executable, "-c", "print('first', flush=True); raise SystemExit('the last word')"], tmp_path, "step"
        )
    assert "first" in (tmp_path / "log.txt").read_text()


def test_what_was_made_is_found_again(matrix: ModuleType, tmp_path: Path) -> None:
    assert matrix.remembered(tmp_path / "a.json", lambda: {"rows": (1, 2)}) == {"rows": [1, 2]}
    assert matrix.remembered(tmp_path / "a.json", lambda: 1 / 0) == {"rows": [1, 2]}


def test_folders_are_closed_and_opened_again(matrix: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    before = (tmp_path / "package" / "inner").stat().st_mode
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
    with matrix.read_only(tmp_path / "package") as keeps, pytest.raises(matrix.Failure, match="PermissionError"):
        target = tmp_path / "package" / "inner" / "file"
        matrix.run([*keeps, sys.executable, "-c", write, target], tmp_path, "write")
    assert (tmp_path / "package" / "inner").stat().st_mode == before


def test_the_table_has_what_was_measured_and_what_was_not(matrix: ModuleType) -> None:
    done = {
        "name": "newest", "python": "3.11", "verdict": "works", "difference": 2e-14,
        "versions": {"python": "3.11.7", "numpy": "2.4.6"}, "counts": {"passed": 9, "skipped": 1},
    }  # fmt: skip
    compiled = [{"can be written": "nothing", "import": [1.0, 1.1], "first forces": [14.0, 15.0]}]
    lines = matrix.tables([done, {"name": "new", "python": "3.14", "verdict": matrix.MISSING}], compiled).splitlines()
    assert "| newest | 3.11.7 | 2.4.6 | - | - | - | - | 2e-14 | 9 passed, 1 skipped | works |" in lines
    assert "| new | 3.14 | - | - | - | - | - | - | - | not available here |" in lines
    assert "| nothing | 1.0 | 1.1 | 14.0 | 15.0 |" in lines
