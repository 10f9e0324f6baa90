"""Our models and published potentials on the same held-out DFT cells: errors, calibration, time of a call.

    python benchmarks/accuracy/peers.py [--data models/lisi-dft/test.extxyz.xz] [--models lisi.h5 ...]
        [--peers ann chgnet sevennet-0 sevennet-l3i5] [--python PYTHON] [--network FOLDER]
        [--references FILE] [--keep FOLDER] [--json FILE] [--document FILE ...] [--summary FILE ...] [--picture FILE]

--python names an interpreter with ASE, chgnet and sevenn (their weights are inside); --network a folder with
`annpot.py`, the potential of Artrith, Urban and Ceder (`default("04153")`). A peer that cannot be loaded is left out,
unless --keep holds what an earlier run predicted for the same cells; a run that was stopped goes on from there. What
another version of a peer predicted is not used where the peer can be loaded.
--summary: documents that get the first table only.

Before anything of a model is trusted, its forces and stress are compared with differences of its energies. Elements of
each model are relaxed with it. Calls are timed in one run, the models in turn, each in a process of one thread; it is
processor time that is taken, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.units import GPa
from held_out import check_held_out
from peer_calculators import OURS, PEERS, PeerError, RemoteCalculator
from peer_report import (
    SPECIES,
    Predictions,
    beside_table,
    calibration_figures,
    calibration_table,
    details_table,
    model_figures,
    model_table,
    picture,
    summary_table,
)
from small_pictures import save_small
from tqdm import tqdm

from ase_wavescat import WaveScatCalculator, WaveScatWarning, find_model
from ase_wavescat.evaluation.assessment import Assessment, evaluate
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.duplicates import digest
from ase_wavescat.training.data.frames import Frame, read_frames
from ase_wavescat.workflows import relax

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import glass, machine, standard_options, update_documents, write_json

DATA = Path("models/lisi-dft/test.extxyz.xz")
CRYSTALS = {"Li": ("bcc", 3.44), "Si": ("diamond", 5.47)}
SCAN = np.linspace(0.95, 1.05, 11)  # of the edge: a rough curve has several minima
WARM_UP, ROUNDS = 2, 9
STEP, STRAIN = 0.01, 0.004  # A; shorter ones drown in the rounding of potentials in single precision
TOLERANCE = 0.03  # of the largest component
LEAST_FORCE, LEAST_STRESS = 0.2, 0.3 * GPa  # eV/A, eV/A^3: shares of less are shares of rounding
SAME_ENERGY = 1e-4  # eV/atom: of one potential on another machine
BESIDE = 2  # peers in the table by kind and composition


def held_out_frames(path: Path) -> list[Frame]:
    """Fully labelled Li-Si frames. Raises DataError for others."""
    frames = read_frames(path)
    for frame in frames:
        if frame.forces is None or frame.stress is None:
            raise DataError(f"{frame.name} has no forces or no stress, which this comparison needs; leave it out")
        if not set(SPECIES.values()).issuperset(frame.numbers.tolist()):
            raise DataError(f"{frame.name} holds other elements than {', '.join(SPECIES)}; leave it out")
    return frames


def atoms_of(frame: Frame) -> Atoms:
    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


# ---------------------------------------------------------------- one model


def probe_of(frames: Sequence[Frame]) -> int:
    """Index of the smallest frame whose derivatives tell something: not a crystal, where symmetry makes them zero."""

    def rank(index: int) -> tuple[bool, int]:
        forces, stress = (np.abs(part).max() for part in (frames[index].forces, frames[index].stress))
        return bool(forces < LEAST_FORCE or stress < LEAST_STRESS), len(frames[index])

    return min(range(len(frames)), key=rank)


def check_derivatives(label: str, calculator: Calculator, atoms: Atoms) -> dict[str, float]:
    """Largest differences of forces (of two atoms) and stress from those of the energies, as shares of the largest
    component. Raises PeerError beyond the tolerance: another unit, sign or order, or no derivative at all."""
    probe = atoms.copy()
    probe.calc = calculator
    some = [0, len(probe) - 1]
    forces, stress = probe.get_forces(), probe.get_stress()
    numerical_forces = calculate_numerical_forces(probe, eps=STEP, iatoms=some)
    numerical_stress = calculate_numerical_stress(probe, eps=STRAIN)
    differences = {
        "forces": float(np.abs(forces[some] - numerical_forces).max() / np.abs(forces).max()),
        "stress": float(np.abs(stress - numerical_stress).max() / np.abs(stress).max()),
    }
    for name, difference in differences.items():
        if not difference <= TOLERANCE:  # nor where it is no number
            raise PeerError(
                f"the {name} of {label} are off the derivative of its energy by {100 * difference:.0f} % of the largest"
                " component; check unit, sign and order"
            )
    return differences


def own_elements(calculator: Calculator) -> tuple[dict[str, float], dict[str, float]]:
    """Energies (eV) and volumes (A^3) an atom of bcc lithium and diamond silicon as the potential has them."""
    energies, volumes = {}, {}
    for symbol, (structure, edge) in CRYSTALS.items():
        trials = [bulk(symbol, structure, scale * edge, cubic=True) for scale in SCAN]
        best = min(trials, key=calculator.get_potential_energy)
        best.calc = calculator
        relaxation = relax(best, cell="volume", fmax=0.01)
        if not relaxation.converged:
            raise PeerError(f"{structure} {symbol} does not relax: {relaxation.stop_reason}")
        energies[symbol] = float(relaxation.energies[-1]) / len(best)
        volumes[symbol] = float(relaxation.volumes[-1]) / len(best)
    return energies, volumes


def our_predictions(model: str, version: str, frames: Sequence[Frame]) -> tuple[Predictions, Assessment]:
    assessment = evaluate(model, frames, workers=1)
    results = assessment.results
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WaveScatWarning)  # a scan of crystals may lead out of the domain
        energies, volumes = own_elements(WaveScatCalculator(model))
    forces = tuple(result.forces for result in results if result.forces is not None)
    totals, stresses = np.array([result.energy for result in results]), np.array([result.stress for result in results])
    name = find_model(model).name
    return Predictions(name, True, version, totals, forces, stresses, energies, volumes), assessment


def their_predictions(label: str, calculator: RemoteCalculator, frames: Sequence[Frame]) -> Predictions:
    totals, forces, stresses = [], [], []
    for frame in tqdm(frames, unit="frame", desc=label):
        atoms = atoms_of(frame)
        atoms.calc = calculator
        totals.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        stresses.append(atoms.get_stress())
    elements = own_elements(calculator)
    version = calculator.version
    return Predictions(label, False, version, np.array(totals), tuple(forces), np.array(stresses), *elements)


# ---------------------------------------------------------------- kept predictions


def _kept_file(folder: Path, name: str, frames: Sequence[Frame]) -> Path:
    cells = hashlib.sha256("".join(map(digest, frames)).encode()).hexdigest()[:12]
    return folder / f"{name}-{cells}.npz"


def keep(folder: Path, name: str, frames: Sequence[Frame], predictions: Predictions) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = ("label", "ours", "version", "elements", "volumes", "seconds")
    facts = json.dumps({key: getattr(predictions, key) for key in told})
    forces = np.concatenate(predictions.forces)
    with atomic_path(_kept_file(folder, name, frames)) as temporary:
        np.savez(temporary, facts=facts, energies=predictions.energies, forces=forces, stresses=predictions.stresses)


def kept(folder: Path | None, name: str, frames: Sequence[Frame]) -> Predictions | None:
    """Of an earlier run for the same cells; None where there are none."""
    if folder is None or not _kept_file(folder, name, frames).exists():
        return None
    with np.load(_kept_file(folder, name, frames)) as file:
        forces = tuple(np.split(file["forces"], np.cumsum([len(frame) for frame in frames])[:-1]))
        facts = json.loads(str(file["facts"]))
        return Predictions(energies=file["energies"], forces=forces, stresses=file["stresses"], **facts)


def is_of(predictions: Predictions, calculator: RemoteCalculator, frames: Sequence[Frame], probe: int) -> bool:
    """Whether kept predictions are those of this potential: of its version, with its energy of one frame."""
    energy = calculator.get_potential_energy(atoms_of(frames[probe]))
    same = abs(energy - predictions.energies[probe]) < SAME_ENERGY * len(frames[probe])
    return bool(same and predictions.version == calculator.version)


# ---------------------------------------------------------------- all models


@dataclass
class Comparison:
    """All that was found, by label; ours first."""

    models: dict[str, Predictions] = field(default_factory=dict)
    assessments: dict[str, Assessment] = field(default_factory=dict)
    derivatives: dict[str, dict[str, float]] = field(default_factory=dict)
    running: dict[str, RemoteCalculator] = field(default_factory=dict)


def compare(chosen: argparse.Namespace, frames: Sequence[Frame]) -> Comparison:
    """Raises DataError for a model that has seen the frames, PeerError where one of ours fails: see above."""
    for model in chosen.models:
        check_held_out(model, frames)
    found = Comparison()
    probe = probe_of(frames)
    with ExitStack() as stack:
        for model in chosen.models:
            remote = stack.enter_context(RemoteCalculator(OURS, str(find_model(model))))
            predictions, assessment = our_predictions(model, remote.version, frames)
            label = predictions.label
            found.models[label], found.assessments[label], found.running[label] = predictions, assessment, remote
            found.derivatives[label] = check_derivatives(label, remote, atoms_of(frames[probe]))
        for name in chosen.peers:
            add_peer(name, chosen, frames, probe, found, stack)
        for label, seconds in times_of_calls(found.running).items():
            found.models[label] = replace(found.models[label], seconds=seconds, in_this_run=True)
    for name in chosen.peers:
        if chosen.keep and PEERS[name].label in found.running:
            keep(chosen.keep, name, frames, found.models[PEERS[name].label])
    return found


def add_peer(
    name: str, chosen: argparse.Namespace, frames: Sequence[Frame], probe: int, found: Comparison, stack: ExitStack
) -> None:
    """Into what was found: predictions of a peer, new or kept; one that cannot be loaded or trusted is left out."""
    label, earlier = PEERS[name].label, kept(chosen.keep, name, frames)
    try:
        python = sys.executable if name == "ann" else chosen.python
        place = str(chosen.network.absolute()) if chosen.network else ""
        remote = stack.enter_context(RemoteCalculator(name, place, python))
    except PeerError as error:
        what = "is taken from an earlier run" if earlier else "is left out"
        print(f"{label} {what}: {error}; it needs {PEERS[name].packages}")
        if earlier:
            found.models[label] = earlier
        return
    try:
        derivatives = check_derivatives(label, remote, atoms_of(frames[probe]))
        if earlier and not is_of(earlier, remote, frames, probe):
            print(f"{label} is evaluated anew: what was kept is of {earlier.version}, or of other weights")
            earlier = None
        predictions = earlier or their_predictions(label, remote, frames)
    except PeerError as error:  # one of several must not end hours of the others
        print(f"{label} is left out: {error}")
        return
    found.models[label], found.derivatives[label], found.running[label] = predictions, derivatives, remote
    if chosen.keep:
        keep(chosen.keep, name, frames, predictions)


def times_of_calls(calculators: Mapping[str, RemoteCalculator]) -> dict[str, float]:
    """Median processor time (s) of energy, forces and stress of 64 atoms that move a little, the models in turn."""
    start = glass()
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {label: [] for label in calculators}
    for _ in tqdm(range(WARM_UP + ROUNDS), unit="round", desc="times"):
        moved = start.copy()
        moved.positions += rng.normal(scale=1e-3, size=moved.positions.shape)
        for label, calculator in calculators.items():
            calculator.get_potential_energy(moved)
            times[label].append(calculator.seconds)
    return {label: float(np.median(seconds[WARM_UP:])) for label, seconds in times.items()}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="held-out cells with energies, forces and stresses")
    parser.add_argument("--models", nargs="+", default=["lisi.h5"], help="ours; the first one stands beside the peers")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--python", default=sys.executable, help="interpreter with ASE, chgnet and sevenn")
    parser.add_argument("--network", type=Path, help="folder of annpot.py")
    parser.add_argument("--references", type=Path, help="JSON of the DFT crystals (default: beside the data)")
    parser.add_argument("--keep", type=Path, help="folder that keeps the peers' predictions")
    parser.add_argument("--summary", type=Path, nargs="*", default=[], help="documents that get the first table only")
    parser.add_argument("--picture", type=Path)
    standard_options(parser, "peers")
    chosen = parser.parse_args()
    chosen.references = chosen.references or chosen.data.parent / "references.json"
    for path in (chosen.data, chosen.references):
        if not path.is_file():
            parser.error(f"there is no file {path}")
    if len({find_model(model).name for model in chosen.models}) < len(chosen.models):
        parser.error("two of the models have the same file name, which is what tables call them; copy one")
    return chosen


def report(chosen: argparse.Namespace, frames: Sequence[Frame], found: Comparison) -> None:
    """Tables into documents, figures into the JSON file, the picture."""
    crystals = json.loads(chosen.references.read_text())
    references, volumes = ({s: crystals[s][key] for s in SPECIES} for key in ("energy", "V0"))
    models = {label: model_figures(one, frames, references) for label, one in found.models.items()}
    calibration = {
        label: {"energy": calibration_figures(a.energy_reliability), "forces": calibration_figures(a.force_reliability)}
        for label, a in found.assessments.items()
    }
    ours = list(found.assessments)
    peers = sorted(models.keys() - set(ours), key=lambda label: models[label]["force_mae_ev_per_a"])
    groups = len({frame.group for frame in frames})
    summary = f"{len(frames)} cells of {groups} groups. {machine()}\n\n{summary_table(models)}"
    sections = {
        "All models": summary,
        "Root mean squares, mean errors, crystals": details_table(models, volumes),
        **{f"{label} by kind and composition": model_table(models[label]) for label in ours},
        "Beside the best peers": beside_table(models, [ours[0], *peers[:BESIDE]]),
        "Uncertainties": calibration_table(calibration),
    }
    text = "\n\n".join(f"### {heading}\n\n{content}" for heading, content in sections.items())
    print(f"\n{text}")
    figures: dict[str, Any] = {"data": chosen.data.name, "models": models, "calibration": calibration}
    write_json(chosen.json, figures | {"differences_from_numerical_derivatives": found.derivatives})
    update_documents(chosen.document, "peers", text)
    update_documents(chosen.summary, "peers", summary)
    if chosen.picture:
        save_small(picture(list(found.models.values()), frames, references), chosen.picture)


def main() -> None:
    chosen = options()
    try:
        frames = held_out_frames(chosen.data)
        found = compare(chosen, frames)
    except (DataError, PeerError) as error:
        raise SystemExit(str(error)) from error
    report(chosen, frames, found)


if __name__ == "__main__":
    main()
