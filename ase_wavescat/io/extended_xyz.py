"""Extended XYZ beyond what ASE reads and writes: dialects that it misreads, constraints, and texts that it cannot read.

Frames are read and written by ASE; what it would take wrongly, silently or not at all is seen to before.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, dict2constraint
from ase.data import atomic_numbers, chemical_symbols
from ase.io import write
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict, read_xyz
from ase.io.jsonio import decode, encode
from ase.spacegroup import Spacegroup

from ase_wavescat.system.errors import warn

CONSTRAINTS = "ase_constraints"
"""Key of all constraints where ASE's column `move_mask` cannot hold them: JSON, of ASE's own dictionaries, with the
symbols of the atoms that they are of."""
TEXTS = ("group", "config_type", "name")
"""Keys whose values are names, even where they look like numbers."""

_SPELLINGS = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
_SYMBOLS, _POSITIONS = ("species", "symbols"), ("pos", "positions")
_RESERVED = (*_SYMBOLS, *_POSITIONS[:1], "Z", "charge", "charges", "move_mask")  # columns that ASE gives a meaning
_TRUTHS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_COLUMN_TRUTHS = ("T", "F", "True", "False")
_NO_COLUMN = "species:S:1:pos:R:3"
_NESTED = re.compile(r"[\[{(]\s*[\[{(]")
_LABEL = re.compile(r"([A-Za-z]{1,2})[\d_+-].*")
_KEY = r"""[^\s="'{}\[\]\\]+"""
_NAME = re.compile(_KEY)
# A key and its value; what is not closed goes to the end, so that no text is gone through twice. A key without a value
# does not take the next key for one.
HEADER_ITEM = re.compile(
    rf"""(?<!\S)({_KEY})\s*=("""
    r"""\s*(?:"(?:\\.|[^"\\])*(?:"|\\?$)|'(?:\\.|[^'\\])*(?:'|\\?$)|\{[^}]*(?:\}|$)"""
    r"""|\[(?:[^\[\]]|\[[^\]]*(?:\]|$))*(?:\]|$))"""
    rf"""|\S+|\s+(?!{_KEY}\s*=)\S+|)"""
)
_DELIMITERS = {'"': '"', "'": "'", "{": "}", "[": "]"}


class Column(NamedTuple):
    """A property of the atoms; it begins at column `start` of each line."""

    name: str
    kind: str
    width: int
    start: int


# ---------------------------------------------------------------- reading


def parse(text: str, texts: Collection[str] = ()) -> tuple[list[Atoms], list[str]]:
    """The structures of a file's text, and what is to be said of it.

    Args:
        texts: Keys whose values are kept as they are written, besides `TEXTS`.

    Raises:
        ValueError: Which names frame and line, for what ASE would take silently (the last of two values of a key, the
            frames before an empty line, what is no truth value for false), for ever (any number of atoms), or refuse
            without saying where.
    """
    lines, total = io.StringIO(text), text.count("\n") + 1
    reader = _Reader({*TEXTS, *texts})
    structures: list[Atoms] = []
    line = 1
    while (first := lines.readline()).strip():
        frame = f"frame {len(structures)}"
        count = _count(first, frame, line, total)
        header, rows, vectors = lines.readline(), [lines.readline() for _ in range(count)], list(_vectors(lines))
        if rows and not rows[-1]:
            raise ValueError(f"{frame}, line {line}: it is to have {count} atoms, the file ends before")
        structures.append(reader.structure(header, rows, vectors, frame, line))
        line += 2 + len(rows) + len(vectors)
    if lines.read().strip():
        raise ValueError(f"an empty line stands where frame {len(structures)} should begin, line {line}; remove it")
    return structures, reader.notes


def _count(first: str, frame: str, line: int, total: int) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", first.strip()):
        raise ValueError(f"{frame}, line {line}: {first.strip()[:40]!r} is no number of atoms")
    count = int(first)
    if count > total:
        raise ValueError(f"{frame} is to have {count} atoms, the file has {total} lines")
    return count


def _vectors(lines: io.StringIO) -> Iterator[str]:
    """Lines of cell vectors of the dialect that has them after the atoms."""
    while True:
        place = lines.tell()
        found = lines.readline()
        if not found.lstrip().startswith("VEC"):
            lines.seek(place)
            return
        yield found


class _Reader:
    """The frames of one file; `notes` are what is to be said of it, once each."""

    def __init__(self, texts: Collection[str]) -> None:
        self.texts = texts
        self.notes: list[str] = []
        self._symbols: dict[str, str] = {}
        self._said: set[str] = set()

    def structure(self, header: str, rows: list[str], vectors: list[str], frame: str, line: int) -> Atoms:
        info = {} if vectors else _header(header, frame, self.texts)
        held = {key: info.pop(key) for key in ("stress",) if isinstance(info.get(key), str)}
        constraints = info.pop(CONSTRAINTS, None)
        columns = _columns(info, frame) if rows else []
        if rows:
            rows = self._rows(rows, columns, "Properties" in info, frame, line + 2)
        text = "".join([f"{len(rows)}\n", header if vectors else "header\n", *rows, *vectors])
        try:
            atoms = next(iter(read_xyz(io.StringIO(text), 0, properties_parser=lambda _: info)))
        except Exception as error:  # ASE's parser has errors of all kinds
            where = _wrong_number(rows, columns, line + 2) or f"line {line}: {str(error) or type(error).__name__}"
            raise ValueError(f"{frame}, {where}") from error
        atoms.info.update(held)
        if constraints is not None:
            self._hold(atoms, constraints, frame)
        return atoms

    def _rows(self, rows: list[str], columns: list[Column], named: bool, frame: str, line: int) -> list[str]:
        """The lines of the atoms, with symbols that ASE knows. Refuses lines of fewer columns than the header names."""
        fields = [row.split() for row in rows]
        widths = [len(field) for field in fields]
        expected = columns[-1].start + columns[-1].width
        if min(widths) < expected:
            place = int(np.argmin(widths))
            raise ValueError(
                f"{frame}, line {line + place}: {widths[place]} columns, {_described(columns, named)} {expected}; give"
                " all of them, or name those that are there"
            )
        if max(widths) > expected:
            place = int(np.argmax(widths))
            self._say(
                "columns",
                f"{frame}, line {line + place}: {widths[place]} columns, {_described(columns, named)} {expected}: the"
                " others are not read; forces, say, are named by Properties=species:S:1:pos:R:3:forces:R:3",
            )
        changed = False
        for column in columns:
            if column.kind == "L":
                _check_truths(fields, column, frame, line)
            if column.name in _SYMBOLS:
                changed |= self._rename(fields, column.start, frame, line)
        return [" ".join(field) + "\n" for field in fields] if changed else rows

    def _rename(self, fields: list[list[str]], place: int, frame: str, line: int) -> bool:
        """Put elements in the place of their numbers and labels; whether there were any."""
        tokens = {field[place] for field in fields}
        for token in tokens - self._symbols.keys():
            symbol = _symbol(token)
            if symbol is None:
                row = next(index for index, field in enumerate(fields) if field[place] == token)
                raise ValueError(f"{frame}, line {line + row}: {token!r} is no element")
            self._symbols[token] = symbol
            if token.isdecimal():
                self._say("numbers", f"numbers in the place of symbols are atomic numbers: {token} is {symbol}, say")
            elif token == "D":
                self._say("deuterium", "D is read as hydrogen, H, of the usual mass")
        if all(self._symbols[token] == token for token in tokens):
            return False
        for field in fields:
            field[place] = self._symbols[field[place]]
        return True

    def _hold(self, atoms: Atoms, text: str, frame: str) -> None:
        """The constraints of the key; those that cannot be made again, or are of other atoms, are told."""
        try:
            record = decode(text, always_array=False)
            symbols, described = str(record["symbols"]), [dict(one) for one in record["constraints"]]
        except Exception as error:
            raise ValueError(f"{frame}: {CONSTRAINTS}={text} are no constraints: {error}") from error
        if symbols != str(atoms.symbols):
            self._say(CONSTRAINTS, f"{frame}: {CONSTRAINTS} are of other atoms, {symbols}: not taken; set them again")
            return
        made = []
        for one in described:
            try:
                made.append(dict2constraint(one))
            except Exception:  # of any kind of constraint, in any version of ASE
                name = str(one.get("name", "unknown"))
                self._say(name, f"{frame}: atoms were held by a constraint ({name}) that the file only names: set it")
        masked = list(atoms.constraints)  # of the column move_mask
        atoms.set_constraint(made)
        if masked and not _holds(atoms, masked):
            self._say(CONSTRAINTS, f"{frame}: move_mask holds more atoms than {CONSTRAINTS}; all of them are held")
            atoms.set_constraint([*made, *masked])

    def _say(self, kind: str, note: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self.notes.append(note)


def _holds(atoms: Atoms, masked: Sequence[Any]) -> bool:
    """Whether the constraints of the atoms hold what others, FixAtoms and FixCartesian, do."""
    own = [one for one in atoms.constraints if isinstance(one, (FixAtoms, FixCartesian))]
    held = np.zeros((2, len(atoms), 3), dtype=bool)
    for place, constraints in zip(held, (own, masked), strict=True):
        for one in constraints:
            place[one.index] |= one.mask if isinstance(one, FixCartesian) else True
    return not (held[1] & ~held[0]).any()


def _header(line: str, frame: str, texts: Collection[str]) -> dict[str, Any]:
    """Keys and values of a header, with ASE's spelling of its own keys. ASE is given what it reads as it is meant."""
    info: dict[str, Any] = {}
    for key, value in HEADER_ITEM.findall(line):
        name, raw = _SPELLINGS.get(key.lower(), key), value.strip()
        if name in info:
            raise ValueError(f"{frame} gives {name!r} twice; keep the value that is meant")
        if name in _OWN:
            info[name] = _OWN[name](raw, frame)
        elif name in texts or not _is_plain(raw):
            info[name] = _text(raw, frame)
        elif _NESTED.match(raw):
            info[name] = _tensor(raw, frame)
        else:
            info[name] = key_val_str_to_dict(f"{key}={raw}")[key]
    words = HEADER_ITEM.sub(" ", line).split()  # true, as ASE has it, but for words of a comment that are its own keys
    flags = dict.fromkeys([word for word in words if _NAME.fullmatch(word) and word not in _OWN], True)
    return {key: value for key, value in (flags | info).items() if _is_kept(key, value)}


def _is_plain(raw: str) -> bool:
    """Not empty, and without a quote or bracket inside, from which on ASE takes all that follows for one text."""
    if raw[:1] in _DELIMITERS:
        return len(raw) > 2 or raw[-1:] != _DELIMITERS[raw[0]]
    return bool(raw) and not set(raw) & set("\"'{}[]")


def _is_kept(key: str, value: Any) -> bool:
    """Not results that are no numbers and that nobody asked for: ASE refuses the frame for them."""
    if key not in all_properties or key in ("energy", "free_energy", "magmom", "stress"):
        return True
    try:
        np.array(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return True


def _plain(raw: str) -> str:
    """A value without its quotes or brackets, and with what was escaped."""
    if len(raw) > 1 and _DELIMITERS.get(raw[0]) == raw[-1]:
        raw = raw[1:-1]
    return re.sub(r"\\(.)", r"\1", raw)


def _text(raw: str, frame: str) -> str:
    text = _plain(raw)
    if text.startswith("_JSON "):
        try:
            text = json.loads(text.removeprefix("_JSON "))
        except ValueError as error:
            raise ValueError(f"{frame}: {raw!r} is no JSON: {error}") from error
    return text if isinstance(text, str) else json.dumps(text)


def _floats(raw: str) -> list[float]:
    """Numbers between any brackets, quotes, commas and spaces; nothing where something else is there."""
    tokens = re.findall(r"""[^\s,;\[\](){}"']+""", raw.replace("_JSON ", "", 1))
    try:
        return [float(token) for token in tokens]
    except ValueError:
        return []


def _tensor(raw: str, frame: str) -> np.ndarray | str:
    """Six numbers (6,), nine (3, 3), any others as text: whether they are used is not known yet."""
    numbers = _floats(raw)
    if len(numbers) in (6, 9):
        return np.array(numbers) if len(numbers) == 6 else np.reshape(numbers, (3, 3), order="F")
    return _plain(raw)


def _lattice(raw: str, frame: str) -> np.ndarray:
    numbers = _floats(raw)
    if len(numbers) != 9:
        raise ValueError(f"{frame}: Lattice={raw} is not nine numbers, the cell vectors one by one")
    return np.reshape(numbers, (3, 3), order="F")


def _periodic(raw: str, frame: str) -> list[bool]:
    truths = [_TRUTHS.get(token.lower()) for token in re.findall(r"""[^\s,;\[\](){}"']+""", raw)]
    if None in truths or len(truths) not in (1, 3):
        raise ValueError(f'{frame}: pbc={raw} says of no direction whether it repeats; give three, such as pbc="T T F"')
    return [bool(truth) for truth in (truths * 3 if len(truths) == 1 else truths)]


_OWN = {
    "Lattice": _lattice, "pbc": _periodic, "Properties": _text, "stress": _tensor, "REF_stress": _tensor,
    "virial": _tensor, CONSTRAINTS: _text,
}  # fmt: skip


def _columns(info: dict[str, Any], frame: str) -> list[Column]:
    """What the columns are; refuses what ASE takes for a structure without elements or positions."""
    text = str(info.get("Properties", _NO_COLUMN)).replace("species:I:1", "Z:I:1")
    fields = text.split(":")
    names, kinds, counts = fields[::3], fields[1::3], fields[2::3]
    whole = len(fields) % 3 == 0 and all(re.fullmatch(r"[1-9][0-9]{0,5}", count) for count in counts)
    if not whole or not set(kinds) <= set("RISL"):
        raise ValueError(f"{frame}: Properties={text} is not NAME:KIND:COLUMNS ..., such as {_NO_COLUMN}")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{frame}: Properties names {twice[0]!r} twice")
    if not {*_SYMBOLS, "Z", "numbers"} & set(names) or not set(_POSITIONS) & set(names):
        raise ValueError(f"{frame}: Properties={text} names no elements (species or Z), or no positions (pos)")
    if "Properties" in info:
        info["Properties"] = text
    starts = np.cumsum([0, *map(int, counts)])
    return [Column(n, k, int(c), int(s)) for n, k, c, s in zip(names, kinds, counts, starts, strict=False)]


def _described(columns: Sequence[Column], named: bool) -> str:
    names = ", ".join(column.name for column in columns)
    return f"Properties names ({names})" if named else f"a header without Properties has ({names})"


def _symbol(token: str) -> str | None:
    """The element of a symbol, an atomic number or a label (Si1, O2-); None where none is meant."""
    if token.capitalize() in atomic_numbers:
        return token.capitalize()
    if token.isdecimal():
        return chemical_symbols[int(token)] if len(token) < 4 and int(token) < len(chemical_symbols) else None
    if token == "D":
        return "H"
    label = _LABEL.fullmatch(token)
    return _symbol(label[1]) if label else None


def _check_truths(fields: list[list[str]], column: Column, frame: str, line: int) -> None:
    """ASE takes what is no truth value for false."""
    for row, field in enumerate(fields):
        for value in field[column.start : column.start + column.width]:
            if value not in _COLUMN_TRUTHS:
                raise ValueError(f"{frame}, line {line + row}: {value!r} in column {column.name} is not T or F")


def _wrong_number(rows: list[str], columns: list[Column], line: int) -> str:
    """Where what should be a number is none."""
    for row, text in enumerate(rows):
        fields = text.split()
        for column in columns:
            for value in fields[column.start : column.start + column.width]:
                try:
                    {"R": float, "I": np.int32}.get(column.kind, str)(value)
                except (ValueError, OverflowError):
                    return f"line {line + row}: {value!r} in column {column.name} is no number of its kind"
    return ""


# ---------------------------------------------------------------- writing


def write_extended_xyz(path: str | Path | TextIO, structures: Iterable[Atoms]) -> None:
    """Structures with their results, constraints, and what `info` and `arrays` hold as far as the format has room.

    What is written is read by ASE and by `parse` with the values that were given. What cannot be is left out, with a
    warning (WaveScatWarning) that names it, but for entries that bear the names of results: these are the calculator's.
    """
    kept, dropped = storable(structures)
    warn_of_dropped(dropped)
    write(path, [_encoded(atoms) for atoms in kept], format="extxyz")


def storable(structures: Iterable[Atoms]) -> tuple[list[Atoms], list[str]]:
    """Copies, with their results, that files can hold, and the names of what is left out."""
    copies, dropped = [], {}
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = _plain_calculator(atoms)
        for kept, fits in ((copy.info, _info_fits), (copy.arrays, _array_fits)):
            for key in [key for key in kept if not fits(key, kept[key])]:
                if key not in all_properties:
                    dropped[str(key)] = True
                del kept[key]
        dropped |= {type(one).__name__: True for one in copy.constraints if _described_constraint(one) is None}
        copies.append(copy)
    return copies, list(dropped)


def warn_of_dropped(names: Sequence[str]) -> None:
    """One warning of what `storable` left out."""
    if names:
        warn(
            f"files cannot keep {', '.join(map(repr, names))} of the structures (per-atom texts that are empty or have"
            " spaces, tensors for each atom, complex numbers, objects, keys of the format itself); left out of what is"
            " written",
            stacklevel=3,
        )


def _plain_calculator(atoms: Atoms) -> Any:
    """The calculator, or its results as far as files have room for them."""
    results = {} if atoms.calc is None else atoms.calc.results
    plain = {key: value for key, value in results.items() if value is not None and np.ndim(value) <= 2}
    if len(plain) == len(results):
        return atoms.calc
    return SinglePointCalculator(atoms, **{key: value for key, value in plain.items() if key in all_properties})


def _info_fits(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or key in all_properties or key.lower() in _SPELLINGS or not _NAME.fullmatch(key):
        return False
    return key != CONSTRAINTS and _written(key, value) is not None


def _written(key: str, value: Any) -> Any:
    """What ASE is given to write so that ASE and `parse` read `value`; None where nothing is."""
    if isinstance(value, Spacegroup):
        value = value.symbol
    for candidate in _candidates(value):
        try:
            text = key_val_dict_to_str({key: candidate, "next": 1})
            whole = "\n" not in text and "\r" not in text
            if whole and all(
                _same(read.get(key), value) for read in (key_val_str_to_dict(text), _header(text, "", TEXTS))
            ):
                return candidate
        except Exception:  # parsers of anything
            continue
    return None


def _candidates(value: Any) -> Iterator[Any]:
    """The value as ASE writes it, then as JSON. ASE's reader takes a backslash away, its writer does not put one in."""
    if isinstance(value, str):
        yield value.replace("\\", "\\\\")
    elif isinstance(value, (bool, int, float, np.generic, np.ndarray)):
        yield np.asarray(value, dtype=float) if np.asarray(value).dtype.kind == "f" else value
    try:
        plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
        yield ("_JSON " + json.dumps(plain)).replace("\\", "\\\\")
    except (TypeError, ValueError):
        return


def _same(read: Any, given: Any) -> bool:
    if isinstance(given, (str, dict)) or given is None:
        return type(read) is type(given) and bool(read == given)
    one, other = np.asarray(read), np.asarray(given)
    return one.shape == other.shape and (one.tolist() == other.tolist() or np.array_equal(one, other, equal_nan=True))


def _array_fits(name: Any, array: np.ndarray) -> bool:
    if name in ("numbers", "positions"):
        return True
    if name in all_properties or name in _RESERVED or not isinstance(name, str) or not _NAME.fullmatch(name):
        return False
    if ":" in name or array.ndim > 2 or (array.ndim == 2 and array.shape[1] == 0):
        return False
    if array.dtype.kind in "iu":
        return bool(np.array_equal(array, array.astype(np.int32)))  # as it is read
    if array.dtype.kind in "OU":
        return all(isinstance(text, str) and len(text.split()) == 1 for text in array.ravel().tolist())
    return array.dtype.kind in "fb"


def _encoded(atoms: Atoms) -> Atoms:
    """A copy for ASE's writer."""
    copy = atoms.copy()
    copy.calc = atoms.calc
    copy.info = {key: _written(key, value) for key, value in atoms.info.items()}
    for name, array in atoms.arrays.items():
        if array.dtype.kind in "uO":
            copy.arrays[name] = array.astype(int if array.dtype.kind == "u" else str)
    if atoms.constraints and not (_only_masked(atoms) and _masks_are_written()):
        described = [_described_constraint(one) or {"name": type(one).__name__} for one in atoms.constraints]
        record = {"symbols": str(atoms.symbols), "constraints": described}
        copy.info[CONSTRAINTS] = encode(record).replace("\\", "\\\\")
    return copy


def _only_masked(atoms: Atoms) -> bool:
    return all(type(one) in (FixAtoms, FixCartesian) for one in atoms.constraints)


@cache
def _masks_are_written() -> bool:
    """Whether this version of ASE writes the column of FixAtoms and FixCartesian unasked."""
    file, atoms = io.StringIO(), Atoms("H", constraint=FixAtoms([0]))
    write(file, atoms, format="extxyz")
    return "move_mask" in file.getvalue()


def _described_constraint(constraint: Any) -> dict[str, Any] | None:
    """A constraint as a dictionary that makes it again; None where it has none."""
    try:
        described = constraint.todict()
        dict2constraint(decode(encode(described), always_array=False))
    except Exception:  # of any kind of constraint, the user's own too
        return None
    return dict(described)
