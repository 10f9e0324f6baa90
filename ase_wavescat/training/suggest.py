"""A specification proposed for a data set, with its reasons (`wavescat suggest`)."""

from __future__ import annotations

import dataclasses
import math
import shlex
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ase_wavescat.representation.parameter_rules import (
    OVERLAP,
    TAIL,
    largest_scale,
    overlap_of_width,
    scales_up_to,
    spacing_from_tolerance,
    width_from_overlap,
)
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.data.frames import NO_GROUPS
from ase_wavescat.training.rows.store import DEFAULT_DIRECTIONS
from ase_wavescat.training.survey import Survey, read_structures, survey_structures

PRODUCTION = "correlations"
MOLECULES = "solid-harmonic"
CRYSTALS = ("sinz2020", "brumwell2018")
SCALES_MEASURED = (PRODUCTION, "many-body")
"""Presets whose fits coarser scales do not improve, on cells of 8 to 9 A."""

_MOST_FEATURES = 10_000  # a fit holds matrices of that size squared
_TIMED_FEATURES, _TIMED_ATOMS, _TIMED_DIRECTIONS = 2000, 60, 4  # of more than these, a part is timed
_WIDTH_STEP = 0.05  # A; fits do not tell widths apart that are closer
_KINDS = ("molecules (periodic along no direction)", "wires (one)", "slabs (two)", "fully periodic")


@dataclass(frozen=True)
class Cost:
    """What features cost, measured on a structure of `atoms` atoms.

    features, derivatives: seconds for values alone, and for the rows of energy, forces and stress; rows: their bytes.
    all_rows, all_time: bytes and seconds (estimated) of such rows for the data set, as training keeps them.
    """

    atoms: int
    features: float
    derivatives: float
    rows: int
    all_rows: int
    all_time: float


@dataclass(frozen=True)
class Suggestion:
    """A specification made from a preset, the survey it rests on, and a reason for each choice."""

    survey: Survey
    preset: str
    spec: ScatteringSpec
    reasons: Mapping[str, str]
    cost: Cost


def suggest(data: str | Path | Sequence[str | Path], preset_name: str = PRODUCTION) -> Suggestion:
    """Propose a specification for the structures of data files; labels are not needed.

    data: extended XYZ (plain, .gz, .xz, .bz2) and ASE databases. preset_name: whose features are sized for the data.
    Raises DataError for files that cannot be read or hold nothing usable, SpecError for an unknown preset.
    """
    paths = [Path(path) for path in ([data] if isinstance(data, (str, Path)) else data)]
    structures = read_structures(paths)
    survey = survey_structures(structures)
    spec, reasons = propose(survey, preset_name)
    return Suggestion(survey, preset_name, spec, reasons, measure_cost(spec, list(structures.values())))


# ------------------------------------------------------------ proposal


def propose(survey: Survey, preset_name: str = PRODUCTION) -> tuple[ScatteringSpec, dict[str, str]]:
    """A preset sized for the data by the rules of `parameter_rules`, and the reason for each choice."""
    plain = preset(preset_name, survey.species)
    width = round(_WIDTH_STEP * math.ceil(width_from_overlap(survey.nearest.median) / _WIDTH_STEP - 1e-9), 6)
    step = plain.scales[1] - plain.scales[0]
    largest = largest_scale(width, plain.wavelets, _room(survey))
    full = _sized(plain, width, scales_up_to(min(largest, plain.scales[-1]), step))
    spec, thinned = _thinned(full)
    reasons = {
        "preset": _why_preset(preset_name, survey) + _why_fewer(full, spec, thinned),
        "beta": _why_width(survey, width, plain.beta),
        "scales": _why_scales(survey, preset_name, plain, spec, largest),
        "tolerance": _why_tolerance(spec),
    }
    return spec, reasons


def _sized(spec: ScatteringSpec, width: float, scales: tuple[float, ...]) -> ScatteringSpec:
    families = tuple(family.resized(spec.beta / width, scales) for family in spec.families)
    return dataclasses.replace(spec, beta=width, scales=scales, families=families)


def _thinned(spec: ScatteringSpec) -> tuple[ScatteringSpec, str]:
    """Of too many features, without those that grow fastest in number, and a text that says which."""
    if len(spec.keys) <= _MOST_FEATURES:
        return spec, ""
    families, texts = zip(*(family.thinned() for family in spec.families), strict=True)
    return dataclasses.replace(spec, families=families), "; ".join(filter(None, texts))


def _why_fewer(full: ScatteringSpec, spec: ScatteringSpec, thinned: str) -> str:
    if not thinned:
        return ""
    return (
        f"; {thinned}, here {len(spec.species)}; that makes {len(spec.keys)} features instead of {len(full.keys)} (what"
        " this costs in accuracy was not measured)" + _why_still_many(spec)
    )


