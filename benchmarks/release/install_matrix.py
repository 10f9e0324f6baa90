"""Wheel and sdist, installed into fresh environments: every Python, oldest and newest versions of what is needed.

    python benchmarks/release/install_matrix.py FOLDER [--rows NAME ...] [--json FILE] [--document FILE ...]

What is committed is cloned into FOLDER, built and looked at, and installed there once for each row, from wheels alone
(no compiler), two rows at a time. Each environment then runs install_smoke.py, whose energy, forces and stress must be
those of the environment that runs this script, and tests from the unpacked sdist, beside which no package lies. Lower
bounds come from pyproject.toml, interpreters from the PATH and from pyenv; a row whose interpreter is missing says so.
Started again with the same FOLDER, it goes on where it was stopped, as long as the wheel is the same.

Needs `build`, git, and a registry of packages that pip knows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from tqdm import tqdm

from ase_wavescat.system.atomic_write import atomic_path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).resolve().with_name("install_smoke.py")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
QUICK = (
    "tests/test_package.py",
    "tests/test_packaging.py",
    "tests/test_model_file.py",
    "tests/test_calculator.py",
    "tests/training/test_dataset.py",
)
SHOWN = ("numpy", "scipy", "numba", "h5py", "ase")
MISSING = "not available here"
TRASH = ("models/trash.features/rows.h5", "models/trash.tmp", "ase_wavescat/__pycache__/trash.pyc")


class Failure(Exception):
    """A step that failed, in words for its line of the table.  output: all that it printed."""

    def __init__(self, text: str, output: str = "") -> None:
        super().__init__(text)
        self.output = output


@dataclass(frozen=True)
class Row:
    """One environment.  source: "wheel", "sdist" or "checkout" (editable); tests: none leaves them out."""

    name: str
    python: str = HERE
    source: str = "wheel"
    oldest: bool = False
    extras: str = "[test]"
    tests: tuple[str, ...] = QUICK


ROWS = (
    *(Row(f"newest, Python {python}", python) for python in ("3.10", "3.11", "3.12", "3.13", "3.14")),
    *(Row(f"oldest, Python {python}", python, oldest=True) for python in ("3.10", "3.11")),
    Row("without optional packages", extras="", tests=()),
    Row("sdist", source="sdist", extras="", tests=()),
    Row("editable checkout", source="checkout", extras="", tests=()),
    Row("oldest, all tests", "3.10", oldest=True, tests=("tests",)),
    Row("newest, all tests", "3.13", tests=("tests",)),
)


def run(command: Sequence[str | Path], folder: Path, what: str, **variables: str) -> str:
    """Output of a command, added to log.txt of the folder.  Raises Failure with its last line.

    Variables of this shell that change what Python finds are hidden from it.
    """
    hidden = ("PYTHON", "WAVESCAT", "NUMBA", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment = {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg", **variables}
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with (folder / "log.txt").open("a") as log:
        log.write(f"$ {' '.join(map(str, command))}\n{ended.stdout}\n")
    if ended.returncode:
        lines = [line for line in ended.stdout.splitlines() if line.strip()]
        raise Failure(f"{what}: {lines[-1] if lines else f'ended with {ended.returncode}'}", ended.stdout)
    return ended.stdout


def lower_bounds(pyproject: Path) -> str:
    """A constraints file: each requirement of the package and its extras, at exactly its lower bound."""
    project = tomllib.loads(pyproject.read_text())["project"]
    lines = set()
    for text in (
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ):
        requirement = Requirement(text)
        bounds = [one.version for one in requirement.specifier if one.operator == ">="]
        if len(bounds) != 1:
            raise SystemExit(f"{pyproject}: {text!r} has no single lower bound")
        lines.add(f"{requirement.name}=={bounds[0]}" + (f"; {requirement.marker}" if requirement.marker else ""))
    return "\n".join(sorted(lines)) + "\n"


def interpreter(python: str) -> Path | None:
    """A Python of this version that makes environments: the running one, on the PATH, or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{python}")
    candidates = [
        Path(sys.executable),
        *([Path(found)] if found else []),
        *sorted(pyenv.glob(f"{python}.*/bin/python")),
    ]
    question = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True)
        if answer.stdout.strip() == python:
            return candidate
    return None


# ---------------------------------------------------------------- what is built


