"""Barriers of lithium hops in amorphous Li-Si: along given paths, and of each model's own bands from the same ends.

    python benchmarks/accuracy/barriers.py FOLDER [--model NAME=FILE ...] [--reference FOLDER] [--json FILE]
        [--document FILE ...] [--picture FILE]

FOLDER holds neb.extxyz.xz, six converged paths of a published neural-network potential (Artrith, Urban, Ceder, J. Chem.
Phys. 148, 241711, 2018). Models are named for the table (default: lisi-linear.h5).
With the folder of that potential's calculator (annpot.py), `neb` is asked for its stored barriers again, and
`find_hops` for the hops themselves.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ase_wavescat import WaveScatCalculator
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.errors import PathError, WaveScatWarning
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE, save_figure
from ase_wavescat.workflows import Band, Barrier, find_hops, neb, path_energies

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

WAYS = ("forward", "backward")
TRIED = 20
"""Hops among which those of the stored paths are looked for."""


def numbers(band: Band) -> dict[str, Any]:
    names = ("forward", "backward", "forward_fit", "forward_spread", "backward_spread", "movers", "minima")
    result = {name: getattr(band, name) for name in names}
    if isinstance(band, Barrier):
        more = ("converged", "climbed", "steps", "residual_force")
        result.update({name: getattr(band, name) for name in more})
    return result


def relaxed(path: list[Atoms], calculator: Calculator, steps: int) -> dict[str, Any]:
    """The calculator's own band between the ends of a path."""
    initial = path[0].copy()
    initial.calc = calculator
    start = time.perf_counter()
    try:
        result = numbers(neb(initial, path[-1], images=len(path), steps=steps))
    except PathError as error:
        result = {"failed": str(error)}
    return {**result, "seconds": time.perf_counter() - start}


def measure(paths: list[list[Atoms]], name: str, calculator: Calculator, steps: int) -> list[dict[str, Any]]:
    """A row for each path: along it as it is, and relaxed."""
    rows = []
    for path in paths:
        row = {
            "path": int(path[0].info["path_id"]),
            "given": numbers(path_energies(path, calculator)),
            "relaxed": relaxed(path, calculator, steps),
        }
        print(f"{name:<12} {row['path']}  given {row['given']['forward']:.3f}  {row['relaxed']}", flush=True)
        rows.append(row)
    return rows


def found_again(paths: list[list[Atoms]], calculator: Calculator) -> int:
    """Stored hops (the atom that goes farthest, within 1 A of where it ends) among the most favourable of find_hops."""
    found = 0
    for path in paths:
        initial = path[0].copy()
        initial.calc = calculator
        way, length = find_mic(path[-1].positions - initial.positions, initial.cell, True)
        mover = int(np.argmax(length))
        for hop in find_hops(initial, count=TRIED):
            off = hop.final.positions[mover] - initial.positions[mover] - way[mover]
            if hop.atom == mover and find_mic(off, initial.cell, True)[1] < 1.0:
                found += 1
                break
    return found