def _why_still_many(spec: ScatteringSpec) -> str:
    if len(spec.keys) <= _MOST_FEATURES:
        return ""
    return "; still too many for most machines: leave four-body features out (families of the specification)"


def _why_preset(name: str, survey: Survey) -> str:
    papers = f"{MOLECULES} (E18)" if _mostly_molecules(survey) else f"{CRYSTALS[0]} (S20) or {CRYSTALS[1]} (B18)"
    if name == PRODUCTION:
        return (
            "smooth energies (the papers' moduli have kinks), integrals exact on their grids, all force rows in one"
            f" pass: the family of lisi-linear.h5; to repeat the papers on such data, ask for --preset {papers}"
        )
    return f"asked for; {PRODUCTION} is the one for production, {papers} the papers' own for such data"


def _mostly_molecules(survey: Survey) -> bool:
    return survey.kinds[0] > survey.structures / 2


def _room(survey: Survey) -> float:
    """What the widest wavelet must fit (A): typical cells, but the largest molecule, since vacuum has no images."""
    return survey.room.most if _mostly_molecules(survey) else survey.room.median


def _room_means(survey: Survey) -> str:
    return "size of a molecule" if _mostly_molecules(survey) else "half of the shortest cell height"


def _why_width(survey: Survey, width: float, usual: float) -> str:
    typical, least = survey.nearest.median, survey.nearest.least
    text = (
        f"Gaussians this wide on atoms {typical:.2f} Å apart, the median over structures of the shortest distance, meet"
        f" at {overlap_of_width(typical, width):.2f} of their height (B21 sec. 2.4 with an overlap of {OVERLAP:g}: at"
        f" least {width_from_overlap(typical):.2f} Å; rounded up to {_WIDTH_STEP:g})"
    )
    strict = width_from_overlap(least)
    if strict < 0.9 * width_from_overlap(typical):
        text += (
            f"; read literally, for the one closest pair of the set, {least:.2f} Å, the rule would allow"
            f" {strict:.2f} Å, which is not taken: grids would need {(width / strict) ** 3:.1f} times the points, and"
            " on amorphous Li-Si, where pairs come as close as 1.67 Å, widths of 0.5 and 0.6 Å gave the same errors"
        )
    if abs(width - usual) > 0.02:
        fitting = 2 * usual * math.sqrt(2 * math.log(1 / OVERLAP))
        text += f"; the preset alone would take {usual:g} Å, which by this rule is for distances of {fitting:.1f} Å"
    return text


def _why_scales(survey: Survey, preset_name: str, plain: ScatteringSpec, spec: ScatteringSpec, largest: float) -> str:
    text = (
        f"up to j = {largest:.2f} the widest wavelet falls to {TAIL:g} of its height within {_room(survey):.2f} Å,"
        f" {'the largest' if _mostly_molecules(survey) else 'the median over structures of'} {_room_means(survey)}"
        " (B21 ch. 2)"
    )
    if largest < 0:
        return f"{text}: even the finest wavelet reaches further, so one scale is left; larger cells would tell more"
    if largest >= plain.scales[-1] + plain.scales[1] - plain.scales[0]:
        measured = (
            ": coarser ones added nothing on cells of 8-9 Å, and were not measured on larger ones"
            if preset_name in SCALES_MEASURED
            else ""
        )
        return f"{text}; the preset stops at {plain.scales[-1]:g}{measured}"
    if spec.scales != plain.scales:
        beyond = "are larger than the molecules" if _mostly_molecules(survey) else "overlap their own images"
        return f"{text}; the preset alone would go on to {plain.scales[-1]:g}, where wavelets {beyond}"
    return text


def _why_tolerance(spec: ScatteringSpec) -> str:
    spacing = spacing_from_tolerance(spec.beta, spec.wavelets, spec.tolerance)
    return (
        f"wavelets are cut in reciprocal space where they fall below it, so their fields need grid spacings of"
        f" {spacing:.2f} Å at the finest scale, and twice that an octave up; products take the finer grids they need"
    )


# ------------------------------------------------------------ cost