@dataclass(frozen=True)
class Built:
    """A clone of the commit, what was built of it, and the unpacked sdist without the package, for its tests."""

    checkout: Path
    wheel: Path
    sdist: Path
    suite: Path

    def of(self, source: str) -> Path:
        return {"wheel": self.wheel, "sdist": self.sdist, "checkout": self.checkout}[source]


def build(folder: Path) -> Built:
    """Clone, build and look at what came out.  Raises Failure, also for a wheel that depends on where it was built."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkout, suite = folder / "checkout", folder / "suite"
    run(["git", "clone", "--quiet", ROOT, checkout], folder, "clone")
    kept = wheel_names_kept(checkout)
    for name in TRASH:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).touch()
    run([sys.executable, "-m", "build", "--outdir", "dist", checkout], folder, "build of the sdist and its wheel")
    run([sys.executable, "-m", "build", "--wheel", "--outdir", "from-checkout", checkout], folder, "build of the wheel")
    ((wheel,), (sdist,)) = ((folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz"))
    for name in TRASH:
        (checkout / name).unlink()
    for made in (wheel, folder / "from-checkout" / wheel.name):
        if complaint := complaint_about(made, kept):
            raise Failure(f"{made.parent.name}/{made.name}: {complaint}")
    run([sys.executable, "-m", "tarfile", "--extract", sdist, "unpacked"], folder, "unpacking of the sdist")
    (folder / "unpacked" / sdist.name.removesuffix(".tar.gz")).rename(suite)
    shutil.rmtree(suite / "ase_wavescat")
    return Built(checkout, wheel, sdist, suite)


def wheel_names_kept(checkout: Path) -> set[str]:
    """What a wheel must have beside its metadata: all files of the package and of the models that git keeps."""
    listed = subprocess.run(
        ["git", "ls-files", "ase_wavescat", "models"], cwd=checkout, capture_output=True, text=True, check=True
    )
    names = {re.sub(r"^models/", "ase_wavescat/models/", name) for name in listed.stdout.split()}
    return {name for name in names if not (name.startswith("ase_wavescat/models/") and name.endswith(".py"))}


def complaint_about(wheel: Path, expected: set[str]) -> str:
    """What is missing from a wheel, or too much; empty where it is as it should be."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    needed = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    missing = expected - names | needed - {name.split(".dist-info/")[1] for name in metadata}
    if surplus := names - metadata - expected:
        return f"has {', '.join(sorted(surplus))}, which git does not keep"
    return f"lacks {', '.join(sorted(missing))}" if missing else ""


# ---------------------------------------------------------------- one environment


def install(row: Row, built: Built, folder: Path) -> Path:
    """The Python of a new environment with the package in it.  Raises Failure."""
    base = interpreter(row.python)
    if base is None:
        raise Failure(MISSING)
    shutil.rmtree(folder / "environment", ignore_errors=True)
    run([base, "-m", "venv", "environment"], folder, "environment")
    python = folder / "environment" / "bin" / "python"
    editable = ["-e"] if row.source == "checkout" else []
    pins = folder / "constraints.txt"
    pins.write_text(lower_bounds(built.checkout / "pyproject.toml") if row.oldest else "")
    wanted = f"{built.of(row.source)}{row.extras}"
    options = ["--quiet", "--no-compile", "--only-binary", ":all:"]
    run([python, "-m", "pip", "install", *options, "--constraint", pins, *editable, wanted], folder, "install")
    run([python, "-m", "pip", "check"], folder, "pip check")
    return python


def smoke(row: Row, python: Path, folder: Path, expected: Path) -> dict[str, Any]:
    """Figures of install_smoke.py and how far they are from those expected.  Raises Failure."""
    command: list[str | Path] = [python, SMOKE, "--json", folder / "smoke.json", "--expected", expected]
    printed = run(command, folder, "smoke job")
    figures = json.loads((folder / "smoke.json").read_text())
    if ("site-packages" in figures["package"]) != (row.source != "checkout"):
        raise Failure(f"the package in use is {figures['package']}")
    return {"versions": figures["versions"], "difference": float(re.findall(r"smoke\.json: (\S+)", printed)[-1])}


