"""The validation report of a model: errors, uncertainties, features, short range; an HTML page, its figures as JSON.

The page needs no other file and no network: pictures are part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import GPa

from ase_wavescat import __version__
from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.evaluation.assessment import (
    Assessment,
    Deviation,
    Errors,
    Speed,
    measure_speed,
)
from ase_wavescat.evaluation.feature_statistics import Breakdown, feature_breakdowns
from ase_wavescat.evaluation.reliability import Reliability
from ase_wavescat.evaluation.short_range import Approach, ShortRange, check_short_range
from ase_wavescat.potentials.linear import LinearPotential
from ase_wavescat.potentials.repulsion import pair_name
from ase_wavescat.training.validation import composition_bin

_FACTS = ("label_source", "citation", "licence", "frames", "groups", "created", "calibration")
_CURVES = ("learning_curve", "size_curve", "greedy")


@dataclass(frozen=True, eq=False)
class Report:
    """An assessment and what is known of the model beyond its errors."""

    assessment: Assessment
    breakdowns: tuple[Breakdown, ...]
    short_range: ShortRange
    speed: Speed

    @property
    def training(self) -> dict[str, Any]:
        """What the training run recorded: learning_curve, size_curve, greedy, as far as they are there."""
        metrics = self.assessment.model.provenance.get("metrics") or {}
        return {name: metrics[name] for name in _CURVES if metrics.get(name)}

    def figures(self) -> dict[str, Any]:
        """Everything as plain data, what report.json holds."""
        assessment = self.assessment
        return {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "ase_wavescat": __version__,
            "model": _model_facts(assessment),
            "data": _data_facts(assessment),
            "errors": {
                "all": error_figures(assessment.errors()),
                "by_config_type": _tables(assessment.by_config_type),
                "by_composition": _tables(assessment.by_composition),
                "by_domain": _tables(assessment.by_domain),
            },
            "offsets_ev_per_atom": {
                source: dict(zip(species_symbols(assessment), map(float, offset), strict=True))
                for source, offset in assessment.offsets.items()
            },
            "labels_have_another_zero": assessment.has_other_zero,
            "worst": {"energy": worst_energies(assessment), "forces": worst_forces(assessment)},
            "uncertainty": {
                "energy_ev_per_atom": _reliability_figures(assessment.energy_reliability),
                "forces_ev_per_a": _reliability_figures(assessment.force_reliability),
            },
            "training": self.training,
            "features": [asdict(breakdown) for breakdown in self.breakdowns],
            "short_range": _short_range_figures(self.short_range),
            "speed": {**asdict(self.speed), "per_atom": self.speed.per_atom, "unit": "ms"},
        }


def make_report(assessment: Assessment) -> Report:
    """Adds to an assessment the short-range checks, the statistics of the features and the time of a call."""
    model = assessment.model
    closest = model.domain.closest if model.domain else {}
    calculator, linear = WaveScatCalculator(model), model.term(LinearPotential)
    structures = [_named_atoms(assessment, index) for index in representative_frames(assessment)]
    return Report(
        assessment,
        () if linear is None else feature_breakdowns(linear),
        check_short_range(calculator, model.species, closest, structures),
        measure_speed(model, assessment.frames),
    )


def representative_frames(assessment: Assessment) -> list[int]:
    """The frame of lowest labelled energy, less the part linear in the composition, of each bin of composition.

    Of each config_type, five at most, for a model of one species. Such frames are near their equilibrium volume.
    """
    labels = assessment.labelled_energies
    relative = labels - assessment.fractions @ np.linalg.lstsq(assessment.fractions, labels, rcond=1e-8)[0]
    if assessment.fractions.shape[1] > 1:
        kinds = np.array([composition_bin(fraction) for fraction in assessment.fractions[:, 0]])
    else:
        kinds = np.array([frame.config_type for frame in assessment.frames])
    chosen = [int(np.flatnonzero(kinds == kind)[np.argmin(relative[kinds == kind])]) for kind in np.unique(kinds)]
    return chosen[:5]


def _named_atoms(assessment: Assessment, index: int) -> tuple[str, Atoms]:
    frame = assessment.frames[index]
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    return f"{atoms.get_chemical_formula()} ({frame.name})", atoms


def summary(figures: Mapping[str, Any]) -> str:
    """The most important figures as a few lines of text."""
    everything = figures["errors"]["all"]

    def deviation(name: str, unit: str, digits: int, factor: float = 1.0) -> str:
        values = [everything[f"{name}_{kind}_{unit}"] for kind in ("mae", "rmse")]
        if None in values:
            return "-"
        return ", ".join(f"{k} {factor * v:.{digits}f}" for k, v in zip(("MAE", "RMSE"), values, strict=True))

    data, speed = figures["data"], figures["speed"]
    rows = [
        ("data", f"{data['frames']} frames in {data['groups']} groups"),
        ("energy (meV/atom)", deviation("energy", "mev_per_atom", 2)),
        ("  offsets removed", deviation("shifted_energy", "mev_per_atom", 2)),
        ("forces (eV/A)", deviation("force", "ev_per_a", 4)),
        ("stress (GPa)", deviation("stress", "ev_per_a3", 3, 1 / GPa)),
        *((f"scale, {name.split('_')[0]}", _scale_words(row)) for name, row in figures["uncertainty"].items()),
        ("short range", _short_range_words(figures["short_range"])),
        ("time of a call", f"{speed['energy_forces_stress']:.1f} ms for {speed['atoms']} atoms"),
    ]
    return "\n".join(f"{name:<20}{value}" for name, value in rows)


def _scale_words(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None else f"{row['scale']:.2f} asked for by these data, {row['stored_scale']:.2f} stored"


def _short_range_words(found: Mapping[str, Any]) -> str:
    falling = [row["name"] for kind in ("dimers", "compressed", "crystals") for row in found[kind] if not row["safe"]]
    return "every curve rises" if not falling else f"energies fall in {len(falling)} curves: {', '.join(falling)}"


# ---------------------------------------------------------------- plain data


def species_symbols(assessment: Assessment) -> list[str]:
    """Of the model."""
    return [chemical_symbols[z] for z in assessment.model.species]


def _model_facts(assessment: Assessment) -> dict[str, Any]:
    model = assessment.model
    linear = model.term(LinearPotential)
    sizes = {"features": len(linear.keys), "features_of_the_specification": len(linear.spec.keys)} if linear else {}
    return {
        "name": assessment.name,
        "digest": model.digest,
        "species": species_symbols(assessment),
        **sizes,
        "members": model.members,
        **{name: model.provenance[name] for name in _FACTS if model.provenance.get(name) is not None},
        "trained_on": list(model.provenance.get("data", ())),
    }


def _data_facts(assessment: Assessment) -> dict[str, Any]:
    frames = assessment.frames
    return {
        "files": [asdict(file) for file in assessment.files],
        "frames": len(frames),
        "groups": len({frame.group for frame in frames}),
        "atoms": {"smallest": min(map(len, frames)), "largest": max(map(len, frames)), "all": sum(map(len, frames))},
        "frames_with": {name: sum(getattr(f, name) is not None for f in frames) for name in ("forces", "stress")},
    }


_UNITS = (
    ("energy", "energy", "mev_per_atom", 1e3),
    ("shifted", "shifted_energy", "mev_per_atom", 1e3),
    ("forces", "force", "ev_per_a", 1.0),
    ("stress", "stress", "ev_per_a3", 1.0),
)


def error_figures(errors: Errors) -> dict[str, Any]:
    """Such as energy_mae_mev_per_atom, force_rmse_ev_per_a, stress_largest_ev_per_a3; None without labels."""
    figures: dict[str, Any] = {"frames": errors.frames, "groups": errors.groups}
    for attribute, name, unit, factor in _UNITS:
        deviation: Deviation | None = getattr(errors, attribute)
        for kind, key in (("mae", "mae"), ("rmse", "rmse"), ("mean", "mean_error"), ("largest", "largest")):
            value = None if deviation is None else factor * getattr(deviation, kind)
            figures[f"{name}_{key}_{unit}"] = value
    return figures


def _tables(table: Mapping[str, Errors]) -> dict[str, Any]:
    return {label: error_figures(errors) for label, errors in table.items()}


def worst_energies(assessment: Assessment) -> list[dict[str, Any]]:
    """The ten frames with the largest errors of the energy, meV/atom."""
    errors = 1e3 * assessment.comparable_energy_errors
    spreads = [1e3 * result.energy_spread / len(f) for result, f in _pairs(assessment)]
    return [
        {
            **_frame_facts(assessment, i),
            "energy_error_mev_per_atom": float(errors[i]),
            "energy_spread_mev_per_atom": spreads[i],
        }
        for i in assessment.worst_energies()
    ]


def worst_forces(assessment: Assessment) -> list[dict[str, Any]]:
    """The ten frames with the largest root mean square errors of the forces, eV/A."""
    rows = []
    for index in assessment.worst_forces():
        error = assessment.force_errors[index]
        assert error is not None
        rows.append(
            {
                **_frame_facts(assessment, index),
                "force_rmse_ev_per_a": float(np.sqrt(np.mean(error**2))),
                "force_largest_ev_per_a": float(np.linalg.norm(error, axis=1).max()),
            }
        )
    return rows


def _pairs(assessment: Assessment) -> list[tuple[Any, Any]]:
    return list(zip(assessment.results, assessment.frames, strict=True))


def _frame_facts(assessment: Assessment, index: int) -> dict[str, Any]:
    frame = assessment.frames[index]
    return {
        "name": frame.name,
        "formula": Atoms(frame.numbers).get_chemical_formula(),
        "config_type": frame.config_type,
        "group": frame.group,
        "outside": list(assessment.results[index].outside),
    }


def _reliability_figures(found: Reliability | None) -> dict[str, Any] | None:
    if found is None:
        return None
    spreads, errors = found.bins
    return {
        "count": len(found.errors),
        "groups": len(np.unique(found.groups)),
        "stored_scale": found.stored_scale,
        "scale": found.scale,
        "scale_standard_error": found.scale_error,
        "miscalibration": found.miscalibration,
        "rank_correlation": found.rank_correlation,
        "coverage": {f"{level:g}": share for level, share in found.coverage().items()},
        "bins": {"rms_spread": spreads.tolist(), "rms_error": errors.tolist()},
    }


def _short_range_figures(found: ShortRange) -> dict[str, Any]:
    return {
        "safe": found.is_safe,
        "contacts_a": {pair_name(pair): distance for pair, distance in found.contacts.items()},
        "dimers": [_approach_figures(approach) for approach in found.dimers],
        "compressed": [_approach_figures(approach) for approach in found.compressed],
        "crystals": [_approach_figures(approach) for approach in found.crystals],
    }


def _approach_figures(approach: Approach) -> dict[str, Any]:
    """Energies that are not finite become null."""
    finite = np.isfinite(approach.energies)
    return {
        "name": approach.name,
        "safe": approach.is_safe,
        "contact": approach.contact,
        "first_fall": approach.first_fall,
        "deepest_fall_ev": _number(approach.deepest_fall),
        "lowest_below_contact_ev": _number(approach.lowest),
        "coordinates": approach.coordinates.tolist(),
        "energies_ev": [
            float(energy) if known else None for energy, known in zip(approach.energies, finite, strict=True)
        ],
    }


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
