"""Crystals of lithium and silicon, few of which the model has seen: volumes, formation energies, elastic moduli.

    python benchmarks/accuracy/crystals.py FILE [--model lisi-linear.h5] [--references FILE] [--json FILE]
        [--document FILE ...] [--picture FILE]

FILE holds the crystals (crystals.extxyz.xz); those of kind "asis" give the geometry to begin with and to compare with.
Cells and positions are relaxed with the model, moduli are Hill's with relaxed ions. Spreads over members: volumes from
the members' own curves of energy against hydrostatic strain about the relaxed cell, formation energies from the
members' own elements, moduli with clamped ions (none where a member's tensor is not stable). Moduli for comparison:
PBE. Crystals that the JSON file holds already, of the same model, are not computed again.
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
from matplotlib.figure import Figure

from ase_wavescat import WaveScatCalculator, WaveScatWarning, load_model
from ase_wavescat.cli.structures import inputs_record
from ase_wavescat.io.structures import structures_of
from ase_wavescat.system.plotting import BLUE, GREY, ORANGE, save_figure
from ase_wavescat.workflows import elastic, eos, relax
from ase_wavescat.workflows.members import spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json

REFERENCES = Path("models/lisi-dft/references.json")
NAMES = ("bcc-Li", "dia-Si", "LiSi", "Li12Si7", "Li7Si3", "Li13Si4", "Li15Si4")
PBE_MODULI = {"LiSi": (52, 36), "Li13Si4": (32, 28), "Li15Si4": (30, 21)}
"""Bulk and shear modulus, GPa."""
OUTSIDE = "outside the training domain: "


def crystal(atoms: Atoms, calculator: WaveScatCalculator) -> dict[str, Any]:
    """Everything that does not need the elements; energies in eV, volumes in A^3 per atom, moduli in GPa."""
    start = atoms.copy()
    start.calc = calculator
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WaveScatWarning)
        relaxation = relax(start, cell=True, fmax=0.01, smax=0.02, steps=1500)
        relaxed = relaxation.structure.copy()
        relaxed.calc = calculator
        curve = eos(relaxed, strains=np.linspace(-0.06, 0.06, 13))
        constants = elastic(relaxed)
    texts = [str(entry.message) for entry in caught if issubclass(entry.category, WaveScatWarning)]
    outside = [text.removeprefix(OUTSIDE) for text in texts if text.startswith(OUTSIDE)]
    moved = relaxed.get_scaled_positions() - atoms.get_scaled_positions()
    count = len(atoms)
    return {
        "formula": atoms.get_chemical_formula(mode="metal"),
        "lithium": int(np.count_nonzero(atoms.numbers == 3)),
        "atoms": count,
        "stop": relaxation.stop_reason,
        "steps": relaxation.steps,
        "energy": float(relaxation.energies[-1]),
        "member_energies": calculator.get_member_energies(relaxed).tolist(),
        "volume": float(relaxed.get_volume() / count),
        "volume_spread": None if curve.volume_uncertainty is None else curve.volume_uncertainty / count,
        "volume_given": float(atoms.get_volume() / count),
        "moved": float(np.abs(moved - np.round(moved)).max()),
        "tensor": constants.best.stiffness.tolist(),
        "lowest_eigenvalue": float(constants.best.eigenvalues[0]),
        "bulk_modulus": constants.best.bulk_modulus,
        "shear_modulus": constants.best.shear_modulus,
        "bulk_modulus_spread": constants.clamped_uncertainty.bulk_modulus,
        "shear_modulus_spread": constants.clamped_uncertainty.shear_modulus,
        "unstable_members": constants.clamped_uncertainty.unstable_members,
        "outside": outside,
        "warnings": [text for text in texts if not text.startswith(OUTSIDE)],
    }


def formation(rows: dict[str, dict[str, Any]], calculator: WaveScatCalculator, references: dict[str, float]) -> None:
    """Adds formation energies, meV/atom: of the model's own elements with the spread, and of the references."""
    lithium, silicon = (np.array(rows[name]["member_energies"]) / rows[name]["atoms"] for name in NAMES[:2])
    for row in rows.values():
        few, count = row["lithium"], row["atoms"]
        members = np.array(row["member_energies"]) - few * lithium - (count - few) * silicon
        row["formation"] = 1000 * float(members.mean()) / count
        row["formation_spread"] = 1000 * float(spread(calculator, members)) / count
        dft = row["energy"] - few * references["Li"] - (count - few) * references["Si"]
        row["formation_to_references"] = 1000 * dft / count


