"""Model files: one HDF5 file, no pickle, every part checked on the way in.

Layout, version 2
    /                   attributes format = "ase-wavescat-model", version = 2
    /spec               the ScatteringSpec as JSON
    /features           table, one row a kept feature: key, label
    /members/weights    (M, F) eV per unit of feature
    /baseline           species_energies (M, S) eV, species ascending; optional table repulsion: first, second, cutoff
    /calibration        attributes energy_scale, force_scale
    /domain             optional: minimum, maximum, mean, std (F,) per atom, tables fractions and closest
    /provenance         JSON: data sets, label source, citation, licence, command, versions, metrics
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ase_wavescat.atomic_write import atomic_path
from ase_wavescat.ensemble import Calibration, Domain, Ensemble
from ase_wavescat.errors import ModelFileError, ModelNotFoundError
from ase_wavescat.repulsion import PairRepulsion
from ase_wavescat.scattering.spec import ScatteringSpec

FORMAT = "ase-wavescat-model"
VERSION = 2  # 1: bands of another shape, so that its weights mean something else
SEARCH_VARIABLE = "WAVESCAT_MODELS"

_TEXT = h5py.string_dtype("utf-8")
_FEATURE = np.dtype([("key", _TEXT), ("label", _TEXT)])
_CUTOFF = np.dtype([("first", "i4"), ("second", "i4"), ("cutoff", "f8")])
_FRACTION = np.dtype([("species", "i4"), ("minimum", "f8"), ("maximum", "f8")])
_CLOSEST = np.dtype([("first", "i4"), ("second", "i4"), ("distance", "f8")])
_STATISTICS = ("minimum", "maximum", "mean", "std")
_REQUIRED = {
    "spec", "features", "members", "members/weights", "baseline", "baseline/species_energies", "calibration",
    "provenance",
}  # fmt: skip
_OPTIONAL = {"baseline/repulsion", "domain"}
_DOMAIN = {"domain/fractions", "domain/closest", *(f"domain/{name}" for name in _STATISTICS)}


# ---------------------------------------------------------------- writing


def save_model(path: str | os.PathLike[str], ensemble: Ensemble) -> None:
    """Write a model; the file appears complete or not at all.

    Numbers in the provenance that are not finite become null.
    Raises FileNotFoundError for a missing folder, TypeError for provenance that is not plain data.
    """
    provenance = json.dumps(_plain(ensemble.provenance), allow_nan=False)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.create_dataset("spec", data=json.dumps(ensemble.spec.to_dict(), allow_nan=False), dtype=_TEXT)
        labels = [(key, ensemble.spec.features[ensemble.spec.index(key)].label) for key in ensemble.keys]
        file.create_dataset("features", data=np.array(labels, dtype=_FEATURE))
        _write_numbers(file, "members/weights", ensemble.weights)
        _write_numbers(file, "baseline/species_energies", ensemble.species_energies)
        if ensemble.repulsion is not None:
            rows = [(a, b, cutoff) for (a, b), cutoff in ensemble.repulsion.cutoffs.items()]
            file.create_dataset("baseline/repulsion", data=np.array(rows, dtype=_CUTOFF))
        calibration = file.create_group("calibration")
        calibration.attrs["energy_scale"] = ensemble.calibration.energy_scale
        calibration.attrs["force_scale"] = ensemble.calibration.force_scale
        if ensemble.domain is not None:
            _write_domain(file, ensemble.domain)
        file.create_dataset("provenance", data=provenance, dtype=_TEXT)


def _plain(value: Any) -> Any:
    """Mappings, sequences and numpy values as what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_numbers(file: h5py.File, name: str, values: np.ndarray) -> None:
    """With a checksum, so that a damaged file is noticed."""
    file.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)


def _write_domain(file: h5py.File, domain: Domain) -> None:
    for name in _STATISTICS:
        _write_numbers(file, f"domain/{name}", getattr(domain, name))
    fractions = [(z, low, high) for z, (low, high) in domain.fractions.items()]
    file.create_dataset("domain/fractions", data=np.array(fractions, dtype=_FRACTION))
    closest = [(a, b, distance) for (a, b), distance in domain.closest.items()]
    file.create_dataset("domain/closest", data=np.array(closest, dtype=_CLOSEST))


# ---------------------------------------------------------------- reading


def load_model(path: str | os.PathLike[str]) -> Ensemble:
    """Read a model and check all of it.

    path: a file, or a name that `find_model` knows.
    Raises ModelNotFoundError, or ModelFileError that names what is wrong.
    """
    found = find_model(path)
    with _opened(found) as file:
        _check_format(file, found)
        _check_contents(file, found)
        with _blame(found):
            return _read_ensemble(file)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with path.open("rb") as file:
        signature = file.read(8)
    if signature != b"\x89HDF\r\n\x1a\n":
        what = "is empty" if not signature else "is not an HDF5 file"
        raise ModelFileError(f"{path} {what}; a model file is written by `wavescat train` or save_model")
    try:
        # Files are replaced whole, never changed, so reading needs no lock (which network file systems may refuse).
        handle = h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(
            f"{path} is truncated or damaged ({path.stat().st_size} bytes; {error}); copy it again from its source"
        ) from None
    with handle:
        yield handle


