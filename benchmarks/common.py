"""What the benchmarks share: the machine in words, medians, tables, JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import ase_wavescat
from ase_wavescat.system.atomic_write import atomic_path

HERE = Path(__file__).parent


def machine() -> str:
    """Processor, threads and versions, one line."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, ase_wavescat {ase_wavescat.__version__}"
    return f"{model}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}; {versions}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def median_time(function: Callable[[], object], repeats: int = 25) -> float:
    """Median wall time (s) after three calls that are not counted."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def processor_time(function: Callable[[], object], repeats: int = 9) -> float:
    """Median processor time (s) after one call that is not counted: other work on the machine disturbs it less."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def write_json(path: Path, figures: dict[str, Any]) -> None:
    _replace(path, json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    print(f"\nfigures in {path}")


def _replace(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def update_documents(documents: Sequence[Path], name: str, text: str) -> None:
    """Replace what stands between the markers of a script's table in each document."""
    script = next(HERE.glob(f"*/{name}.py")).relative_to(HERE).as_posix()
    begin, end = f"<!-- {name}: made by benchmarks/{script} -->", f"<!-- end of {name} -->"
    for document in documents:
        old = document.read_text()
        if begin not in old or end not in old:
            raise SystemExit(f"{document} has no place for the table: it needs the lines {begin} and {end}")
        head, rest = old.split(begin)
        _replace(document, f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")
        print(f"table in {document}")


def quarter(fraction: float) -> str:
    """The quarter of the composition that a fraction of lithium lies in; the last one holds pure lithium as well."""
    return f"Li fraction {('0-0.25', '0.25-0.5', '0.5-0.75', '0.75-1')[min(int(4 * fraction + 1e-9), 3)]}"


def standard_options(parser: argparse.ArgumentParser, name: str) -> None:
    """--json and --document, the same for every benchmark."""
    parser.add_argument("--json", type=Path, default=Path(f"{name}.json"), help="where the figures go")
    parser.add_argument("--document", type=Path, nargs="*", default=[], help="Markdown files whose table to renew")


def glass(atoms: int = 64, density: float = 0.058, lithium: float = 0.75, seed: int = 1) -> Atoms:
    """Random Li-Si in a cubic cell, on the sites of a jittered lattice: no close contacts; density in 1/A^3."""
    rng = np.random.default_rng(seed)
    edge = (atoms / density) ** (1 / 3)
    count = int(np.ceil(atoms ** (1 / 3) - 1e-9))
    sites = np.stack(np.meshgrid(*[np.arange(count)] * 3), axis=-1).reshape(-1, 3)
    chosen = rng.permutation(len(sites))[:atoms]
    positions = (sites[chosen] + 0.5 + rng.uniform(-0.12, 0.12, (atoms, 3))) * edge / count
    numbers = np.where(rng.permutation(atoms) < round(lithium * atoms), 3, 14)
    return Atoms(numbers, positions, cell=edge * np.eye(3), pbc=True)