def lines(rows: dict[str, dict[str, Any]]) -> str:
    header = ["", "volume, Å³/atom", "as given", "formation energy, meV/atom", "to DFT elements", "network",
              "K, GPa", "PBE", "G, GPa", "PBE", "lowest eigenvalue, GPa", "outside the domain"]  # fmt: skip
    body = []
    for name, row in rows.items():
        pbe = PBE_MODULI.get(name, ("", ""))
        body.append([
            name, measured(row["volume"], row["volume_spread"], 2), f"{row['volume_given']:.2f}",
            measured(row["formation"], row["formation_spread"], 0), f"{row['formation_to_references']:.0f}",
            f"{row['network']:.0f}", measured(row["bulk_modulus"], row["bulk_modulus_spread"], 1), pbe[0],
            measured(row["shear_modulus"], row["shear_modulus_spread"], 1), pbe[1], f"{row['lowest_eigenvalue']:.1f}",
            "yes" if row["outside"] else "no",
        ])  # fmt: skip
    return table(header, body)


def measured(value: float, uncertainty: float | None, digits: int) -> str:
    if not np.isfinite(value):
        return "unstable"
    known = uncertainty is not None and np.isfinite(uncertainty)
    return f"{value:.{digits}f}" + (f" ± {uncertainty:.{digits}f}" if known else "")


def picture(rows: dict[str, dict[str, Any]]) -> Figure:
    """Volumes, formation energies and moduli beside those for comparison."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    volumes, energies, moduli = figure.subplots(1, 3)
    changes = [100 * (row["volume"] / row["volume_given"] - 1) for row in rows.values()]
    bars = [100 * row["volume_spread"] / row["volume_given"] if row["volume_spread"] else 0 for row in rows.values()]
    volumes.axhline(0, color=GREY, linewidth=1)
    volumes.errorbar(list(rows), changes, yerr=bars, fmt="o", color=BLUE, capsize=3)
    volumes.tick_params(axis="x", rotation=45)
    volumes.set_ylabel("relaxed volume against that given (%)")
    ordered = sorted(rows.values(), key=lambda row: row["lithium"] / row["atoms"])
    share = [row["lithium"] / row["atoms"] for row in ordered]
    energies.errorbar(share, [row["formation"] for row in ordered], yerr=[row["formation_spread"] for row in ordered],
                      fmt="o-", color=BLUE, capsize=3, label="model, its own elements")  # fmt: skip
    to_dft = [row["formation_to_references"] for row in ordered]
    energies.plot(share, to_dft, "^:", color=ORANGE, label="model, elements of DFT")
    energies.plot(share, [row["network"] for row in ordered], "s--", color=GREY, label="published network")
    energies.set_xlabel("fraction of lithium")
    energies.set_ylabel("formation energy (meV/atom)")
    energies.legend(frameon=False)
    names = [name for name in PBE_MODULI if name in rows]
    for at, (letter, kind) in enumerate((("K", "bulk_modulus"), ("G", "shear_modulus"))):
        places = np.arange(len(names)) + 0.42 * at
        moduli.bar(places, [PBE_MODULI[name][at] for name in names], 0.2, color=GREY, label=f"{letter}, PBE")
        spreads = [rows[name][f"{kind}_spread"] for name in names]
        moduli.bar(places + 0.2, [rows[name][kind] for name in names], 0.2, color=(BLUE, ORANGE)[at], yerr=spreads,
                   capsize=3, label=f"{letter}, model")  # fmt: skip
    moduli.set_xticks(np.arange(len(names)) + 0.3, names)
    moduli.set_ylabel("modulus (GPa)")
    moduli.legend(frameon=False)
    return figure


def known_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Of a run before this one, which may have been stopped."""
    return json.loads(path.read_text())["crystals"] if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="crystals.extxyz.xz")
    parser.add_argument("--model", default="lisi-linear.h5")
    parser.add_argument("--references", type=Path, default=REFERENCES, help="JSON of DFT energies of the elements")
    parser.add_argument("--picture", type=Path)
    standard_options(parser, "crystals")
    chosen = parser.parse_args()
    frames = structures_of(chosen.file)
    rows = known_rows(chosen.json)
    for name in NAMES:
        own = [frame for frame in frames if frame.info["name"] == name]
        start, published = (next(frame for frame in own if frame.info["kind"] == kind) for kind in ("asis", "relaxed"))
        inputs = inputs_record([start], load_model(chosen.model), {})
        calculator = WaveScatCalculator(chosen.model)  # a new one warns anew
        if rows.get(name, {}).get("inputs") != inputs:
            rows[name] = {"inputs": inputs, **crystal(start, calculator)}
            write_json(chosen.json, {"model": chosen.model, "crystals": rows})
        rows[name]["network"] = 1000 * published.get_potential_energy() / len(published)
    rows = {name: rows[name] for name in NAMES}
    references = json.loads(chosen.references.read_text())
    formation(rows, calculator, {symbol: entry["energy"] for symbol, entry in references.items()})
    text = lines(rows)
    print(text)
    update_documents(chosen.document, "crystals", f"{machine()}\n\n{text}")
    if chosen.picture:
        save_figure(picture(rows), chosen.picture)
    write_json(chosen.json, {"model": chosen.model, "crystals": rows})


if __name__ == "__main__":
    main()