def errors(rows: list[dict[str, Any]], stored: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Mean absolute errors (eV) by direction, and how often the reference is within one and two spreads.

    Of own bands, those that converged and in which no more atoms change site than in the stored one: others are other
    processes.
    """
    pairs = [(row[kind], known) for row, known in zip(rows, stored, strict=True) if _is_comparable(row[kind], known)]
    result: dict[str, Any] = {"paths": len(pairs)}
    ratios = []
    for way in WAYS:
        off = np.array([mine[way] - known[way] for mine, known in pairs])
        result[f"{way}_mae"] = float(np.abs(off).mean()) if len(off) else None
        result[f"{way}_mean_error"] = float(off.mean()) if len(off) else None
        spreads = [mine[f"{way}_spread"] for mine, _ in pairs]
        ratios += [abs(o) / s for o, s in zip(off, spreads, strict=True) if s is not None]
    if ratios:
        result["within_one_spread"] = int(np.sum(np.array(ratios) <= 1))
        result["within_two_spreads"] = int(np.sum(np.array(ratios) <= 2))
        result["barriers"] = len(ratios)
    return result


def _is_comparable(row: dict[str, Any], known: dict[str, Any]) -> bool:
    if "failed" in row or not row.get("converged", True):
        return False
    return "converged" not in row or len(row["movers"]) <= max(2, len(known["movers"]))


def _value(row: dict[str, Any], way: str) -> str:
    if "failed" in row:
        return "one minimum" if "same minimum" in row["failed"] else "failed"
    spread = row[f"{way}_spread"]
    text = f"{row[way]:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
    notes = ["not converged"] if not row.get("converged", True) else []
    notes += [f"{len(row['movers'])} atoms move"] if "converged" in row and len(row["movers"]) != 1 else []
    return text + (f" ({', '.join(notes)})" if notes else "")


def text(stored: list[dict[str, Any]], results: dict[str, list[dict[str, Any]]], summaries: dict[str, Any]) -> str:
    header = ["path", "barrier", "stored, eV"]
    header += [f"{name}, {kind}" for name in results for kind in ("along the path", "own band")]
    lines = []
    for index, known in enumerate(stored):
        for way in WAYS:
            line = [known["path"], way, f"{known[way]:.2f}"]
            for rows in results.values():
                line += [_value(rows[index][kind], way) for kind in ("given", "relaxed")]
            lines.append(line)
    short = []
    for name, summary in summaries.items():
        for kind, label in (("given", "along the paths"), ("relaxed", "own bands")):
            one = summary[kind]
            inside = (
                f"{one['within_one_spread']} and {one['within_two_spreads']} of {one['barriers']}"
                if "barriers" in one
                else ""
            )
            maes = [f"{one[f'{way}_mae']:.3f}" if one[f"{way}_mae"] is not None else "" for way in WAYS]
            short.append([f"{name}, {label}", one["paths"], *maes, inside])
    heads = ["MAE against the stored, eV", "paths", *WAYS, "stored within 1 and 2 spreads"]
    return f"{table(heads, short)}\n\n{table(header, lines)}"


def picture(stored: list[dict[str, Any]], results: dict[str, list[dict[str, Any]]]) -> Figure:
    """Barriers against the stored ones, along the paths and of own bands."""
    figure = Figure(figsize=(10, 4.6), layout=ConstrainedLayoutEngine())
    panels = figure.subplots(1, 2, sharey=True)
    most = 1.15 * max(known[way] for known in stored for way in WAYS)
    for axes, kind, title in zip(panels, ("given", "relaxed"), ("along the stored paths", "own bands"), strict=True):
        axes.plot([0, most], [0, most], color=GREY, linewidth=1)
        for (name, rows), color in zip(results.items(), (ORANGE, BLUE, "#3d8a4f", "#7a4fa3"), strict=False):
            for way, marker in zip(WAYS, ("o", "s"), strict=True):
                kept = [
                    (known[way], row[kind][way], row[kind][f"{way}_spread"] or 0.0)
                    for known, row in zip(stored, rows, strict=True)
                    if _is_comparable(row[kind], known)
                ]
                x, y, spread = np.array(kept).reshape(-1, 3).T
                axes.errorbar(x, y, spread, fmt=marker, color=color, capsize=2, markersize=5, label=f"{name}, {way}")
        axes.set_xlabel("stored barrier (eV)")
        axes.set_title(title + (", those that converged" if kind == "relaxed" else ""))
    panels[0].set_ylabel("barrier (eV), ±1σ over members")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of neb.extxyz.xz")
    parser.add_argument("--model", action="append", metavar="NAME=FILE", help="default: lisi-linear.h5=lisi-linear.h5")
    parser.add_argument("--reference", type=Path, help="folder of annpot.py, the potential of the stored paths")
    parser.add_argument("--steps", type=int, default=300, help="at most so many, for each end and band")
    parser.add_argument("--picture", type=Path)
    standard_options(parser, "barriers")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", WaveScatWarning)  # what they say stands in the table
    frames = structures_of(chosen.folder / "neb.extxyz.xz")
    paths = [list(images) for _, images in groupby(frames, key=lambda atoms: atoms.info["path_id"])]
    stored = [{"path": int(path[0].info["path_id"]), **numbers(path_energies(path))} for path in paths]
    results: dict[str, list[dict[str, Any]]] = {}
    hops = None
    if chosen.reference:
        sys.path.insert(0, str(chosen.reference))
        calculator = importlib.import_module("annpot").default("04153")
        results["reference"] = measure(paths, "reference", calculator, chosen.steps)
        hops = found_again(paths, calculator)
    for given in chosen.model or ["lisi-linear.h5=lisi-linear.h5"]:
        name, _, file = given.partition("=")
        results[name] = measure(paths, name, WaveScatCalculator(file or name), chosen.steps)
    summaries = {
        name: {kind: errors(rows, stored, kind) for kind in ("given", "relaxed")} for name, rows in results.items()
    }
    content = text(stored, results, summaries)
    if hops is not None:
        content += f"\n\nStored hops among the {TRIED} most favourable of `find_hops`: {hops} of {len(paths)}."
    print(f"{machine()}\n\n{content}")
    update_documents(chosen.document, "barriers", content)
    figures = {"steps": chosen.steps, "summary": summaries, "hops_found": hops, "stored": stored, "rows": results}
    write_json(chosen.json, figures)
    if chosen.picture:
        save_figure(picture(stored, results), chosen.picture)


if __name__ == "__main__":
    main()
