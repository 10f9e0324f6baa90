"""The validation report as one HTML page, from its figures and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ase.units import GPa
from matplotlib.figure import Figure

from ase_wavescat.evaluation import figures as draw
from ase_wavescat.evaluation.reliability import LEVELS
from ase_wavescat.evaluation.report import Report
from ase_wavescat.potentials.card import model_card
from ase_wavescat.training.data.frames import NO_CONFIG_TYPE

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em; color: #1c2430; }
h1 { font-size: 1.6em; } h2 { margin-top: 2em; border-bottom: 1px solid #cfd6df; } h3 { margin-bottom: 0.3em; }
table { border-collapse: collapse; margin: 0.6em 0 1.2em; font-size: 0.92em; }
th, td { padding: 0.22em 0.7em; text-align: right; border-bottom: 1px solid #e4e8ee; white-space: nowrap; }
th { background: #f1f4f8; vertical-align: bottom; } th:first-child, td:first-child, .text { text-align: left; }
th, .text { white-space: normal; }
figure { margin: 1em 0; } img { max-width: 100%; } figcaption { color: #556070; font-size: 0.92em; }
.warning { background: #fdf0e3; border-left: 5px solid #c8611a; padding: 0.6em 1em; }
.good { color: #24733a; } .bad { color: #b3261e; font-weight: 600; }
pre { background: #f6f8fa; padding: 1em; overflow-x: auto; font-size: 0.82em; }
@page { margin: 14mm; }
@media print {
  body { font-size: 11px; max-width: none; margin: 0; }
  h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
}
"""

Figures = Mapping[str, Any]


