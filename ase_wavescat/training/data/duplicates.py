"""Whether two structures are the same: numbers that do not change with how a structure is written down."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.compiled import compiled
from ase_wavescat.training.data.frames import Frame

REACH = 8.0
"""A; distances beyond it do not count."""
TOLERANCE = 5e-5
"""Of the distance of two fingerprints. Coordinates that were rounded to 0.0001 A stay below it; structures of which one
atom of 73 moved by 0.01 A do not, crystals and glasses alike."""
_WAVES, _FADING = 6, 0.6  # the finer a wave, the more it changes with the same displacement
_LENGTH = 4 * _WAVES + 4
_KIND = "distances to 8 A, 1"  # changes with whatever changes the numbers
_DECIMALS = 3


def fingerprint(frame: Frame | Atoms) -> np.ndarray:
    """(F,) numbers, the same wherever the origin is, whatever the order of the atoms, their periodic images, the
    vectors of the lattice, the orientation, and the number of copies of the cell.

    For c_z = cos(z), which tells elements apart, and p_k(r) = 0.6^k (1 - (r / R)^2)^3 cos(pi k r / R), R = REACH, k = 0
    ... 5, with sums over the neighbours j of an atom i

        u_ik = sum_j p_k(r_ij),   w_ik = sum_j p_k(r_ij) (R_j - R_i) / R,   and t_ik, x_ik the same with p_k times c_j,

    the numbers are the means over atoms of u_ik and c_i t_ik, the root mean squares of |w_ik| and |x_ik| (nothing but
    these changes at once where an atom leaves its place in a perfect crystal), the means of c_i and sin(z_i), the
    length of one direction that an atom takes along those that repeat (A) and how many repeat. About a millisecond for
    40 atoms.
    """
    structure = Structure(np.asarray(frame.cell), frame.positions, frame.numbers, frame.pbc)  # forgotten with its pairs
    numbers, pbc = structure.numbers, np.asarray(structure.pbc)
    first, second, vectors, _ = structure.neighbours(REACH)
    colours = np.cos(numbers.astype(float))
    sums = _neighbour_sums(first, second, vectors / REACH, colours, _FADING ** np.arange(_WAVES))
    lengths = np.sqrt(np.mean(np.sum(sums[:, :, :, 1:] ** 2, axis=3), axis=0))
    means = sums[:, 0, :, 0].mean(axis=0), colours @ sums[:, 1, :, 0] / len(numbers)
    rest = [colours.mean(), np.sin(numbers).mean(), _length(structure.cell, pbc, len(numbers)), pbc.sum()]
    return np.concatenate([*means, *lengths, rest])


@compiled()
def _neighbour_sums(first, second, vectors, colours, fading):  # type: ignore[no-untyped-def]
    """(N, 2, K, 4): u and w of the formula, then t and x; vectors in R."""
    sums = np.zeros((len(colours), 2, len(fading), 4))
    for pair in range(len(first)):
        x, y, z = vectors[pair]
        share = np.sqrt(x * x + y * y + z * z)
        window = (1 - share * share) ** 3
        step = 2 * np.cos(np.pi * share)
        now, before = window, window * step / 2
        colour, mine = colours[second[pair]], sums[first[pair]]
        for wave in range(len(fading)):
            part = fading[wave] * now
            for kind in range(2):
                if kind == 1:
                    part *= colour
                mine[kind, wave, 0] += part
                mine[kind, wave, 1] += part * x
                mine[kind, wave, 2] += part * y
                mine[kind, wave, 3] += part * z
            now, before = step * now - before, now
    return sums


def _length(cell: np.ndarray, pbc: np.ndarray, atoms: int) -> float:
    vectors = cell[pbc]
    if len(vectors) == 0:
        return 0.0
    return float((np.sqrt(np.linalg.det(vectors @ vectors.T)) / atoms) ** (1 / len(vectors)))


def fingerprints(frames: Sequence[Frame | Atoms]) -> np.ndarray:
    """(n, F), those of all."""
    return np.array([fingerprint(frame) for frame in frames]).reshape(-1, _LENGTH)


def copies(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The structures that are there more than once, each with all that are the same."""
    pairs = cKDTree(fingerprints(frames)).query_pairs(TOLERANCE, output_type="ndarray")
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(frames), len(frames)))
    kinds = connected_components(joined, directed=False)[1].tolist()
    same: dict[int, list[Frame]] = defaultdict(list)
    for kind, frame in zip(kinds, frames, strict=True):
        same[kind].append(frame)
    return [several for several in same.values() if len(several) > 1]


@dataclass(frozen=True, eq=False)
class Seen:
    """Structures to compare others with: what a model was fitted to, say.

    rows: their fingerprints, (n, F).  digests: `digest` of those that models without fingerprints recorded.
    """

    rows: np.ndarray = field(default_factory=lambda: np.empty((0, _LENGTH)))
    digests: frozenset[str] = frozenset()

    @classmethod
    def recorded(cls, record: Any) -> Seen:
        """What `to_record` made, or the list of digests of older models; nothing where it is neither."""
        if isinstance(record, list):
            return cls(digests=frozenset(map(str, record)))
        if not isinstance(record, Mapping) or record.get("kind") != _KIND:
            return cls()
        try:
            rows = np.frombuffer(base64.b64decode(record["fingerprints"], validate=True), dtype="<f4").astype(float)
            rows, digests = rows.reshape(-1, _LENGTH), frozenset(map(str, record["digests"]))
        except (ValueError, TypeError, KeyError):  # a file of someone else
            return cls()
        return cls(rows[np.isfinite(rows).all(axis=1)], digests)

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it; sorted, so that it says nothing of their order."""
        rows = np.unique(self.rows.astype("<f4"), axis=0)
        text = base64.b64encode(rows.tobytes()).decode()
        return {"kind": _KIND, "fingerprints": text, "digests": sorted(self.digests)}

    def __bool__(self) -> bool:
        return bool(len(self.rows) or self.digests)

    def __or__(self, other: Seen) -> Seen:
        return Seen(np.concatenate([self.rows, other.rows]), self.digests | other.digests)

    def nearest(self, frames: Sequence[Frame | Atoms]) -> np.ndarray:
        """(n,) the row that each is the same as, -1 where there is none."""
        if not len(self.rows) or not len(frames):
            return np.full(len(frames), -1)
        distances, rows = cKDTree(self.rows).query(fingerprints(frames), distance_upper_bound=TOLERANCE)
        return np.where(np.isfinite(distances), rows, -1)

    def holds(self, frames: Sequence[Frame]) -> list[Frame]:
        """Those that are among these structures."""
        known = self.nearest(frames) >= 0
        return [
            frame
            for frame, same in zip(frames, known, strict=True)
            if same or (self.digests and digest(frame) in self.digests)
        ]


def digest(frame: Frame | Atoms) -> str:
    """Sixteen hexadecimal digits of cell and positions as they are, to 0.001 A: what older models recorded."""
    arrays = np.asarray(frame.cell), frame.positions
    parts = [(np.round(array, _DECIMALS) + 0.0).tobytes() for array in arrays]  # no negative zeros
    parts += [np.asarray(frame.numbers).tobytes(), bytes(map(bool, frame.pbc))]
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]