@contextmanager
def _blame(path: Path) -> Iterator[None]:
    """Turn what goes wrong inside a file into an error that names the file."""
    try:
        yield
    except ModelFileError:
        raise
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged ({error}); copy it again from its source") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path} is not a valid model: {error}") from error


def _check_format(file: h5py.File, path: Path) -> None:
    written = file.attrs.get("format")
    if written != FORMAT:
        raise ModelFileError(
            f"{path} is an HDF5 file but no model (attribute format is {written!r}, expected {FORMAT!r}); "
            "give a file written by `wavescat train` or save_model"
        )
    version = file.attrs.get("version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise ModelFileError(
            f"{path} has the version {version!r}, expected a whole number; copy it again from its source"
        )
    if version < VERSION:
        raise ModelFileError(
            f"{path} is a model of version {version}, whose features were defined otherwise; train it again, "
            f"this ase_wavescat reads version {VERSION}"
        )
    if version > VERSION:
        raise ModelFileError(
            f"{path} is a model of version {version}, this ase_wavescat reads version {VERSION}; upgrade ase_wavescat"
        )


def _check_contents(file: h5py.File, path: Path) -> None:
    """Nothing may be missing and nothing unknown be there: an unread part could change what the model means."""
    present: set[str] = set()
    with _blame(path):
        file.visit(present.add)
    required = _REQUIRED | (_DOMAIN if "domain" in present else set())
    missing = sorted(required - present)
    if missing:
        raise ModelFileError(f"{path} lacks {', '.join(missing)}; write it anew with save_model")
    unknown = sorted(present - required - _OPTIONAL)
    if unknown:
        raise ModelFileError(f"{path} holds parts unknown to version {VERSION}: {', '.join(unknown)}; remove them")


def _read_ensemble(file: h5py.File) -> Ensemble:
    keys = tuple(_text(row) for row in _table(file, "features", _FEATURE)["key"])
    calibration = file["calibration"].attrs
    missing = sorted({"energy_scale", "force_scale"} - set(calibration))
    if missing:
        raise ValueError(f"the calibration lacks {', '.join(missing)}")
    return Ensemble(
        spec=ScatteringSpec.from_dict(_json(file, "spec")),
        keys=keys,
        weights=_numbers(file, "members/weights"),
        species_energies=_numbers(file, "baseline/species_energies"),
        repulsion=_read_repulsion(file),
        domain=_read_domain(file),
        calibration=Calibration(float(calibration["energy_scale"]), float(calibration["force_scale"])),
        provenance=_json(file, "provenance"),
    )


def _read_repulsion(file: h5py.File) -> PairRepulsion | None:
    if "baseline/repulsion" not in file:
        return None
    rows = _table(file, "baseline/repulsion", _CUTOFF)
    return PairRepulsion({(int(a), int(b)): float(cutoff) for a, b, cutoff in rows})


def _read_domain(file: h5py.File) -> Domain | None:
    if "domain" not in file:
        return None
    fractions = _table(file, "domain/fractions", _FRACTION)
    closest = _table(file, "domain/closest", _CLOSEST)
    return Domain(
        **{name: _numbers(file, f"domain/{name}") for name in _STATISTICS},
        fractions={int(z): (float(low), float(high)) for z, low, high in fractions},
        closest={(int(a), int(b)): float(distance) for a, b, distance in closest},
    )


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    if not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name} is a group, expected a dataset")
    return file[name]


def _numbers(file: h5py.File, name: str) -> np.ndarray:
    dataset = _dataset(file, name)
    if dataset.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {dataset.dtype}, expected numbers")
    return np.asarray(dataset[()], dtype=float)


def _table(file: h5py.File, name: str, dtype: np.dtype) -> np.ndarray:
    dataset = _dataset(file, name)
    if dataset.dtype.names != dtype.names or dataset.ndim != 1:
        raise ValueError(f"{name} must be a table with the columns {', '.join(dtype.names or ())}")
    return dataset[()]


def _json(file: h5py.File, name: str) -> Any:
    text = _dataset(file, name)[()]
    if not isinstance(text, (bytes, str)):
        raise ValueError(f"{name} must be JSON text")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object, got {type(value).__name__}")
    return value


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


# ---------------------------------------------------------------- finding


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
    package = Path(__file__).resolve().parent
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