def tests(row: Row, python: Path, built: Built, folder: Path) -> dict[str, int]:
    """Counts of tests that passed, failed ... from the unpacked sdist."""
    options: list[str | Path] = ["-q", "-p", "no:cacheprovider", "-c", built.suite / "pyproject.toml"]
    command: list[str | Path] = [python, "-m", "pytest", *options, *(built.suite / name for name in row.tests)]
    try:
        printed = run(command, folder, "tests")
    except Failure as failure:
        printed = failure.output
    last = printed.strip().splitlines()[-1]
    return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}


def outcome_of(row: Row, built: Built, folder: Path, expected: Path) -> dict[str, Any]:
    """All of a row; a step that failed is its verdict. Its environment is removed, its log stays."""
    figures: dict[str, Any] = {**asdict(row), "verdict": "works"}
    try:
        python = install(row, built, folder)
        figures |= smoke(row, python, folder, expected)
        if row.tests:
            figures["counts"] = counts = tests(row, python, built, folder)
            if not counts.get("passed") or set(counts) - {"passed", "skipped"}:
                raise Failure("tests fail")
    except Failure as failure:
        figures["verdict"] = str(failure)
    shutil.rmtree(folder / "environment", ignore_errors=True)
    return figures


# ---------------------------------------------------------------- compiled code where little can be written

READ_ONLY = "read-only package"
IMPORT = "import time, ase_wavescat.calculator, ase_wavescat.representation.transform, ase_wavescat.workflows.demo"
FIRST_FORCES = f"""
{IMPORT}
imported = time.process_time()
from ase_wavescat.workflows.demo import shipped_structure
atoms = shipped_structure()
atoms.calc = ase_wavescat.WaveScatCalculator("lisi.h5")
atoms.get_forces()
print("seconds:", imported, time.process_time())
"""


@contextmanager
def read_only(package: Path) -> Iterator[list[str]]:
    """The folders of a package without leave to write; yields what starts a command that has to keep to it.

    Raises Failure where this process may write everything and cannot give that up.
    """
    keeps = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if keeps and shutil.which(keeps[0]) is None:
        raise Failure(f"{MISSING}: root writes everywhere, and there is no setpriv")
    modes = {folder: folder.stat().st_mode for folder in (package, *package.rglob("*")) if folder.is_dir()}
    try:
        for folder, mode in modes.items():
            folder.chmod(mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        yield keeps
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)


def compiled_code(built: Built, folder: Path) -> list[dict[str, Any]]:
    """Processor time (s) to the import and to the first forces of two processes, one after the other, by what can be
    written.  Raises Failure where a process fails, or keeps its compiled code elsewhere than is said."""
    python = install(Row(READ_ONLY, extras="", tests=()), built, folder)
    run([python, "-c", IMPORT], folder, "import")  # writes the byte code that pip was told to leave out
    (package,) = (folder / "environment").glob("lib/python*/site-packages/ase_wavescat")
    for name in ("home", "chosen", "closed"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(mode=0o555 if name == "closed" else 0o777)
    open_home, no_home = (
        {"HOME": str(folder / name), "XDG_CACHE_HOME": str(folder / name / "cache")} for name in ("home", "closed")
    )
    cases = [
        ("nothing but the home folder", open_home, folder / "home"),
        ("nothing but NUMBA_CACHE_DIR", {**no_home, "NUMBA_CACHE_DIR": str(folder / "chosen")}, folder / "chosen"),
        ("nothing", no_home, None),
    ]
    rows = []
    with read_only(package) as keeps:
        for name, variables, place in cases:
            rows.append(_twice([*keeps, python, "-c", FIRST_FORCES], folder, name, variables, place))
    rows.append(_twice([python, "-c", FIRST_FORCES], folder, "the installed package", open_home, package))
    shutil.rmtree(folder / "environment")
    return rows


def _twice(
    command: list[Any], folder: Path, name: str, variables: dict[str, str], place: Path | None
) -> dict[str, Any]:
    times = []
    for _ in range(2):
        printed = run(command, folder, f"forces where {name} can be written", **variables)
        times.append([float(word) for word in re.findall(r"^seconds: (\S+) (\S+)$", printed, re.MULTILINE)[0]])
        if ("set NUMBA_CACHE_DIR" in printed) != (place is None):
            raise Failure(f"{name}: the warning that nothing is kept is {'missing' if place is None else 'there'}")
    if place is not None and not any(place.rglob("*.nbc")):
        raise Failure(f"{name}: no compiled code in {place}")
    return {"can be written": name, "import": [one[0] for one in times], "first forces": [one[1] for one in times]}


# ---------------------------------------------------------------- all of it


class Matrix:
    """What is built, what the environment of this script computes, and rows made one by one or found again."""

    def __init__(self, folder: Path) -> None:
        """Raises Failure."""
        self._folder = folder
        self._built = build(folder / "made")  # a folder named build, which git ignores, would unsettle hatchling
        self.wheel = hashlib.sha256(self._built.wheel.read_bytes() + SMOKE.read_bytes()).hexdigest()
        self._expected = self._place("expected") / "smoke.json"
        if not self._expected.exists():
            command: list[str | Path] = [sys.executable, SMOKE, "--json", self._expected]
            models = str(self._built.checkout / "models")
            run(command, self._expected.parent, "smoke job in this environment", WAVESCAT_MODELS=models)

    def _place(self, name: str) -> Path:
        """The folder of a row, another one for another wheel."""
        place = self._folder / self.wheel[:12] / re.sub(r"\W+", "-", name)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def outcome(self, row: Row) -> dict[str, Any]:
        if interpreter(row.python) is None:
            return {**asdict(row), "verdict": MISSING}
        place = self._place(row.name)
        return remembered(place / "outcome.json", partial(outcome_of, row, self._built, place, self._expected))

    def compiled(self) -> list[dict[str, Any]]:
        """Raises Failure."""
        place = self._place(READ_ONLY)
        return remembered(place / "outcome.json", partial(compiled_code, self._built, place))


def remembered(file: Path, make: Callable[[], Any]) -> Any:
    """What an earlier run left in a file, else what is made now, which is left there."""
    if not file.exists():
        made = make()
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(made))
    return json.loads(file.read_text())


