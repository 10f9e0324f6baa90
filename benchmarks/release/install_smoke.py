"""A first use of the installed package: the command, a shipped model, a model trained and checked.

    python benchmarks/release/install_smoke.py [--json FILE] [--expected FILE]

FILE has energy, forces and stress of eight atoms, with the versions that gave them; --expected takes one that another
environment wrote and fails where they differ by more than 1e-9 of their largest. Needs nothing but the installed
package; works in a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

import ase_wavescat
from ase_wavescat import ScatteringSpec, WaveScatCalculator
from ase_wavescat.representation import Bands, Correlations, Maps
from ase_wavescat.representation.specification_file import write_spec

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, write_json

CHECKS = ("permutation", "wrapping", "forces", "stress", "results", "changes", "copies")
PROPERTIES = ("energy", "forces", "stress")
LARGEST_DIFFERENCE = 1e-9


def wavescat(*arguments: str) -> str:
    """What the installed command prints.  Raises SystemExit with it where the command fails."""
    command = [str(Path(sysconfig.get_path("scripts")) / "wavescat"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def shipped_model() -> dict[str, Any]:
    """Energy (eV), forces (eV/Å) and stress (eV/Å³) of eight atoms by lisi.h5, from a calculator and its pickle."""
    atoms = glass(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ase_wavescat.WaveScatWarning)  # eight atoms on sites are no glass
        calculator = WaveScatCalculator("lisi.h5")
        first, second = (_results(atoms, one) for one in (calculator, pickle.loads(pickle.dumps(calculator))))
    if first != second:
        raise SystemExit("a calculator and its pickle differ")
    return first


def _results(atoms: Atoms, calculator: WaveScatCalculator) -> dict[str, Any]:
    return {name: np.asarray(calculator.get_property(name, atoms)).tolist() for name in PROPERTIES}


def trained_model(folder: Path) -> None:
    """Train a model of six copper-gold cells, look at its card, check it."""
    write(folder / "data.extxyz", [_labelled_cell(seed) for seed in range(6)])
    wavelets = ((2, 0), (2, 1))
    family = Correlations(
        pair=Bands(count=4, spacing=0.8),
        atom_maps=Maps(wavelets, (0.0, 1.0)),
        grid_maps=Maps(wavelets, (1.0,)),
        four_body=Bands(count=1, spacing=1.0),
    )
    spec = ScatteringSpec(species=(29, 79), wavelets=wavelets, scales=(0.0, 1.0), beta=0.6, families=(family,))
    write_spec(spec, folder / "spec.json")
    data, model = str(folder / "data.extxyz"), str(folder / "tiny.h5")
    settings = ["--members", "2", "--folds", "3", "--workers", "1", "--quiet"]
    wavescat("train", data, "-o", model, "--spec", str(folder / "spec.json"), *settings)
    if "species     Cu, Au" not in wavescat("info", model):
        raise SystemExit("the card of the trained model does not name its species")
    wavescat("check", model, "--quiet", *(word for check in CHECKS for word in ("--only", check)))


def _labelled_cell(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.9)
    atoms.symbols[seed % 4] = "Au"
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    labels = {name: atoms.calc.get_property(name, atoms) for name in PROPERTIES}
    atoms.info["group"] = f"cell {seed % 3}"
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def largest_difference(figures: dict[str, Any], expected: dict[str, Any]) -> float:
    """Over energy, forces and stress, the largest difference as a part of the largest value expected."""
    pairs = [(np.asarray(figures[name]), np.asarray(expected[name])) for name in PROPERTIES]
    return max(float(np.abs(mine - theirs).max() / np.abs(theirs).max()) for mine, theirs in pairs)


def versions() -> dict[str, str]:
    """Of Python and of what the package and its extras ask for, by name in lower case."""
    names = {re.findall(r"[\w.-]+", line)[0].lower() for line in requires("ase_wavescat") or ()}
    found = {"python": platform.python_version()}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("install_smoke.json"), help="where the figures go")
    parser.add_argument("--expected", type=Path, help="figures of another environment to compare with")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if ase_wavescat.__version__ not in wavescat("--version") or "train" not in wavescat("--help"):
        raise SystemExit("`wavescat --version` or `wavescat --help` does not say what it should")
    figures = shipped_model()
    with tempfile.TemporaryDirectory() as folder:
        trained_model(Path(folder))
    write_json(chosen.json, {"package": ase_wavescat.__file__, "versions": versions(), **figures})
    if chosen.expected:
        difference = largest_difference(figures, json.loads(chosen.expected.read_text()))
        print(f"largest difference from {chosen.expected}: {difference:.1e}")
        if not difference <= LARGEST_DIFFERENCE:
            sys.exit(1)


if __name__ == "__main__":
    main()