def measure_cost(spec: ScatteringSpec, structures: Sequence[Atoms]) -> Cost:
    """Times the features of the structure of median size, values alone and with the rows that training takes.

    So that this is quick, the rows are timed on a part and scaled up: an even part of many correlations, each of which
    has a pass of its own, or a few of the directions that moduli take.
    """
    ordered = sorted(structures, key=len)
    typical = ordered[len(ordered) // 2]
    transform = Transform(spec)
    whole, timed = DEFAULT_DIRECTIONS + 6, _TIMED_DIRECTIONS
    if transform.has_jacobian:
        whole = len(spec.keys)
        timed = max(1, int(_TIMED_FEATURES * min(1.0, (_TIMED_ATOMS / len(typical)) ** 2)))
    stride = -(-whole // timed)
    part = Transform(spec, spec.keys[::stride]) if transform.has_jacobian else transform
    _differentiate(part, ordered[0])  # compiles
    values = _seconds(lambda: _evaluate(transform, typical))
    derivatives = stride * _seconds(lambda: _differentiate(part, typical))
    # a Jacobian has a row for each coordinate, tangents a fixed number; a row costs as much as the cell is large
    power = 2 if transform.has_jacobian else 1
    total = sum(derivatives * (len(atoms) / len(typical)) ** power for atoms in ordered)
    sizes = [8 * len(spec.keys) * _rows(transform, len(atoms)) for atoms in ordered]
    return Cost(len(typical), values, derivatives, sizes[len(ordered) // 2], sum(sizes), total)


def _rows(transform: Transform, atoms: int) -> int:
    """Rows of one structure with forces and stress: energy, forces, stress."""
    return 1 + (3 * atoms if transform.has_jacobian else DEFAULT_DIRECTIONS) + 6


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _evaluate(transform: Transform, atoms: Atoms) -> object:
    return transform.evaluate(Structure.from_atoms(atoms)).features


def _differentiate(transform: Transform, atoms: Atoms) -> object:
    """The Jacobian, or a few tangents where there is none."""
    structure = Structure.from_atoms(atoms)
    if transform.has_jacobian:
        return transform.jacobian(structure)
    displacements = np.random.default_rng(0).standard_normal((_TIMED_DIRECTIONS, len(atoms), 3))
    return transform.tangent(structure, displacements, np.zeros((_TIMED_DIRECTIONS, 3, 3)))


# ------------------------------------------------------------ report


def report(suggestion: Suggestion, data: Sequence[str | Path], spec_file: str | Path | None = None) -> str:
    """The survey, the choices with their reasons, the cost, and the lines that use the specification."""
    spec, survey = suggestion.spec, suggestion.survey
    choices = {
        "preset": suggestion.preset,
        "beta": f"{spec.beta:g} Å",
        "scales": ", ".join(f"{scale:g}" for scale in spec.scales),
        "tolerance": f"{spec.tolerance:g}",
    }
    lines = ["data", *_survey_lines(survey), "", "proposal"]
    for name, choice in choices.items():
        lines += [f"  {name:11} {choice}", *_wrapped(suggestion.reasons[name])]
    lines += ["", "cost", *_cost_lines(suggestion), "", "use", *_use_lines(survey, data, spec_file)]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 106, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _survey_lines(survey: Survey) -> list[str]:
    kinds = [f"{count} {kind}" for count, kind in zip(survey.kinds, _KINDS, strict=True) if count]
    lines = [
        f"  structures  {survey.structures}: {', '.join(kinds)}; {survey.energies} with an energy",
        f"  atoms       {survey.atoms.text('.0f')}",
    ]
    if survey.density is not None:
        lines.append(f"  density     {survey.density.text('.4f')} atoms/Å³")
    lines.append(f"  room        {survey.room.text('.2f')} Å ({_room_means(survey)})")
    for z, (least, most) in survey.fractions.items():
        lines.append(f"  fraction    {chemical_symbols[z]} {least:.3f} to {most:.3f}")
    for pair, distance in survey.closest.items():
        names = "-".join(chemical_symbols[z] for z in pair)
        lines.append(f"  closest     {names} {distance.text('.2f')} Å, over structures")
    return lines


def _cost_lines(suggestion: Suggestion) -> list[str]:
    cost, count = suggestion.cost, len(suggestion.spec.keys)
    return [
        f"  features    {count}; each matrix of the fit takes {_size(8 * count**2)}",
        f"  measured    {cost.atoms} atoms, on this machine: {1000 * cost.features:.0f} ms for values",
        f"              {cost.derivatives:.2f} s, {_size(cost.rows)} for the rows of energy, forces and stress",
        f"  training    rows of all structures, one core: some {_duration(cost.all_time)},"
        f" {_size(cost.all_rows)} on disk",
    ]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _use_lines(survey: Survey, data: Sequence[str | Path], spec_file: str | Path | None) -> list[str]:
    file = "spec.json" if spec_file is None else str(spec_file)
    lines = [] if spec_file else [f"  (add --json {file} to this command to write the specification)"]
    command = ["wavescat", "train", *map(str, data), "-o", "model.h5", "--spec", file]
    lines.append("  " + shlex.join(command))
    if survey.energies < survey.structures:
        lines.append(f"      {survey.structures - survey.energies} structures lack the energy that training needs")
    if "group" not in survey.info_keys:
        known = " or ".join([*survey.info_keys, repr(NO_GROUPS)])
        lines += _wrapped(
            f"no key 'group' says which structures belong together (one trajectory, one melt): add --group-key {known}"
        )
    return [
        *lines,
        "  from ase_wavescat import scattering_features",
        "  from ase_wavescat.representation.specification_file import read_spec",
        f"  features = scattering_features(atoms, read_spec({file!r}))",
    ]
