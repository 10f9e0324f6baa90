"""Voltage of amorphous Li_xSi against lithium metal, beside the published curve.

    python benchmarks/accuracy/voltage.py --relaxed FOLDER [--paths FILE] [--model lisi-linear.h5]
        [--json FILE] [--document FILE ...] [--picture FILE]

Two sets of glasses, positions and cells relaxed with the model: the small annealed cells of models/lisi-dft, whose
labels of density-functional theory give a curve too; with --paths, the file paths.extxyz.xz, the ends of its quenches.
Relaxed structures are kept in --relaxed: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_wavescat import WaveScatCalculator, WaveScatWarning
from ase_wavescat.cli.voltage import relax_each
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE, save_figure
from ase_wavescat.workflows import References, VoltageCurve, reference_energies, voltage

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

# Chevrier and Dahn, DFT of amorphous Li_xSi: x, V
PUBLISHED = ((0.02, 0.43), (0.85, 0.41), (1.5, 0.32))
FMAX, SMAX, STEPS = 0.05, 0.1, 300
CONCENTRATION_STEP = 4
FOLDER = Path("models/lisi-dft")


def annealed() -> dict[str, Atoms]:
    """The annealed cells of the data set with their labels on the cheap mesh, up to Li15Si4."""
    cells = [atoms for name in ("cheap", "test-cheap") for atoms in structures_of(FOLDER / f"{name}.extxyz.xz")]
    cells = [atoms for atoms in cells if atoms.info["config_type"] == "annealed" and ratio(atoms) <= 3.75]
    return {f"annealed-{number:03d}": atoms for number, atoms in enumerate(cells)}


def quenched(file: Path) -> dict[str, Atoms]:
    """Last frame of the first path of every fourth concentration."""
    last: dict[int, Atoms] = {}
    for atoms in structures_of(file):
        last[int(atoms.info["path_id"])] = atoms
    chosen: dict[str, Atoms] = {}
    for path, atoms in last.items():
        concentration = int(atoms.info["conc"])
        if concentration % CONCENTRATION_STEP == 0 and path % 10 == 0:
            chosen[f"path-{path:03d}"] = atoms
    return chosen


def ratio(atoms: Atoms) -> float:
    """Lithium per silicon."""
    symbols = atoms.get_chemical_symbols()
    return symbols.count("Li") / symbols.count("Si")


def curves(chosen: argparse.Namespace) -> tuple[dict[str, VoltageCurve], dict[str, float]]:
    """A curve for each set of structures and reference, and the reference energies (eV/atom)."""
    calculator = WaveScatCalculator(chosen.model)
    given = json.loads((FOLDER / "references.json").read_text())["Li"]["energy"]
    labels = annealed()
    glasses = {"annealed": labels} | ({"quenched": quenched(chosen.paths)} if chosen.paths else {})
    limits = {"fmax": FMAX, "smax": SMAX, "steps": STEPS}
    sets = {"annealed, as labelled": labels}
    for name, structures in glasses.items():
        sets[f"{name}, relaxed"] = relax_each(bare(structures), chosen.model, chosen.relaxed, True, **limits)[0]
    references = {"DFT": References.given({"Li": given}, "bcc Li, DFT of the labels"),
                  "model": reference_energies(calculator, ["Li"])}  # fmt: skip
    found = {"DFT; annealed, as labelled; DFT": voltage(list(labels.values()), references=references["DFT"])}
    for name, structures in sets.items():
        entries = list(bare(structures).values())
        for atoms in entries:
            atoms.calc = calculator
        for source, named in references.items():
            found[f"model; {name}; {source}"] = voltage(entries, references=named, published=PUBLISHED)
    return found, {source: named.energies["Li"] for source, named in references.items()}


def bare(structures: dict[str, Atoms]) -> dict[str, Atoms]:
    """Without labels."""
    return {name: Atoms(a.numbers, a.positions, cell=a.cell, pbc=True) for name, a in structures.items()}


def at(curve: VoltageCurve, x: float) -> dict[str, float | None]:
    """V at x: the derivative of the polynomial with its spread, and the step of the envelope; NaN outside."""
    assert curve.smooth_x is not None and curve.smooth_voltages is not None
    outside = not curve.x[0] <= x <= curve.x[-1]
    step = min(int(np.searchsorted(curve.edges, x, side="right")) - 1, len(curve.voltages) - 1)
    spread = None if curve.smooth_spread is None else float(np.interp(x, curve.smooth_x, curve.smooth_spread))
    return {
        "smooth": None if outside else float(np.interp(x, curve.smooth_x, curve.smooth_voltages)),
        "spread": None if outside else spread,
        "step": None if outside else float(curve.voltages[step]),
        "step_spread": None if outside or curve.voltage_spread is None else float(curve.voltage_spread[step]),
    }


def _text(value: float | None, spread: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"


def rows(found: dict[str, VoltageCurve]) -> list[list[Any]]:
    table_rows: list[list[Any]] = [["published: DFT, amorphous", "", "", "", *(f"{v:.2f}" for _, v in PUBLISHED)]]
    for name, curve in found.items():
        energies, structures, reference = name.split("; ")
        for kind in ("smooth", "step"):
            spread = "spread" if kind == "smooth" else "step_spread"
            values = [at(curve, x) for x, _ in PUBLISHED]
            cells = [_text(value[kind], value[spread]) for value in values]
            size = f"{len(curve.entries)} of {len(curve.x)}"
            table_rows.append([f"{energies}: {structures}", size, reference, "polynomial" if kind == "smooth" else
                               "envelope", *cells])  # fmt: skip
    return table_rows


def draw(found: dict[str, VoltageCurve], silicon: float, path: Path) -> None:
    """silicon: eV/atom of diamond silicon by DFT, the zero of all energies of insertion."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = {
        "DFT; annealed, as labelled; DFT": (GREY, "DFT, annealed cells as labelled"),
        "model; annealed, as labelled; DFT": ("black", "model, the same cells"),
        "model; annealed, relaxed; DFT": (BLUE, "model, annealed cells relaxed"),
        "model; quenched, relaxed; DFT": (ORANGE, "model, quenched glasses relaxed"),
    }
    for name, (color, label) in styles.items():
        if name not in found:
            continue
        curve = found[name]
        gained = curve.energies - curve.x * curve.reference
        left.plot(curve.x, gained - silicon, "o", color=color, markersize=3, label=label)
        assert curve.smooth_x is not None and curve.smooth_voltages is not None
        right.plot(curve.smooth_x, curve.smooth_voltages, color=color, label=label)
        if curve.smooth_spread is not None:
            low, high = curve.smooth_voltages - curve.smooth_spread, curve.smooth_voltages + curve.smooth_spread
            right.fill_between(curve.smooth_x, low, high, color=color, alpha=0.15, linewidth=0)
    right.plot(*zip(*PUBLISHED, strict=True), "s", color="black", label="published")
    left.set_ylabel("energy above DFT's bcc Li, diamond Si (eV per Si)")
    right.set_ylabel("voltage against DFT's bcc Li (V)")
    right.set_ylim(-0.2, 1.4)
    for axes in (left, right):
        axes.set_xlabel("x in Li$_x$Si")
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relaxed", type=Path, required=True, help="folder that keeps the relaxed structures")
    parser.add_argument("--paths", type=Path, help="paths.extxyz.xz, quenched glasses to relax as well")
    parser.add_argument("--model", default="lisi-linear.h5")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    standard_options(parser, "voltage")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", WaveScatWarning)
    found, references = curves(chosen)
    shown = ", ".join(f"{x:g}" for x, _ in PUBLISHED)
    header = ["energies: structures", "structures of compositions", "lithium", "curve",
              *(f"V at x = {x:g}" for x, _ in PUBLISHED)]  # fmt: skip
    text = table(header, rows(found))
    lithium = ", ".join(f"{source} {energy:.4f}" for source, energy in references.items())
    text += f"\n\nbcc Li, eV/atom: {lithium}."
    print(f"{machine()}\nx = {shown}\n\n{text}")
    update_documents(chosen.document, "voltage", text)
    if chosen.picture:
        elements = json.loads((FOLDER / "references.json").read_text())
        draw(found, elements["Si"]["energy"], chosen.picture)
    figures = {name: {"structures": len(curve.entries), "compositions": len(curve.x),
                      "fit_residual_mev_per_atom": 1e3 * (curve.fit_residual or 0.0),
                      "points": {str(x): at(curve, x) for x, _ in PUBLISHED},
                      "steps": {"x": curve.edges.tolist(), "v": curve.voltages.tolist()}}
               for name, curve in found.items()}  # fmt: skip
    write_json(chosen.json, {"references_ev_per_atom": references, "curves": figures})


if __name__ == "__main__":
    main()
