"""Where model files are looked for."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ase_wavescat.system.errors import ModelNotFoundError

SEARCH_VARIABLE = "WAVESCAT_MODELS"


def find_model(name: str | os.PathLike[str]) -> Path:
    """The file of a model: a path, else a name in the folders of WAVESCAT_MODELS, else a bundled name.

    Raises ModelNotFoundError that lists where it was looked for and what there is.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    folders = _search_folders()
    if not path.is_absolute():
        for folder in folders:
            if (folder / path).is_file():
                return folder / path
    raise ModelNotFoundError(_miss(path, folders))


def bundled_folder() -> Path:
    """Where the shipped models lie: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[2]
    checkout = package.parent
    if not (package / "models").is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "models"
    return package / "models"


def _search_folders() -> list[Path]:
    named = os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in named if folder), bundled_folder()]


def _miss(path: Path, folders: list[Path]) -> str:
    what = "is a folder" if path.is_dir() else "is not there"
    lines = [f"no model {str(path)!r}: as a path it {what} (from {Path.cwd()})"]
    known: list[str] = []
    for folder in folders:
        names = sorted(file.name for file in folder.glob("*.h5")) if folder.is_dir() else []
        known += names
        holds = ", ".join(names) or ("no models" if folder.is_dir() else "no such folder")
        lines.append(f"  looked in {folder}: {holds}")
    if SEARCH_VARIABLE not in os.environ:
        lines.append(f"  the variable {SEARCH_VARIABLE} is not set; folders named there are searched first")
    close = difflib.get_close_matches(path.name, known, n=1, cutoff=0.5)
    lines.append(
        f"  did you mean {close[0]!r}?" if close else "  give a path to a model file or one of the names above"
    )
    return "\n".join(lines)
