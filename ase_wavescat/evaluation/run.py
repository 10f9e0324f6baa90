"""What `wavescat evaluate` does: from files of labelled structures to a report in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase_wavescat.evaluation.assessment import Assessment, check_calibration, predict, read_data
from ase_wavescat.evaluation.page import page
from ase_wavescat.evaluation.report import Report, make_report
from ase_wavescat.io.structures import Paths
from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.file.search import find_model
from ase_wavescat.system.atomic_write import atomic_path, make_folder
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.frames import Virial

PAGE, FIGURES = "report.html", "report.json"


def run_report(
    model: str | Path,
    data: Paths,
    folder: str | Path,
    *,
    group_key: str = "group",
    virial: Virial | None = None,
    workers: int | None = None,
    calibrate: bool = False,
    extra: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Report:
    """What `wavescat evaluate` does: evaluate a model on files, write the report, and calibrate the model on request.

    model, data, group_key, virial, workers: see `evaluation.evaluate`.  folder: for report.html and report.json.
    calibrate: replace the scales of the uncertainties in the model file by those that the data ask for. The report
        shows the model as it was.
    extra: further entries of report.json.

    Raises DataError, before any work is done, for data that the model cannot predict or that cannot calibrate it.
    """
    path = find_model(model)
    judged = load_model(path)
    files, frames = read_data(judged, data, group_key, virial, grouped=calibrate)
    if calibrate:
        _check_place(model, path)
        check_calibration(judged, files, frames)
    make_folder(folder)
    assessment = Assessment(path.name, judged, files, tuple(frames), predict(judged, frames, workers, progress))
    report = make_report(assessment)
    write_report(report, folder, extra)
    if calibrate:
        save_model(path, assessment.calibrated())
    return report


def write_report(report: Report, folder: str | Path, extra: Mapping[str, Any] | None = None) -> Path:
    """report.html and report.json in a folder, made when missing; each appears complete or not at all. The page.

    extra: further entries of report.json.
    """
    folder, figures = make_folder(folder), report.figures()
    with atomic_path(folder / PAGE) as shown, atomic_path(folder / FIGURES) as plain:  # replaced when both are complete
        shown.write_text(page(report, figures), encoding="utf-8")
        plain.write_text(json.dumps({**figures, **(extra or {})}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return folder / PAGE


def _check_place(model: str | Path, path: Path) -> None:
    """A model found by its name may be everybody's, and one that may not be written cannot be calibrated."""
    if not Path(model).is_file():
        raise DataError(
            f"--calibrate changes the model file; {model} was found by its name at {path}: copy it, and give the copy's"
            " path"
        )
    if not os.access(path, os.W_OK) or not os.access(path.absolute().parent, os.W_OK):
        raise PermissionError(f"{path} may not be written; copy it, and calibrate the copy")