def cells(outcome: dict[str, Any]) -> list[str]:
    """A row's line of the table."""
    versions = outcome.get("versions", {})
    counts = ", ".join(f"{count} {word}" for word, count in outcome.get("counts", {}).items())
    difference = f"{outcome['difference']:.0e}" if "difference" in outcome else "-"
    shown = [versions.get(name, "-") for name in SHOWN]
    return [
        outcome["name"],
        versions.get("python", outcome["python"]),
        *shown,
        difference,
        counts or "-",
        outcome["verdict"],
    ]


def tables(outcomes: Sequence[dict[str, Any]], compiled: Sequence[dict[str, Any]]) -> str:
    header = ["environment", "Python", *SHOWN, "largest difference", "tests", "verdict"]
    text = table(header, [cells(outcome) for outcome in outcomes])
    if compiled:
        lines = [
            [row["can be written"], *(f"{row[key][i]:.1f}" for key in ("import", "first forces") for i in (0, 1))]
            for row in compiled
        ]
        header = ["what can be written", "import, first process", "later", "first forces, first process", "later"]
        text += f"\n\nProcessor time of a new process, s:\n\n{table(header, lines)}"
    return text


def main() -> None:
    names = [*(row.name for row in ROWS), READ_ONLY]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where environments are made; kept for a run that goes on")
    parser.add_argument(
        "--rows", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {'; '.join(names)}"
    )
    standard_options(parser, "install_matrix")
    chosen = parser.parse_args()
    rows = [row for row in ROWS if row.name in chosen.rows]
    try:
        matrix = Matrix(chosen.folder.resolve())
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(tqdm(pool.map(matrix.outcome, rows), total=len(rows), desc="environments"))
        compiled = matrix.compiled() if READ_ONLY in chosen.rows else []
    except Failure as failure:
        raise SystemExit(f"{failure}; all that was printed is in log.txt, in a folder of {chosen.folder}") from failure
    text = tables(outcomes, compiled)
    print("\n" + text)
    update_documents(chosen.document, "install_matrix", f"{machine()}\n\n{text}")
    write_json(chosen.json, {"wheel and smoke job, sha256": matrix.wheel, "rows": outcomes, "compiled": compiled})
    if bad := [outcome["name"] for outcome in outcomes if outcome["verdict"] not in ("works", MISSING)]:
        raise SystemExit(f"not as it should be: {', '.join(bad)}; see log.txt, in a folder of {chosen.folder}")


if __name__ == "__main__":
    main()
