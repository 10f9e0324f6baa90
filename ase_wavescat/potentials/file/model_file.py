"""Model files: one HDF5 file, no pickle, every part checked on the way in; see `storage` for how.

Layout, version 3
    /               attributes format = "ase-wavescat-model", version = 3
    /potential      attribute kind, and what this kind of potential stores: see `potentials.registry`
    /calibration    attributes energy_scale, force_scale
    /domain         optional: what `Domain` stores
    /provenance     JSON: data sets, label source, citation, licence, command, versions, metrics
After HDF5's own end: a checksum of all bytes before, see `bytes`.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ase_wavescat.potentials.file.bytes import check_bytes, hdf5_file, seal
from ase_wavescat.potentials.file.search import find_model
from ase_wavescat.potentials.file.storage import Reader, Writer
from ase_wavescat.potentials.file.version_2 import read_version_2
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.atomic_write import atomic_path
from ase_wavescat.system.errors import ModelFileError, printable

FORMAT = "ase-wavescat-model"
VERSION = 3  # 2: one linear ensemble; 1: bands of another shape, so that its weights mean something else


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Write a model; the file appears complete or not at all.

    Args:
        path: The file, replaced where it is there.
        model: Numbers in its provenance that are not finite become null.

    Raises:
        FileNotFoundError: For a missing folder.
        FileWriteError: Where nothing can be written.
        ModelFileError: For a potential of a kind that files cannot hold.
        TypeError: For provenance that is not plain data.
    """
    with atomic_path(path) as temporary:
        with hdf5_file(temporary) as file:
            writer = Writer(file)
            writer.value("format", FORMAT)
            writer.value("version", VERSION)
            model.store(writer)
        seal(temporary)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model and check all of it.

    Args:
        path: A file, or a name that `find_model` knows.

    Raises:
        ModelNotFoundError: Where there is none; the message lists where it was looked for.
        ModelFileError: For what is no model, is damaged or of another version; the message says what is wrong.
    """
    found = find_model(path)
    with _opened(found) as file, _blame(found):
        version = _version(Reader(file), found)
        return read_version_2(Reader(file)) if version == 2 else Model.restore(Reader(file))


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


def _version(reader: Reader, path: Path) -> int:
    """Of a model that can be read: 2 or 3."""
    written, version = reader.attribute("format"), reader.attribute("version")
    if not isinstance(written, str) or written != FORMAT:
        raise ModelFileError(
            f"{path} is an HDF5 file but no model (attribute format is {reprlib.repr(written)}, expected {FORMAT!r}); "
            "give a file written by `wavescat train` or save_model"
        )
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise ModelFileError(
            f"{path} has the version {reprlib.repr(version)}, expected a whole number; copy it again from its source"
        )
    if version < 2:
        raise ModelFileError(
            f"{path} is a model of version {version}, whose features were defined otherwise; train it again, "
            f"this ase_wavescat reads versions 2 and {VERSION}"
        )
    if version > VERSION:
        raise ModelFileError(
            f"{path} is a model of version {version}, this ase_wavescat reads versions up to {VERSION}; upgrade"
            " ase_wavescat"
        )
    return int(version)
