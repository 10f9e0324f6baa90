"""Parts of a model file, written and read: groups of numbers, tables, texts and attributes.

A file is taken as the work of a stranger: nothing outside of it is read (no links, no external or virtual storage), no
filter but the checksum is run, and what is declared must be stored, so that the file's size bounds memory and time.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from ase_wavescat.potentials.registry import POTENTIALS
from ase_wavescat.system.errors import ModelFileError, printable

_TEXT = h5py.string_dtype("utf-8")
_FEATURE = np.dtype([("key", _TEXT), ("label", _TEXT)])
_FRACTION = np.dtype([("species", "i4"), ("minimum", "f8"), ("maximum", "f8")])

_LARGEST_TEXT = 2**24  # bytes of JSON
_LARGEST_TABLE = 10_000  # rows; pairs of elements are 7021
_LONGEST_KEY = 1000
_READ_AT_ONCE = 2**28  # bytes that the texts of some rows of a table can take at most
_MOST_POTENTIALS = 64  # in one file, which may name one of them over and over


def _pair_table(value: str) -> np.dtype:
    """Of unordered pairs of elements, and a length."""
    return np.dtype([("first", "i4"), ("second", "i4"), (value, "f8")])


class Writer:
    """A group of a new file."""

    def __init__(self, group: h5py.Group) -> None:
        self._group = group

    def group(self, name: str) -> Writer:
        return Writer(self._group.require_group(name))

    def potentials(self, name: str, potentials: Sequence[Any]) -> None:
        """By number."""
        for index, one in enumerate(potentials):
            self.potential(f"{name}/{index}", one)

    def numbers(self, name: str, values: np.ndarray) -> None:
        """With a checksum, so that a damaged file is noticed; in half the bytes where that loses no digit."""
        with np.errstate(over="ignore"):
            single = np.asarray(values, dtype=np.float32)
        if np.array_equal(single, values):
            values = single
        self._group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)

    def value(self, name: str, value: float | bool | str) -> None:
        self._group.attrs[name] = value

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        self._group.create_dataset(name, data=json.dumps(value, allow_nan=False), dtype=_TEXT)

    def keys(self, name: str, keys: Sequence[str], labels: Sequence[str]) -> None:
        """A table of texts: what is read, and what it says in words."""
        self._group.create_dataset(name, data=np.array(list(zip(keys, labels, strict=True)), dtype=_FEATURE))

    def pairs(self, name: str, value: str, table: Mapping[tuple[int, int], float]) -> None:
        rows = [(first, second, length) for (first, second), length in table.items()]
        self._group.create_dataset(name, data=np.array(rows, dtype=_pair_table(value)))

    def fractions(self, name: str, table: Mapping[int, tuple[float, float]]) -> None:
        rows = [(species, low, high) for species, (low, high) in table.items()]
        self._group.create_dataset(name, data=np.array(rows, dtype=_FRACTION))

    def potential(self, name: str, potential: Any) -> None:
        """Raises ModelFileError for a kind that files cannot hold."""
        kind = getattr(potential, "kind", None)
        if kind not in POTENTIALS or type(potential) is not POTENTIALS[kind]:
            raise ModelFileError(
                f"a {type(potential).__name__} cannot be stored in a model file; files hold {', '.join(POTENTIALS)}"
            )
        part = self.group(name)
        part.value("kind", kind)
        potential.store(part)


class Reader:
    """A group of a file, every part of which is checked on the way in; whatever is wrong is a ValueError."""

    def __init__(self, group: h5py.Group, seen: list[str] | None = None) -> None:
        self._group = group
        self._potentials: list[str] = [] if seen is None else seen  # of the whole file
        self.names = self._names()

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def expect(self, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Nothing may be missing and nothing unknown be there: an unread part could change what the model means."""
        place = self._group.name.strip("/")
        missing = [f"{place}/{name}".lstrip("/") for name in sorted(required - self.names)]
        unknown = [f"{place}/{name}".lstrip("/") for name in sorted(self.names - required - optional)]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}; write it anew with save_model")
        if unknown:
            raise ValueError(f"it holds parts that are unknown there: {_listed(unknown)}; remove them")

    def group(self, name: str) -> Reader:
        part = self._group[name]
        if not isinstance(part, h5py.Group):
            raise ValueError(f"{name} is no group")
        return Reader(part, self._potentials)

    def numbered(self) -> list[str]:
        """The names of its parts, which must be 0, 1, 2 ..."""
        names = [str(index) for index in range(len(self.names))]
        self.expect(set(names))
        return names

    def potentials(self, name: str) -> tuple[Any, ...]:
        """What `Writer.potentials` wrote."""
        group = self.group(name)
        return tuple(group.potential(number) for number in group.numbered())

    def potential(self, name: str) -> Any:
        """The potential of the kind that its group names."""
        self._potentials.append(name)
        if len(self._potentials) > _MOST_POTENTIALS:
            raise ValueError(f"it holds more than {_MOST_POTENTIALS} potentials")
        part = self.group(name)
        kind = part.attribute("kind")
        if not isinstance(kind, str) or kind not in POTENTIALS:
            known = ", ".join(POTENTIALS)
            raise ValueError(
                f"{name} is a potential of kind {reprlib.repr(kind)}, known are {known}; upgrade ase_wavescat"
            )
        return POTENTIALS[kind].restore(part)

    def attribute(self, name: str) -> Any:
        """A single value, None where it is absent."""
        if name not in self._group.attrs:
            return None
        space = self._group.attrs.get_id(name).get_space()
        if space.get_simple_extent_type() != h5py.h5s.SCALAR:
            raise ValueError(f"the attribute {name} must be a single value")
        return self._group.attrs[name]

    def optional_number(self, name: str) -> float | None:
        """An attribute; None where it is absent."""
        value = self.attribute(name)
        if value is not None and not isinstance(value, (int, float, np.integer, np.floating)):
            raise ValueError(f"{name} of the {self._title} must be a number, got {reprlib.repr(value)}")
        return None if value is None else float(value)

    def number(self, name: str) -> float:
        """An attribute."""
        value = self.optional_number(name)
        if value is None:
            raise ValueError(f"the {self._title} lacks {name}")
        return value

    def flag(self, name: str) -> bool:
        """An attribute that is true or false; false where it is absent."""
        value = self.attribute(name)
        if value is not None and not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} of the {self._title} must be true or false, got {reprlib.repr(value)}")
        return bool(value)

    def numbers(self, name: str) -> np.ndarray:
        dataset = self._dataset(name)
        if dataset.dtype.kind not in "fiu":
            raise ValueError(f"{name} holds {dataset.dtype}, expected numbers")
        return np.asarray(dataset[()], dtype=float)

    def atomic_numbers(self, name: str) -> tuple[int, ...]:
        values = self.numbers(name)
        if values.ndim != 1 or not np.isfinite(values).all() or (values != np.round(values)).any():
            raise ValueError(f"{name} must be a row of atomic numbers")
        species = tuple(int(value) for value in values)
        if not all(0 < z < 119 for z in species) or list(species) != sorted(set(species)):
            raise ValueError(f"{name} must be atomic numbers, ascending, each once, got {species[:10]}")
        return species

    def pairs(self, name: str, value: str) -> dict[tuple[int, int], float]:
        """Lengths of unordered pairs of atomic numbers."""
        rows = self._table(name, _pair_table(value))
        pairs = [(min(int(a), int(b)), max(int(a), int(b))) for a, b, _ in rows]
        _once(name, pairs)
        return dict(zip(pairs, map(float, (length for *_, length in rows)), strict=True))

    def fractions(self, name: str) -> dict[int, tuple[float, float]]:
        rows = self._table(name, _FRACTION)
        _once(name, [int(row["species"]) for row in rows])
        return {int(z): (float(low), float(high)) for z, low, high in rows}

    def keys(self, name: str) -> tuple[str, ...]:
        """The texts of a table, some at a time: a few bytes of a file can point to one long text over and over."""
        table = self._rows(name, _FEATURE)
        if h5py.check_string_dtype(table.dtype["key"]) is None:
            raise ValueError(f"column key of {name} must hold texts")
        column, step = table.fields("key"), max(1, _READ_AT_ONCE // table.file.id.get_filesize())
        keys: list[str] = []
        for start in range(0, len(table), step):
            some = column[start : start + step]
            longest = max(map(len, some))
            if longest > _LONGEST_KEY:
                raise ValueError(f"a feature's key has {longest} characters, the limit is {_LONGEST_KEY}")
            keys += map(_decoded, some)
        return tuple(keys)

    def json(self, name: str) -> dict[str, Any]:
        dataset = self._dataset(name)
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

    # ------------------------------------------------------------ inside

    @property
    def _title(self) -> str:
        return self._group.name.rsplit("/", 1)[-1] or "file"

    def _names(self) -> set[str]:
        """The names in the group, none of which may be a soft or external link."""
        for name in self._group:
            if not isinstance(self._group.get(name, getlink=True), h5py.HardLink):
                place = f"{self._group.name.strip('/')}/{name}".lstrip("/")
                raise ValueError(f"{_listed([place])} is a link to elsewhere; parts must be inside")
        return set(self._group)

    def _dataset(self, name: str) -> h5py.Dataset:
        """A dataset that lies in the file, as large as it says, not compressed."""
        dataset = self._group[name]
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError(f"{name} is no dataset")
        creation = dataset.id.get_create_plist()
        if dataset.is_virtual or creation.get_external_count():
            raise ValueError(f"{name} lies in other files; a model is one file")
        filters = {creation.get_filter(index)[0] for index in range(creation.get_nfilters())}
        if filters - {h5py.h5z.FILTER_FLETCHER32}:
            raise ValueError(
                f"{name} is compressed or filtered (HDF5 filters {sorted(filters)}); models are stored plain"
            )
        if dataset.shape is None:
            raise ValueError(f"{name} has no values")
        declared = math.prod(dataset.shape) * dataset.id.get_type().get_size()
        if declared > min(dataset.id.get_storage_size(), dataset.file.id.get_filesize()):
            raise ValueError(f"{name} declares the shape {dataset.shape}, more than the file stores")
        return dataset

    def _table(self, name: str, dtype: np.dtype) -> np.ndarray:
        """A table of numbers."""
        dataset = self._rows(name, dtype)
        if len(dataset) > _LARGEST_TABLE:
            raise ValueError(f"{name} has {len(dataset)} rows, the limit is {_LARGEST_TABLE}")
        return dataset[()].astype(dtype)

    def _rows(self, name: str, dtype: np.dtype) -> h5py.Dataset:
        """A table whose columns have the names and kinds of `dtype`; integers and reals of other sizes will do."""
        dataset = self._dataset(name)
        expected = dtype.names or ()
        if dataset.dtype.names != expected or dataset.ndim != 1:
            raise ValueError(f"{name} must be a table with the columns {', '.join(expected)}")
        for column in expected:
            if dataset.dtype[column].kind != dtype[column].kind:
                raise ValueError(f"column {column} of {name} holds {dataset.dtype[column]}, expected {dtype[column]}")
        return dataset


def _listed(names: list[str]) -> str:
    """A few names, safe to print."""
    shown = [printable(name[:80]) for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _once(name: str, keys: list[Any]) -> None:
    if len(set(keys)) < len(keys):
        raise ValueError(f"{name} names something twice")


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
