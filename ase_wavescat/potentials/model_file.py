"""Model files: one HDF5 file, no pickle, every part checked on the way in.

A file is taken as the work of a stranger: nothing outside of it is read (no links, no external or virtual storage), no
filter but the checksum is run, and what is declared must be stored, so that the file's size bounds memory and time.

Layout, version 2
    /                   attributes format = "ase-wavescat-model", version = 2
    /spec               the ScatteringSpec as JSON
    /features           table, one row a kept feature: key, label
    /members/weights    (M, F) eV per unit of feature
    /baseline           species_energies (M, S) eV, species ascending; optional table repulsion: first, second, cutoff
    /calibration        attributes energy_scale, force_scale
    /domain             optional: minimum, maximum, mean, std (F,) per atom, tables fractions and closest; where known
                        attributes typical_spread (eV/atom) and periodic_only, and environments: attributes width (A)
                        and limit, mean (S, D), whitening (S, D, D), species ascending
    /provenance         JSON: data sets, label source, citation, licence, command, versions, metrics
After HDF5's own end: a checksum of all bytes before, see `model_bytes`.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.ensemble import Calibration, Ensemble
from ase_wavescat.potentials.environments import Environments, EnvironmentVectors
from ase_wavescat.potentials.model_bytes import check_bytes, hdf5_file, seal
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import ModelFileError, ModelNotFoundError, printable

FORMAT = "ase-wavescat-model"
VERSION = 2  # 1: bands of another shape, so that its weights mean something else
SEARCH_VARIABLE = "WAVESCAT_MODELS"

_TEXT = h5py.string_dtype("utf-8")
_FEATURE = np.dtype([("key", _TEXT), ("label", _TEXT)])
_CUTOFF = np.dtype([("first", "i4"), ("second", "i4"), ("cutoff", "f8")])
_FRACTION = np.dtype([("species", "i4"), ("minimum", "f8"), ("maximum", "f8")])
_CLOSEST = np.dtype([("first", "i4"), ("second", "i4"), ("distance", "f8")])
_STATISTICS = ("minimum", "maximum", "mean", "std")
_PARTS: dict[str, tuple[set[str], set[str]]] = {  # of each group: what must be there, what may be there
    "": ({"spec", "features", "members", "baseline", "calibration", "provenance"}, {"domain"}),
    "members": ({"weights"}, set()),
    "baseline": ({"species_energies"}, {"repulsion"}),
    "calibration": (set(), set()),
    "domain": ({"fractions", "closest", *_STATISTICS}, {"environments"}),
    "domain/environments": ({"mean", "whitening"}, set()),
}

_LARGEST_TEXT = 2**24  # bytes of JSON
_LARGEST_TABLE = 10_000  # rows; pairs of elements are 7021
_LONGEST_KEY = 1000
_READ_AT_ONCE = 2**28  # bytes that the texts of some rows of a table can take at most


# ---------------------------------------------------------------- writing


def save_model(path: str | os.PathLike[str], ensemble: Ensemble) -> None:
    """Write a model; the file appears complete or not at all.

    Numbers in the provenance that are not finite become null.

    Raises:
        FileNotFoundError: For a missing folder.
        FileWriteError: Where nothing can be written.
        TypeError: For provenance that is not plain data.
    """
    provenance = json.dumps(_plain(ensemble.provenance), allow_nan=False)
    with atomic_path(path) as temporary:
        with hdf5_file(temporary) as file:
            _write_ensemble(file, ensemble)
            file.create_dataset("provenance", data=provenance, dtype=_TEXT)
        seal(temporary)


def _write_ensemble(file: h5py.File, ensemble: Ensemble) -> None:
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
    attributes = file["domain"].attrs
    attributes["periodic_only"] = domain.periodic_only
    if domain.typical_spread is not None:
        attributes["typical_spread"] = domain.typical_spread
    if (environments := domain.environments) is not None:
        for name in ("mean", "whitening"):
            _write_numbers(file, f"domain/environments/{name}", getattr(environments, name))
        file["domain/environments"].attrs["width"] = environments.vectors.width
        file["domain/environments"].attrs["limit"] = environments.limit


# ---------------------------------------------------------------- reading


def load_model(path: str | os.PathLike[str]) -> Ensemble:
    """Read a model and check all of it.

    Args:
        path: A file, or a name that `find_model` knows.

    Raises:
        ModelNotFoundError: As `find_model`.
        ModelFileError: That names what is wrong.
    """
    found = find_model(path)
    with _opened(found) as file:
        _check_format(file, found)
        _check_contents(file, found)
        with _blame(found):
            return _read_ensemble(file)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    check_bytes(path)
    try:
        # Files are replaced whole, never changed, so reading needs no lock (which network file systems may refuse).
        handle = h5py.File(path, "r", locking=False)
    except Exception as error:  # damage shows in any of h5py's errors
        raise ModelFileError(
            f"{path} is truncated or damaged ({path.stat().st_size} bytes; {_short(error)}); copy it again from its"
            " source"
        ) from None
    with handle:
        yield handle


@contextmanager
def _blame(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside a file into an error that names the file."""
    try:
        yield
    except ModelFileError:
        raise
    except (OSError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged ({_short(error)}); copy it again from its source") from None
    except Exception as error:
        raise ModelFileError(f"{path} is not a valid model: {_short(error)}") from error


def _short(error: Exception) -> str:
    """Its message, which may hold texts of the file."""
    text = printable(str(error) or type(error).__name__)
    return text if len(text) <= 500 else f"{text[:500]} ..."


def _check_format(file: h5py.File, path: Path) -> None:
    with _blame(path):
        written, version = _attribute(file, "format"), _attribute(file, "version")
    if not isinstance(written, str) or written != FORMAT:
        raise ModelFileError(
            f"{path} is an HDF5 file but no model (attribute format is {reprlib.repr(written)}, expected {FORMAT!r}); "
            "give a file written by `wavescat train` or save_model"
        )
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise ModelFileError(
            f"{path} has the version {reprlib.repr(version)}, expected a whole number; copy it again from its source"
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


def _attribute(holder: h5py.Group, name: str) -> Any:
    """A single value, None where it is absent; ValueError for anything else."""
    if name not in holder.attrs:
        return None
    space = holder.attrs.get_id(name).get_space()
    if space.get_simple_extent_type() != h5py.h5s.SCALAR:
        raise ValueError(f"the attribute {name} must be a single value")
    return holder.attrs[name]


def _check_contents(file: h5py.File, path: Path) -> None:
    """Nothing may be missing and nothing unknown be there: an unread part could change what the model means.

    Nor may a part be a link: it could lead to another file, or in a circle.
    """
    missing: list[str] = []
    unknown: list[str] = []
    with _blame(path):
        for group, (required, optional) in _PARTS.items():
            if group and group not in file:
                continue
            names = _names_in(file, group)
            missing += [f"{group}/{name}".lstrip("/") for name in required - names]
            unknown += [f"{group}/{name}".lstrip("/") for name in names - required - optional]
    if missing:
        raise ModelFileError(f"{path} lacks {', '.join(sorted(missing))}; write it anew with save_model")
    if unknown:
        raise ModelFileError(
            f"{path} holds parts unknown to version {VERSION}: {_listed(sorted(unknown))}; remove them"
        )


def _names_in(file: h5py.File, group: str) -> set[str]:
    """The names in a group, none of which may be a soft or external link."""
    holder = file[group] if group else file
    if not isinstance(holder, h5py.Group):
        raise ValueError(f"{group} is no group")
    for name in holder:
        if not isinstance(holder.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{_listed([f'{group}/{name}'.lstrip('/')])} is a link to elsewhere; parts must be inside")
    return set(holder)


def _listed(names: list[str]) -> str:
    """A few names, safe to print."""
    shown = [printable(name[:80]) for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read_ensemble(file: h5py.File) -> Ensemble:
    spec = ScatteringSpec.from_dict(_json(file, "spec"))
    return Ensemble(
        spec=spec,
        keys=_keys(file),
        weights=_numbers(file, "members/weights"),
        species_energies=_numbers(file, "baseline/species_energies"),
        repulsion=_read_repulsion(file),
        domain=_read_domain(file, spec.species),
        calibration=Calibration(
            **{name: _required_number(file, "calibration", name) for name in ("energy_scale", "force_scale")}
        ),
        provenance=_json(file, "provenance"),
    )


def _required_number(file: h5py.File, group: str, name: str) -> float:
    value = _optional_number(file, group, name)
    if value is None:
        raise ValueError(f"the {group} lacks {name}")
    return value


def _optional_number(file: h5py.File, group: str, name: str) -> float | None:
    """An attribute; None where it is absent."""
    value = _attribute(file[group], name)
    if value is not None and not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{name} of the {group} must be a number, got {reprlib.repr(value)}")
    return None if value is None else float(value)


def _flag(file: h5py.File, group: str, name: str) -> bool:
    """An attribute that is true or false; false where it is absent."""
    value = _attribute(file[group], name)
    if value is not None and not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} of the {group} must be true or false, got {reprlib.repr(value)}")
    return bool(value)


def _read_repulsion(file: h5py.File) -> PairRepulsion | None:
    if "repulsion" not in file["baseline"]:
        return None
    rows = _table(file, "baseline/repulsion", _CUTOFF)
    return PairRepulsion(_by_pair("baseline/repulsion", rows))


def _read_domain(file: h5py.File, species: tuple[int, ...]) -> Domain | None:
    if "domain" not in file:
        return None
    fractions = _table(file, "domain/fractions", _FRACTION)
    _once("domain/fractions", [int(row["species"]) for row in fractions])
    return Domain(
        **{name: _numbers(file, f"domain/{name}") for name in _STATISTICS},
        fractions={int(z): (float(low), float(high)) for z, low, high in fractions},
        closest=_by_pair("domain/closest", _table(file, "domain/closest", _CLOSEST)),
        environments=_read_environments(file, species),
        typical_spread=_optional_number(file, "domain", "typical_spread"),
        periodic_only=_flag(file, "domain", "periodic_only"),
    )


def _read_environments(file: h5py.File, species: tuple[int, ...]) -> Environments | None:
    place = "domain/environments"
    if place not in file:
        return None
    return Environments(
        EnvironmentVectors(species, _required_number(file, place, "width")),
        mean=_numbers(file, f"{place}/mean"),
        whitening=_numbers(file, f"{place}/whitening"),
        limit=_required_number(file, place, "limit"),
    )


def _by_pair(name: str, rows: np.ndarray) -> dict[tuple[int, int], float]:
    """Rows (first, second, length) as a mapping of unordered pairs."""
    pairs = [(min(int(a), int(b)), max(int(a), int(b))) for a, b, _ in rows]
    _once(name, pairs)
    return dict(zip(pairs, map(float, (length for *_, length in rows)), strict=True))


def _once(name: str, keys: list[Any]) -> None:
    if len(set(keys)) < len(keys):
        raise ValueError(f"{name} names something twice")


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset that lies in the file, as large as it says, not compressed."""
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is no dataset")
    creation = dataset.id.get_create_plist()
    if dataset.is_virtual or creation.get_external_count():
        raise ValueError(f"{name} lies in other files; a model is one file")
    filters = {creation.get_filter(index)[0] for index in range(creation.get_nfilters())}
    if filters - {h5py.h5z.FILTER_FLETCHER32}:
        raise ValueError(f"{name} is compressed or filtered (HDF5 filters {sorted(filters)}); models are stored plain")
    if dataset.shape is None:
        raise ValueError(f"{name} has no values")
    declared = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    if declared > min(dataset.id.get_storage_size(), file.id.get_filesize()):
        raise ValueError(f"{name} declares the shape {dataset.shape}, more than the file stores")
    return dataset


def _numbers(file: h5py.File, name: str) -> np.ndarray:
    dataset = _dataset(file, name)
    if dataset.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {dataset.dtype}, expected numbers")
    return np.asarray(dataset[()], dtype=float)


def _table(file: h5py.File, name: str, dtype: np.dtype) -> np.ndarray:
    """A table of numbers."""
    dataset = _rows(file, name, dtype)
    if len(dataset) > _LARGEST_TABLE:
        raise ValueError(f"{name} has {len(dataset)} rows, the limit is {_LARGEST_TABLE}")
    return dataset[()].astype(dtype)


def _rows(file: h5py.File, name: str, dtype: np.dtype) -> h5py.Dataset:
    """A table whose columns have the names and kinds of `dtype`; integers and reals of other sizes will do."""
    dataset = _dataset(file, name)
    expected = dtype.names or ()
    if dataset.dtype.names != expected or dataset.ndim != 1:
        raise ValueError(f"{name} must be a table with the columns {', '.join(expected)}")
    for column in expected:
        if dataset.dtype[column].kind != dtype[column].kind:
            raise ValueError(f"column {column} of {name} holds {dataset.dtype[column]}, expected {dtype[column]}")
    return dataset


def _keys(file: h5py.File) -> tuple[str, ...]:
    """The features' keys, some at a time: a few bytes of a file can point to one long text over and over."""
    table = _rows(file, "features", _FEATURE)
    if h5py.check_string_dtype(table.dtype["key"]) is None:
        raise ValueError("column key of features must hold texts")
    column, step = table.fields("key"), max(1, _READ_AT_ONCE // file.id.get_filesize())
    keys: list[str] = []
    for start in range(0, len(table), step):
        some = column[start : start + step]
        longest = max(map(len, some))
        if longest > _LONGEST_KEY:
            raise ValueError(f"a feature's key has {longest} characters, the limit is {_LONGEST_KEY}")
        keys += map(_decoded, some)
    return tuple(keys)


def _json(file: h5py.File, name: str) -> dict[str, Any]:
    dataset = _dataset(file, name)
    if dataset.shape != () or h5py.check_string_dtype(dataset.dtype) is None:
        raise ValueError(f"{name} must be JSON text")
    stored = dataset[()]
    if len(stored) > _LARGEST_TEXT:
        raise ValueError(f"{name} has {len(stored)} characters, the limit is {_LARGEST_TEXT}")
    try:
        value = json.loads(_decoded(stored), object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object, got {type(value).__name__}")
    return value


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a JSON object has a key twice")
    return values


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _decoded(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


# ---------------------------------------------------------------- finding


def find_model(name: str | os.PathLike[str]) -> Path:
    """The file of a model: a path, else a name in the folders of WAVESCAT_MODELS, else a bundled name.

    Raises:
        ModelNotFoundError: That lists where it was looked for and what there is.
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
    package = Path(__file__).resolve().parents[1]
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