def page(report: Report, figures: Figures) -> str:
    """The page; figures: `report.figures()`."""
    title = f"Validation of {figures['model']['name']}"
    sections = [
        _header(report, figures),
        _errors(report, figures),
        _uncertainty(report, figures),
        _training(report),
        _features(report),
        _short_range(report, figures),
        _speed(figures),
        f"<h2>Model card</h2><pre>{escape(model_card(report.assessment.model))}</pre>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


# ---------------------------------------------------------------- sections


def _header(report: Report, figures: Figures) -> str:
    model, data = figures["model"], figures["data"]
    atoms = data["atoms"]
    rows = [
        ("model", f"{model['name']}: {_features_words(model)}{model['members']} members"),
        ("digest", model["digest"]),
        ("species", ", ".join(model["species"])),
        ("labels of its training", model.get("label_source", "not recorded")),
        ("trained on", _training_words(model)),
        (
            "data",
            f"{data['frames']} frames in {data['groups']} groups, {atoms['smallest']} to {atoms['largest']} atoms",
        ),
        ("with forces, with stress", f"{data['frames_with']['forces']}, {data['frames_with']['stress']} frames"),
        ("made", f"{figures['created']} with ase_wavescat {figures['ase_wavescat']}"),
    ]
    parts = [_table(["", ""], rows, text=(0, 1), head=False)]
    trained = [file["name"] for file in data["files"] if file["trained_on"]]
    if trained:
        words = "the model was trained on" if len(trained) == len(data["files"]) else "part of the data,"
        parts.insert(
            0,
            f'<p class="warning"><strong>These are training errors</strong>: {words} {escape(", ".join(trained))}'
            f"{'' if len(trained) == len(data['files']) else ', is what the model was trained on'}. They say nothing"
            " about structures that the model has not seen, and its uncertainties look too large here.</p>",
        )
    if data["files"]:
        parts.append("<h3>Files</h3>" + _files(data["files"]))
    return "".join(parts)


def _features_words(model: Mapping[str, Any]) -> str:
    """Nothing of models without."""
    return f"{model['features']} features, " if "features" in model else ""


def _training_words(model: Figures) -> str:
    names = ", ".join(entry.get("name", "?") for entry in model["trained_on"]) or "not recorded"
    counts = f", {model['frames']} frames in {model.get('groups', '?')} groups" if "frames" in model else ""
    return f"{names}{counts}" + (f", {model['created']}" if "created" in model else "")


def _files(files: Sequence[Figures], shown: int = 12) -> str:
    rows = [(f["name"], f["sha256"][:16], "yes" if f["trained_on"] else "no") for f in files[:shown]]
    more = f"<p>and {len(files) - shown} more, listed in report.json</p>" if len(files) > shown else ""
    return _table(["file", "SHA-256 begins", "in the training set"], rows, text=(0, 1)) + more


def _errors(report: Report, figures: Figures) -> str:
    errors = figures["errors"]
    rows = [_error_row("all", errors["all"])]
    for name, title in (("by_config_type", "config_type"), ("by_composition", "fraction of"), ("by_domain", "domain:")):
        if len(errors[name]) > 1 or name == "by_domain":
            named = {label: label if label == NO_CONFIG_TYPE else f"{title} {label}" for label in errors[name]}
            rows += [_error_row(named[label], row) for label, row in errors[name].items()]
    energies = ["", "frames", "groups", "MAE", "RMSE", "mean error", "largest", "offsets removed: MAE", "RMSE"]
    others = [
        "", "frames", "groups", "forces: MAE, eV/Å", "RMSE", "largest", "stress: MAE, GPa", "RMSE", "largest",
    ]  # fmt: skip
    parts = ["<h2>Errors</h2><p>Predicted less labelled.</p><h3>Energies, meV/atom</h3>"]
    parts += [_table(energies, [row[:9] for row in rows]), _offsets(figures)]
    if errors["all"]["force_mae_ev_per_a"] is not None or errors["all"]["stress_mae_ev_per_a3"] is not None:
        parts += ["<h3>Forces and stresses, by component</h3>", _table(others, [row[:3] + row[9:] for row in rows])]
    parts.append(
        _picture(
            draw.parity_figure(report.assessment),
            "Above: predicted against labelled. Below: the errors; those beyond the ends are in the outermost bins.",
        )
    )
    parts.append(_worst(figures["worst"]))
    return "".join(parts)


def _error_row(label: str, row: Figures) -> list[str]:
    def number(key: str, digits: int, factor: float = 1.0, sign: str = "") -> str:
        return "–" if row[key] is None else f"{factor * row[key]:{sign}.{digits}f}"

    energy = [number(f"energy_{key}_mev_per_atom", 1) for key in ("mae", "rmse")]
    energy += [number("energy_mean_error_mev_per_atom", 1, sign="+"), number("energy_largest_mev_per_atom", 1)]
    shifted = [number(f"shifted_energy_{key}_mev_per_atom", 1) for key in ("mae", "rmse")]
    forces = [number(f"force_{key}_ev_per_a", 3) for key in ("mae", "rmse")] + [number("force_largest_ev_per_a", 2)]
    stress = [number(f"stress_{key}_ev_per_a3", 2, 1 / GPa) for key in ("mae", "rmse", "largest")]
    return [label, str(row["frames"]), str(row["groups"]), *energy, *shifted, *forces, *stress]


def _offsets(figures: Figures) -> str:
    offsets = figures["offsets_ev_per_atom"]
    if not offsets:
        return "<p>Too few frames to tell an offset of the energies from their errors.</p>"
    words = "; ".join(
        f"{escape(source)}: " + ", ".join(f"{symbol} {1e3 * value:+.1f}" for symbol, value in offset.items())
        for source, offset in offsets.items()
    )
    text = (
        f"<p>Offsets linear in the composition, predicted less labelled, meV an atom of each species: {words}. They are"
        " what another code or setting would change by its zero of energy; errors with them removed are beside those"
        " as they are.</p>"
    )
    if figures["labels_have_another_zero"]:
        text += (
            '<p class="warning">The offsets are far larger than the errors around them: the labels have another zero of'
            " energy than the model. Pictures, worst frames and uncertainties below are of the energies with the"
            " offsets removed.</p>"
        )
    return text


def _worst(worst: Figures) -> str:
    energies = [
        (*_frame_words(row), f"{row['energy_error_mev_per_atom']:+.1f}", f"{row['energy_spread_mev_per_atom']:.1f}")
        for row in worst["energy"]
    ]
    forces = [
        (*_frame_words(row), f"{row['force_rmse_ev_per_a']:.3f}", f"{row['force_largest_ev_per_a']:.2f}")
        for row in worst["forces"]
    ]
    frame = ["frame", "formula", "config_type", "group", "outside the domain by"]
    parts = [
        "<h3>Worst energies</h3>",
        _table([*frame, "error, meV/atom", "predicted spread"], energies, (0, 1, 2, 3, 4)),
    ]
    if forces:
        header = [*frame, "rms error of the components, eV/Å", "largest error of an atom"]
        parts += ["<h3>Worst forces</h3>", _table(header, forces, (0, 1, 2, 3, 4))]
    return "".join(parts)


def _frame_words(row: Figures) -> tuple[str, str, str, str, str]:
    return row["name"], row["formula"], row["config_type"], row["group"], ", ".join(row["outside"]) or "–"


def _uncertainty(report: Report, figures: Figures) -> str:
    kinds = (("energy", "energy_ev_per_atom"), ("forces", "forces_ev_per_a"))
    rows = [_uncertainty_row(name, figures["uncertainty"][key]) for name, key in kinds if figures["uncertainty"][key]]
    if not rows:
        return "<h2>Uncertainties</h2><p>None: the model has one member, or there are fewer than three data.</p>"
    header = [
        "", "data", "groups", "stored scale", "scale these data ask for", "miscalibration", "rank correlation",
        *(f"within {100 * level:g} %" for level in LEVELS),
    ]  # fmt: skip
    text = (
        "<h2>Uncertainties</h2><p>A predicted spread is the standard deviation over the members times a scale found by"
        " calibration. The scale that these data ask for makes the root mean square of the spreads that of the errors;"
        " its standard error is from leaving out one group at a time. Miscalibration: mean relative gap between error"
        " and spread in bins. Rank correlation (Spearman): 1 where the largest errors have the largest spreads. The"
        " last columns: share of the errors within the interval that should hold so many.</p>"
    )
    calibrated_on = {entry["sha256"] for entry in figures["model"].get("calibration", {}).get("data", ())}
    if any(file["sha256"] in calibrated_on for file in figures["data"]["files"]):
        text += '<p class="warning">The stored scales were found on some of these data.</p>'
    picture = draw.reliability_figure(report.assessment.energy_reliability, report.assessment.force_reliability)
    caption = (
        "Left: bins of equal numbers of data in the order of their spread. Right: beyond ±5 in the outermost bins."
    )
    return text + _table(header, rows) + _picture(picture, caption)


def _uncertainty_row(name: str, row: Figures) -> list[str]:
    error = "" if row["scale_standard_error"] is None else f" ± {row['scale_standard_error']:.2f}"
    rank = "–" if row["rank_correlation"] is None else f"{row['rank_correlation']:.2f}"
    coverage = [f"{100 * row['coverage'][f'{level:g}']:.0f} %" for level in LEVELS]
    return [
        name, str(row["count"]), str(row["groups"]), f"{row['stored_scale']:.2f}", f"{row['scale']:.2f}{error}",
        f"{row['miscalibration']:.2f}", rank, *coverage,
    ]  # fmt: skip


def _training(report: Report) -> str:
    recorded = report.training
    parts = []
    curves = recorded.get("learning_curve", ()), recorded.get("size_curve", ())
    if any(curves):
        parts.append(_picture(draw.learning_figure(*curves), "Errors on groups left out of the fit."))
    greedy = recorded.get("greedy")
    if greedy and greedy.get("validation_rmse_mev_per_atom"):
        picture = draw.greedy_figure(greedy["validation_rmse_mev_per_atom"], greedy["m_star"])
        parts.append(_picture(picture, "M* is where the error on the groups that a member never drew is lowest."))
    return "<h2>Learning curves</h2><p>Recorded when the model was trained.</p>" + "".join(parts) if parts else ""


def _features(report: Report) -> str:
    if not report.breakdowns:
        return ""
    members = report.assessment.model.members
    return (
        f"<h2>Features</h2><p>Of the features with a weight that is not zero, as means over the {members} members:"
        " shares of their number, and of their weight, |w| times the standard deviation of the feature per atom over"
        " the training set. Scales and degrees of features with two maps are those of both.</p>"
        + _picture(draw.breakdown_figure(report.breakdowns), "")
    )


def _short_range(report: Report, figures: Figures) -> str:
    found = figures["short_range"]
    contacts = ", ".join(f"{pair} {distance:.2f} Å" for pair, distance in found["contacts_a"].items())
    verdict = _verdict(found["safe"], "every curve rises", "some curves fall")
    text = (
        f"<h2>Short range</h2><p>Below the shortest distances of the training data ({contacts}) the energy must rise"
        " with every step towards each other, and so must that of structures of the data compressed below 95 % of their"
        f" side: {verdict}. A hole is an energy below that at the first judged point.</p>"
    )
    header = ["", "judged below", "verdict", "falls first at", "deepest fall, eV", "lowest energy below, eV"]
    parts = [text]
    pictures = [
        ("Dimers", "dimers", draw.dimer_figure(report.short_range), "Energies beyond ±1 eV on a logarithmic scale."),
        ("Crystals", "crystals", draw.crystal_figure(report.short_range), "Energies an atom, less that of the widest."),
    ]
    if report.short_range.compressed:
        picture = draw.compression_figure(report.short_range.compressed)
        pictures.insert(1, ("Compressed structures", "compressed", picture, "Scaled isotropically; energies an atom."))
    for title, key, picture, caption in pictures:
        rows = [_approach_row(row, " Å" if key != "compressed" else "") for row in found[key]]
        caption += " Crosses: where a curve falls first."
        parts.append(f"<h3>{title}</h3>" + _picture(picture, caption) + _table(header, rows, raw=(2,)))
    return "".join(parts)


def _approach_row(row: Figures, unit: str) -> list[str]:
    fall = "–" if row["first_fall"] is None else f"{row['first_fall']:.3f}{unit}"
    numbers = [
        "not finite" if row[key] is None else f"{row[key]:.3f}"
        for key in ("deepest_fall_ev", "lowest_below_contact_ev")
    ]
    return [row["name"], f"{row['contact']:.3f}{unit}", _verdict(row["safe"], "rises", "falls"), fall, *numbers]


def _verdict(good: bool, yes: str, no: str) -> str:
    return f'<span class="good">{yes}</span>' if good else f'<span class="bad">{no}</span>'


def _speed(figures: Figures) -> str:
    speed = figures["speed"]
    return (
        f"<h2>Speed</h2><p>{speed['atoms']} atoms, one after another in one process: energy {speed['energy']:.1f} ms;"
        f" energy, forces and stress {speed['energy_forces_stress']:.1f} ms, {speed['per_atom']:.2f} ms an atom.</p>"
    )


# ---------------------------------------------------------------- HTML


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,), raw: Sequence[int] = (),
    head: bool = True,
) -> str:  # fmt: skip
    """Columns in `text` to the left, others to the right; those in `raw` are HTML already."""
    kinds = [' class="text"' if index in text else "" for index in range(len(header))]

    def line(tag: str, values: Sequence[str]) -> str:
        words = [str(value) if index in raw else escape(str(value)) for index, value in enumerate(values)]
        return "<tr>" + "".join(f"<{tag}{kinds[i]}>{word}</{tag}>" for i, word in enumerate(words)) + "</tr>"

    lines = [line("th", header)] if head else []
    return "<table>" + "\n".join([*lines, *(line("td", row) for row in rows)]) + "</table>"


def _picture(figure: Figure, caption: str) -> str:
    data = base64.b64encode(draw.png(figure)).decode("ascii")
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">{words}</figure>'
