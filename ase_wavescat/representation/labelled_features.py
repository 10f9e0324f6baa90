"""The transform as a library: labelled arrays of features, and of their derivatives, from ASE's structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.blas import one_blas_thread
from ase_wavescat.system.errors import SpecError, StructureError, WaveScatError, did_you_mean

if TYPE_CHECKING:
    import pandas

Array = NDArray[np.float64]


class MissingPackageError(WaveScatError, ImportError):
    """An optional package that is not installed; the message says how to get it."""


@dataclass(frozen=True, eq=False)
class ScatteringFeatures:
    """Features of one structure, or of several, by key.

    `features[key]` is a feature by its key: a number, or (structures,).

    Attributes:
        values: (F,) for one structure, (structures, F) for a sequence; for the whole cell.
        keys: (F,), as model files store them.
        labels: (F,), the same in words.
        atom_counts: () or (structures,), the number of atoms.
        by_positions: Derivatives by positions (F, N, 3), 1/A, a list of them for a sequence; None unless asked for.
        by_strain: Derivatives by strain (F, 6), (structures, F, 6) for a sequence, in ASE's Voigt order xx yy zz yz xz
            xy; a shear column belongs to the symmetric strain eps_ab = eps_ba = x / 2, so that ASE's stress of the
            energy w @ values is w @ by_strain / volume. None unless asked for.
    """

    values: Array
    keys: tuple[str, ...]
    labels: tuple[str, ...]
    atom_counts: NDArray[np.int64]
    by_positions: Array | list[Array] | None = None
    by_strain: Array | None = None

    def __getitem__(self, key: str) -> Array:
        """Raises KeyError, with the closest known key, for a key that is not there."""
        if key not in self.keys:
            raise KeyError(f"no feature {key!r} among these {len(self.keys)}{did_you_mean(str(key), self.keys)}")
        return self.values[..., self.keys.index(key)]

    @property
    def per_atom(self) -> Array:
        """Values divided by the number of atoms (S20), shaped as `values`; the same for a cell and its tilings."""
        return self.values / self.atom_counts[..., None]

    def to_dataframe(self) -> pandas.DataFrame:
        """A data frame of the values: a row for each structure, a column for each key; `attrs["labels"]` in words.

        Raises:
            MissingPackageError: Without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError(
                'data frames need pandas, which is not installed; pip install "ase_wavescat[dataframe]"'
            ) from error
        rows = pandas.RangeIndex(self.atom_counts.size, name="structure")
        frame = pandas.DataFrame(np.atleast_2d(self.values), index=rows, columns=list(self.keys))
        frame.attrs["labels"] = dict(zip(self.keys, self.labels, strict=True))
        return frame


def scattering_features(
    atoms: Atoms | Sequence[Atoms],
    spec: ScatteringSpec | str,
    keys: Sequence[str] | None = None,
    derivatives: bool = False,
) -> ScatteringFeatures:
    """Scattering and correlation features of ASE's structures.

    Args:
        atoms: One structure or a sequence, periodic or not along each direction (`atoms.pbc`).
        spec: A specification, or the name of a preset, made for the species found in all of the structures.
        keys: The features wanted, in this order (default: all of the spec); nothing else is computed.
        derivatives: Also by positions and by strain, exact. Correlations and features at the atoms have a Jacobian
            pass, which takes about as long as 3N evaluations; moduli take tangents along all 3N + 6 directions, each as
            long as one to two evaluations. For one weighted sum of features a reverse pass, as the calculator has, is
            far cheaper.

    Raises:
        StructureError: For no structures, no atoms, positions or cells that are not finite and species that the spec
            does not know; this and the next before any work.
        SpecError: For unknown presets and keys.
    """
    single = isinstance(atoms, Atoms)
    structures: list[Atoms] = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    _check(structures, single)
    if isinstance(keys, str):
        raise SpecError(f"keys are a sequence of feature keys, got the text {keys!r}: give [{keys!r}]")
    if isinstance(spec, str):
        spec = preset(spec, sorted({int(z) for structure in structures for z in structure.numbers}))
    _check_species(structures, spec, single)
    wanted = tuple(spec.keys if keys is None else keys)
    transform = Transform(spec, wanted)
    with one_blas_thread():
        rows = [_evaluate(transform, structure, derivatives) for structure in structures]
    labels = tuple(spec.features[spec.index(key)].label for key in wanted)
    counts = np.array([len(structure) for structure in structures])
    if single:
        values, positions, strain = rows[0]
        return ScatteringFeatures(values, wanted, labels, counts[0], positions, strain)
    result = ScatteringFeatures(np.array([values for values, _, _ in rows]), wanted, labels, counts)
    if not derivatives:
        return result
    by_positions = [positions for _, positions, _ in rows if positions is not None]
    return replace(result, by_positions=by_positions, by_strain=np.array([strain for _, _, strain in rows]))


def _evaluate(transform: Transform, atoms: Atoms, derivatives: bool) -> tuple[Array, Array | None, Array | None]:
    """Values (F,) and, on request, derivatives by positions (F, N, 3) and by strain (F, 6)."""
    evaluation = transform.evaluate(Structure.from_atoms(atoms))
    return evaluation.features, *(evaluation.jacobian() if derivatives else (None, None))


def _check(structures: Sequence[Atoms], single: bool) -> None:
    if not structures:
        raise StructureError("there are no structures to transform: give at least one")
    for index, atoms in enumerate(structures):
        name = "the structure" if single else f"structure {index}"
        if not isinstance(atoms, Atoms):
            raise StructureError(f"{name} is a {type(atoms).__name__}, not ase.Atoms: read files with ase.io.read")
        if len(atoms) == 0:
            raise StructureError(f"{name} has no atoms: leave it out")
        bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
        if len(bad):
            raise StructureError(
                f"{name} has atom {bad[0]} at {atoms.positions[bad[0]]}: positions must be finite numbers"
            )
        vectors = atoms.cell.array[atoms.pbc]
        if not np.isfinite(vectors).all() or (len(vectors) and np.linalg.matrix_rank(vectors) < len(vectors)):
            raise StructureError(
                f"{name} is periodic along {atoms.pbc.tolist()}, but these cell vectors, {vectors.tolist()}, are not"
                " finite and independent: set them, or set atoms.pbc = False along directions that do not repeat"
            )


def _check_species(structures: Sequence[Atoms], spec: ScatteringSpec, single: bool) -> None:
    for index, atoms in enumerate(structures):
        unknown = sorted(set(atoms.numbers.tolist()) - set(spec.species))
        if unknown:
            name = "the structure" if single else f"structure {index}"
            known = ", ".join(chemical_symbols[z] for z in spec.species)
            raise StructureError(
                f"{name} holds {', '.join(chemical_symbols[z] for z in unknown)}, the spec is made for {known}: make a"
                " spec for all species, or give the name of a preset, which takes them from the structures"
            )
