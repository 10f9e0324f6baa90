"""The bytes of an HDF5 file, written without HDF5 and looked at before it: what a full disk, damage or bad intent can
do to HDF5 itself is caught here.

A checksum: after HDF5's own end comes a line "wavescat sha256 " with that of all bytes before. HDF5 cuts it off when
it opens the file for changes; files without are read as they are. Heaps of texts: HDF5 (2.0 at least) walks for ever
through a global heap whose free space has the size zero, so these are walked through here first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ase_wavescat.system.errors import ModelFileError

LARGEST_FILE = 2**30
"""Bytes; hundreds of times a large model."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SEAL = b"\nwavescat sha256 "
_HEAP = b"GCOL\x01\x00\x00\x00"  # HDF5 file format specification, III.E: global heap
_HEADER = 16  # bytes, of a heap and of each object in it
# By version of the superblock: the bytes that say how long addresses and lengths are, and where the file's end stands.
_SUPERBLOCKS = {0: (13, 40), 1: (13, 44), 2: (9, 28), 3: (9, 28)}


_BLOCK = 2**22  # bytes by which a file in memory grows


@contextmanager
def hdf5_file(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, made in memory and written to `path` when the block ends without an error.

    HDF5 (2.0 at least) must not meet a full disk itself: where that happens as it closes a file, the file stays half
    open, and the process ends by a segmentation fault.
    """
    with h5py.File(path, "w", driver="core", backing_store=False, block_size=_BLOCK) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)


def seal(path: Path) -> None:
    """Put the checksum at the end of a finished HDF5 file."""
    with path.open("r+b") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
        file.write(_SEAL + digest.encode() + b"\n")


def check_bytes(path: Path) -> None:
    """Raise ModelFileError for what is no HDF5 file, too large, or damaged."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ModelFileError(f"{path} has {size} bytes, no model has more than {LARGEST_FILE}; is it another file?")
    content = path.read_bytes()
    if content[:8] != _SIGNATURE:
        what = "is empty" if not content else "is not an HDF5 file"
        raise ModelFileError(f"{path} {what}; a model file is written by `wavescat train` or save_model")
    problem = damage_of(content)
    if problem:
        raise ModelFileError(f"{path} is truncated or damaged ({size} bytes; {problem}); copy it again from its source")


def damage_of(content: bytes) -> str | None:
    """What is wrong with the bytes of an HDF5 file, as far as it can be known without HDF5; None: nothing."""
    if content[:8] != _SIGNATURE:
        return "no HDF5 file"
    return _of_superblock(content) or _of_seal(content) or _of_heaps(content)


def _of_superblock(content: bytes) -> str | None:
    sizes, end = _SUPERBLOCKS.get(content[8] if len(content) > 64 else -1, (0, 0))
    return None if end and content[sizes : sizes + 2] == b"\x08\x08" else "its superblock is not one that models have"


def _of_seal(content: bytes) -> str | None:
    """Behind HDF5's end there may be the checksum, and nothing else."""
    place = _SUPERBLOCKS[content[8]][1]
    end = int.from_bytes(content[place : place + 8], "little")
    if end > len(content):
        return f"{end} bytes were written"
    if end == len(content):
        return None  # written before there were checksums, or changed on purpose
    expected = _SEAL + hashlib.sha256(content[:end]).hexdigest().encode() + b"\n"
    return None if content[end:] == expected else "its checksum does not agree"


def _of_heaps(content: bytes) -> str | None:
    """Every global heap must be filled by its objects to the end."""
    at = content.find(_HEAP)
    while at >= 0:
        end = at + int.from_bytes(content[at + 8 : at + 16], "little")
        place = at + _HEADER
        while place + _HEADER <= end:
            index = int.from_bytes(content[place : place + 2], "little")
            size = int.from_bytes(content[place + 8 : place + 16], "little")
            place += size if index == 0 else _HEADER + -(-size // 8) * 8
            if place > min(end, len(content)) or (index == 0 and size < _HEADER):
                return f"a heap of texts at byte {at} is broken"
        at = content.find(_HEAP, at + _HEADER)
    return None
